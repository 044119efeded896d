"""Estimates with intervals: proportions, AUROC, calibration, and the bootstrap over groups.

Rows that share a group (a noun, an item) are not independent, so every interval but a single proportion's resamples
groups, not rows. A quantity that is undefined on some data is an `Estimate` with a reason, never a number.

Intervals are percentile intervals, expanded for few groups (`interval`); below `MIN_GROUPS` groups none is given. Near
0 and 1 they are too short (at an AUROC of 1 they have no width at all), so one that touches 0 or 1 is widened to hold
Newcombe's or Wilson's with groups for cases.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from .errors import EstimateError

MIN_GROUPS = 5
CHANCE = 0.5
"""AUROC of a score that says nothing."""
Z95 = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval, size and method; or None with the reason why there is no number."""

    value: float | None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    method: str | None = None
    reason: str | None = None

    @classmethod
    def undefined(cls, reason: str) -> Self:
        """What could not be estimated, and why."""
        return cls(None, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """As in results.json: `value, ci95, n, method`, or `value` null and `reason`."""
        if self.value is None or self.ci95 is None:
            return {"value": None, "reason": self.reason or "not estimated"}
        low, high = self.ci95
        return {
            "value": round(self.value, 6),
            "ci95": [round(low, 6), round(high, 6)],
            "n": self.n,
            "method": self.method,
        }


def proportion(successes: float, n: int) -> Estimate:
    """A share with its Wilson score interval (Wilson 1927)."""
    if n == 0:
        return Estimate.undefined("no cases to take a share of")
    share = successes / n
    denominator = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / denominator
    half = Z95 / denominator * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Estimate(share, (low, high), n, "wilson")


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """P(score of a positive > score of a negative), ties counted half.

    Args:
        scores: [row].
        labels: bool [row].

    Raises:
        EstimateError: only one class is there.
    """
    labels = np.asarray(labels, dtype=bool)
    found = float(aurocs(np.asarray(scores)[None], labels[None])[0])
    if np.isnan(found):
        n_positive = int(labels.sum())
        raise EstimateError(
            f"AUROC needs both classes: there are {n_positive} positives and {len(labels) - n_positive} negatives"
        )
    return found


def aurocs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUROC of each line of scores against its line of labels, by ranks; NaN where a line has one class only.

    Args:
        scores: [line, row]; labels: bool [line, row], or [1, row] for all lines.
    """
    n_positive = labels.sum(axis=1)
    pairs = n_positive * (labels.shape[1] - n_positive)
    won = (rankdata(scores, axis=1) * labels).sum(axis=1) - n_positive * (n_positive + 1) / 2
    return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


def group_codes(groups: Sequence[Hashable] | np.ndarray) -> tuple[np.ndarray, int]:
    """Groups as integers [row], numbered in order of first appearance, and how many there are."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
    return codes, len(numbers)


def bootstrap_counts(n_groups: int, n: int, seed: int) -> np.ndarray:
    """How often each group is drawn in each replicate: int [replicate, group], rows summing to `n_groups`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n)


def expanded_tail(n_groups: int) -> float:
    """The share of replicates to leave out on either side, of a bootstrap of so many groups: see `interval`. One group
    shows no spread: none of its replicates are left out.
    """
    if n_groups < 2:
        return 0.0
    return float(norm.cdf(-np.sqrt(n_groups / (n_groups - 1)) * student.ppf(0.975, n_groups - 1)))


def interval(replicates: np.ndarray, n_groups: int | None = None) -> tuple[float, float]:
    """The central 95% of the finite replicates; expanded where they come from resampling few groups.

    A bootstrap of G groups spreads too little, by sqrt((G - 1) / G), and normal quantiles stand where Student's should.
    The expanded percentile interval (Hesterberg 2015, The American Statistician 69, 371-386) makes up for both by going
    further into the tails: at 16 groups from 2.5% to 1.4%.

    Args:
        n_groups: the groups that were resampled; None: the replicates are no bootstrap, or their number has been
            allowed for.
    """
    tail = 0.025 if n_groups is None else expanded_tail(n_groups)
    low, high = np.quantile(replicates[np.isfinite(replicates)], [tail, 1 - tail])
    return float(low), float(high)


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Hashable] | np.ndarray,
    *,
    n: int = 1000,
    seed: int = 0,
    share_of: int | None = None,
) -> Estimate:
    """A statistic of rows, with an interval from resampled groups.

    Args:
        statistic: row indices -> value; may raise EstimateError where it is undefined. Replicates in
            which it is are left out, and the estimate is undefined when they are more than a tenth.
        groups: the group of each row.
        n: replicates.
        share_of: for a share of rows, the number of their groups: an interval that touches 0 or 1 is widened to hold
            Wilson's with groups for cases.
    """
    codes, n_groups = group_codes(groups)
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
    try:
        value = statistic(np.arange(len(codes)))
    except EstimateError as error:
        return Estimate.undefined(str(error))
    members = [np.flatnonzero(codes == code) for code in range(n_groups)]
    replicates = np.full(n, np.nan)
    for i, counts in enumerate(bootstrap_counts(n_groups, n, seed)):
        rows = np.concatenate([np.tile(members[code], count) for code, count in enumerate(counts) if count])
        try:
            replicates[i] = statistic(rows)
        except EstimateError:
            continue
    if np.isnan(replicates).mean() > 0.1:
        return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
    limits = interval(replicates, n_groups if share_of is None else max(share_of, 2))
    if share_of is not None and (limits[0] <= 0 or limits[1] >= 1):
        wilson = proportion(value * share_of, share_of)
        return Estimate(float(value), _outer(limits, wilson.ci95), len(codes), "bootstrap and wilson over groups")
    return Estimate(float(value), limits, len(codes), "bootstrap over groups")


def auroc_replicates(scores: np.ndarray, labels: np.ndarray, row_counts: np.ndarray) -> np.ndarray:
    """AUROC of every bootstrap replicate, all at once; NaN where a replicate has one class only.

    Args:
        scores: [row]; labels: bool [row].
        row_counts: how often each row is in each replicate, [replicate, row].
    """
    labels = np.asarray(labels, dtype=bool)
    positive, negative = scores[labels], scores[~labels]
    wins = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    w_positive, w_negative = row_counts[:, labels].astype(float), row_counts[:, ~labels].astype(float)
    pairs = w_positive.sum(axis=1) * w_negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, ((w_positive @ wins) * w_negative).sum(axis=1) / pairs, np.nan)


def auroc_estimate(
    scores: np.ndarray, labels: np.ndarray, groups: Sequence[Hashable] | np.ndarray, *, n: int = 1000, seed: int = 0
) -> Estimate:
    """AUROC with a bootstrap interval over groups."""
    return _auroc_based([scores], labels, groups, n, seed, "bootstrap over groups")


def increment_estimate(
    scores: np.ndarray,
    baseline: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[Hashable] | np.ndarray,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Estimate:
    """AUROC of `scores` beyond that of `baseline` on the same rows, with a paired bootstrap interval over groups.

    A baseline below chance counts as chance: nothing is gained by going beyond it further than that. Where either
    AUROC's own interval is widened, the increment's is widened to what the two give when combined as independent
    (Newcombe 2006; Zou & Donner 2008).
    """
    return _auroc_based([scores, baseline], labels, groups, n, seed, "paired bootstrap over groups")


def increment_over_largest(
    scores: np.ndarray,
    baselines: Sequence[np.ndarray],
    labels: np.ndarray,
    groups: Sequence[Hashable] | np.ndarray,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Estimate:
    """AUROC of `scores` beyond the largest of several baselines' on these very rows.

    The largest is looked for in the data and again in every replicate, so what is gained by choosing among the
    baselines counts for them: a stricter bound than the increment over one that was chosen beforehand.
    """
    method = f"paired bootstrap over groups, against the largest of {len(baselines)} in every replicate"
    return _auroc_based([scores, *baselines], labels, groups, n, seed, method)


def _auroc_based(
    columns: list[np.ndarray],
    labels: np.ndarray,
    groups: Sequence[Hashable] | np.ndarray,
    n: int,
    seed: int,
    method: str,
) -> Estimate:
    codes, n_groups = group_codes(groups)
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
    try:
        values = [auroc(column, labels) for column in columns]
    except EstimateError as error:
        return Estimate.undefined(str(error))
    labels = np.asarray(labels, dtype=bool)
    counts = bootstrap_counts(n_groups, n, seed)[:, codes]
    replicates = [auroc_replicates(np.asarray(column), labels, counts) for column in columns]
    if np.isnan(replicates[0]).mean() > 0.1:
        return Estimate.undefined("one class only in more than a tenth of the bootstrap replicates: too little data")
    sizes = len(set(codes[labels])), len(set(codes[~labels]))
    largest = max(range(1, len(columns)), key=lambda k: values[k], default=0)
    bounds, widened = {}, False
    for k in {0, largest}:
        low, high = interval(replicates[k], n_groups)
        if low <= 0 or high >= 1:
            widened = True
            low, high = _outer((low, high), newcombe_interval(values[k], *sizes))
        bounds[k] = low, high
    name = f"{method}, widened by newcombe's" if widened else method
    if len(columns) == 1:
        return Estimate(values[0], bounds[0], len(codes), name)
    limits = interval(replicates[0] - np.fmax(np.max(replicates[1:], axis=0), CHANCE), n_groups)
    value, baseline = values[0], max(values[largest], CHANCE)
    if widened:
        down = np.hypot(value - bounds[0][0], max(bounds[largest][1], CHANCE) - baseline)
        up = np.hypot(bounds[0][1] - value, baseline - max(bounds[largest][0], CHANCE))
        limits = _outer(limits, (float(value - baseline - down), float(value - baseline + up)))
    if len(columns) > 2:
        limits = _outer(limits, (value - baseline, value - baseline))
    return Estimate(value - baseline, limits, len(codes), name)


def _outer(first: tuple[float, float], second: tuple[float, float] | None) -> tuple[float, float]:
    return first if second is None else (min(first[0], second[0]), max(first[1], second[1]))


def newcombe_interval(value: float, n_positive: int, n_negative: int) -> tuple[float, float]:
    """A 95% interval of an AUROC that has a width at 0 and 1, where a bootstrap has none.

    Newcombe (2006), method 5: the AUROCs that differ from the one seen by at most 1.96 of their own standard errors
    (Hanley & McNeil 1982, with both sizes replaced by their mean in the correction).
    """
    mean_size = (n_positive + n_negative) / 2

    def excess(theta: float) -> float:
        correction = 1 + (mean_size - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * correction / (n_positive * n_negative)
        return float((value - theta) ** 2 - Z95**2 * variance)

    low = 0.0 if value == 0 else brentq(excess, 0, value - 1e-9)
    high = 1.0 if value == 1 else brentq(excess, value + 1e-9, 1)
    return float(low), float(high)


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(np.mean((probabilities - np.asarray(labels, dtype=float)) ** 2))


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Share of the null at least as large as what was observed, counting the observation (Phipson & Smyth 2010)."""
    return float((1 + (np.asarray(null) >= observed).sum()) / (1 + len(null)))
