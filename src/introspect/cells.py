"""A study's rows on disk: a line a row, committed cell by cell.

All lines of a cell are written at once and say how many they are, so a file that a kill cut short is whole cells and
what is left of one, which is made again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .atomic import read_at_most, write_atomic
from .errors import RunError, StoreError

MOST_BYTES = 1 << 30
Row = dict[str, Any]
Done = Sequence[Sequence[Row]]
"""The rows of each cell that is done, in order."""


class Cells:
    """The cells of a study on disk, in order."""

    def __init__(self, path: Path, named: Sequence[str]) -> None:
        """Read the whole cells that are there; what a kill left behind them is taken away.

        Args:
            named: keys under which every line has a text.

        Raises:
            StoreError: a line is no row of such a study, or there is more of them than is read.
        """
        self.path = path
        self.cells: list[list[Row]] = []
        self._under_way = False
        if not self.path.exists():
            return
        if self.path.stat().st_size > MOST_BYTES:
            raise StoreError(
                f"{self.path} has more than the {MOST_BYTES:,} bytes that are read of such rows; choose another --out, "
                "and a smaller study"
            )
        try:
            lines = read_at_most(self.path, MOST_BYTES).split(b"\n")[:-1]
            rows = [json.loads(line, parse_constant=_number, parse_float=_number) for line in lines]
            kept = 0
            while kept < len(rows):
                cell, many = rows[kept]["cell"], rows[kept]["of"]
                found = rows[kept : kept + many]
                if cell != len(self.cells) or many < 1 or any(each["cell"] != cell for each in found):
                    raise ValueError("cells out of order")
                if not all(isinstance(each[key], str) for each in found for key in named):
                    raise ValueError("no rows")
                if len(found) < many:
                    break
                self.cells.append(found)
                kept += many
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise StoreError(f"{self.path} does not hold this study's rows; choose another --out") from None
        if kept < len(rows) or self.path.stat().st_size != sum(len(line) + 1 for line in lines):
            write_atomic(self.path, b"".join(line + b"\n" for line in lines[:kept]))

    def commit(self, rows: list[Row]) -> list[Row]:
        """Add the next cell, whole or not at all.

        Raises:
            RunError: the disk is full; or an earlier cell was not added to the end, by an error or an interruption, so
                that what the file ends with is not known until it is read again.
        """
        if self._under_way:
            raise RunError(f"cell {len(self.cells)} of {self.path} was being written when that stopped; use --resume")
        self._under_way = True
        whole = [{"cell": len(self.cells), "of": len(rows), **row} for row in rows]
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in whole)
        try:
            with self.path.open("ab") as file:
                file.write(text.encode("utf-8", errors="backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror}; free space, then go on with --resume"
            ) from error
        self.cells.append(whole)
        self._under_way = False
        return whole


def _number(text: str) -> float:
    """A finite one.

    Raises:
        ValueError: it is none.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("no number")
    return value
