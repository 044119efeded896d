"""Reading a store, whoever wrote it: only what is asked for, and nothing that is not under its digest.

One layer of a part is one range of its file, so a layer costs what its own bytes cost. Memory holds what is given back,
and one layer of one part besides where numbers are picked or widened. Nothing is kept open between reads; parts that
appear later belong to the next reader.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import StoreError
from .files import REMEDY
from .layout import finished_parts, list_parts
from .old_part import OldPart
from .part import Part
from .spec import COLUMNS, FORMAT, MANIFEST, OLD_FORMAT, STORED_DTYPES, dataset_name, read_manifest

AnyPart = Part | OldPart
PART_KINDS: dict[int, type[Part] | type[OldPart]] = {FORMAT: Part, OLD_FORMAT: OldPart}


class StoreReader:
    """A store's activations.

    Raises:
        StoreError: it is not a store, a part is missing, or a part is damaged. Names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        number, self.spec = read_manifest(path)
        files = list_parts(path, number)
        for index, listed in (finished_parts(path, number) or {}).items():
            if files.get(index) != path / listed.name:
                raise StoreError(f"{path / listed.name} is missing; {REMEDY}")
        self._parts: list[AnyPart] = [PART_KINDS[number](index, file, self.spec) for index, file in files.items()]
        self._columns: dict[str, np.ndarray] | None = None

    @property
    def n_rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self._parts)

    def columns(self) -> dict[str, np.ndarray]:
        """`rollout`, `position`, `token_id` and `span` of every row, parts in order."""
        if self._columns is None:
            parts = [part.columns() for part in self._parts]
            self._columns = {
                name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0, kind)
                for name, kind in COLUMNS.items()
            }
        return self._columns

    @property
    def n_parts(self) -> int:
        """How many parts there are."""
        return len(self._parts)

    def columns_of(self, part: int) -> tuple[int, dict[str, np.ndarray]]:
        """The number of a part's first row, and its `columns`; nothing of them is kept, so memory is one part's."""
        return sum(each.rows for each in self._parts[:part]), self._parts[part].columns()

    def read(self, site: str, layer: int, rows: np.ndarray | None = None, *, native: bool = False) -> np.ndarray:
        """One site and layer.

        Args:
            rows: row indices to keep, in the order wanted; None for all. Parts without any of them are not read.
            native: give the stored bits (bfloat16 as uint16) rather than float32.

        Returns:
            [row, width].

        Raises:
            StoreError: a part is damaged, or the store does not hold this site and layer.
            IndexError: the store has no such row.
        """
        if site not in self.spec.sites or layer not in self.spec.layers:
            raise StoreError(f"{self.path} holds no {site} of layer {layer}; see {self.path / MANIFEST}")
        name = dataset_name(site, layer)
        if rows is None:
            return self._all(name, native)
        return self._picked(name, _indices(rows, self.n_rows), native)

    def _all(self, name: str, native: bool) -> np.ndarray:
        stored, values = self._room(0), self._room(self.n_rows, native)
        begin = 0
        for part in self._parts:
            here = values[begin : begin + part.rows]
            if here.dtype == stored.dtype:
                part.fill(name, here)
            else:
                stored = self._filled(part, name, stored)
                _widen(stored[: part.rows], here)
            begin += part.rows
        return values

    def _picked(self, name: str, rows: np.ndarray, native: bool) -> np.ndarray:
        stored, values = self._room(0), self._room(len(rows), native)
        begin = 0
        for part in self._parts:
            here = np.flatnonzero((rows >= begin) & (rows < begin + part.rows))
            if len(here):
                stored = self._filled(part, name, stored)
                picked = stored[rows[here] - begin]
                if values.dtype != stored.dtype:
                    picked = _widen(picked, np.empty(picked.shape, np.float32))
                values[here] = picked
            begin += part.rows
        return values

    def _room(self, rows: int, native: bool = True) -> np.ndarray:
        """An array for so many rows, of what is stored or of float32."""
        return np.empty((rows, self.spec.width), STORED_DTYPES[self.spec.dtype] if native else np.float32)

    def _filled(self, part: AnyPart, name: str, room: np.ndarray) -> np.ndarray:
        """One dataset of a part in the first rows of `room`, or of a larger one."""
        if len(room) < part.rows:
            room = self._room(part.rows)
        part.fill(name, room[: part.rows])
        return room


def _widen(stored: np.ndarray, into: np.ndarray) -> np.ndarray:
    """Stored numbers as float32, exactly: bfloat16 is its upper half."""
    if stored.dtype == np.uint16:
        bits = into.view(np.uint32)
        bits[...] = stored
        bits <<= 16
    else:
        into[...] = stored
    return into


def _indices(rows: np.ndarray, total: int) -> np.ndarray:
    rows = np.asarray(rows)
    if len(rows) and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= total):
        raise IndexError(f"rows are not whole numbers from 0 to {total - 1}")
    return rows.astype(np.int64)
