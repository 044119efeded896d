"""The lines of a study, by what they were asked, and what each is held against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cells import Done, Row
from ..stats import Estimate
from .cells import key_of
from .claims import Listener, is_coherent
from .measures import difference_of_shares, exact, mean, paired_difference_of_shares
from .spec import Injection
from .subject import NONE

Address = tuple[str, int | None, float | None]
"""Part, layer and strength of a cell."""
USABLE = 0.5
"""Least share of coherent replies, and of trials that gave numbers, of a cell that may be chosen."""


class Found:
    """The lines of a study that can be counted: those whose numbers are none, or that nothing was added to although it
    should have been, are counted apart.
    """

    def __init__(self, spec: Injection, done: Done, words: Sequence[str]) -> None:
        self.spec = spec
        self.listener = Listener(words)
        self.done, self._words = done, words
        self.not_finite: dict[Address, int] = defaultdict(int)
        self.without_token = 0
        self.n_rows: dict[Address, int] = defaultdict(int)
        self._first: dict[Address, list[bool]] = defaultdict(list)
        self._rows: dict[tuple[Address, str, str, str], list[Row]] = defaultdict(list)
        self._none: dict[tuple[Any, ...], Row] = {}
        for row in (row for cell in done for row in cell):
            address = row["part"], row["layer"], row["strength"]
            self.n_rows[address] += 1
            if row["kind"] != NONE and not row["steered"]:
                self.without_token += 1
                continue
            if row["kind"] == "concept" and row["as"] != "text":
                self._first[address].append(row["finite"])
            if row.get("finite") is False or row.get("finish") == "not_finite":
                self.not_finite[address] += 1
                if row["as"] == "logits":
                    continue
            self._rows[address, row["kind"], row["ask"], row["as"]].append(row)
            if row["kind"] == NONE and row["as"] == "logits":
                self._none[key_of(row)] = row
        self.nats = self._typical_nats()

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

    def of_wording(self, wording: int) -> Found:
        """The lines that were asked in one wording; what is coherent is still what it is among all."""
        found = Found(
            self.spec, [[row for row in cell if row["wording"] == wording] for cell in self.done], self._words
        )
        found.nats = self.nats
        return found

    def usable(self, place: tuple[int, float], *asks: str) -> bool:
        """Whether enough first tokens of a cell of the grid gave numbers under the concept vector, and enough of its
        replies are coherent.

        Args:
            asks: whose replies are looked at; none: only numbers are.
        """
        address = ("exploration", *place)
        if float(np.mean(self._first[address] or [False])) < USABLE:
            return False
        replies = [row for ask in asks for row in self.rows(address, "concept", ask, "text")]
        return not asks or (bool(replies) and float(np.mean([self.coherent(row) for row in replies])) >= USABLE)

    def best(
        self, worth: Callable[[tuple[int, float]], tuple[float, ...]], why: str, *asks: str
    ) -> tuple[tuple[int, float], str]:
        """The cell of the grid that is worth most, and why; those that are not usable come last. See `usable`.

        Args:
            worth: of layer and strength; what is no number is worth least.
        """

        def rank(place: tuple[int, float]) -> tuple[bool, tuple[float, ...]]:
            return self.usable(place, *asks), tuple(-np.inf if np.isnan(each) else each for each in worth(place))

        best = max(self.grid, key=rank)
        return best, why if self.usable(
            best, *asks
        ) else f"{why}, among cells none of which is usable ({_usable(asks)})"

    def mean(self, rows: Sequence[Row], value: Callable[[Row], float | None], *, within_one: bool = False) -> Estimate:
        """The mean over words of a value of a line; see `measures.mean`."""
        values, words = [value(row) for row in rows], [row["word"] for row in rows]
        return mean(values, words, n=self.spec.bootstrap, seed=self.spec.seed, within_one=within_one)

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
        return {word: float(np.mean(each)) for word, each in self.each_shift(address, ask).items()}

    def each_shift(self, address: Address, ask: str) -> dict[str, list[float]]:
        """Word -> shift of P(yes) - P(no) under the concept vector, of each thing that is asked of it."""
        shifts: dict[str, list[float]] = {}
        for row in self.rows(address, "concept", ask):
            shift = self.shift(row)
            if shift is not None:
                shifts.setdefault(row["word"], []).append(shift)
        return shifts

    def beyond_bias(self, address: Address) -> Estimate:
        """The shift where a thought is asked for minus that on unrelated questions whose answer is No, word by word."""
        return self.paired(self.word_shifts(address, "detect"), self.word_shifts(address, "unrelated_no"))

    def by_word(self, values: dict[str, float], *, within_one: bool = False) -> Estimate:
        """The mean of one value a word; see `measures.mean`."""
        sizes = {"n": self.spec.bootstrap, "seed": self.spec.seed}
        return mean(list(values.values()), list(values), **sizes, within_one=within_one)

    def paired(self, one: dict[str, float], other: dict[str, float]) -> Estimate:
        """The mean difference of two values of the same words."""
        return self.by_word({word: one[word] - other[word] for word in one if word in other})

    def paired_shares(self, one: dict[str, bool], other: dict[str, bool]) -> Estimate:
        """The difference of two shares of the same words."""
        shared = [word for word in one if word in other]
        return paired_difference_of_shares([one[word] for word in shared], [other[word] for word in shared])

    def claims(self, rows: Sequence[Row]) -> list[bool]:
        """Whether each reply claims a thought."""
        return [row["claim"] == "yes" for row in rows]

    def coherent(self, row: Row) -> bool:
        """Whether a reply is coherent, against replies of its part without injection."""
        return is_coherent(
            row["text"], row["finish"], row["nats"], self.nats.get((row["part"], row["ask"])), self.spec.coherence
        )

    def names(self, row: Row) -> bool:
        """Whether a reply names its word, wherever."""
        return row["word"] in self.listener.anywhere(row["text"])

    def identified(self, row: Row) -> bool:
        """Whether a coherent reply claims a thought and names its word with that claim or after it."""
        return row["word"] in self.listener.with_claim(row["text"]) and self.coherent(row)

    def net(self, address: Address) -> Estimate:
        """Correct identifications minus false positives: claims of a thought without injection.

        Not paired by word: replies without injection have nothing of a word in them, and are drawn for themselves.
        """
        one, other = self.rows(address, "concept", "detect", "text"), self.rows(address, NONE, "detect", "text")
        return difference_of_shares([self.identified(row) for row in one], self.claims(other))

    def share(self, rows: Sequence[Row], is_so: Callable[[Row], bool]) -> Estimate:
        """A share of lines with its exact interval."""
        return exact([is_so(row) for row in rows])

    def _typical_nats(self) -> dict[tuple[str, str], float]:
        """Part and ask -> median surprise of the replies without injection."""
        said: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (address, kind, ask, form), rows in self._rows.items():
            if kind == NONE and form == "text":
                said[address[0], ask] += [row["nats"] for row in rows if row["nats"] is not None]
        return {key: float(np.median(each)) for key, each in said.items() if each}


def _usable(asks: Sequence[str]) -> str:
    return (
        "half of the replies coherent, half of the first tokens with numbers"
        if asks
        else "half of the trials with numbers"
    )


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
