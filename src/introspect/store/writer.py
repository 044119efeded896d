"""Writing a store: one writer, one rename a part.

A part is encoded in memory, written to a temporary file, fsynced and renamed, and the folder fsynced. The rename is the
only commit, and a part is never opened for writing again. What a kill leaves is whole parts and at most one temporary
file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from ..atomic import put_in_place, write_aside, write_atomic
from ..errors import RunError, StoreError
from ..lock import only_writer
from .encode import EncodedPart, encode_part
from .layout import DONE, PartInfo, done_text, list_parts, part_name
from .reader import PART_KINDS
from .spec import FORMAT, MANIFEST, StoreSpec, manifest_text, read_manifest
from .upgrade import lock_file, rewrite

if TYPE_CHECKING:
    from .encode import Array


SEEN_AFTER = (0.0, 0.1, 0.5, 2.0, 8.0, 20.0, 30.0)
"""Seconds between looks for a file that another machine has written: network folders show it late."""


@dataclass(frozen=True)
class StagedPart:
    """A part that another process has written into the store's folder, under a name that is no part's."""

    rows: int
    sha256: str
    """Of its head."""
    file: str
    """Name in the folder."""
    size: int
    """Bytes."""


class StoreWriter:
    """Adds parts to a store. A context manager that holds the store's lock.

    Args:
        path: the store's folder, created when missing.
        spec: what its parts hold.
        resume: go on with a store that has parts; damaged ones are set aside as `.bad`, format 1 is upgraded.

    Raises:
        RunError: another process writes to it, it is another spec's, or it cannot be written.
    """

    def __init__(self, path: Path, spec: StoreSpec, *, resume: bool = False) -> None:
        self.path, self.spec, self.resume = path, spec, resume
        self.committed: dict[int, PartInfo] = {}
        """Parts on disk whose digests are right."""

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot create {self.path}: {error.strerror}; choose another --out") from None
        with ExitStack() as stack:
            stack.enter_context(only_writer(lock_file(self.path), self.path))
            self._open()
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def write_part(
        self,
        index: int,
        *,
        values: Mapping[tuple[str, int], Array],
        rollout: np.ndarray,
        position: np.ndarray,
        token_id: np.ndarray,
        span: np.ndarray,
    ) -> PartInfo:
        """Commit one part: activations [row, width] for every site and layer, and the columns [row].

        Raises:
            RunError: the disk is full or cannot be written to; what was committed is untouched.
        """
        columns = {"rollout": rollout, "position": position, "token_id": token_id, "span": span}
        return self.commit_part(index, encode_part(self.spec, values, columns))

    def commit_part(self, index: int, part: EncodedPart | StagedPart) -> PartInfo:
        """Commit one part that `encode_part` has made, or that `stage_part` has written here.

        Raises:
            RunError: as `write_part`; or what was staged is not here, or not whole.
        """
        if index in self.committed:
            raise ValueError(f"part {index} is committed already")
        info = PartInfo(index, part_name(index, part.sha256), part.sha256, part.rows)
        if isinstance(part, EncodedPart):
            write_atomic(self.path / info.name, part.pieces)
        else:
            put_in_place(_seen(self.path / Path(part.file).name, part.size), self.path / info.name)
        self.committed[index] = info
        return info

    def set_aside(self, index: int) -> None:
        """Take a committed part out, so that it can be written again; its file stays, as `.bad`."""
        (self.path / DONE).unlink(missing_ok=True)
        set_aside(self.path / self.committed.pop(index).name)

    def finish(self) -> None:
        """Write DONE: the list of all parts with their full digests. What others staged in vain is removed."""
        self._remove_stale()
        write_atomic(self.path / DONE, done_text(self.committed))

    def _open(self) -> None:
        if (self.path / MANIFEST).exists():
            if not self.resume:
                raise RunError(f"{self.path} holds a store already; resume it, or choose another --out")
            check_spec(self.path, self.spec)
        else:
            write_atomic(self.path / MANIFEST, manifest_text(self.spec))
        self._remove_stale()
        number = read_manifest(self.path).format
        sound = self._keep_sound(number)
        rewrite(self.path)
        self.committed = sound if number == FORMAT else self._keep_sound(FORMAT)

    def _remove_stale(self) -> None:
        for stale in self.path.glob(".*.tmp"):
            stale.unlink(missing_ok=True)

    def _keep_sound(self, number: int) -> dict[int, PartInfo]:
        """Parts of format `number` that are whole; the others are set aside, and then nothing is called finished."""
        sound = {}
        for index, file in list_parts(self.path, number).items():
            try:
                sound[index] = PART_KINDS[number](index, file, self.spec).check()
            except StoreError:
                (self.path / DONE).unlink(missing_ok=True)
                set_aside(file)
        return sound


def stage_part(path: Path, index: int, part: EncodedPart) -> StagedPart:
    """Write a part beside a store whose writer is another process, which commits it.

    Raises:
        RunError: the disk is full or cannot be written to.
    """
    file = write_aside(path / part_name(index, part.sha256), part.pieces)
    return StagedPart(part.rows, part.sha256, file.name, file.stat().st_size)


def _seen(file: Path, size: int) -> Path:
    """A file that another machine has written, once this one sees all of it.

    Raises:
        RunError: it does not within a minute.
    """
    for wait in SEEN_AFTER:
        time.sleep(wait)
        if file.exists() and file.stat().st_size == size:
            return file
    raise RunError(
        f"a worker has written {file}, and it is not here: choose an --out that every machine sees alike, and go on "
        "with --resume"
    )


def check_spec(path: Path, spec: StoreSpec) -> None:
    """Refuse a store that was recorded under another spec.

    Raises:
        RunError: names the first thing that differs: layers, width, selection, the model's weights, the plan, ...
    """
    held, wanted = (json.loads(manifest_text(each)) for each in (read_manifest(path).spec, spec))
    differing = [key for key in wanted if key != "meta" and held[key] != wanted[key]]
    differing += [key for key in {**held["meta"], **wanted["meta"]} if held["meta"].get(key) != wanted["meta"].get(key)]
    if differing:
        what = {"plan": "plan: its items, prompts or seeds have changed since"}.get(differing[0], differing[0])
        raise RunError(f"{path} was recorded with another {what}; choose another --out")


def set_aside(file: Path) -> Path:
    """Rename a damaged part to `.bad`, numbered when there is one already. Nothing is deleted."""
    number = 0
    while (target := file.with_name(f"{file.name}{f'.{number}' if number else ''}.bad")).exists():
        number += 1
    file.rename(target)
    return target
