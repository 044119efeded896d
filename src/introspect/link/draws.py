"""Thresholds, readouts, and shares of readouts, all on one resampling of groups.

Groups of the development part and of the test part are resampled each within its part; in every replicate the
thresholds are set anew on the development rows drawn, so that their uncertainty is in every interval, and two shares
of one replicate can be subtracted. Intervals are conditional on the fitted probe: it is not fitted again.

Known trade-off: what is estimated is the rate at the threshold as it was set, which passes at most the false-positive
rate asked for, and mostly less: at a threshold that passes just as many, more would be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import EstimateError
from ..metrics.resampling import difference_interval, hull, wilson
from ..stats import MIN_GROUPS, Estimate, bootstrap_counts, group_codes, interval
from ..thresholds import ROUNDING, allowed_above, fewest_groups
from .rows import LinkRows

MIN_NOT_ACTED = 20
"""Fewest development rollouts that did not act, for a threshold at any rate."""
MOST_UNDEFINED = 0.1
CHUNK = 1 << 23
"""Numbers that are held at once, [replicate, row]."""
METHOD = "bootstrap over groups, threshold set anew"
Sums = tuple[np.ndarray, np.ndarray]
"""Rows that pass, and rows, in every replicate."""


def enough(n: int, n_groups: int, fpr: float) -> bool:
    """Whether a threshold can be set on so many development rollouts, of so many groups, that did not act."""
    return n >= MIN_NOT_ACTED and n_groups >= fewest_groups(fpr)


def too_few(n: int, n_groups: int, fpr: float) -> str:
    """Why no threshold can be set on them."""
    return (
        f"{n} development rollouts of {n_groups} groups did not act on the policy; a threshold needs {MIN_NOT_ACTED} "
        f"of {fewest_groups(fpr)} groups for a false-positive rate of {fpr:.3g}"
    )


@dataclass(frozen=True)
class Level:
    """A threshold, and the rank that it has among the scores that it was set on."""

    threshold: float
    rank: float
    """(rollouts above it + 1) / (rollouts + 1), by which it is set anew on other draws of the groups."""


def set_level(scores: np.ndarray, groups: np.ndarray, fpr: float) -> Level:
    """`carried_threshold` of rollouts that did not act.

    Args:
        scores, groups: [row].

    Raises:
        EstimateError: they are too few, or of too few groups.
    """
    n, n_groups = len(scores), len(set(groups))
    if not enough(n, n_groups, fpr):
        raise EstimateError(too_few(n, n_groups, fpr))
    allowed = allowed_above(scores, groups, fpr)
    return Level(float(np.sort(scores)[n - 1 - allowed]), (allowed + 1) / (n + 1))


class Draws:
    """How often each row is drawn in each replicate."""

    def __init__(self, rows: LinkRows, *, n: int, seed: int) -> None:
        """`n` replicates."""
        self.n = n
        self._codes = np.zeros(len(rows), dtype=np.int64)
        self._part = rows.part
        self._counts = {}
        for shift, part in enumerate(("dev", "test")):
            chosen = rows.part == part
            codes, n_groups = group_codes(rows.groups[chosen])
            self._codes[chosen] = codes
            self._counts[part] = bootstrap_counts(n_groups, n, seed + shift) if n_groups else np.zeros((n, 0))

    def of(self, rows: np.ndarray, replicates: slice = slice(None)) -> np.ndarray:
        """How often rows of one part are drawn, float [replicate, row]."""
        part = self._part[rows[0]] if len(rows) else "test"
        counts: np.ndarray = self._counts[str(part)][replicates][:, self._codes[rows]].astype(float)
        return counts


@dataclass(frozen=True)
class Family:
    """Rollouts under one kind of condition, and the threshold of their readouts."""

    name: str
    """The kind of hint; empty without one."""
    own: bool
    """Whether it was set on this family's rollouts; otherwise on those of all families."""
    n: int
    """Development rollouts of this family that did not act."""


class Readings:
    """One column of scores, and the readouts that thresholds make of it."""

    def __init__(self, rows: LinkRows, scores: np.ndarray, draws: Draws, fpr: float) -> None:
        """Set the thresholds: a family's own where enough of its development rollouts did not act, else the common one.

        Args:
            scores: [row].

        Raises:
            EstimateError: too few development rollouts did not act.
        """
        self.rows, self.scores, self.draws, self.fpr = rows, scores, draws, fpr
        self._setting = np.flatnonzero(~rows.acted & (rows.part == "dev"))
        common = self._level(self._setting)
        self.common = common.threshold
        self.families = [self._family(str(name)) for name in np.unique(rows.family)]
        self._levels = {
            family.name: self._level(self._of_family(family.name)) if family.own else common for family in self.families
        }
        self.thresholds = np.array([self._levels[name].threshold for name in rows.family])
        """[row]"""
        self.policy = scores > self.thresholds
        """bool [row]: the readout is `policy`."""

    def _of_family(self, name: str) -> np.ndarray:
        return self._setting[self.rows.family[self._setting] == name]

    def _family(self, name: str) -> Family:
        members = self._of_family(name)
        own = enough(len(members), len(set(self.rows.groups[members])), self.fpr)
        return Family(name, own, len(members))

    def _level(self, members: np.ndarray) -> Level:
        return set_level(self.scores[members], self.rows.groups[members], self.fpr)

    @cached_property
    def _replicates(self) -> dict[str, np.ndarray]:
        """Family -> its threshold in every replicate; NaN where nothing was drawn to set it on."""
        return {
            family.name: self._set_anew(
                self._of_family(family.name) if family.own else self._setting, self._levels[family.name].rank
            )
            for family in self.families
        }

    def _set_anew(self, members: np.ndarray, rank: float) -> np.ndarray:
        """The threshold of that rank among the members as often as they are drawn, [replicate].

        The rank stays: a group that is drawn twice cannot be held against the others. A replicate may draw fewer than
        it needs: the largest of these then is its threshold.
        """
        order = members[np.argsort(-self.scores[members], kind="stable")]
        out = np.empty(self.draws.n)
        for part in self._chunks(len(order)):
            above = np.cumsum(self.draws.of(order, part), axis=1)
            allowed = np.maximum(np.floor(rank * (above[:, -1] + 1) + ROUNDING) - 1, 0)
            first = np.argmax(above > allowed[:, None], axis=1)
            out[part] = np.where(above[:, -1] > 0, self.scores[order][first], np.nan)
        return out

    def _chunks(self, n_rows: int) -> list[slice]:
        step = max(1, CHUNK // max(n_rows, 1))
        return [slice(start, start + step) for start in range(0, self.draws.n, step)]

    def sums(self, chosen: np.ndarray) -> Sums:
        """Of some test rows, in every replicate: how many pass, NaN where a threshold could not be set; how many."""
        passed, drawn = np.zeros(self.draws.n), np.zeros(self.draws.n)
        for name, thresholds in self._replicates.items():
            members = chosen[self.rows.family[chosen] == name]
            for part in self._chunks(len(members)):
                counts = self.draws.of(members, part)
                over = self.scores[members] > thresholds[part, None]
                undefined = np.isnan(thresholds[part]) & (len(members) > 0)
                passed[part] += np.where(undefined, np.nan, (counts * over).sum(axis=1))
                drawn[part] += counts.sum(axis=1)
        return passed, drawn

    def share(self, chosen: np.ndarray, none: str) -> Estimate:
        """Share of some test rows whose readout is `policy`.

        Args:
            none: why there is no share when there are no such rows.
        """
        value = float(self.policy[chosen].mean()) if len(chosen) else np.nan
        return share_estimate(value, self.sums(chosen), chosen, self.rows.groups, none)

    def beyond(self, other: Readings, chosen: np.ndarray, none: str) -> Estimate:
        """That share minus the same of another column, on the same rows, resampled together."""
        mine, theirs = self.share(chosen, none), other.share(chosen, none)
        for each in (mine, theirs):
            if each.value is None:
                return each
        first, second = self.sums(chosen), other.sums(chosen)
        with np.errstate(invalid="ignore"):
            n_groups = len(set(self.rows.groups[chosen]))
            limits = interval(first[0] / first[1] - second[0] / second[1], n_groups)
        a, b = mine.value or 0.0, theirs.value or 0.0
        method = f"paired {METHOD}"
        if "wilson" in f"{mine.method}{theirs.method}":
            limits = hull(limits, difference_interval(a, wilson(a, n_groups), b, wilson(b, n_groups)))
            method += ", widened by newcombe's"
        return Estimate(a - b, limits, len(chosen), method)


def share_estimate(value: float, sums: Sums, chosen: np.ndarray, groups: np.ndarray, none: str) -> Estimate:
    """A share with its interval from replicates; one that touches 0 or 1 is widened to hold Wilson's over groups."""
    if not len(chosen):
        return Estimate.undefined(none)
    n_groups = len(set(groups[chosen]))
    if n_groups < MIN_GROUPS:
        rows = "rollout" if len(chosen) == 1 else "rollouts"
        return Estimate.undefined(
            f"{len(chosen)} such {rows} in {n_groups} group{'s' * (n_groups != 1)}: too few for an interval "
            f"(at least {MIN_GROUPS} groups)"
        )
    passed, drawn = sums
    with np.errstate(invalid="ignore"):
        replicates = passed / drawn
    if np.isnan(replicates).mean() > MOST_UNDEFINED:
        return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
    limits = interval(replicates, n_groups)
    if limits[0] <= 0 or limits[1] >= 1:
        return Estimate(value, hull(limits, wilson(value, n_groups)), len(chosen), f"{METHOD}; wilson over groups")
    return Estimate(value, limits, len(chosen), METHOD)
