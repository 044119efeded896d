"""Verify: every byte of a store against its digests, and its HDF5 structure against its heads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from .layout import DONE, finished_parts, list_parts
from .reader import PART_KINDS
from .spec import read_manifest


@dataclass(frozen=True)
class VerifyReport:
    """What is wrong with a store; empty when nothing is."""

    problems: list[str]
    """`file: what is wrong`."""


def verify(path: Path) -> VerifyReport:
    """Check every part, and that `DONE` lists them. Damage is listed, never raised."""
    try:
        number, spec = read_manifest(path)
        files, listed = list_parts(path, number), finished_parts(path, number)
    except StoreError as error:
        return VerifyReport([str(error)])
    problems = []
    for index, part in (listed or {}).items():
        if index not in files or files[index].name != part.name:
            problems.append(f"{part.name}: missing")
    for index, file in files.items():
        try:
            info = PART_KINDS[number](index, file, spec).check()
        except StoreError as error:
            problems.append(f"{file.name}: {str(error).removeprefix(f'{file} ').split(';')[0]}")
            continue
        if listed is not None and listed.get(index) != info:
            problems.append(f"{file.name}: it is not what {DONE} lists")
    if listed is None:
        problems.append(f"{DONE}: missing, the recording was not finished")
    return VerifyReport(problems)
