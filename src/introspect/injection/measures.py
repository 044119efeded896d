"""Estimates of a study: shares, means over words, d', regressions. Intervals resample words, never trials."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.stats import norm

from ..errors import EstimateError
from ..stats import MIN_GROUPS, Estimate, bootstrap, permutation_p
from ..validation.table import exact_share

Groups = Sequence[Hashable]


def exact(hits: Sequence[bool]) -> Estimate:
    """A share of trials with its Clopper-Pearson interval."""
    if not len(hits):
        return Estimate.undefined("no trials")
    return exact_share(int(np.sum(hits)), len(hits))


def mean(values: Sequence[float | None], words: Groups, *, n: int, seed: int) -> Estimate:
    """The mean of those values that are numbers, with a bootstrap interval over words."""
    kept = [(value, word) for value, word in zip(values, words, strict=True) if value is not None]
    if not kept:
        return Estimate.undefined("no trials that gave a number")
    array = np.array([value for value, _ in kept])
    return bootstrap(lambda rows: float(array[rows].mean()), [word for _, word in kept], n=n, seed=seed)


def difference(
    one: Sequence[float], one_words: Groups, other: Sequence[float], other_words: Groups, *, n: int, seed: int
) -> Estimate:
    """Mean of one set of trials minus that of another, over words that both may share."""
    return _of_two(lambda a, b: float(a.mean() - b.mean()), one, one_words, other, other_words, n=n, seed=seed)


def d_prime(
    hits: Sequence[bool], hit_words: Groups, false: Sequence[bool], false_words: Groups, *, n: int, seed: int
) -> Estimate:
    """Signal detection's d' of saying yes. Two cases are added, one a yes, shared out by the sizes of the two sets, so
    that no rate is 0 or 1 and equal rates give 0 (log-linear; Hautus 1995).
    """
    return _of_two(_d_prime, hits, hit_words, false, false_words, n=n, seed=seed)


def _d_prime(hits: np.ndarray, false: np.ndarray) -> float:
    parts = [2 * len(each) / (len(hits) + len(false)) for each in (hits, false)]
    rates = [(each.sum() + part / 2) / (len(each) + part) for each, part in zip((hits, false), parts, strict=True)]
    return float(norm.ppf(rates[0]) - norm.ppf(rates[1]))


def _of_two(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    one: Sequence[float] | Sequence[bool],
    one_words: Groups,
    other: Sequence[float] | Sequence[bool],
    other_words: Groups,
    *,
    n: int,
    seed: int,
) -> Estimate:
    values = np.array([*one, *other], dtype=float)
    is_one = np.arange(len(values)) < len(one)

    def of_rows(rows: np.ndarray) -> float:
        here = is_one[rows]
        if here.all() or not here.any():
            raise EstimateError("one of two sets of trials is empty")
        return statistic(values[rows[here]], values[rows[~here]])

    return bootstrap(of_rows, [*one_words, *other_words], n=n, seed=seed)


def line(x: Sequence[float], y: Sequence[float], words: Groups, *, n: int, seed: int) -> dict[str, Estimate]:
    """Least squares of y on x: `r`, `slope`, and `intercept`, what is left of y where x is zero."""
    xs, ys = np.array(x, dtype=float), np.array(y, dtype=float)

    def fit(rows: np.ndarray) -> tuple[float, float, float]:
        a, b = xs[rows], ys[rows]
        if len(rows) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
            raise EstimateError("fewer than three points, or all alike: there is no line through them")
        slope, intercept = np.polyfit(a, b, 1)
        return float(np.corrcoef(a, b)[0, 1]), float(slope), float(intercept)

    names = ("r", "slope", "intercept")
    return {
        name: bootstrap(lambda rows, k=k: fit(rows)[k], words, n=n, seed=seed)  # type: ignore[misc]
        for k, name in enumerate(names)
    }


FEWEST_A_PREDICTOR = 5
"""Words for each predictor of a regression."""


def coefficients(
    predictors: dict[str, Sequence[float]], outcome: Sequence[float], words: Groups, *, n: int, seed: int
) -> dict[str, Estimate]:
    """Standardised coefficients of a linear regression, one row a word, with bootstrap intervals over words.

    Each predictor and the outcome are divided by their standard deviations, in each replicate anew.
    """
    names = list(predictors)
    table = np.column_stack([np.asarray(predictors[name], dtype=float) for name in names])
    y = np.asarray(outcome, dtype=float)
    if len(y) < max(MIN_GROUPS, FEWEST_A_PREDICTOR * len(names)):
        few = f"{len(y)} words are too few for {len(names)} predictors (at least {FEWEST_A_PREDICTOR * len(names)})"
        return dict.fromkeys(names, Estimate.undefined(few))

    def fit(rows: np.ndarray) -> np.ndarray:
        a, b = table[rows], y[rows]
        spread, own = a.std(axis=0), b.std()
        if not spread.all() or not own:
            raise EstimateError("a predictor or the outcome is the same for all words")
        scaled = (a - a.mean(axis=0)) / spread
        solution: np.ndarray = np.linalg.lstsq(scaled, (b - b.mean()) / own, rcond=None)[0]
        return solution

    return {
        name: bootstrap(lambda rows, k=k: float(fit(rows)[k]), words, n=n, seed=seed)  # type: ignore[misc]
        for k, name in enumerate(names)
    }


def permuted(named: np.ndarray, *, n: int, seed: int) -> tuple[Estimate, float | None]:
    """How often trials would name their word if the words were dealt out to the trials again.

    Args:
        named: bool [trial, trial]: whether trial i names the word of trial j.

    Returns:
        The mean of the null with its central 95%, and the p-value of what was seen.
    """
    if len(named) < 2:
        return Estimate.undefined("fewer than two trials to deal words out to"), None
    rng, trials = np.random.default_rng(seed), np.arange(len(named))
    null = np.array([named[trials, rng.permutation(trials)].mean() for _ in range(n)])
    low, high = np.quantile(null, [0.025, 0.975])
    p = permutation_p(float(named[trials, trials].mean()), null)
    return Estimate(float(null.mean()), (float(low), float(high)), len(named), "permutation of words over trials"), p
