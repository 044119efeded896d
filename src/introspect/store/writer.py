"""Writing a store: one writer, one rename a part.

A part is built in memory, digested, written to a temporary file, fsynced and renamed, and the folder fsynced. The
rename is the only commit, and a part is never opened for writing again. What a kill leaves is whole parts and at most
one temporary file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..atomic import write_atomic
from ..errors import RunError, StoreError
from ..lock import only_writer
from .layout import (
    DONE,
    MANIFEST,
    PartInfo,
    StoreSpec,
    list_parts,
    manifest_text,
    part_name,
    read_manifest,
    read_part_bytes,
)
from .part import Array, decode_rows, encode_part


class StoreWriter:
    """Adds parts to a store. A context manager that holds the store's lock.

    Args:
        path: the store's folder, created when missing.
        spec: what its parts hold.
        resume: go on with a store that has parts; damaged ones are set aside as `.bad`.

    Raises:
        RunError: another process writes to it, it is another spec's, or it cannot be written.
    """

    def __init__(self, path: Path, spec: StoreSpec, *, resume: bool = False) -> None:
        self.path, self.spec, self.resume = path, spec, resume
        self.committed: dict[int, PartInfo] = {}
        """Parts on disk whose digest is right."""

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot create {self.path}: {error.strerror}; choose another --out") from None
        with ExitStack() as stack:
            stack.enter_context(only_writer(self.path.with_name(f".{self.path.name}.lock"), self.path))
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
        return self.commit_part(index, encode_part(self.spec, values, columns), len(rollout))

    def commit_part(self, index: int, content: bytes, rows: int) -> PartInfo:
        """Commit one part that `encode_part` has made.

        Raises:
            RunError: as `write_part`.
        """
        if index in self.committed:
            raise ValueError(f"part {index} is committed already")
        digest = hashlib.sha256(content).hexdigest()
        info = PartInfo(index, part_name(index, digest), digest, rows)
        write_atomic(self.path / info.name, content)
        self.committed[index] = info
        return info

    def set_aside(self, index: int) -> None:
        """Take a committed part out, so that it can be written again; its file stays, as `.bad`."""
        set_aside(self.path / self.committed.pop(index).name)
        (self.path / DONE).unlink(missing_ok=True)

    def finish(self) -> None:
        """Write DONE: the list of all parts with their full digests."""
        parts = [asdict(self.committed[index]) for index in sorted(self.committed)]
        write_atomic(self.path / DONE, json.dumps({"parts": parts}, indent=2) + "\n")

    def _open(self) -> None:
        if (self.path / MANIFEST).exists():
            if not self.resume:
                raise RunError(f"{self.path} holds a store already; resume it, or choose another --out")
            check_spec(self.path, self.spec)
        else:
            write_atomic(self.path / MANIFEST, manifest_text(self.spec))
        for stale in self.path.glob(".*.tmp"):
            stale.unlink()
        for index, file in list_parts(self.path).items():
            try:
                content = read_part_bytes(file)
                rows = decode_rows(content, self.spec, file)
            except StoreError:
                set_aside(file)
                (self.path / DONE).unlink(missing_ok=True)
                continue
            self.committed[index] = PartInfo(index, file.name, hashlib.sha256(content).hexdigest(), rows)


def check_spec(path: Path, spec: StoreSpec) -> None:
    """Refuse a store that was recorded under another spec.

    Raises:
        RunError: names the first thing that differs: layers, width, the model's weights, the plan, ...
    """
    held, wanted = (json.loads(manifest_text(each)) for each in (read_manifest(path), spec))
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
