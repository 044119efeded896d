"""The rows of neurofeedback: what is estimated of labels that are reported, and of projections shifted on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..cells import Done, Row
from ..stats import MIN_GROUPS, Estimate
from .measures import Statistic, accuracy, area, best_of, effect_size, minus, two_way
from .sentences import one_of_each
from .text_labels import CLASSIFIERS

if TYPE_CHECKING:
    from .neurofeedback import NeurofeedbackStudy


class Report(NamedTuple):
    """Of one direction and number of examples: estimates of labels that are reported."""

    right: Estimate
    dealt_again: Estimate
    words: Estimate
    beyond_dealt: Estimate
    beyond_words: Estimate
    area: Estimate
    words_area: Estimate
    beyond_words_area: Estimate


class Shift(NamedTuple):
    """Of one direction: Cohen's d of its own projection."""

    own: Estimate
    dealt_again: Estimate
    beyond_dealt: Estimate
    beyond_random: Estimate
    """Beyond the mean size along directions drawn at random."""
    p: float | None
    """Rank among those directions, of sizes: the share of them, and of this one, that is as large."""


class Found:
    """The rows of a study, by what they are about."""

    def __init__(self, study: NeurofeedbackStudy, done: Done) -> None:
        self.spec = study.spec
        rows = [row for unit in done for row in unit]
        alone = [row for row in rows if row["kind"] == "alone"]
        self.fitted = [row for row in alone if not row["held_out"]]
        self.held = [row for row in alone if row["held_out"]]
        self.pairs = [row["pair"] for row in self.held]
        self.names = list(study.labelling_names)
        self.by: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows:
            if row["kind"] != "alone":
                self.by.setdefault((row["kind"], row["direction"], row["arrangement"]), []).append(row)

    def labels(self, name: str) -> np.ndarray:
        """Of the held-out sentences, bool [sentence]."""
        at = self.names.index(name)
        return np.array([bool(row["labels"][at]) for row in self.held])

    def scores(self, name: str, arrangement: str, k: int) -> np.ndarray:
        """Log-odds that the model gives, [context, sentence]; 0 where it gives no numbers."""
        rows = [row for row in self.by["report", name, arrangement] if row["k"] == k]
        return np.array([[0.0 if v is None else v for v in row["log_odds"]] for row in rows])

    def words(self, name: str, k: int) -> list[np.ndarray]:
        """Scores of each text classifier that sees the same examples, [context, sentence]."""
        new = [row["text"] for row in self.held]
        rows = [row for row in self.by["report", name, "true"] if row["k"] == k]
        return [
            np.array(
                [
                    classify(
                        [self.fitted[i]["text"] for i in row["examples"]], np.array(row["labels"], dtype=bool), new
                    )
                    for row in rows
                ]
            )
            for classify in CLASSIFIERS.values()
        ]

    def width(self, what: str) -> int:
        """How many sentences control has at most, under any direction and arrangement."""
        rows = [row for (kind, _, _), each in self.by.items() if kind == "control" for row in each]
        return max((len(row[what]) for row in rows), default=0)

    def n_resampled(self, what: str) -> int:
        """How many are resampled for an interval of report or control: pairs of sentences or sets, the fewer."""
        if what == "report":
            pairs, contexts = len(set(self.pairs)), self.spec.contexts
        else:
            pairs, contexts = len(set(self.groups("implicit", self.width("implicit")))), self.spec.control.contexts
        return min(pairs, contexts) if contexts >= MIN_GROUPS else pairs

    def estimate(
        self, statistic: Statistic, n_contexts: int, groups: list[Any] | None = None, *, share: bool = False
    ) -> Estimate:
        """With its interval over contexts and pairs of sentences. `share`: between 0 and 1, and widened there."""
        over = self.pairs if groups is None else groups
        return two_way(statistic, n_contexts, over, n=self.spec.bootstrap, seed=self.spec.seed, share=share)

    def report(self, name: str, k: int) -> Report:
        """Of a direction, with k examples."""
        labels = self.labels(name)
        own, dealt, words = self.scores(name, "true", k), self.scores(name, "shuffled", k), self.words(name, k)
        n = len(own)
        right, dealt_right, area_ = accuracy(own, labels), accuracy(dealt, labels), area(own, labels)
        best = best_of([accuracy(each, labels) for each in words])
        best_area = best_of([area(each, labels) for each in words])
        each = (
            right,
            dealt_right,
            best,
            minus(right, dealt_right),
            minus(right, best),
            area_,
            best_area,
            minus(area_, best_area),
        )
        shares = (True, True, True, False, False, True, True, False)
        return Report(*(self.estimate(one, n, share=share) for one, share in zip(each, shares, strict=True)))

    def projections(self, name: str, arrangement: str, what: str, axis: int) -> np.ndarray:
        """[target, context, sentence], NaN where there is none."""
        rows = self.by["control", name, arrangement]
        contexts = sorted({row["context"] for row in rows})
        out = np.full((2, len(contexts), self.width(what)), np.nan)
        for row in rows:
            for i, each in enumerate(row[what]):
                if each is not None:
                    out[row["target"], contexts.index(row["context"]), i] = each[axis]
        return out

    def groups(self, what: str, n: int) -> list[Any]:
        """What is resampled of so many sentences: pairs, or those that were written."""
        return [self.pairs[i] for i in one_of_each(self.pairs)[:n]] if what == "implicit" else list(range(n))

    def shift(self, name: str, what: str) -> Shift:
        """Of a direction; `what`: implicit, or explicit."""
        axis = self.names.index(name)
        own = self.projections(name, "true", what, axis)
        n, groups = own.shape[1], self.groups(what, own.shape[2])
        d = effect_size(own)
        dealt = effect_size(self.projections(name, "shuffled", what, axis))
        first = len(self.names)
        drawn = [effect_size(self.projections(name, "true", what, first + i)) for i in range(self.spec.control.random)]

        def sizes(contexts: np.ndarray, sentences: np.ndarray) -> np.ndarray:
            return np.asarray(np.mean([np.abs(each(contexts, sentences)) for each in drawn], axis=0))

        estimates = [self.estimate(each, n, groups) for each in (d, dealt, minus(d, dealt), minus(d, sizes))]
        ones = np.ones((1, n)), np.ones((1, own.shape[2]))
        here, null = abs(d(*ones)[0]), np.array([abs(each(*ones)[0]) for each in drawn])
        p = float((1 + (~(null < here)).sum()) / (1 + len(null))) if np.isfinite(here) else None
        return Shift(estimates[0], estimates[1], estimates[2], estimates[3], p)
