"""Estimates of a study: shares and their differences, means over words, d', regressions.

Intervals of shares and of d' are made from counts, and have a width where all or none of the trials are hits; the
others resample words, never trials.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import norm

from ..errors import EstimateError
from ..stats import MIN_GROUPS, Estimate, bootstrap, permutation_p, proportion
from ..validation.table import exact_share

Groups = Sequence[Hashable]


def exact(hits: Sequence[bool]) -> Estimate:
    """A share of trials with its Clopper-Pearson interval."""
    if not len(hits):
        return Estimate.undefined("no trials")
    return exact_share(int(np.sum(hits)), len(hits))


def mean(values: Sequence[float | None], words: Groups, *, n: int, seed: int, within_one: bool = False) -> Estimate:
    """The mean of those values that are numbers, with a bootstrap interval over words.

    Args:
        within_one: values lie between 0 and 1: an interval that touches either is widened to hold Wilson's.
    """
    kept = [(value, word) for value, word in zip(values, words, strict=True) if value is not None]
    if not kept:
        return Estimate.undefined("no trials that gave a number")
    array = np.array([value for value, _ in kept])
    groups = [word for _, word in kept]
    share_of = len(set(groups)) if within_one else None
    return bootstrap(lambda rows: float(array[rows].mean()), groups, n=n, seed=seed, share_of=share_of)


def difference_of_shares(one: Sequence[bool], other: Sequence[bool]) -> Estimate:
    """A share of trials minus a share of others, with Newcombe's hybrid score interval (1998, Statistics in Medicine
    17, 873-890, method 10). It has a width where a share is 0 or 1.
    """
    if not len(one) or not len(other):
        return Estimate.undefined("no trials on one side")
    a, b = (proportion(float(np.sum(each)), len(each)) for each in (one, other))
    low, high = _combined(a, b, 0.0)
    return Estimate(_value(a) - _value(b), (low, high), len(one) + len(other), "newcombe's hybrid score, unpaired")


def paired_difference_of_shares(one: Sequence[bool], other: Sequence[bool]) -> Estimate:
    """As `difference_of_shares`, of the same words, in their order (Newcombe 1998, Statistics in Medicine 17,
    2635-2650, method 10: the correlation of both is allowed for).
    """
    first, second = np.array(one, dtype=bool), np.array(other, dtype=bool)
    if not len(first):
        return Estimate.undefined("no words with both")
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only, only_other = int((first & ~second).sum()), int((~first & second).sum())
    product = both * neither - only * only_other
    if product > 0:
        product = max(product - len(first) / 2, 0)  # type: ignore[assignment]
    sizes = float(first.sum() * (~first).sum() * second.sum() * (~second).sum())
    correlation = product / math.sqrt(sizes) if sizes else 0.0
    a, b = (proportion(float(each.sum()), len(each)) for each in (first, second))
    low, high = _combined(a, b, correlation)
    return Estimate(_value(a) - _value(b), (low, high), len(first), "newcombe's hybrid score, paired by word")


def _combined(a: Estimate, b: Estimate, correlation: float) -> tuple[float, float]:
    """An interval of a - b from the intervals of both."""
    (low_a, high_a), (low_b, high_b) = a.ci95 or (0.0, 1.0), b.ci95 or (0.0, 1.0)
    value = _value(a) - _value(b)

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))

    low = value - reach(_value(a) - low_a, high_b - _value(b))
    return low, value + reach(high_a - _value(a), _value(b) - low_b)


def _value(share: Estimate) -> float:
    return 0.0 if share.value is None else share.value


DRAWS = 10_000
"""Of the two rates of a d'."""


def d_prime(hits: Sequence[bool], false: Sequence[bool], *, seed: int) -> Estimate:
    """Signal detection's d' of saying yes. Two cases are added, one a yes, shared out by the sizes of the two sets, so
    that no rate is 0 or 1 and equal rates give 0 (log-linear; Hautus 1995).

    The interval is the central 95% of d' over draws of both rates from their posteriors under Jeffreys' prior,
    Beta(k + 1/2, n - k + 1/2): it has a width where all or none of the trials said yes, as a bootstrap of them has not.
    """
    if not len(hits) or not len(false):
        return Estimate.undefined("no trials on one side")
    rng, rates, draws = np.random.default_rng(seed), [], []
    for each in (hits, false):
        k, n = int(np.sum(each)), len(each)
        part = 2 * n / (len(hits) + len(false))
        rates.append((k + part / 2) / (n + part))
        draws.append(norm.ppf(rng.beta(k + 0.5, n - k + 0.5, DRAWS)))
    value = float(norm.ppf(rates[0]) - norm.ppf(rates[1]))
    low, high = (float(each) for each in np.quantile(draws[0] - draws[1], [0.025, 0.975]))
    method = "log-linear rates; interval of draws under Jeffreys' prior"
    return Estimate(value, (min(low, value), max(high, value)), len(hits) + len(false), method)


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


LEAST_RELIABLE = 0.1
"""Reliability of x below which nothing is corrected for it."""


def corrected_line(
    x: Sequence[Sequence[float]], y: Sequence[float], words: Groups, *, n: int, seed: int
) -> dict[str, Estimate]:
    """What errors in x do to `line`, from x measured several times in each point.

    Least squares takes x for exact; noise in it flattens the line by the reliability of x, and what the slope loses the
    intercept gains. `reliability` is that of the mean of x's measurements: one-way intraclass correlation, (B - W) / B
    of the mean squares between and within points (Shrout & Fleiss 1979, ICC(1, k)). `slope` and `intercept` are those
    of `line` with the slope divided by it; errors are taken to be independent of those in y.

    Args:
        x: [point, measurement], as many in every point.
    """
    names = ("reliability", "slope", "intercept")
    table, ys = np.array(x, dtype=float), np.array(y, dtype=float)
    if table.ndim < 2 or table.shape[1] < 2:
        return dict.fromkeys(names, Estimate.undefined("x was measured once a point: its noise cannot be told"))

    def fit(rows: np.ndarray) -> tuple[float, float, float]:
        a, b = table[rows], ys[rows]
        means = a.mean(axis=1)
        if len(rows) < 3 or np.ptp(means) == 0:
            raise EstimateError("fewer than three points, or all alike: there is no line through them")
        between, within = a.shape[1] * means.var(ddof=1), a.var(axis=1, ddof=1).mean()
        reliable = max(0.0, float((between - within) / between))
        if reliable < LEAST_RELIABLE:
            return reliable, math.nan, math.nan
        slope = float(np.polyfit(means, b, 1)[0]) / reliable
        return reliable, slope, float(b.mean() - slope * means.mean())

    def estimate(k: int) -> Estimate:
        def of_rows(rows: np.ndarray) -> float:
            value = fit(rows)[k]
            if math.isnan(value):
                raise EstimateError("x is measured with too much noise to correct for it")
            return value

        return bootstrap(of_rows, words, n=n, seed=seed)

    return {name: estimate(k) for k, name in enumerate(names)}


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
