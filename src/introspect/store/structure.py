"""The HDF5 side of a part: that its structure is the one that the manifest promises, node by node.

Links, virtual and external storage, filters and object types are refused, and sizes are bounded by the manifest. Only
bytes whose digests are right come this far, and a part of the present format is read without it: HDF5 is a large
parser.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from ..errors import StoreError
from .files import REMEDY
from .head import MAX_ROWS
from .spec import COLUMNS, STORED_DTYPES, StoreSpec

HDF5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError)


def open_hdf5(source: io.IOBase, file: Path) -> h5py.File:
    """An HDF5 file that is read from `source`.

    Raises:
        StoreError: it is not one. Names `file`.
    """
    try:
        return h5py.File(source, "r")
    except HDF5_ERRORS as error:
        raise StoreError(f"{file} is not an HDF5 file ({error}); {REMEDY}") from None


def check_structure(part: h5py.File, spec: StoreSpec, file: Path, offsets: Mapping[str, int] | None = None) -> int:
    """How many rows a part has, once its whole structure has been checked.

    Args:
        offsets: where the bytes of each dataset must lie in the file, contiguous; None for wherever HDF5 put them.

    Raises:
        StoreError: it is not the structure that the manifest promises. Names `file`.
    """
    try:
        expected = set(COLUMNS) | (set(spec.sites) if spec.layers else set())
        if set(part) != expected:
            raise ValueError(f"it holds {sorted(part)}, expected {sorted(expected)}")
        rows = _shape(part, "rollout", COLUMNS["rollout"], None)[0]
        if rows > MAX_ROWS:
            raise ValueError(f"{rows} rows")
        for name, kind in COLUMNS.items():
            _shape(part, name, kind, (rows,))
        for site in expected - set(COLUMNS):
            _hard(part, site)
            group = part[site]
            if not isinstance(group, h5py.Group) or set(group) != {str(layer) for layer in spec.layers}:
                raise ValueError(f"{site} does not hold the manifest's layers")
            for layer in spec.layers:
                _shape(group, str(layer), STORED_DTYPES[spec.dtype], (rows, spec.width))
        for name, offset in (offsets or {}).items():
            if rows and part[name].id.get_offset() != offset:
                raise ValueError(f"{name} does not lie where its head says")
    except HDF5_ERRORS as error:
        raise StoreError(f"{file} does not fit its manifest ({error}); {REMEDY}") from None
    return rows


def _hard(group: h5py.Group, name: str) -> None:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")


def _shape(group: h5py.Group, name: str, kind: str, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    _hard(group, name)
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype != np.dtype(kind):
        raise ValueError(f"{name} is not a dataset of {kind}")
    if dataset.is_virtual or dataset.external or dataset.id.get_create_plist().get_nfilters():
        raise ValueError(f"{name} has virtual, external or filtered storage")
    if dataset.id.get_storage_size() < dataset.size * dataset.dtype.itemsize:
        raise ValueError(f"{name} promises more than it holds")
    if shape is not None and dataset.shape != shape:
        raise ValueError(f"{name} has shape {dataset.shape}, expected {shape}")
    if shape is None and len(dataset.shape) != 1:
        raise ValueError(f"{name} has shape {dataset.shape}, expected one axis")
    return tuple(dataset.shape)
