"""One part as the bytes of a file: a head, and an HDF5 file in which every dataset is one contiguous range.

HDF5 is asked for the structure only; the numbers are the caller's own memory, written from where they lie. So a part
costs no copy and no second digest, and the caller must leave its arrays alone until the part is committed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import xxhash

from ..atomic import Buffer
from .head import Extent, Head, head_bytes, pack_head
from .spec import COLUMNS, STORED_DTYPES, StoreSpec, dataset_name

if TYPE_CHECKING:
    import torch

    Array = torch.Tensor | np.ndarray


@dataclass(frozen=True, eq=False)
class EncodedPart:
    """A part that is ready to be written."""

    rows: int
    sha256: str
    """Of its head."""
    pieces: tuple[Buffer, ...]
    """The file's bytes, one piece after another; some are the caller's arrays."""


def encode_part(
    spec: StoreSpec, values: Mapping[tuple[str, int], Array], columns: Mapping[str, np.ndarray]
) -> EncodedPart:
    """The part of these activations, [row, width] each, and columns, [row] each: the same input gives the same bytes.

    Raises:
        ValueError: shapes, dtypes or names differ from the spec, or a column's numbers from its type: a bug in the
            caller.
    """
    rows = len(columns["rollout"])
    arrays = {name: _column(columns[name], name) for name in COLUMNS}
    arrays |= {dataset_name(*pair): _stored(values[pair], spec) for pair in spec.pairs()}
    for name, array in arrays.items():
        shape = (rows,) if name in COLUMNS else (rows, spec.width)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    structure, offsets = _structure(arrays, head_bytes(spec))
    raw = {name: array.reshape(-1).view(np.uint8).data for name, array in arrays.items()}
    extents = {name: Extent(offsets[name], len(data), xxhash.xxh3_128_hexdigest(data)) for name, data in raw.items()}
    head = Head(rows, structure.end, spec.digest, structure="", datasets=extents)
    gaps = [structure.between(begin, end) for begin, end in head.gaps(head_bytes(spec))]
    packed = pack_head(replace(head, structure=xxhash.xxh3_128_hexdigest(b"".join(gaps))), spec)
    in_order = sorted((name for name in raw if len(raw[name])), key=offsets.__getitem__)
    pieces: list[Buffer] = [packed, gaps[0]]
    for name, gap in zip(in_order, gaps[1:], strict=True):
        pieces += [raw[name], gap]
    return EncodedPart(rows, hashlib.sha256(packed).hexdigest(), tuple(pieces))


def _column(numbers: np.ndarray, name: str) -> np.ndarray:
    column = np.ascontiguousarray(numbers, dtype=COLUMNS[name])
    if not np.array_equal(column, numbers):
        raise ValueError(f"a number in {name} does not fit {COLUMNS[name]}")
    return column


def _stored(values: Array, spec: StoreSpec) -> np.ndarray:
    if not isinstance(values, np.ndarray):
        import torch  # the store itself needs no torch; who gives a tensor has it

        if str(values.dtype).removeprefix("torch.") != spec.dtype:
            raise ValueError(f"values are {values.dtype}, the store is {spec.dtype}")
        bits = values.detach().cpu().contiguous()
        values = (bits.view(torch.uint16) if spec.dtype == "bfloat16" else bits).numpy()
    if values.dtype != np.dtype(STORED_DTYPES[spec.dtype]):
        raise ValueError(f"values are {values.dtype}, the store is {spec.dtype}")
    return np.ascontiguousarray(values)


class _Structure(io.RawIOBase):
    """A file that keeps what HDF5 writes and has nothing where it does not: the places of the datasets."""

    def __init__(self) -> None:
        self._written: dict[int, bytes] = {}
        self._place = self.end = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.end}[whence]
        return self._place

    def write(self, content: Buffer) -> int:  # type: ignore[override] # any buffer, as h5py gives
        self._written[self._place] = bytes(content)
        self.end = max(self.end, self._place + len(content))
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        self.end = self._place if size is None else size
        return self.end

    def between(self, begin: int, end: int) -> bytes:
        """The bytes of a range, zero where HDF5 wrote none."""
        found = bytearray(end - begin)
        for place, content in self._written.items():
            if begin <= place < end:
                found[place - begin : place - begin + len(content)] = content
        return bytes(found)


def _structure(arrays: Mapping[str, np.ndarray], head: int) -> tuple[_Structure, dict[str, int]]:
    """An HDF5 file without its numbers, after a head of so many bytes, and where they belong."""
    structure, offsets = _Structure(), {}
    contiguous, parents = h5py.h5p.create(h5py.h5p.DATASET_CREATE), h5py.h5p.create(h5py.h5p.LINK_CREATE)
    contiguous.set_layout(h5py.h5d.CONTIGUOUS)
    contiguous.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    contiguous.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    contiguous.set_obj_track_times(False)
    parents.set_create_intermediate_group(True)
    with h5py.File(structure, "w", libver=("v110", "v110"), userblock_size=head) as file:
        for name, array in arrays.items():
            kind, space = h5py.h5t.py_create(array.dtype), h5py.h5s.create_simple(array.shape)
            dataset = h5py.h5d.create(file.id, name.encode(), kind, space, contiguous, parents)
            offsets[name] = dataset.get_offset() if array.size else 0
    return structure, offsets
