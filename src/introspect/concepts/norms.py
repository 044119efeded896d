"""Norms of words, as a user has them: a CSV file with the columns `word`, `concreteness` and `frequency`.

None ship with introspect: ratings are measurements of people, and belong to those who made them. Public ones:
concreteness of 40,000 English words, 1 to 5 (Brysbaert, Warriner & Kuperman 2014, Behavior Research Methods 46,
904-911, supplement); frequency as Zipf values, log10 of occurrences per billion words (SUBTLEX-US, Brysbaert & New
2009; or `zipf_frequency` of the Python package wordfreq). Either column may be left out, and a cell may be empty; names
of people and countries are in few norms, and are then missing rather than guessed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..atomic import read_at_most
from ..errors import SpecError

MEASURES = ("concreteness", "frequency")
MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Norm:
    """What a file says of a word; null: nothing."""

    concreteness: float | None = None
    """On the scale of the file, higher is more concrete."""
    frequency: float | None = None
    """On the scale of the file, which should be logarithmic; higher is more frequent."""


def read_norms(path: Path) -> dict[str, Norm]:
    """Word, in lower case -> its norms, of a CSV file in UTF-8.

    Raises:
        SpecError: the file cannot be read; its header is not `word` and one or both of the measures; a row has another
            number of cells; a cell is no number; a word is empty or stands twice; or there is no row. Names file and
            line.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    found: dict[str, Norm] = {}
    try:
        names = _header(path, next(reader, []))
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if len(cells) != len(names):
                raise SpecError(f"{where}: {len(cells)} cells, and the header {len(names)}; correct the row")
            row = dict(zip(names, (cell.strip() for cell in cells), strict=True))
            word = row.pop("word").lower()
            if not word or word in found:
                raise SpecError(f"{where}: {f'{word!r} stands twice' if word else 'no word'}; keep one row a word")
            found[word] = Norm(**{name: _number(where, name, cell) for name, cell in row.items()})
    except csv.Error as error:
        raise SpecError(f"{path}:{reader.line_num}: not CSV ({error}); save the table as CSV again") from None
    if not found:
        raise SpecError(f"{path} holds no words: write at least one below the header")
    return found


def covered(norms: Mapping[str, Norm], words: Iterable[str]) -> dict[str, Norm]:
    """Those of the words that the norms have, as the words are written."""
    return {word: norms[word.lower()] for word in words if word.lower() in norms}


def _text(path: Path) -> str:
    try:
        return read_at_most(path.resolve(), MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"cannot read norms at {path} ({error.strerror}); give a CSV file") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not UTF-8; save the file in that encoding") from None


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) != len(names) or len(names) < 2 or "word" not in names or set(names) - {"word", *MEASURES}:
        have = ", ".join(names) or "nothing"
        raise SpecError(f"{path}:1: needs the columns word, and {' or '.join(MEASURES)} or both; has {have}")
    return names


def _number(where: str, name: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SpecError(f"{where}: {name} {cell!r} is no number; write one, or leave the cell empty")
    return value
