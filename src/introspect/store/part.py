"""One part: activations of a batch of rollouts as the bytes of an HDF5 file, and back.

Reading trusts nothing: the layout that the manifest promises is checked node by node before a number is read. Links,
virtual and external storage, filters and object types are refused, and sizes are bounded by the manifest.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch

from ..errors import StoreError
from .layout import CHUNK_ROWS, COLUMNS, MAX_ROWS, STORED_DTYPES, StoreSpec

Array = torch.Tensor | np.ndarray
Source = bytes | Path
"""A part's bytes, or a file whose digest has been checked."""


def encode_part(spec: StoreSpec, values: Mapping[tuple[str, int], Array], columns: Mapping[str, np.ndarray]) -> bytes:
    """The file's bytes: the same input gives the same bytes.

    Raises:
        ValueError: shapes, dtypes or names differ from the spec: a bug in the caller.
    """
    rows = len(columns["rollout"])
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        for name, kind in COLUMNS.items():
            _dataset(file, name, np.asarray(columns[name], dtype=kind), (rows,))
        for pair in spec.pairs():
            _dataset(file, f"{pair.name}/{pair.layer}", _stored(values[pair], spec), (rows, spec.width))
    return buffer.getvalue()


def decode_rows(source: Source, spec: StoreSpec, file: Path) -> int:
    """How many rows a part has, once its whole layout has been checked.

    Raises:
        StoreError: it is not the layout that the manifest promises.
    """
    with _opened(source, file) as part:
        return _check(part, spec, file)


def decode_columns(source: Source, spec: StoreSpec, file: Path) -> dict[str, np.ndarray]:
    """The columns of a part, [row] each."""
    with _opened(source, file) as part:
        _check(part, spec, file)
        return {name: part[name][()] for name in COLUMNS}


def decode_values(source: Source, spec: StoreSpec, file: Path, site: str, layer: int) -> np.ndarray:
    """One site and layer of a part as stored, [row, width]."""
    with _opened(source, file) as part:
        _check(part, spec, file)
        return np.asarray(part[f"{site}/{layer}"][()])


def _stored(values: Array, spec: StoreSpec) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        if str(values.dtype).removeprefix("torch.") != spec.dtype:
            raise ValueError(f"values are {values.dtype}, the store is {spec.dtype}")
        bits = values.detach().cpu().contiguous()
        values = (bits.view(torch.uint16) if spec.dtype == "bfloat16" else bits).numpy()
    if values.dtype != np.dtype(STORED_DTYPES[spec.dtype]):
        raise ValueError(f"values are {values.dtype}, the store is {spec.dtype}")
    return values


def _dataset(file: h5py.File, name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
    chunks = (min(CHUNK_ROWS, max(shape[0], 1)), *shape[1:])
    file.create_dataset(name, data=values, chunks=chunks, track_times=False)


def _opened(source: Source, file: Path) -> h5py.File:
    try:
        return h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise StoreError(f"{file} is not an HDF5 file ({error}); `--resume` records it again") from None


def _check(part: h5py.File, spec: StoreSpec, file: Path) -> int:
    try:
        expected = set(COLUMNS) | set(spec.sites)
        if set(part) != expected:
            raise ValueError(f"it holds {sorted(part)}, expected {sorted(expected)}")
        rows = _shape(part, "rollout", COLUMNS["rollout"], None)[0]
        if rows > MAX_ROWS:
            raise ValueError(f"{rows} rows")
        for name, kind in COLUMNS.items():
            _shape(part, name, kind, (rows,))
        for site in spec.sites:
            _hard(part, site)
            group = part[site]
            if not isinstance(group, h5py.Group) or set(group) != {str(layer) for layer in spec.layers}:
                raise ValueError(f"{site} does not hold the manifest's layers")
            for layer in spec.layers:
                _shape(group, str(layer), STORED_DTYPES[spec.dtype], (rows, spec.width))
    except (ValueError, KeyError, OSError, RuntimeError, TypeError) as error:
        raise StoreError(f"{file} does not fit its manifest ({error}); `--resume` records it again") from None
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
