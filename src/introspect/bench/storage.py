"""The store, against the same bytes written and read raw.

A store's part is encoded, digested, fsynced and renamed; raw is one file a part, written and fsynced. A layer is read
with its digests checked, as stored; raw is the layer's bytes alone, one file a part. Both are read from the page cache,
where they are after being written: what is compared is our work, not the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..store import StoreReader, StoreSpec, StoreWriter
from .rows import Row

if TYPE_CHECKING:
    import torch

    from .setting import Setting

SITE = "resid_post"


def measure_store(setting: Setting) -> Iterator[Row]:
    """Write, then read a layer."""
    (n_layers, n_rows, width), n_parts = setting.sizes.part, setting.sizes.parts
    spec = StoreSpec((SITE,), tuple(range(n_layers)), width, "bfloat16", {"plan": "bench"})
    rng = np.random.default_rng(0)
    values: dict[tuple[str, int], torch.Tensor | np.ndarray] = {
        pair: rng.integers(0, 2**16, (n_rows, width), dtype=np.uint16) for pair in spec.pairs()
    }
    names = ("rollout", "position", "token_id", "span")
    columns = [{name: (np.arange(n_rows) + part) % 100 for name in names} for part in range(n_parts)]
    kept, raw_layer = setting.folder / "store", setting.folder / "layer"

    def write(path: Path | None = None) -> None:
        with StoreWriter(path or setting.fresh(), spec) as store:
            for part in range(n_parts):
                store.write_part(part, values=values, **columns[part])
            store.finish()

    write(kept)
    contents = [file.read_bytes() for file in sorted(kept.glob("*.h5"))]
    size = sum(map(len, contents))

    def write_raw() -> None:
        folder = setting.fresh()
        folder.mkdir()
        for part, content in enumerate(contents):
            with (folder / str(part)).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    cached = f"{n_parts} parts of {n_layers} layers x {n_rows} rows x {width}, bfloat16"
    yield setting.compare(
        f"writing {size / 1e6:.0f} MB raw / as a store",
        write,
        write_raw,
        of="peer / ours",
        goal=">= 0.8",
        note=f"{cached}; both fsynced, the store from arrays in memory with its digests and renames",
    )
    pair = spec.pairs()[n_layers // 2]
    layer = np.asarray(values[pair])
    for part in range(n_parts):
        raw_layer.with_suffix(f".{part}").write_bytes(layer.tobytes())

    def read() -> None:
        StoreReader(kept).read(*pair, native=True)

    def read_raw() -> None:
        for part in range(n_parts):
            raw_layer.with_suffix(f".{part}").read_bytes()

    yield setting.compare(
        f"reading a layer of {layer.nbytes * n_parts / 1e6:.0f} MB raw / from the store",
        read,
        read_raw,
        of="peer / ours",
        goal=">= 0.7",
        note=f"{cached}; page cache warm; the store is opened each time, digests checked, one array of all parts",
    )
