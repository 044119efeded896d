"""Estimates over rows that share items: weighted, so that all replicates of a bootstrap over items are made at once.

A comparison within strata (kinds of cue, say) compares only rows of one stratum with each other, so that what tells the
strata apart gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.stats import rankdata

from ..stats import (
    CHANCE,
    MIN_GROUPS,
    Z95,
    Estimate,
    bootstrap_counts,
    group_codes,
    interval,
    newcombe_interval,
    proportion,
)

Groups = Sequence[Hashable] | np.ndarray
Statistic = Callable[[np.ndarray], np.ndarray]
"""Weights of rows [replicate, row] -> values [replicate], NaN where there is none."""
METHOD = "bootstrap over groups of items"
TOO_FEW_DRAWS = 0.1
"""Share of replicates without a value above which there is no estimate."""


def over_items(
    statistic: Statistic,
    groups: Groups,
    *,
    n: int,
    seed: int,
    wider: Callable[[float], tuple[float, float]] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    used: np.ndarray | None = None,
) -> Estimate:
    """A statistic of rows, with an interval from resampled groups.

    Args:
        groups: the group of each row.
        n: replicates.
        wider: value -> an interval that is held where the bootstrap's touches a bound, since it has no width there.
        bounds: between which the statistic lies.
        used: bool [row], the rows that the statistic looks at, for its size and number of groups; None: all.
    """
    codes, n_groups = group_codes(groups)
    seen = np.ones(len(codes), dtype=bool) if used is None else used
    n_used = len(set(codes[seen].tolist()))
    if n_used < MIN_GROUPS:
        return Estimate.undefined(f"{n_used} groups of items are too few for an interval (at least {MIN_GROUPS})")
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(np.ones((1, len(codes))))[0])
        replicates = statistic(bootstrap_counts(n_groups, n, seed)[:, codes].astype(float))
    if not np.isfinite(value):
        return Estimate.undefined("there is nothing to compare: one side has no rows")
    if np.isnan(replicates).mean() > TOO_FEW_DRAWS:
        return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
    low, high = interval(replicates, n_used)
    method = METHOD
    if wider is not None and (low <= bounds[0] or high >= bounds[1] or low == high):
        least, most = wider(value)
        low, high, method = min(low, least), max(high, most), f"{METHOD}, widened where it has no width"
    return Estimate(value, (min(low, value), max(high, value)), int(seen.sum()), method)


def mean_of(values: np.ndarray, chosen: np.ndarray) -> Statistic:
    """Mean over the chosen rows (bool [row])."""
    taken = np.where(chosen, values, 0.0)
    return lambda weights: weights @ taken / (weights @ chosen.astype(float))


def share_of(values: np.ndarray, chosen: np.ndarray, groups: Groups, *, n: int, seed: int) -> Estimate:
    """Share of the chosen rows (bool [row]) of which something holds (bool [row]), widened at 0 and 1 by Wilson's."""
    codes, _ = group_codes(groups)
    n_groups = len(set(codes[chosen].tolist()))

    def wider(value: float) -> tuple[float, float]:
        return proportion(value * n_groups, n_groups).ci95 or (value, value)

    return over_items(mean_of(values.astype(float), chosen), groups, n=n, seed=seed, wider=wider, used=chosen)


def gap_of(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> Statistic:
    """Mean over some rows minus the mean over others."""
    one, other = mean_of(values, first), mean_of(values, second)
    return lambda weights: one(weights) - other(weights)


def share_gap(
    values: np.ndarray, first: np.ndarray, second: np.ndarray, groups: Groups, *, n: int, seed: int
) -> Estimate:
    """Share of the first rows of which something holds, minus that of the second. Where the bootstrap has no width, the
    intervals of both shares are combined as independent (Newcombe 1998, method 10), with groups for cases.
    """
    held, (codes, _) = values.astype(float), group_codes(groups)
    sides = [
        (float(held[rows].mean()), len(set(codes[rows].tolist()))) if rows.any() else None for rows in (first, second)
    ]

    def wider(value: float) -> tuple[float, float]:
        (p, n_p), (q, n_q) = (side or (0.0, 0) for side in sides)
        (p_low, p_high), (q_low, q_high) = (proportion(x * k, k).ci95 or (0.0, 1.0) for x, k in ((p, n_p), (q, n_q)))
        down, up = np.hypot(p - p_low, q_high - q), np.hypot(p_high - p, q - q_low)
        return float(value - down), float(value + up)

    return over_items(
        gap_of(held, first, second),
        groups,
        n=n,
        seed=seed,
        wider=wider,
        bounds=(-1.0, 1.0),
        used=first | second,
    )


def paired_share_gap(
    values: np.ndarray, first: np.ndarray, second: np.ndarray, groups: Groups, *, n: int, seed: int
) -> Estimate:
    """The same of rows that are there twice, in the same groups. Where all groups that differ do so to one side, a
    bootstrap never reaches the other: then Agresti and Min's interval (2005, Biometrical Journal 47) is held too, of
    pairs with half an observation added to each of their four kinds, groups' differences standing for pairs.
    """
    held = values.astype(float)
    found = over_items(gap_of(held, first, second), groups, n=n, seed=seed, used=first | second)
    each = by_group(held, first, second, groups)
    each = each[np.isfinite(each)]
    more, less = float(each[each > 0].sum()), float(-each[each < 0].sum())
    if found.value is None or found.ci95 is None or (more > 0 and less > 0):
        return found
    size = len(each) + 2
    centre = (more - less) / size
    half = Z95 * float(np.sqrt(more + less + 1 - (more - less) ** 2 / size)) / size
    low, high = min(found.ci95[0], centre - half), max(found.ci95[1], centre + half)
    return Estimate(found.value, (low, high), found.n, f"{METHOD}, and Agresti and Min's of pairs")


def by_group(values: np.ndarray, first: np.ndarray, second: np.ndarray, groups: Groups) -> np.ndarray:
    """Of each group its mean over the first rows minus that over the second; NaN where it lacks either."""
    codes, n_groups = group_codes(groups)
    sums = [np.bincount(codes[rows], weights=values[rows], minlength=n_groups) for rows in (first, second)]
    counts = [np.bincount(codes[rows], minlength=n_groups) for rows in (first, second)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[0] / counts[0] - sums[1] / counts[1])


def gap_within(values: np.ndarray, first: np.ndarray, second: np.ndarray, strata: Groups) -> Statistic:
    """The same within strata: each stratum's gap, weighted by a b / (a + b) of its a first and b second rows."""
    codes, n_strata = group_codes(strata)
    parts = [(values, first & (codes == code), second & (codes == code)) for code in range(n_strata)]

    def of(weights: np.ndarray) -> np.ndarray:
        total, gained = np.zeros(len(weights)), np.zeros(len(weights))
        for held, one, other in parts:
            a, b = weights @ one.astype(float), weights @ other.astype(float)
            both = (a > 0) & (b > 0)
            weight = np.where(both, a * b / np.where(both, a + b, 1.0), 0.0)
            found = weights @ np.where(one, held, 0.0) / a - weights @ np.where(other, held, 0.0) / b
            gained += np.where(both, weight * np.nan_to_num(found), 0.0)
            total += weight
        return np.where(total > 0, gained / total, np.nan)

    return of


def area_within(scores: np.ndarray, first: np.ndarray, second: np.ndarray, strata: Groups) -> Statistic:
    """AUROC within strata: P(score of a first row > that of a second row of its stratum), ties counted half."""
    codes, n_strata = group_codes(strata)
    parts = []
    for code in range(n_strata):
        yes, no = np.flatnonzero(first & (codes == code)), np.flatnonzero(second & (codes == code))
        if len(yes) and len(no):
            over = scores[yes][:, None] - scores[no][None]
            parts.append((yes, no, np.where(over > 0, 1.0, np.where(over == 0, 0.5, 0.0))))

    def of(weights: np.ndarray) -> np.ndarray:
        won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for yes, no, wins in parts:
            one, other = weights[:, yes], weights[:, no]
            won += ((one @ wins) * other).sum(axis=1)
            pairs += one.sum(axis=1) * other.sum(axis=1)
        return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), np.nan)

    return of


def area_estimate(
    scores: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    strata: Groups,
    groups: Groups,
    *,
    n: int,
    seed: int,
    baselines: Sequence[np.ndarray] = (),
) -> Estimate:
    """AUROC within strata; with baselines, what it goes beyond the largest of theirs and of chance, which is looked for
    again in every replicate. Where an AUROC's own interval has no width, Newcombe's are taken (and combined).
    """
    codes, _ = group_codes(groups)
    own = area_within(scores, first, second, strata)
    others = [area_within(each, first, second, strata) for each in baselines]
    sizes = len(set(codes[first].tolist())), len(set(codes[second].tolist()))
    once = np.ones((1, len(codes)))

    def best(weights: np.ndarray) -> np.ndarray:
        return np.fmax(CHANCE, np.max([each(weights) for each in others], axis=0))

    def newcombe(value: float) -> tuple[float, float]:
        return newcombe_interval(value, *sizes) if min(sizes) else (0.0, 1.0)

    used = first | second
    if not others:
        return over_items(own, groups, n=n, seed=seed, wider=newcombe, used=used)
    if not (first.any() and second.any()):
        return Estimate.undefined("there is nothing to compare: one side has no rows")
    value, base = float(own(once)[0]), float(best(once)[0])
    found = over_items(lambda weights: own(weights) - best(weights), groups, n=n, seed=seed, used=used)
    flat = value in (0.0, 1.0) or base == 1.0
    if found.ci95 is None or not flat:
        return found
    (low, high), (base_low, base_high) = newcombe(value), newcombe(base)
    gain = value - base
    down = np.hypot(value - low, max(base_high, CHANCE) - base)
    up = np.hypot(high - value, base - max(base_low, CHANCE))
    limits = (float(min(found.ci95[0], gain - down)), float(max(found.ci95[1], gain + up)))
    return Estimate(found.value, limits, found.n, f"{METHOD}, widened where it has no width")


def rank_correlation(one: np.ndarray, other: np.ndarray, chosen: np.ndarray, strata: Groups) -> Statistic:
    """Correlation of ranks within strata, over the chosen rows (bool [row]). Ranks are those of all chosen rows."""
    codes, n_strata = group_codes(strata)
    x, y = np.zeros(len(codes)), np.zeros(len(codes))
    parts = [np.flatnonzero(chosen & (codes == code)) for code in range(n_strata)]
    for rows in parts:
        if len(rows):
            x[rows], y[rows] = rankdata(one[rows]) / len(rows), rankdata(other[rows]) / len(rows)

    def of(weights: np.ndarray) -> np.ndarray:
        both, first, second = (np.zeros(len(weights)) for _ in range(3))
        for rows in parts:
            w, a, b = weights[:, rows], x[rows], y[rows]
            total = w.sum(axis=1, keepdims=True)
            a, b = a - (w @ a)[:, None] / total, b - (w @ b)[:, None] / total
            both += np.nansum(w * a * b, axis=1)
            first += np.nansum(w * a * a, axis=1)
            second += np.nansum(w * b * b, axis=1)
        scale = np.sqrt(first * second)
        return np.where(scale > 1e-12, both / np.where(scale > 1e-12, scale, 1.0), np.nan)

    return of
