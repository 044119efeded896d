"""Which of several sentences was injected: found how often, against what a guess gets."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cells import Row
from ..stats import Estimate
from ..tables import line_of
from .found import Address, Found
from .measures import permuted


def answered(found: Found, row: Row, *, gained: bool = True) -> str:
    """The letter that gained most over no injection; or the most probable one."""
    before = found.none_of(row)
    values = np.array(row["letters"])
    if gained and before is not None:
        values = values - np.array(before["letters"])
    return string.ascii_uppercase[int(values.argmax())]


def located(found: Found, row: Row, *, gained: bool = True) -> bool:
    """Whether the letter is that of the injected sentence."""
    return answered(found, row, gained=gained) == row["target"]


def chance(rows: Sequence[Row]) -> tuple[float, float]:
    """What guessing gets: any letter at random, and the one letter that is right most often, said every time.

    The two are equal where words are a multiple of the sentences that are listed: fewer words leave places empty.
    """
    options = max((len(row["letters"]) for row in rows), default=1)
    most = max(Counter(row["target"] for row in rows).values(), default=1)
    return 1 / options, max(1 / options, most / max(1, len(rows)))


def said_chance(rows: Sequence[Row]) -> str:
    """As text."""
    if not rows:
        return "chance not known"
    blind, fixed = chance(rows)
    return f"chance {blind:.0%}" if f"{blind:.0%}" == f"{fixed:.0%}" else f"chance {blind:.0%}, one letter {fixed:.0%}"


_LETTER = re.compile(r"(?<![A-Za-z'’])([A-Z])(?![A-Za-z'’])")
_WORD_FOLLOWS = re.compile(r"\s+[a-z]")


def letter_said(text: str, options: int) -> str | None:
    """The first of so many letters that stands alone in a reply; None: it names none. `A` and `I` before a word in
    small letters are words.

    >>> letter_said("I think it is a C.", 10)
    'C'
    """
    letters = string.ascii_uppercase[:options]
    for found in _LETTER.finditer(text):
        is_word = found[1] in "AI" and _WORD_FOLLOWS.match(text, found.end())
        if found[1] in letters and not is_word:
            return found[1]
    return None


def places_dealt_out(
    found: Found, rows: Sequence[Row], letter: Callable[[Row], str | None]
) -> tuple[Estimate, float | None]:
    """How often sentences would be found if their places were dealt out to trials again; see `measures.permuted`.

    Args:
        letter: what a trial answers.
    """
    said = [letter(row) for row in rows]
    matches = np.array([[each == row["target"] for row in rows] for each in said])
    return permuted(matches, n=found.spec.permutations, seed=found.spec.seed)


def localisation(found: Found, address: Address) -> list[dict[str, Any]]:
    """Rows of a table: found by gain, found by probability, and both with places dealt out to trials again."""
    rows = found.rows(address, "concept", "localise")
    out = []
    for label, gained in (("letter that gained most", True), ("most probable letter", False)):
        null, p = places_dealt_out(found, rows, lambda row, gained=gained: answered(found, row, gained=gained))  # type: ignore[misc]
        out.append(
            line_of(
                f"injected sentence found: {label}",
                [found.share(rows, lambda row, gained=gained: located(found, row, gained=gained))],  # type: ignore[misc]
                f"{said_chance(rows)}; no yes is needed",
            )
        )
        out.append(
            line_of(
                "the same with places dealt out to trials again",
                [null],
                "" if p is None else f"p = {p:.3g} that the places as they were are found as often",
            )
        )
    return out
