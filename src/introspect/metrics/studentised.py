"""The permutation test of a difference over its own standard error, by sums of groups.

Of a statistic theta of two sets' sums A and B, every permutation gives T = (theta(A) - theta(B)) / SE. SE is the
linearised (delta-method) one: group g, with sums a_g and b_g in the two sets, moves the difference by
grad theta(A) a_g - grad theta(B) b_g. Squares of that need only sums of products of a group's columns, which are
permuted with the sums themselves, so a permutation costs a product of matrices.

A set of few cases that agree has a linearised SE of 0. So that of a share, or of what else spreads as its value says
(`Ratio.bounded`), is never less than for as many cases out of both sets together; that of a mean is taken about the
mean of both sets, as a score test's is. Both are scaled as the jackknife's is, by m / (m - 1) for the m groups (Kish's
effective number) that a set's cases come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .resampling import Cells, Ratio, Sums, chunks, evaluate, make_cells

TEST = "studentised permutation over groups"
STEP = 1e-5
"""Of a numerical derivative, relative to the sum that is moved."""
TIE = 1e-6
"""Relative: what numerical derivatives leave of the difference between two equal T."""
NOUGHT = 1e-12

Strata = tuple[Cells, Cells, Cells]
"""Cells of groups in both sets, in the first only, in the second only: sums [cell, columns of both sets]."""


class _Moments:
    """Sums of two sets and of the products of their columns that variances are made of."""

    def __init__(self, names: Sequence[str], wanted: Sequence[Sequence[str]]) -> None:
        """Args: names: the columns; wanted: of each statistic, those that it reads."""
        self.columns = [name for name in names if any(name in each for each in wanted)]
        self._places = [names.index(name) for name in self.columns]
        self._pairs = sorted({(a, b) for each in wanted for a in each for b in each})
        self._n_names = len(names)

    def of(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Moments of groups with sums `a` in the first set and `b` in the second, [group, moment]."""
        a, b = a[:, self._places], b[:, self._places]
        at = {name: index for index, name in enumerate(self.columns)}
        parts = [a, b]
        for x, y in ((a, a), (b, b), (a, b)):
            parts += [x[:, at[one], None] * y[:, at[two], None] for one, two in self._pairs]
        return np.hstack(parts)

    def halves(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """The two sets' sums of each cell."""
        return cells.sums[:, : self._n_names], cells.sums[:, self._n_names :]

    def read(self, moments: np.ndarray) -> tuple[Sums, Sums, dict[str, dict[tuple[str, str], np.ndarray]]]:
        """The sums of both sets, and `aa`, `bb`, `ab`: pair of columns -> sum of products, [permutation] each."""
        width = len(self.columns)
        a, b = ({name: moments[:, side * width + i] for i, name in enumerate(self.columns)} for side in (0, 1))
        products = {}
        for place, name in enumerate(("aa", "bb", "ab")):
            start = 2 * width + place * len(self._pairs)
            products[name] = {pair: moments[:, start + i] for i, pair in enumerate(self._pairs)}
        return a, b, products


def permutation_p_values(
    names: Sequence[str], strata: Strata, statistics: Mapping[str, Ratio], *, n: int, seed: int
) -> dict[str, float | None]:
    """Two-sided p of each statistic's difference between two sets, None where it is undefined.

    Args:
        names: the columns, in the order of the strata's sums.
        n: permutations.
    """
    read = {name: columns_read(ratio, names) for name, ratio in statistics.items()}
    moments = _Moments(names, [*read.values()])
    permuted = _permuted(moments, strata, n, np.random.default_rng(seed))
    observed = _observed(moments, strata)
    out = {}
    for name, ratio in statistics.items():
        value = float(_studentised(ratio, read[name], moments, observed)[0])
        out[name] = _p_value(value, _studentised(ratio, read[name], moments, permuted))
    return out


def columns_read(ratio: Ratio, names: Sequence[str]) -> list[str]:
    """The columns that a statistic depends on, in the order of `names`."""
    asked: set[str] = set() if ratio.cases is None else {ratio.cases}

    class Noted(dict[str, np.ndarray]):
        def __getitem__(self, name: str) -> np.ndarray:
            asked.add(name)
            return super().__getitem__(name)

    for value in (ratio.value, ratio.smooth):
        if value is not None:
            with np.errstate(all="ignore"):
                value(Noted({name: np.ones(1) for name in names}))
    return [name for name in names if name in asked]


def _studentised(ratio: Ratio, read: Sequence[str], moments: _Moments, sums: np.ndarray) -> np.ndarray:
    """The difference over its standard error, [permutation]; NaN where either is undefined."""
    a, b, products = moments.read(sums)
    value_a, value_b = evaluate(ratio, a), evaluate(ratio, b)
    gap = value_a - value_b
    both = {name: a[name] + b[name] for name in a}
    slope_a, slope_b = _gradient(ratio, read, a), _gradient(ratio, read, b)
    with np.errstate(all="ignore"):
        own_a, own_b, shared = (
            _form(products[sides], left, right, read)
            for sides, left, right in (("aa", slope_a, slope_a), ("bb", slope_b, slope_b), ("ab", slope_a, slope_b))
        )
        grown_a = grown_b = np.ones(len(gap))
        if ratio.cases is not None:
            pair, weight_a, weight_b = (ratio.cases, ratio.cases), a[ratio.cases], b[ratio.cases]
            each_a, each_b = products["aa"][pair] / weight_a**2, products["bb"][pair] / weight_b**2
            if ratio.bounded:
                slope = _gradient(ratio, read, both)
                spread = sum(_form(products[sides], slope, slope, read) for sides in ("aa", "bb"))
                spread = spread * both[ratio.cases] ** 2 / (products["aa"][pair] + products["bb"][pair])
                own_a, own_b = np.fmax(own_a, spread * each_a), np.fmax(own_b, spread * each_b)
            else:
                together = evaluate(ratio, both)
                off_a, off_b = value_a - together, value_b - together
                own_a, own_b = own_a + off_a**2 * each_a, own_b + off_b**2 * each_b
                shared = shared + off_a * off_b * products["ab"][pair] / (weight_a * weight_b)
            grown_a, grown_b = 1 / np.maximum(1 - each_a, NOUGHT), 1 / np.maximum(1 - each_b, NOUGHT)
        variance = own_a * grown_a**2 + own_b * grown_b**2 - 2 * shared * grown_a * grown_b
        scale = own_a * grown_a**2 + own_b * grown_b**2
        error = np.where(variance > NOUGHT * scale, np.sqrt(np.maximum(variance, 0)), 0.0)
        out: np.ndarray = np.where(np.abs(gap) <= NOUGHT, 0.0, gap / error)
    return np.where(np.isnan(gap) | np.isnan(variance), np.nan, out)


def _gradient(ratio: Ratio, read: Sequence[str], sums: Sums) -> dict[str, np.ndarray]:
    """Derivative of the statistic by each column that it reads, by central differences."""
    smooth = Ratio(ratio.smooth or ratio.value)
    out = {}
    for name in read:
        step = STEP * np.maximum(np.abs(sums[name]), 1.0)
        up, down = (evaluate(smooth, sums | {name: sums[name] + way * step}) for way in (1, -1))
        out[name] = (up - down) / (2 * step)
    return out


def _form(
    products: Mapping[tuple[str, str], np.ndarray],
    left: Mapping[str, np.ndarray],
    right: Mapping[str, np.ndarray],
    read: Sequence[str],
) -> np.ndarray:
    terms = [left[one] * right[two] * products[one, two] for one in read for two in read]
    return np.asarray(np.sum(terms, axis=0), float)


def _p_value(value: float, null: np.ndarray) -> float | None:
    """Share of the null at least as far from 0, counting what was observed (Phipson & Smyth 2010)."""
    null = null[~np.isnan(null)]
    if np.isnan(value) or not len(null):
        return None
    return float((1 + (np.abs(null) >= abs(value) * (1 - TIE)).sum()) / (1 + len(null)))


def _observed(moments: _Moments, strata: Strata) -> np.ndarray:
    """The moments of the two sets as they are, [1, moment]."""
    parts = [cells.counts @ moments.of(*moments.halves(cells)) for cells in strata]
    return np.asarray(np.sum(parts, axis=0), float)[None]


def _permuted(moments: _Moments, strata: Strata, n: int, rng: np.random.Generator) -> np.ndarray:
    """The moments of the two sets under `n` permutations, [permutation, moment]."""
    paired, only_a, only_b = strata
    a, b = moments.halves(paired)
    as_is = moments.of(a, b)
    turn = moments.of(b, a) - as_is
    out = np.zeros((n, as_is.shape[1])) + paired.counts @ as_is
    for part in chunks(n, paired.chunk()):
        out[part] += _coins(paired, part.stop - part.start, rng) @ turn
    alone = np.vstack(
        [np.repeat(moments.halves(cells)[side], cells.counts, axis=0) for side, cells in enumerate((only_a, only_b))]
    )
    pool, n_first = make_cells(alone), only_a.n_groups
    nothing = np.zeros_like(pool.sums)
    in_b = moments.of(nothing, pool.sums)
    move = moments.of(pool.sums, nothing) - in_b
    out += pool.counts @ in_b
    for part in chunks(n, pool.chunk()):
        out[part] += _dealt(pool, n_first, part.stop - part.start, rng) @ move
    return out


def _coins(cells: Cells, n: int, rng: np.random.Generator) -> np.ndarray:
    """How many groups of each cell a fair coin picks, [replicate, cell]."""
    if cells.merged:
        return rng.binomial(cells.counts, 0.5, size=(n, len(cells.counts))).astype(float)
    return rng.integers(0, 2, size=(n, len(cells.counts)), dtype=np.int8).astype(float)


def _dealt(cells: Cells, n_chosen: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """How many groups of each cell are among `n_chosen` chosen without replacement, [replicate, cell]."""
    if cells.merged:
        drawn = rng.multivariate_hypergeometric(cells.counts, n_chosen, size=n, method="marginals")
        return np.asarray(drawn, float)
    keys = rng.random((n, len(cells.counts)))
    if n_chosen == keys.shape[1]:
        return np.ones_like(keys)
    return (keys < np.partition(keys, n_chosen, axis=1)[:, n_chosen, None]).astype(float)
