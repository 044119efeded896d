"""One part, read: the head when it is what the file's name says, then a dataset when it is what the head says.

Only the bytes that are asked for are read, straight into the caller's array, and are checked there: an array whose
reading raised an error is not to be used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from io import FileIO
from pathlib import Path

import numpy as np
import xxhash

from ..errors import StoreError
from .files import REMEDY, blocks, opened, read_into
from .head import Head, head_bytes, parse_head
from .layout import PartInfo, part_name
from .spec import COLUMNS, StoreSpec
from .structure import check_structure, open_hdf5


class Part:
    """A part of the present format. Its head is read once, since the file's name is the head's digest.

    Raises:
        StoreError: by every method and property: the file is damaged, or none of this store. Names the file.
    """

    def __init__(self, index: int, file: Path, spec: StoreSpec) -> None:
        self.index, self.file, self.spec = index, file, spec

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self._head[0].rows

    def columns(self) -> dict[str, np.ndarray]:
        """`rollout`, `position`, `token_id` and `span`, [row] each."""
        found = {name: np.empty(self.rows, kind) for name, kind in COLUMNS.items()}
        for name, column in found.items():
            self.fill(name, column)
        return found

    def fill(self, name: str, into: np.ndarray) -> None:
        """Read a dataset into an array of its type and shape, C-contiguous."""
        head = self._head[0]
        extent = head.datasets[name]
        raw = into.reshape(-1).view(np.uint8).data
        if len(raw) != extent.length:
            raise ValueError(f"{name} has {extent.length} bytes, the array {len(raw)}")
        with opened(self.file) as file:
            self._check_size(file, head)
            whole = read_into(file, extent.offset, raw)
        if not whole or xxhash.xxh3_128_hexdigest(raw) != extent.digest:
            raise self._damaged(name)

    def check(self) -> PartInfo:
        """Check all bytes of the file, and that whoever opens it with HDF5 sees what `fill` reads."""
        head, sha256 = self._head
        with opened(self.file) as file:
            self._check_size(file, head)
            for name, (offset, length, digest) in head.datasets.items():
                if self._digest(file, [(offset, offset + length)]) != digest:
                    raise self._damaged(name)
            if self._digest(file, head.gaps(head_bytes(self.spec))) != head.structure:
                raise self._damaged("HDF5 structure")
            with open_hdf5(file, self.file) as part:
                offsets = {name: extent.offset for name, extent in head.datasets.items()}
                rows = check_structure(part, self.spec, self.file, offsets)
        if rows != head.rows:
            raise StoreError(f"{self.file} does not fit its manifest ({rows} rows, not {head.rows}); {REMEDY}")
        return PartInfo(self.index, self.file.name, sha256, head.rows)

    @cached_property
    def _head(self) -> tuple[Head, str]:
        """The head, and its SHA-256."""
        content = bytearray(head_bytes(self.spec))
        with opened(self.file) as file:
            read_into(file, 0, memoryview(content))
            sha256 = hashlib.sha256(content).hexdigest()
            if part_name(self.index, sha256) != self.file.name:
                raise self._damaged("head")
            try:
                head = parse_head(bytes(content), self.spec)
            except ValueError as error:
                raise StoreError(f"{self.file} does not fit its manifest ({error}); {REMEDY}") from None
            self._check_size(file, head)
        return head, sha256

    def _check_size(self, file: FileIO, head: Head) -> None:
        if file.seek(0, 2) != head.size:
            raise self._damaged("size")

    def _digest(self, file: FileIO, ranges: Iterable[tuple[int, int]]) -> str:
        found = xxhash.xxh3_128()
        for begin, end in ranges:
            for block in blocks(file, begin, end):
                found.update(block)
        return found.hexdigest()

    def _damaged(self, what: str) -> StoreError:
        return StoreError(f"{self.file} is damaged: its {what} is not what was written; {REMEDY}")
