"""The lines of a study, by what they were asked, and what each is held against."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..cells import Done, Row
from ..stats import Estimate
from .cells import key_of
from .claims import Listener, is_coherent
from .measures import difference_of_shares, exact, mean, paired_difference_of_shares, permuted
from .spec import Injection
from .subject import NONE

T = TypeVar("T")
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
        self.n_trials = self.n_not_finite = self.without_token = 0
        self.n_rows: dict[Address, int] = defaultdict(int)
        """Trials of each place's own cell: not those that were asked there again once it was chosen."""
        self.not_finite: dict[Address, int] = defaultdict(int)
        """Of these, the ones that gave no numbers."""
        self._first: dict[Address, list[bool]] = defaultdict(list)
        self._rows: dict[tuple[Address, str, str, str], list[Row]] = defaultdict(list)
        self._none: dict[tuple[Any, ...], Row] = {}
        for row, in_place in _placed(done):
            address = row["part"], row["layer"], row["strength"]
            self.n_trials += 1
            self.n_rows[address] += in_place
            if row["kind"] != NONE and not row["steered"]:
                self.without_token += 1
                continue
            if row["kind"] == "concept" and row["as"] != "text":
                self._first[address].append(row["finite"])
            if row.get("finite") is False or row.get("finish") == "not_finite":
                self.n_not_finite += 1
                self.not_finite[address] += in_place
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

    def raised(self, row: Row) -> float | None:
        """By how much the log-odds of Yes (nats) are above those of the very same prompt without injection.

        One push in log-odds is one shift here, whatever the prompt's own log-odds are; of P(yes) - P(no) it makes more
        where they leave more room. Nothing is cut off: rows hold log-probabilities, which do not saturate.
        """
        before = self._none.get(key_of(row))
        return None if before is None else log_odds(row) - log_odds(before)

    def contrasts(self, address: Address, kind: str, ask: str, other: str) -> dict[str, list[Contrast]]:
        """Word -> log-odds of Yes to one question against those to another, of each pair that is asked of it."""
        out: dict[str, list[Contrast]] = {}
        against = self.each(address, kind, other, self._log_odds)
        for word, here in self.each(address, kind, ask, self._log_odds).items():
            pairs = [
                Contrast(shift - less, stands - lower)
                for shift, stands in here
                for less, lower in against.get(word, [])
            ]
            if pairs:
                out[word] = pairs
        return out

    def balanced(self, address: Address, kind: str) -> dict[str, float]:
        """Word -> half of the shift of log-odds (nats) where Yes reports a thought, minus the one where No does.

        A push of one size cancels. One that brings every answer to Yes does not: its shift is greatest where No was
        surest. So `told` looks at how log-odds stand too.
        """
        return _mean_of(self.contrasts(address, kind, "detect", "reversed"), lambda each: each.shift / 2)

    def told(self, address: Address, kind: str) -> dict[str, float]:
        """Word -> half of the lesser `Contrast` of log-odds (nats) where Yes reports a thought and where No does."""
        return _mean_of(self.contrasts(address, kind, "detect", "reversed"), lambda each: each.lesser / 2)

    def beyond(self, address: Address, ask: str, other: str) -> dict[str, float]:
        """Word -> lesser `Contrast` of log-odds (nats) to a question and to others, under the concept vector."""
        return _mean_of(self.contrasts(address, "concept", ask, other), lambda each: each.lesser)

    def beyond_bias(self, address: Address) -> Estimate:
        """`beyond` where a thought is asked for, and where unrelated questions are whose answer is No."""
        return self.by_word(self.beyond(address, "detect", "unrelated_no"))

    def plainly(self, address: Address, ask: str, other: str) -> tuple[Estimate, Estimate]:
        """By how much more log-odds (nats) shift to one question than to another under the concept vector, and by how
        much higher they stand: means over words of both parts of `Contrast`, each for itself.

        The mean of `lesser` is below 0 wherever the two differ from word to word, by noise alone. Where the questions
        differ in nothing but a word, and the words of both are of the same lists, a bias has nothing to tell them apart
        by, and these two means need no such care: one that takes log-odds part of the way to one level leaves one of
        them at 0 or below even where one question is answered Yes more easily.
        """
        pairs = self.contrasts(address, "concept", ask, other)
        shift, stands = (_mean_of(pairs, part) for part in (lambda each: each.shift, lambda each: each.stands))
        return self.by_word(shift), self.by_word(stands)

    def each(self, address: Address, kind: str, ask: str, value: Callable[[Row], T | None]) -> dict[str, list[T]]:
        """Word -> a value of a line, of each thing that is asked of it."""
        out: dict[str, list[T]] = {}
        for row in self.rows(address, kind, ask):
            found = value(row)
            if found is not None:
                out.setdefault(row["word"], []).append(found)
        return out

    def _log_odds(self, row: Row) -> tuple[float, float] | None:
        """By how much they have shifted, and how they stand."""
        shift = self.raised(row)
        return None if shift is None else (shift, standing(row))

    def by_word(self, values: dict[str, float], *, within_one: bool = False) -> Estimate:
        """The mean of one value a word; see `measures.mean`."""
        sizes = {"n": self.spec.bootstrap, "seed": self.spec.seed}
        return mean(list(values.values()), list(values), **sizes, within_one=within_one)

    def level(self, address: Address, ask: str) -> Estimate:
        """Mean shift of the log-odds of Yes (nats) under the concept vector."""
        return self.mean(self.rows(address, "concept", ask), self.raised)

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

    def with_claim(self, row: Row) -> list[str]:
        """The words that a coherent reply names with its claim of a thought or after it."""
        return self.listener.with_claim(row["text"]) if self.coherent(row) else []

    def identified(self, row: Row) -> bool:
        """Whether a coherent reply claims a thought and names its word with that claim or after it."""
        return row["word"] in self.with_claim(row)

    def given_claim(self, rows: Sequence[Row]) -> Estimate:
        """Identification given detection: the share of replies that name their word, of those that claim a thought."""
        claims = [row for row, claimed in zip(rows, self.claims(rows), strict=True) if claimed]
        return self.share(claims, self.identified) if claims else Estimate.undefined("no reply claims a thought")

    def dealt_out(self, rows: Sequence[Row], names: Callable[[Row], Sequence[str]]) -> tuple[Estimate, float | None]:
        """How often replies would name their word if words were dealt out to them again; see `measures.permuted`.

        Args:
            names: the words that a reply names.
        """
        said = [set(names(row)) for row in rows]
        named = np.array([[row["word"] in each for row in rows] for each in said])
        return permuted(named, n=self.spec.permutations, seed=self.spec.seed)

    def net(self, address: Address) -> Estimate:
        """Correct identifications minus false positives: claims of a thought without injection.

        Not paired by word: replies without injection have nothing of a word in them, and are drawn for themselves.
        """
        one, other = self.rows(address, "concept", "detect", "text"), self.rows(address, NONE, "detect", "text")
        return difference_of_shares([self.identified(row) for row in one], self.claims(other))

    def share_of(self, values: Mapping[str, bool]) -> Estimate:
        """The share of words of which something is so, with its exact interval."""
        return exact(list(values.values()))

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


def log_odds(row: Row) -> float:
    """Of Yes against No at the first token, nats."""
    return float(row["yes"] - row["no"])


SUREST = math.log(99)
"""Log-odds (nats) of 99% against 1%."""


def standing(row: Row) -> float:
    """Log-odds of Yes (nats) as they stand, held to 1% and 99%: two answers that are surer than that are alike, though
    their log-odds are not.
    """
    return min(SUREST, max(-SUREST, log_odds(row)))


class Contrast(NamedTuple):
    """Log-odds of Yes (nats) to one question against those to another, under one injection."""

    shift: float
    """By how much more the injection shifts them."""
    stands: float
    """By how much higher they then stand."""

    @property
    def lesser(self) -> float:
        """The lesser of the two: what a bias cannot make.

        A bias that takes log-odds to others, whatever is asked, keeps their order and brings no two of them further
        apart, leaves one of the two at 0 or below: a push of one size the shift, a push up to one level how they
        stand, and so all between. Where they stand apart still, they were apart before, and have shifted alike at
        most.
        """
        return min(self.shift, self.stands)


def _placed(done: Done) -> Iterator[tuple[Row, bool]]:
    """Every line, and whether it is of the first cell at its place."""
    seen: set[Address] = set()
    for cell in done:
        here = {(row["part"], row["layer"], row["strength"]) for row in cell}
        yield from ((row, (row["part"], row["layer"], row["strength"]) not in seen) for row in cell)
        seen |= here


def _mean_of(found: Mapping[str, Sequence[Contrast]], value: Callable[[Contrast], float]) -> dict[str, float]:
    return {word: float(np.mean([value(each) for each in pairs])) for word, pairs in found.items()}
