"""The layout of a store on disk: names, manifest, column types, and the digest of a part.

`manifest.json`, then `part-00012-<16 hex of sha256>.h5`, then `DONE`. A part is named by its content, so a file that
was changed, cut short or renamed is recognised before it is opened. Activations are kept in the model's own number
format, bit for bit: bfloat16, which HDF5 lacks, as the 16-bit pattern.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..atomic import read_at_most
from ..errors import StoreError

FORMAT = 1
MANIFEST, DONE = "manifest.json", "DONE"
CHUNK_ROWS = 64
STORED_DTYPES = {"bfloat16": "<u2", "float16": "<f2", "float32": "<f4"}
COLUMNS = {"rollout": "<i8", "position": "<i8", "token_id": "<i8", "span": "<i1"}
PART_NAME = re.compile(r"part-(\d{5})-([0-9a-f]{16})\.h5")
MAX_MANIFEST_BYTES = 1 << 20
MAX_PART_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
"""Half of this machine's memory: a part was built in memory, and is read into it."""
MAX_WIDTH, MAX_LAYERS, MAX_ROWS = 1 << 20, 1 << 12, 1 << 32


class Site(NamedTuple):
    """A place in the model: a site's name and a layer."""

    name: str
    layer: int


@dataclass(frozen=True)
class StoreSpec:
    """What every part of a store holds."""

    sites: tuple[str, ...]
    layers: tuple[int, ...]
    width: int
    """Numbers in one activation."""
    dtype: str
    """`bfloat16`, `float16` or `float32`."""
    meta: dict[str, Any]
    """What the activations are of: model and digests."""

    def pairs(self) -> list[Site]:
        return [Site(site, layer) for site in self.sites for layer in self.layers]


@dataclass(frozen=True)
class PartInfo:
    """One committed part."""

    index: int
    name: str
    sha256: str
    rows: int


def estimated_bytes(spec: StoreSpec, rows: int) -> int:
    """Bytes of so many rows, without HDF5's own few kilobytes a part."""
    cell = np.dtype(STORED_DTYPES[spec.dtype]).itemsize * spec.width
    columns = sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
    return rows * (cell * len(spec.sites) * len(spec.layers) + columns)


def part_name(index: int, sha256: str) -> str:
    """The file name of a part: its index and the first 16 hex digits of its digest."""
    return f"part-{index:05d}-{sha256[:16]}.h5"


def manifest_text(spec: StoreSpec) -> str:
    """The content of `manifest.json`."""
    return json.dumps({"format": FORMAT, **asdict(spec)}, indent=2, sort_keys=True) + "\n"


def read_manifest(path: Path) -> StoreSpec:
    """The spec of a store.

    Raises:
        StoreError: the manifest is missing or not one. Names the file.
    """
    file = path / MANIFEST
    content = read_json(file)
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']} is not {FORMAT}")
        sites, layers, width, dtype = (content[key] for key in ("sites", "layers", "width", "dtype"))
        if not all(isinstance(site, str) and re.fullmatch(r"[a-z_]+", site) for site in sites):
            raise ValueError("a site's name is not a word")
        if not all(type(layer) is int and 0 <= layer < MAX_LAYERS for layer in layers):
            raise ValueError("a layer is not a number in range")
        if type(width) is not int or not 0 < width <= MAX_WIDTH or dtype not in STORED_DTYPES:
            raise ValueError("width or dtype is not one")
        spec = StoreSpec(tuple(sites), tuple(layers), width, dtype, dict(content["meta"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"{file} is not a store's manifest ({error}); record again into another folder") from None
    return spec


def read_json(file: Path) -> dict[str, Any]:
    """A small JSON object from a file that may be hostile.

    Raises:
        StoreError: it is missing, a link, too large, or not a JSON object.
    """
    try:
        content = json.loads(read_at_most(file, MAX_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"cannot read {file} ({error}); record again into another folder") from None
    if not isinstance(content, dict):
        raise StoreError(f"{file} is not a JSON object; record again into another folder")
    return content


def read_part_bytes(file: Path) -> bytes:
    """The bytes of a part whose name is their digest.

    Raises:
        StoreError: the file is a link, cannot be read, or is not what its name says.
    """
    match = PART_NAME.fullmatch(file.name)
    remedy = "`--resume` records it again"
    if match is None:
        raise StoreError(f"{file} is not a part of a store; {remedy}")
    try:
        content = read_at_most(file, MAX_PART_BYTES)
    except OSError as error:
        raise StoreError(f"cannot read {file} ({error.strerror}); {remedy}") from None
    except MemoryError:
        raise StoreError(f"{file} is larger than this machine's memory; {remedy}") from None
    if hashlib.sha256(content).hexdigest()[:16] != match[2]:
        raise StoreError(f"{file} is damaged: its content does not match the digest in its name; {remedy}")
    return content


def list_parts(path: Path) -> dict[int, Path]:
    """Part index -> file.

    Raises:
        StoreError: two files claim one index.
    """
    found: dict[int, Path] = {}
    for file in sorted(path.iterdir()):
        match = PART_NAME.fullmatch(file.name)
        if match:
            index = int(match[1])
            if index in found:
                raise StoreError(
                    f"{found[index]} and {file.name} are both part {index}; remove the one that is not yours"
                )
            found[index] = file
    return found
