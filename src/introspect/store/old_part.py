"""One part of format 1, read: an HDF5 file in chunks whose name has its own digest.

Nothing of it can be checked but the whole, so reading one layer reads, digests and holds the whole file each time:
`upgrade` rewrites such a store.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from ..errors import StoreError
from .files import REMEDY, opened
from .layout import NAME_DIGITS, PartInfo
from .spec import COLUMNS, OLD_FORMAT, StoreSpec
from .structure import HDF5_ERRORS, check_structure, open_hdf5


class OldPart:
    """A part of format 1, with the methods of `Part`.

    Raises:
        StoreError: by every method and property: the file is damaged, or none of this store. Names the file.
    """

    def __init__(self, index: int, file: Path, spec: StoreSpec) -> None:
        self.index, self.file, self.spec = index, file, spec

    @cached_property
    def rows(self) -> int:
        """How many rows it has."""
        return self.check().rows

    def columns(self) -> dict[str, np.ndarray]:
        """`rollout`, `position`, `token_id` and `span`, [row] each."""
        with self._checked() as (part, _):
            return {name: part[name][()] for name in COLUMNS}

    def fill(self, name: str, into: np.ndarray) -> None:
        """Read a dataset into an array of its type and shape."""
        into[...] = self.values(name)

    def values(self, name: str) -> np.ndarray:
        """A dataset as stored."""
        with self._checked() as (part, _):
            return np.asarray(part[name][()])

    def check(self) -> PartInfo:
        """Check all bytes of the file, and its structure."""
        with self._checked() as (_, info):
            return info

    @contextmanager
    def _checked(self) -> Iterator[tuple[h5py.File, PartInfo]]:
        with opened(self.file) as file:
            content = file.readall()
        sha256 = hashlib.sha256(content).hexdigest()
        if self.file.name != f"part-{self.index:05d}-{sha256[: NAME_DIGITS[OLD_FORMAT]]}.h5":
            raise StoreError(f"{self.file} is damaged: its content is not what its name says; {REMEDY}")
        with open_hdf5(io.BytesIO(content), self.file) as part:
            info = PartInfo(self.index, self.file.name, sha256, check_structure(part, self.spec, self.file))
            try:
                yield part, info
            except HDF5_ERRORS as error:
                raise StoreError(f"{self.file} does not fit its manifest ({error}); {REMEDY}") from None
