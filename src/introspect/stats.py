"""Estimates with intervals: proportions, AUROC, calibration, and the bootstrap over groups.

Rows that share a group (a noun, an item) are not independent, so every interval but a single proportion's resamples
groups, not rows. A quantity that is undefined on some data is an `Estimate` with a reason, never a number.

Known trade-off: intervals are percentile intervals. They are honest at the sizes of a study and a little short for very
few groups; below `MIN_GROUPS` groups none is given. Near 0 and 1 they are too short (at an AUROC of 1 they have no
width at all), so one that touches 0 or 1 is widened to hold Newcombe's or Wilson's with groups for cases.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from .errors import EstimateError

MIN_GROUPS = 5
CHANCE = 0.5
"""AUROC of a score that says nothing."""
Z95 = float(norm.ppf(0.975))
ROUNDING = 1e-9
"""A product that is this close below a whole number is one."""


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
    n_positive, n_negative = int(labels.sum()), int((~labels).sum())
    if not n_positive or not n_negative:
        raise EstimateError(f"AUROC needs both classes: there are {n_positive} positives and {n_negative} negatives")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def group_codes(groups: Sequence[Hashable] | np.ndarray) -> tuple[np.ndarray, int]:
    """Groups as integers [row], numbered in order of first appearance, and how many there are."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
    return codes, len(numbers)


def bootstrap_counts(n_groups: int, n: int, seed: int) -> np.ndarray:
    """How often each group is drawn in each replicate: int [replicate, group], rows summing to `n_groups`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n)


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """The central 95% of the finite replicates."""
    low, high = np.quantile(replicates[np.isfinite(replicates)], [0.025, 0.975])
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
    limits = interval(replicates)
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
        low, high = interval(replicates[k])
        if low <= 0 or high >= 1:
            widened = True
            low, high = _outer((low, high), newcombe_interval(values[k], *sizes))
        bounds[k] = low, high
    name = f"{method}, widened by newcombe's" if widened else method
    if len(columns) == 1:
        return Estimate(values[0], bounds[0], len(codes), name)
    limits = interval(replicates[0] - np.fmax(np.max(replicates[1:], axis=0), CHANCE))
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


def most_accurate_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold above which calling a row positive is right most often; of equals, the middle one.

    Args:
        scores: [row]; labels: bool [row].
    """
    order = np.argsort(scores, kind="stable")
    ranked, labels = scores[order], np.asarray(labels, dtype=bool)[order]
    right = np.concatenate([[0], np.cumsum(~labels)]) + np.concatenate([np.cumsum(labels[::-1])[::-1], [0]])
    cuts = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = np.flatnonzero(cuts & (right == right[cuts].max()))
    cut = int(best[len(best) // 2])
    if cut in (0, len(ranked)):
        return float(np.nextafter(ranked[0], -np.inf) if cut == 0 else ranked[-1])
    return float((ranked[cut - 1] + ranked[cut]) / 2)


def threshold_at_fpr(negatives: np.ndarray, fpr: float) -> float:
    """The smallest threshold t such that at most `fpr` of these very negatives score strictly above t.

    For a rate on the rows that it is set on; of new ones more pass: `carried_threshold`.

    Raises:
        EstimateError: there are no negatives.
    """
    if not len(negatives):
        raise EstimateError("no negatives to set a threshold on")
    allowed = int(np.floor(fpr * len(negatives)))
    return float(np.sort(negatives)[len(negatives) - 1 - allowed])


def fewest_negatives(fpr: float) -> int:
    """Fewest negatives on which a threshold can be set that new ones pass at a rate of at most `fpr`."""
    return int(np.ceil(1 / fpr - ROUNDING)) - 1


def allowed_above(n: np.ndarray | int, fpr: float) -> np.ndarray:
    """How many of `n` negatives may score above a carried threshold, int; -1: too few for any.

    Of n negatives and a new one, each is as likely to be at any rank, so a new one scores above the threshold that k of
    n do at a rate of (k + 1) / (n + 1).
    """
    allowed: np.ndarray = np.floor(fpr * (np.asarray(n) + 1) + ROUNDING).astype(np.int64) - 1
    return allowed


def carried_threshold(negatives: np.ndarray, fpr: float) -> float:
    """The smallest of the negatives' scores that new negatives score strictly above at an expected rate of at most
    `fpr`.

    Raises:
        EstimateError: there are too few negatives for any.
    """
    n, needed = len(negatives), fewest_negatives(fpr)
    if n < needed:
        raise EstimateError(
            f"{n} negatives are too few for a threshold that {fpr:.3g} of new ones pass: it needs {needed}"
        )
    return float(np.sort(negatives)[n - 1 - int(allowed_above(n, fpr))])


def tpr_at_fpr(scores: np.ndarray, labels: np.ndarray, fpr: float) -> float:
    """Share of positives above the threshold that at most `fpr` of the negatives pass.

    Raises:
        EstimateError: a class is missing.
    """
    labels = np.asarray(labels, dtype=bool)
    if not labels.any():
        raise EstimateError("no positives to find")
    return float((scores[labels] > threshold_at_fpr(scores[~labels], fpr)).mean())


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(np.mean((probabilities - np.asarray(labels, dtype=float)) ** 2))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean |confidence - accuracy| over equal-mass bins, weighted by their rows (Nixon et al. 2019)."""
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [
        abs(probabilities[part].mean() - np.asarray(labels, dtype=float)[part].mean()) * len(part) for part in parts
    ]
    return float(sum(gaps) / len(order))


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Share of the null at least as large as what was observed, counting the observation (Phipson & Smyth 2010)."""
    return float((1 + (np.asarray(null) >= observed).sum()) / (1 + len(null)))
