"""Which of several sentences was injected: found how often, against what a guess gets."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cells import Row
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


def localisation(found: Found, address: Address) -> list[dict[str, Any]]:
    """Rows of a table: found by gain, found by probability, and both with places dealt out to trials again."""
    rows = found.rows(address, "concept", "localise")
    out = []
    for label, gained in (("letter that gained most", True), ("most probable letter", False)):
        said = [answered(found, row, gained=gained) for row in rows]
        matches = np.array([[letter == row["target"] for row in rows] for letter in said])
        null, p = permuted(matches, n=found.spec.permutations, seed=found.spec.seed)
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
