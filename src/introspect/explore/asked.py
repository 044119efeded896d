"""What a page's address asks for: all that is chosen stands in it, so that a link leads back to what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from ..errors import SpecError
from .index import ACTED, MISSING, PARTS, READ, SAID, Columns, item_code

A_PAGE = 50
"""Rollouts of a list."""
SORTS = ("number", "score", "-score")
MOST_TEXT = 400
"""Characters of one value."""


def whole(text: str | None, name: str, default: int = 0) -> int:
    """A number that stands in an address.

    Raises:
        SpecError: it is none.
    """
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise SpecError(f"{name} is {text[:40]!r}: give a whole number from 0 on")
    return int(text)


@dataclass(frozen=True)
class Filter:
    """Which rollouts of a run are listed, and in which order. Empty: all of them.

    Raises:
        SpecError: a value is none of those that there are.
    """

    acted: str = ""
    verdict: str = ""
    by: str = ""
    """The classifier whose verdict is meant; empty: the headline's."""
    readout: str = ""
    part: str = ""
    condition: str = ""
    item: str = ""
    sort: str = ""

    def __post_init__(self) -> None:
        known = {"acted": ACTED, "verdict": SAID, "readout": READ, "part": PARTS, "sort": SORTS}
        for name, values in known.items():
            value = getattr(self, name)
            if value and value not in values:
                raise SpecError(f"{name} is {value[:40]!r}: choose one of {', '.join(values)}")

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """The filter that an address asks for."""
        return cls(**{each.name: query.get(each.name, "")[:MOST_TEXT] for each in fields(cls)})

    @property
    def query(self) -> dict[str, str]:
        """What of it stands in an address."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name))}

    def without(self, name: str) -> Self:
        """The same, with one field left open."""
        return replace(self, **{name: ""})

    def rows(self, columns: Columns) -> np.ndarray:
        """The rows that are listed, in their order.

        Raises:
            SpecError: there is no such classifier.
        """
        kept = np.ones(len(columns), dtype=bool)
        for name, values in (("acted", ACTED), ("readout", READ), ("part", PARTS)):
            if getattr(self, name):
                kept &= columns[name] == values.index(getattr(self, name))
        if self.verdict:
            kept &= self.said(columns) == SAID.index(self.verdict)
        if self.condition:
            known = list(columns.conditions)
            kept &= columns["condition"] == (known.index(self.condition) if self.condition in known else MISSING)
        if self.item:
            kept &= columns["item"] == item_code(self.item)
        chosen = np.flatnonzero(kept)
        if self.sort in ("score", "-score"):
            score = columns["score"][chosen]
            ranked = np.where(np.isnan(score), np.inf, score if self.sort == "score" else -score)
            return chosen[np.argsort(ranked, kind="stable")]
        return chosen[np.argsort(columns["number"][chosen], kind="stable")]

    def said(self, columns: Columns) -> np.ndarray:
        """Codes of the verdicts that are meant, [row]."""
        if not columns.said:
            return np.full(len(columns), MISSING, dtype=np.int8)
        name = self.by or next(iter(columns.said))
        if name not in columns.said:
            raise SpecError(f"by is {name[:40]!r}: choose one of {', '.join(columns.said)}")
        return columns.said[name]

    def counts(self, columns: Columns) -> dict[str, dict[str, int]]:
        """Field -> value -> how many rollouts it would list, with the other fields as they are."""
        out = {}
        for name, values in (("acted", ACTED), ("verdict", SAID), ("readout", READ), ("part", PARTS)):
            rows = self.without(name).rows(columns)
            codes = self.said(columns) if name == "verdict" else columns[name]
            found = (
                np.bincount(codes[rows][codes[rows] >= 0], minlength=len(values)) if len(rows) else [0] * len(values)
            )
            out[name] = {value: int(found[i]) for i, value in enumerate(values)}
        return out


def neighbours(rows: np.ndarray, row: int) -> tuple[int | None, int | None, int]:
    """The rows before and after one in a list, and its place in it from 1 on; 0: it is not in the list."""
    at = np.flatnonzero(rows == row)
    if not len(at):
        return None, None, 0
    place = int(at[0])
    before = int(rows[place - 1]) if place else None
    after = int(rows[place + 1]) if place + 1 < len(rows) else None
    return before, after, place + 1
