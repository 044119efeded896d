"""The files of a store: `manifest.json`, then `part-00012-<32 hex>.h5`, then `DONE`, which lists the parts.

A part is named by its index and the SHA-256 of its head, which has the digests of all the rest of it, so a file that
was changed, cut short or renamed is recognised by the bytes that are read, and by no others. Names of format 1 have 16
digits, those of the whole file's digest: while a store is upgraded, its manifest says which files are its parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import StoreError
from .spec import FORMAT, OLD_FORMAT, read_json

DONE = "DONE"
NAME_DIGITS = {OLD_FORMAT: 16, FORMAT: 32}
PART_NAMES = {number: re.compile(rf"part-(\d{{5}})-([0-9a-f]{{{n}}})\.h5") for number, n in NAME_DIGITS.items()}


@dataclass(frozen=True)
class PartInfo:
    """One committed part."""

    index: int
    name: str
    sha256: str
    """Of its head; in format 1, of the whole file."""
    rows: int


class Done(NamedTuple):
    """What `DONE` says: the format of the parts that it lists, and the parts by index."""

    format: int
    parts: dict[int, PartInfo]


def part_name(index: int, sha256: str) -> str:
    """The file name of a part: its index and the first 32 hex digits of its digest."""
    return f"part-{index:05d}-{sha256[: NAME_DIGITS[FORMAT]]}.h5"


def list_parts(path: Path, number: int) -> dict[int, Path]:
    """Part index -> file, in order, of the parts of format `number`.

    Raises:
        StoreError: two files claim one index.
    """
    found: dict[int, Path] = {}
    for file in sorted(path.iterdir()):
        match = PART_NAMES[number].fullmatch(file.name)
        if match:
            index = int(match[1])
            if index in found:
                raise StoreError(
                    f"{found[index]} and {file.name} are both part {index}; remove the one that is not yours"
                )
            found[index] = file
    return found


def done_text(parts: Mapping[int, PartInfo]) -> str:
    """The content of `DONE`."""
    listed = [asdict(parts[index]) for index in sorted(parts)]
    return json.dumps({"format": FORMAT, "parts": listed}, indent=2) + "\n"


def read_done(path: Path) -> Done | None:
    """What `DONE` lists; None when the store is not finished.

    Raises:
        StoreError: it is damaged.
    """
    file = path / DONE
    if not file.exists():
        return None
    content = read_json(file)
    try:
        number = content.get("format", OLD_FORMAT)
        if number not in NAME_DIGITS:
            raise ValueError(f"format {number}")
        parts = [
            PartInfo(**{key: part[key] for key in ("index", "name", "sha256", "rows")}) for part in content["parts"]
        ]
        if not all(type(part.index) is int and isinstance(part.name, str) for part in parts):
            raise ValueError("an index or a name is not one")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"{file} is damaged ({error}); `--resume` writes it again") from None
    return Done(number, {part.index: part for part in parts})


def finished_parts(path: Path, number: int) -> dict[int, PartInfo] | None:
    """What `DONE` lists of format `number`; None when it is missing or, while a store is upgraded, of the other one.

    Raises:
        StoreError: as `read_done`.
    """
    done = read_done(path)
    return done.parts if done is not None and done.format == number else None
