"""Reading a store, whoever wrote it: the digest first, then the layout, then the numbers.

Each part is read whole and checked once; later reads of another layer open it again by name only if file size, time and
inode are as they were, and otherwise check again. Memory holds one part at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import StoreError
from .layout import (
    COLUMNS,
    DONE,
    MANIFEST,
    STORED_DTYPES,
    StoreSpec,
    list_parts,
    read_json,
    read_manifest,
    read_part_bytes,
)
from .part import Source, decode_columns, decode_rows, decode_values


class StoreReader:
    """A store's activations.

    Raises:
        StoreError: it is not a store, a part is missing, or a part is damaged. Names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec: StoreSpec = read_manifest(path)
        self._files = list_parts(path)
        listed = _listed(path)
        if listed is not None:
            for index, name in listed.items():
                if self._files.get(index) != path / name:
                    raise StoreError(f"{path / name} is missing; `--resume` records it again")
        self._columns: dict[str, np.ndarray] | None = None
        self._checked: dict[Path, tuple[int, int, int]] = {}

    @property
    def n_rows(self) -> int:
        """Rows of all parts."""
        return len(self.columns()["rollout"])

    def columns(self) -> dict[str, np.ndarray]:
        """`rollout`, `position`, `token_id` and `span` of every row, parts in order."""
        if self._columns is None:
            parts = [decode_columns(source, self.spec, file) for file, source in self._parts()]
            self._columns = {
                name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0, kind)
                for name, kind in COLUMNS.items()
            }
        return self._columns

    def read(self, site: str, layer: int, rows: np.ndarray | None = None, *, native: bool = False) -> np.ndarray:
        """One site and layer.

        Args:
            rows: row indices to keep, in the order wanted; None for all. Memory holds one part and what is kept.
            native: give the stored bits (bfloat16 as uint16) rather than float32.

        Returns:
            [row, width].

        Raises:
            StoreError: a part is damaged, or the store does not hold this site and layer.
        """
        if site not in self.spec.sites or layer not in self.spec.layers:
            raise StoreError(f"{self.path} holds no {site} of layer {layer}; see {self.path / MANIFEST}")
        kept = np.arange(self.n_rows) if rows is None else np.asarray(rows)
        values = np.empty((len(kept), self.spec.width), STORED_DTYPES[self.spec.dtype])
        begin = 0
        for file, source in self._parts():
            part = decode_values(source, self.spec, file, site, layer)
            here = (kept >= begin) & (kept < begin + len(part))
            values[here] = part[kept[here] - begin]
            begin += len(part)
        if native:
            return values
        if self.spec.dtype == "bfloat16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32)

    def _parts(self) -> Iterator[tuple[Path, Source]]:
        """Files, each with its bytes when they had to be checked, or itself when they have been."""
        for index in sorted(self._files):
            file = self._files[index]
            if file in self._checked and self._checked[file] == _identity(file):
                yield file, file
                continue
            before = _identity(file)
            content = read_part_bytes(file)
            if before is not None:
                self._checked[file] = before
            yield file, content


def _identity(file: Path) -> tuple[int, int, int] | None:
    """Size, time of change (ns) and inode; None when it is gone."""
    try:
        state = file.lstat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ino


@dataclass(frozen=True)
class VerifyReport:
    """What is wrong with a store; empty when nothing is."""

    problems: list[str]
    """`file: what is wrong`."""


def verify(path: Path) -> VerifyReport:
    """Check every part against its digests and layout. Damage is listed, never raised."""
    try:
        spec, files, listed = read_manifest(path), list_parts(path), _listed(path)
    except StoreError as error:
        return VerifyReport([str(error)])
    problems = []
    for index, name in (listed or {}).items():
        if index not in files or files[index].name != name:
            problems.append(f"{name}: missing")
    digests = _digests(path)
    for index, file in files.items():
        try:
            content = read_part_bytes(file)
            decode_rows(content, spec, file)
        except StoreError as error:
            problems.append(f"{file.name}: {str(error).removeprefix(f'{file} ').split(';')[0]}")
            continue
        if index in digests and hashlib.sha256(content).hexdigest() != digests[index]:
            problems.append(f"{file.name}: its content is not what DONE lists")
    if listed is None:
        problems.append(f"{DONE}: missing, the recording was not finished")
    return VerifyReport(problems)


def _listed(path: Path) -> dict[int, str] | None:
    """Part index -> name in DONE; None when the store is not finished."""
    if not (path / DONE).exists():
        return None
    return {index: name for index, (name, _) in _done(path).items()}


def _digests(path: Path) -> dict[int, str]:
    return {index: digest for index, (_, digest) in _done(path).items()} if (path / DONE).exists() else {}


def _done(path: Path) -> dict[int, tuple[str, str]]:
    content = read_json(path / DONE)
    try:
        return {int(part["index"]): (str(part["name"]), str(part["sha256"])) for part in content["parts"]}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"{path / DONE} is damaged ({error}); `--resume` writes it again") from None
