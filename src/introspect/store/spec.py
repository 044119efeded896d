"""What a store holds, and `manifest.json`, which says it.

Every part states the digest of its manifest, so a change to `manifest_text` is a change of format. Format 1 is still
read, and `upgrade` rewrites it; its manifest names no selection, since it could keep only every token of completions.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..atomic import read_at_most
from ..errors import StoreError
from ..selection import Selection

FORMAT, OLD_FORMAT = 2, 1
MANIFEST = "manifest.json"
STORED_DTYPES = {"bfloat16": "<u2", "float16": "<f2", "float32": "<f4"}
COLUMNS = {"rollout": "<i8", "position": "<i8", "token_id": "<i8", "span": "<i1"}
EVERY_TOKEN = Selection(("completion",), "every")
"""What every store of format 1 holds."""
MAX_JSON_BYTES = 1 << 20
MAX_WIDTH, MAX_LAYERS, MAX_PAIRS = 1 << 20, 1 << 12, 1 << 14


class Site(NamedTuple):
    """A place in the model: a site's name and a layer."""

    name: str
    layer: int


def _is_word(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[a-z_]{1,64}", name) is not None


@dataclass(frozen=True)
class StoreSpec:
    """What every part of a store holds.

    Raises:
        ValueError: a field is none that a store can hold.
    """

    sites: tuple[str, ...]
    layers: tuple[int, ...]
    width: int
    """Numbers in one activation."""
    dtype: str
    """`bfloat16`, `float16` or `float32`."""
    meta: dict[str, Any]
    """What the activations are of: model and digests."""
    selection: Selection = EVERY_TOKEN
    """Which tokens have a row. That of a mean has -1 as its `position` and `token_id`."""

    def __post_init__(self) -> None:
        if not all(map(_is_word, self.sites)) or set(self.sites) & set(COLUMNS):
            raise ValueError("a site's name is not a word, or is that of a column")
        if not all(type(layer) is int and 0 <= layer < MAX_LAYERS for layer in self.layers):
            raise ValueError("a layer is not a number in range")
        if len(set(self.pairs())) != len(self.sites) * len(self.layers):
            raise ValueError("a site or layer is named twice")
        if type(self.width) is not int or not 0 < self.width <= MAX_WIDTH or self.dtype not in STORED_DTYPES:
            raise ValueError("width or dtype is not one")
        if not isinstance(self.meta, dict):
            raise ValueError("meta is not an object")

    def pairs(self) -> list[Site]:
        if len(self.sites) * len(self.layers) > MAX_PAIRS:
            raise ValueError("there are too many sites and layers")
        return [Site(site, layer) for site in self.sites for layer in self.layers]

    @cached_property
    def cells(self) -> dict[str, tuple[str, int]]:
        """Name of every dataset of a part, columns first -> its number type and numbers a row."""
        columns = {name: (kind, 1) for name, kind in COLUMNS.items()}
        return columns | {dataset_name(*pair): (STORED_DTYPES[self.dtype], self.width) for pair in self.pairs()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, which every part of the store repeats."""
        return hashlib.sha256(manifest_text(self).encode()).hexdigest()


class Manifest(NamedTuple):
    """What `manifest.json` says."""

    format: int
    spec: StoreSpec


def dataset_name(site: str, layer: int) -> str:
    """Where a part has the activations of this site and layer."""
    return f"{site}/{layer}"


def estimated_bytes(spec: StoreSpec, rows: int) -> int:
    """Bytes of so many rows, without the few kilobytes a part that its head and HDF5's own structure take."""
    return rows * sum(np.dtype(kind).itemsize * count for kind, count in spec.cells.values())


def manifest_text(spec: StoreSpec) -> str:
    """The content of `manifest.json`."""
    content = {field.name: getattr(spec, field.name) for field in fields(spec)}
    return json.dumps(content | {"format": FORMAT, "selection": vars(spec.selection)}, indent=2, sort_keys=True) + "\n"


def read_manifest(path: Path) -> Manifest:
    """The format and spec of a store.

    Raises:
        StoreError: the manifest is missing or not one, or of a format that is newer than this program. Names the file.
    """
    file = path / MANIFEST
    content = read_json(file)
    number = content.get("format")
    if type(number) is int and number > FORMAT:
        raise StoreError(
            f"{file} is of format {number}, and this introspect reads formats up to {FORMAT}; update introspect"
        )
    try:
        if type(number) is not int or number < OLD_FORMAT:
            raise ValueError(f"format {number} is not {OLD_FORMAT} or {FORMAT}")
        expected = {field.name for field in fields(StoreSpec)} - ({"selection"} if number == OLD_FORMAT else set())
        if set(content) - {"format"} != expected:
            raise ValueError(f"it holds {sorted(content)}")
        spec = StoreSpec(
            sites=_items(content["sites"]),
            layers=_items(content["layers"]),
            width=content["width"],
            dtype=content["dtype"],
            meta=content["meta"],
            selection=_selection(content["selection"]) if number == FORMAT else EVERY_TOKEN,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"{file} is not a store's manifest ({error}); record again into another folder") from None
    return Manifest(number, spec)


def read_json(file: Path) -> dict[str, Any]:
    """A small JSON object from a file that may be hostile.

    Raises:
        StoreError: it is missing, a link, too large, or not a JSON object.
    """
    try:
        content = json.loads(read_at_most(file, MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"cannot read {file} ({error}); record again into another folder") from None
    if not isinstance(content, dict):
        raise StoreError(f"{file} is not a JSON object; record again into another folder")
    return content


def _items(listed: object) -> tuple[Any, ...]:
    if not isinstance(listed, list):
        raise TypeError(f"{listed} is not a list")
    return tuple(listed)


def _selection(content: dict[str, Any]) -> Selection:
    if set(content) != {"spans", "tokens"}:
        raise ValueError(f"its selection holds {sorted(content)}")
    return Selection(_items(content["spans"]), content["tokens"])
