"""Estimates over contexts and sentences: weighted, so that both can be resampled at once.

Each cell of a table [context, sentence] shares its context with a row and its sentence with a column, and neither's
rows are independent. Contexts and groups of sentences are resampled independently, and a cell counts by the product
(Owen 2007, the pigeonhole bootstrap; it is somewhat too wide). Fewer contexts than `MIN_GROUPS` are held fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.stats import rankdata

from ..stats import CHANCE, MIN_GROUPS, Estimate, bootstrap_counts, group_codes, interval, proportion

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Weights of contexts [replicate, context] and of sentences [replicate, sentence] -> values [replicate], NaN where
there is none."""
Wider = Callable[[float], tuple[float, float]]
"""A value -> an interval that is held where a bootstrap's touches 0 or 1, since it has no width there."""
OVER_GROUPS = "bootstrap over groups"
WIDENED = "widened where it has no width"


def two_way(
    statistic: Statistic,
    n_contexts: int,
    groups: Sequence[Hashable] | np.ndarray,
    *,
    n: int,
    seed: int,
    share: bool = False,
) -> Estimate:
    """A statistic of a table, with an interval from contexts and groups of sentences resampled.

    Args:
        groups: the group of each sentence.
        n: replicates.
        share: whether the statistic lies between 0 and 1: an interval that touches either is widened to hold Wilson's
            with groups for cases.
    """
    codes, n_groups = group_codes(groups)
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups of sentences are too few for an interval (at least {MIN_GROUPS})")
    value = float(statistic(np.ones((1, n_contexts)), np.ones((1, len(codes))))[0])
    if not np.isfinite(value):
        return Estimate.undefined("only one class, or no spread: there is nothing to compare")
    sentences = bootstrap_counts(n_groups, n, seed)[:, codes].astype(float)
    drawn = n_contexts >= MIN_GROUPS
    contexts = bootstrap_counts(n_contexts, n, seed + 1).astype(float) if drawn else np.ones((n, n_contexts))
    replicates = statistic(contexts, sentences)
    if np.isnan(replicates).mean() > 0.1:
        return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
    fewest = min(n_groups, n_contexts) if drawn else n_groups
    low, high = interval(replicates, fewest)
    what = "sentences' pairs and contexts" if drawn else f"sentences' pairs, {n_contexts} contexts held fixed"
    if share and (low <= 0 or high >= 1):
        least, most = wilson_of(n_groups)(value)
        low, high, what = min(low, least), max(high, most), f"{what}, {WIDENED}"
    return Estimate(value, (min(low, value), max(high, value)), n_contexts * len(codes), f"bootstrap over {what}")


def bootstrap_many(
    statistics: Callable[[np.ndarray], np.ndarray],
    groups: Sequence[Hashable] | np.ndarray,
    *,
    n: int,
    seed: int,
    wider: Sequence[Wider | None] = (),
) -> list[Estimate]:
    """Several statistics of rows at once, with intervals from resampled groups.

    Args:
        statistics: row indices -> values [statistic], NaN where one is undefined.
        groups: the group of each row.
        n: replicates.
        wider: of each statistic, None of one that has no bounds; empty: of none.
    """
    codes, n_groups = group_codes(groups)
    values = statistics(np.arange(len(codes)))
    if n_groups < MIN_GROUPS:
        few = f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})"
        return [Estimate.undefined(few)] * len(values)
    replicates = np.full((n, len(values)), np.nan)
    for i, counts in enumerate(bootstrap_counts(n_groups, n, seed)):
        replicates[i] = statistics(np.repeat(np.arange(len(codes)), counts[codes]))
    out = []
    for value, drawn, more in zip(values, replicates.T, wider or [None] * len(values), strict=True):
        if not np.isfinite(value):
            out.append(Estimate.undefined("undefined on this data: no spread, or too few rows"))
        elif np.isnan(drawn).mean() > 0.1:
            out.append(
                Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
            )
        else:
            (low, high), method = interval(drawn, n_groups), OVER_GROUPS
            if more is not None and (low <= 0 or high >= 1):
                least, most = more(float(value))
                low, high, method = min(low, least), max(high, most), f"{OVER_GROUPS}, {WIDENED}"
            out.append(Estimate(float(value), (low, high), len(codes), method))
    return out


def wilson_of(n_groups: int) -> Wider:
    """Wilson's interval of a share, with groups for cases."""
    return lambda value: proportion(value * n_groups, n_groups).ci95 or (0.0, 1.0)


def apart(found: Estimate, one: Estimate, other: Estimate) -> Estimate:
    """The difference of two estimates, with an interval that has a width where theirs had none: where either is 0 or 1
    and was widened, it is widened to what the two give when combined as independent (Zou & Donner 2008).
    """
    if found.value is None or found.ci95 is None or one.value is None or other.value is None:
        return found
    flat = any(each.value in (0.0, 1.0) and WIDENED in str(each.method) for each in (one, other))
    if one.ci95 is None or other.ci95 is None or not flat:
        return found
    down = float(np.hypot(one.value - one.ci95[0], other.ci95[1] - other.value))
    up = float(np.hypot(one.ci95[1] - one.value, other.value - other.ci95[0]))
    limits = min(found.ci95[0], found.value - down), max(found.ci95[1], found.value + up)
    return Estimate(found.value, limits, found.n, f"{found.method}, {WIDENED}")


def partial_ranks(outcome: np.ndarray, variables: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Rank correlations of an outcome with variables, given covariates: Pearson's of what least squares on those
    leaves of the ranks (Spearman's where there are none).

    Args:
        outcome: [row]; variables: [row, variable].
        given: [row, covariate], without a constant.

    Returns:
        [variable], NaN where nothing is left of one, or rows are hardly more than covariates.
    """
    if len(outcome) < given.shape[1] + 5:
        return np.full(variables.shape[1], np.nan)
    ranks = rankdata(np.column_stack([outcome, variables]), axis=0)
    ranks -= ranks.mean(axis=0)
    design = np.column_stack([np.ones(len(outcome)), given])
    left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    # What rounding leaves of a variable that the covariates give exactly is no rest.
    size = np.linalg.norm(left, axis=0)
    size[size <= 1e-8 * np.maximum(np.linalg.norm(ranks, axis=0), 1e-300)] = np.nan
    return np.asarray((left[:, 0] @ left[:, 1:]) / (size[0] * size[1:]))


def accuracy(scores: np.ndarray, labels: np.ndarray) -> Statistic:
    """Balanced accuracy: the mean of the shares of either label that is on its side. A constant answer has .5.

    Args:
        scores: [context, sentence], above 0 for True; exactly 0 counts half.
        labels: bool [sentence].
    """
    right = np.where(scores == 0, 0.5, (scores > 0) == labels)

    def of(contexts: np.ndarray, sentences: np.ndarray) -> np.ndarray:
        recalls = []
        for side in (False, True):
            weights = sentences * (labels == side)
            with np.errstate(invalid="ignore"):
                found = np.einsum("rc,cs,rs->r", contexts, right, weights, optimize=True)
                recalls.append(found / (contexts.sum(axis=1) * weights.sum(axis=1)))
        return np.asarray((recalls[0] + recalls[1]) / 2)

    return of


def area(scores: np.ndarray, labels: np.ndarray) -> Statistic:
    """AUROC within each context, averaged over contexts: no threshold is needed, so no label is leant to.

    Args:
        scores: [context, sentence]; labels: bool [sentence].
    """
    yes, no = np.flatnonzero(labels), np.flatnonzero(~labels)
    gaps = scores[:, yes, None] - scores[:, None, no]
    won = np.where(gaps > 0, 1.0, np.where(gaps == 0, 0.5, 0.0))

    def of(contexts: np.ndarray, sentences: np.ndarray) -> np.ndarray:
        above = np.einsum("rc,cij->rij", contexts, won, optimize=True)
        found = np.einsum("rij,ri,rj->r", above, sentences[:, yes], sentences[:, no], optimize=True)
        pairs = contexts.sum(axis=1) * sentences[:, yes].sum(axis=1) * sentences[:, no].sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(found / pairs)

    return of


def minus(one: Statistic, other: Statistic) -> Statistic:
    """One statistic minus another of the same contexts and sentences."""
    return lambda contexts, sentences: one(contexts, sentences) - other(contexts, sentences)


def best_of(several: Sequence[Statistic], least: float = CHANCE) -> Statistic:
    """The largest of several, looked for again in every replicate; what is below chance counts as chance."""
    return lambda contexts, sentences: np.fmax(least, np.max([each(contexts, sentences) for each in several], axis=0))


def effect_size(projections: np.ndarray) -> Statistic:
    """Cohen's d of projections when label 1 is asked for against label 0, in pooled standard deviations.

    Args:
        projections: [target 0 or 1, context, sentence]; NaN where there is none.
    """

    def of(contexts: np.ndarray, sentences: np.ndarray) -> np.ndarray:
        means, variances = [], []
        for found in projections:
            there, values = np.isfinite(found).astype(float), np.nan_to_num(found)
            total = np.einsum("rc,cs,rs->r", contexts, there, sentences, optimize=True)
            total = np.where(total > 0, total, np.nan)
            first = np.einsum("rc,cs,rs->r", contexts, values, sentences, optimize=True) / total
            second = np.einsum("rc,cs,rs->r", contexts, values**2, sentences, optimize=True) / total
            means.append(first)
            variances.append(np.maximum(second - first**2, 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.asarray((means[1] - means[0]) / np.sqrt((variances[0] + variances[1]) / 2))
        return np.where(np.isfinite(found), found, np.nan)

    return of
