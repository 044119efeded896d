"""Activations as plain NumPy: one `.npy` a site and layer, `[row, dim]`, and one for each column of the rows.

A folder holds `index.json` (what there is), `rollout.npy`, `position.npy`, `token_id.npy` and `span.npy` `[row]`, and
`resid_post.12.npy` and so on, all of the same rows, in the store's order; `np.load(file, mmap_mode="r")` reads a file
without filling the memory. Numbers are the stored ones, bit for bit: bfloat16, which NumPy lacks, is its 16-bit pattern
as uint16 (the upper half of a float32), unless float32 is asked for, which holds every stored number exactly.

Known trade-off: a part of the store is read once a layer, so that memory holds one layer of one part and no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import RunError
from ..progress import Progress, silent
from ..spans import SPAN_CODES
from ..store import Site, StoreReader
from ..store.spec import COLUMNS, STORED_DTYPES
from .outputs import new_place

INDEX = "index.json"
Numbers = Literal["stored", "float32"]
BFLOAT16 = "uint16 patterns of bfloat16: `(values.astype(np.uint32) << 16).view(np.float32)` are its numbers"


def chosen_pairs(store: StoreReader, sites: Sequence[str] | None, layers: Sequence[int] | None) -> list[Site]:
    """The sites and layers that are meant; None: all that there are.

    Raises:
        RunError: the store keeps one of them not.
    """
    spec = store.spec
    for asked, kept, what in ((sites, spec.sites, "site"), (layers, spec.layers, "layer")):
        missing = [each for each in asked or () if each not in kept]
        if missing:
            listed = ", ".join(map(str, kept)) or "none"
            raise RunError(f"{store.path} keeps no {what} {missing[0]}: it has {listed}; choose one of them")
    return [
        pair
        for pair in spec.pairs()
        if (sites is None or pair.name in sites) and (layers is None or pair.layer in layers)
    ]


def export_arrays(
    store: StoreReader,
    out: Path,
    *,
    sites: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    numbers: Numbers = "stored",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a store's activations to a new folder; returns the content of its `index.json`.

    Raises:
        RunError: a site or layer is not kept, or it cannot be written.
        StoreError: a part is damaged.
    """
    pairs, spec = chosen_pairs(store, sites, layers), store.spec
    dtype = np.dtype("<f4" if numbers == "float32" else STORED_DTYPES[spec.dtype])
    index = {
        "format": 1,
        "rows": store.n_rows,
        "width": spec.width,
        "dtype": dtype.name,
        "stored_as": spec.dtype,
        "note": BFLOAT16 if dtype.kind == "u" else None,
        "columns": {name: f"{name}.npy" for name in COLUMNS},
        "spans": {str(code): name for name, code in SPAN_CODES.items()},
        "activations": [{"site": site, "layer": layer, "file": f"{site}.{layer}.npy"} for site, layer in pairs],
    }
    with new_place(out, store.n_rows * (len(pairs) * spec.width * dtype.itemsize + 25)) as folder:
        folder.mkdir()
        for name, kind in COLUMNS.items():
            _write(folder / f"{name}.npy", np.dtype(kind), (store.n_rows,), _column(store, name))
        for done, (site, layer) in enumerate(pairs, start=1):
            shape = (store.n_rows, spec.width)
            _write(folder / f"{site}.{layer}.npy", dtype, shape, _layer(store, site, layer, numbers))
            progress("write layers", done, len(pairs))
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return index


def part_rows(store: StoreReader) -> Iterator[np.ndarray]:
    """Row indices of each part."""
    for part in range(store.n_parts):
        begin, columns = store.columns_of(part)
        yield np.arange(begin, begin + len(columns["rollout"]))


def _column(store: StoreReader, name: str) -> Iterator[np.ndarray]:
    for part in range(store.n_parts):
        yield store.columns_of(part)[1][name]


def _layer(store: StoreReader, site: str, layer: int, numbers: Numbers) -> Iterator[np.ndarray]:
    for rows in part_rows(store):
        yield store.read(site, layer, rows, native=numbers == "stored")


def _write(path: Path, dtype: np.dtype, shape: tuple[int, ...], pieces: Iterator[np.ndarray]) -> None:
    """A `.npy` file, a piece at a time."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    rows = 0
    with path.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype).data)
            rows += len(piece)
    if rows != shape[0]:
        raise RunError(f"the run has {rows} rows and not {shape[0]}: it was written to; export it again")
