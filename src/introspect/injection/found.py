"""The lines of a study, by what they were asked, and what each is held against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..stats import Estimate
from .cells import NONE, Done, key_of
from .claims import Listener, is_coherent
from .measures import difference, exact, mean
from .rows import Row
from .spec import Injection

Address = tuple[str, int | None, float | None]
"""Part, layer and strength of a cell."""


class Found:
    """The lines of a study that can be counted: those whose numbers are none, or that nothing was added to although it
    should have been, are counted apart.
    """

    def __init__(self, spec: Injection, done: Done, words: Sequence[str]) -> None:
        self.spec = spec
        self.listener = Listener(words)
        self.not_finite: dict[Address, int] = defaultdict(int)
        self.without_token = 0
        self.n_rows: dict[Address, int] = defaultdict(int)
        self._rows: dict[tuple[Address, str, str, str], list[Row]] = defaultdict(list)
        self._none: dict[tuple[Any, ...], Row] = {}
        for row in (row for cell in done for row in cell):
            address = row["part"], row["layer"], row["strength"]
            self.n_rows[address] += 1
            if row["kind"] != NONE and not row["steered"]:
                self.without_token += 1
                continue
            if row.get("finite") is False or row.get("finish") == "not_finite":
                self.not_finite[address] += 1
                if row["as"] == "logits":
                    continue
            self._rows[address, row["kind"], row["ask"], row["as"]].append(row)
            if row["kind"] == NONE and row["as"] == "logits":
                self._none[key_of(row)] = row
        self.nats = {part: self._typical_nats(part) for part in ("exploration", "confirmation")}

    @property
    def grid(self) -> list[tuple[int, float]]:
        """Layer and strength of every cell of the grid, in order."""
        return [(a[1], a[2]) for a in self.n_rows if a[0] == "exploration" and a[1] is not None and a[2] is not None]

    def rows(self, address: Address, kind: str, ask: str, form: str = "logits") -> list[Row]:
        """Lines of one kind, in order. Of no injection, whatever the address's layer and strength are."""
        return self._rows.get(((address[0], None, None) if kind == NONE else address, kind, ask, form), [])

    def shift(self, row: Row) -> float | None:
        """By how much P(yes) - P(no) is above that of the very same prompt without injection."""
        before = self._none.get(key_of(row))
        return None if before is None else leaning(row) - leaning(before)

    def none_of(self, row: Row) -> Row | None:
        """The line of the very same prompt without injection."""
        return self._none.get(key_of(row))

    def mean(self, rows: Sequence[Row], value: Callable[[Row], float | None]) -> Estimate:
        """The mean over words of a value of a line."""
        return mean(
            [value(row) for row in rows], [row["word"] for row in rows], n=self.spec.bootstrap, seed=self.spec.seed
        )

    def shifts(self, address: Address, kind: str, ask: str = "detect") -> Estimate:
        """Mean shift of P(yes) - P(no)."""
        return self.mean(self.rows(address, kind, ask), self.shift)

    def balanced(self, address: Address, kind: str) -> dict[str, float]:
        """Word -> half of the shift where Yes reports a thought, minus the one where No does.

        A bias to yes cancels as far as both questions leave as much room for it: where one was answered with Yes
        already, it does not. So `apart` stands beside it, which no bias to yes alone raises above 0.
        """
        return self._halves(address, kind, self.shift)

    def apart(self, address: Address, kind: str) -> dict[str, float]:
        """Word -> half of P(yes) - P(no) where Yes reports a thought, minus the same where No does."""
        return self._halves(address, kind, leaning)

    def _halves(self, address: Address, kind: str, value: Callable[[Row], float | None]) -> dict[str, float]:
        turned = {row["word"]: value(row) for row in self.rows(address, kind, "reversed")}
        out = {}
        for row in self.rows(address, kind, "detect"):
            one, other = value(row), turned.get(row["word"])
            if one is not None and other is not None:
                out[row["word"]] = (one - other) / 2
        return out

    def word_shifts(self, address: Address, ask: str) -> dict[str, float]:
        """Word -> mean shift of P(yes) - P(no) under the concept vector, over what is asked of it."""
        shifts: dict[str, list[float]] = {}
        for row in self.rows(address, "concept", ask):
            shift = self.shift(row)
            if shift is not None:
                shifts.setdefault(row["word"], []).append(shift)
        return {word: float(np.mean(each)) for word, each in shifts.items()}

    def beyond_bias(self, address: Address) -> Estimate:
        """The shift where a thought is asked for minus that on unrelated questions whose answer is No, word by word."""
        return self.paired(self.word_shifts(address, "detect"), self.word_shifts(address, "unrelated_no"))

    def by_word(self, values: dict[str, float]) -> Estimate:
        """The mean of one value a word."""
        return mean(list(values.values()), list(values), n=self.spec.bootstrap, seed=self.spec.seed)

    def paired(self, one: dict[str, float], other: dict[str, float]) -> Estimate:
        """The mean difference of two values of the same words."""
        return self.by_word({word: one[word] - other[word] for word in one if word in other})

    def claims(self, rows: Sequence[Row]) -> list[bool]:
        """Whether each reply claims a thought."""
        return [row["claim"] == "yes" for row in rows]

    def coherent(self, row: Row) -> bool:
        """Whether a reply is coherent, against replies of its part without injection."""
        return is_coherent(row["text"], row["finish"], row["nats"], self.nats[row["part"]], self.spec.coherence)

    def names(self, row: Row) -> bool:
        """Whether a reply names its word, wherever."""
        return row["word"] in self.listener.anywhere(row["text"])

    def identified(self, row: Row) -> bool:
        """Whether a coherent reply claims a thought and names its word with that claim or after it."""
        return row["word"] in self.listener.with_claim(row["text"]) and self.coherent(row)

    def net(self, address: Address) -> Estimate:
        """Correct identifications minus false positives: claims of a thought without injection."""
        one, other = self.rows(address, "concept", "detect", "text"), self.rows(address, NONE, "detect", "text")
        return difference(
            [float(self.identified(row)) for row in one],
            [row["word"] for row in one],
            [float(each) for each in self.claims(other)],
            [row["word"] for row in other],
            n=self.spec.bootstrap,
            seed=self.spec.seed,
        )

    def share(self, rows: Sequence[Row], is_so: Callable[[Row], bool]) -> Estimate:
        """A share of lines with its exact interval."""
        return exact([is_so(row) for row in rows])

    def _typical_nats(self, part: str) -> float | None:
        rows = self.rows((part, None, None), NONE, "detect", "text") or self.rows(
            (part, None, None), NONE, "repeat", "text"
        )
        said = [row["nats"] for row in rows if row["nats"] is not None]
        return float(np.median(said)) if said else None


def leaning(row: Row) -> float:
    """P(yes) - P(no) at the first token."""
    return float(np.exp(row["yes"]) - np.exp(row["no"]))


def table(title: str, note: str, columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> dict[str, Any]:
    """A table of results.json. Columns are a label and how its estimates are written: `number` or `share`."""
    return {
        "title": title,
        "note": note,
        "columns": [{"label": label, "how": how} for label, how in columns],
        "rows": list(rows),
    }


def line_of(label: str, cells: Sequence[Estimate], note: str = "") -> dict[str, Any]:
    """A row of a table."""
    return {"label": label, "note": note, "cells": [each.to_json() for each in cells]}
