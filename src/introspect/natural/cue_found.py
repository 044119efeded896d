"""The rows of which-cue with what is fitted to them: estimates of what tells one side of them from another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..cells import Done
from ..stats import Estimate
from .cue_fits import Fit, folds_of, probe_on, two_sides, unpacked, words_on
from .cue_measures import Groups, Statistic, area_estimate, gap_within, mean_of, over_items, share_of
from .cue_rows import Columns

if TYPE_CHECKING:
    from .cue_study import WhichCueStudy

WORDS = "words of prompt and reply"


class Contrast(NamedTuple):
    """Two sides of rows with a cue, compared within each kind of cue, right and wrong hinted options apart: what tells
    the first from the second.
    """

    label: str
    first: np.ndarray
    second: np.ndarray
    naming: Estimate
    words: Estimate
    own: Estimate
    """The model's own probability of the hinted option, whichever way it tells more."""
    naming_beyond: Estimate
    """Beyond words and that probability."""
    letters: Estimate
    wrong: Estimate
    """Whether the hinted option is wrong: within kinds alone."""
    activations: Estimate
    activations_beyond: Estimate
    gap: Estimate


class Found:
    """The rows of a study, and what is fitted to them."""

    def __init__(self, study: WhichCueStudy, done: Done) -> None:
        self.spec, self.study = study.spec, study
        self.columns = Columns(done, study.options)
        self.n, self.seed = study.spec.bootstrap, study.spec.seed
        columns = self.columns
        self.ok = len(columns.rows) > 0 and bool(np.isfinite(columns.named).all())

    @cached_property
    def states(self) -> dict[int, np.ndarray]:
        """Layer -> activations [row, width]."""
        return {
            layer: unpacked([row["states"][str(layer)] for row in self.columns.rows]) for layer in self.study.layers
        }

    @cached_property
    def shifts(self) -> dict[str, Estimate]:
        """Cue -> mean shift of the hinted option's probability."""
        columns, out = self.columns, {}
        for cue in self.study.cues:
            mine = columns.cue == cue if columns.rows else np.zeros(0, dtype=bool)
            none = Estimate.undefined("no row with an answer")
            shift = mean_of(np.nan_to_num(columns.influence), mine)
            out[cue] = self.over(shift, mine) if mine.any() else none
        return out

    def fits(self) -> dict[str, Fit]:
        """What is fitted, the activations of the first layer before those of others; words last."""
        found = {f"activations, layer {layer}": probe_on(states) for layer, states in self.states.items()}
        return {**found, WORDS: words_on(self.columns.texts)}

    def over(self, statistic: Statistic, used: np.ndarray) -> Estimate:
        """See `over_items`."""
        spec = self.spec
        return over_items(statistic, self.columns.groups, n=spec.bootstrap, seed=spec.seed, used=used)

    def share(self, values: np.ndarray, chosen: np.ndarray) -> Estimate:
        """See `share_of`."""
        return share_of(values, chosen, self.columns.groups, n=self.n, seed=self.seed)

    def out_of_fold(self, fit: Fit, first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
        """Scores of rows on either side, fitted on other items; None where they cannot be."""
        rows = np.flatnonzero(first | second)
        groups = [self.columns.groups[row] for row in rows]
        inner = (
            folds_of([str(each) for each in first[rows]], groups, self.spec.folds, self.spec.seed)
            if len(rows)
            else None
        )
        if inner is None:
            return None
        folds = np.full(len(first), -1)
        folds[rows] = inner
        return two_sides(fit, first, rows, folds)

    def area(
        self,
        scores: np.ndarray | None,
        first: np.ndarray,
        second: np.ndarray,
        baselines: Sequence[np.ndarray | None] = (),
        strata: Groups | None = None,
    ) -> Estimate:
        """AUROC within strata, beyond baselines where there are any. `strata`: None: kinds, right or wrong."""
        if scores is None or any(each is None for each in baselines):
            return Estimate.undefined("too few rows of either side to fit in every fold")
        given, within = [each for each in baselines if each is not None], self.columns.strata
        return area_estimate(
            scores,
            first,
            second,
            within if strata is None else strata,
            self.columns.groups,
            baselines=given,
            n=self.n,
            seed=self.seed,
        )

    def n_groups(self, each: Contrast) -> int:
        """Groups of items that have a row of either side."""
        return len({self.columns.groups[row] for row in np.flatnonzero(each.first | each.second)})

    def contrast(self, label: str, one: str, other: str) -> Contrast:
        """Rows in one state against those in another."""
        columns, (first, second) = self.columns, (self.columns.is_(one), self.columns.is_(other))
        fits = self.fits()
        named = columns.of_present(columns.named)
        words = self.out_of_fold(fits[WORDS], first, second)
        inside = self.out_of_fold(next(iter(fits.values())), first, second)
        gap = self.over(gap_within(named, first, second, columns.strata), first | second)
        outside = [words, columns.own, -columns.own]
        more = max((columns.own, -columns.own), key=lambda each: self.area(each, first, second).value or 0.0)
        return Contrast(
            label,
            first,
            second,
            naming=self.area(named, first, second),
            words=self.area(words, first, second),
            own=self.area(more, first, second),
            naming_beyond=self.area(named, first, second, outside),
            letters=self.area(columns.follows, first, second),
            wrong=self.area(columns.wrong, first, second, strata=columns.cue),
            activations=self.area(inside, first, second),
            activations_beyond=self.area(inside, first, second, outside),
            gap=gap,
        )
