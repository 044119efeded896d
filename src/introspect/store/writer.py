"""Writing a store: one writer, one rename a part.

A part is built in memory, digested, written to a temporary file, fsynced and renamed, and the folder fsynced. The
rename is the only commit, and a part is never opened for writing again. What a kill leaves is whole parts and at most
one temporary file.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..atomic import write_atomic
from ..errors import RunError, StoreError
from .layout import (
    DONE,
    LOCK,
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
        self._lock()
        try:
            self._open()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unlock()

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
        if index in self.committed:
            raise ValueError(f"part {index} is committed already")
        columns = {"rollout": rollout, "position": position, "token_id": token_id, "span": span}
        content = encode_part(self.spec, values, columns)
        digest = hashlib.sha256(content).hexdigest()
        info = PartInfo(index, part_name(index, digest), digest, len(rollout))
        write_atomic(self.path / info.name, content)
        self.committed[index] = info
        return info

    def finish(self) -> None:
        """Write DONE: the list of all parts with their full digests."""
        parts = [asdict(self.committed[index]) for index in sorted(self.committed)]
        write_atomic(self.path / DONE, json.dumps({"parts": parts}, indent=2) + "\n")

    def _open(self) -> None:
        wanted = manifest_text(self.spec)
        if (self.path / MANIFEST).exists():
            if not self.resume:
                raise RunError(f"{self.path} holds a store already; resume it, or choose another --out")
            held = json.loads(manifest_text(read_manifest(self.path)))
            differing = [key for key, value in json.loads(wanted).items() if held[key] != value]
            if differing:
                raise RunError(f"{self.path} was recorded with another {differing[0]}; choose another --out")
        else:
            write_atomic(self.path / MANIFEST, wanted)
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

    def _lock(self) -> None:
        mine = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        lock = self.path / LOCK
        for _ in range(2):
            try:
                handle = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                holder = _holder(lock)
                if holder is not None:
                    raise RunError(
                        f"{self.path} is being written by process {holder}; wait for it, or choose another --out"
                    ) from None
                lock.unlink(missing_ok=True)
                continue
            except OSError as error:
                raise RunError(f"cannot write to {self.path}: {error.strerror}; choose another --out") from None
            with os.fdopen(handle, "w") as file:
                file.write(mine)
            return
        raise RunError(f"{self.path} is being taken by another process; try again")

    def _unlock(self) -> None:
        (self.path / LOCK).unlink(missing_ok=True)


def set_aside(file: Path) -> Path:
    """Rename a damaged part to `.bad`, numbered when there is one already. Nothing is deleted."""
    number = 0
    while (target := file.with_name(f"{file.name}{f'.{number}' if number else ''}.bad")).exists():
        number += 1
    file.rename(target)
    return target


def _holder(lock: Path) -> int | None:
    """The living process that holds the lock, or None when it is stale."""
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
        pid, host = int(content["pid"]), str(content["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if host != socket.gethostname():
        return pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return pid
    return pid if pid != os.getpid() else None
