"""Differences between two sets of rows, with an interval and a test.

Items (groups) that are in both sets are paired. The interval resamples groups, those in both, in one and in the other
each among themselves. The test is a permutation of groups: a group that is in both sets has them swapped, or not, by a
coin; groups in one set only are dealt anew to the two sets, as many to each as before. Under the hypothesis that the
sets do not differ, both leave the distribution of the data as it is, so the test is exact but for the number of draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..stats import Estimate, interval
from .resampling import (
    DRAWS,
    MOST_UNDEFINED,
    TIE,
    Cells,
    Ratio,
    chunks,
    codes_of,
    difference_interval,
    estimate,
    evaluate,
    group_sums,
    hull,
    make_cells,
    resample,
)

TEST = "permutation over groups"


@dataclass(frozen=True)
class Difference:
    """A difference with its two-sided test."""

    estimate: Estimate
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        """`difference` (an estimate), `p_value` (None where it is undefined) and `test`."""
        p_value = None if self.p_value is None else round(self.p_value, 6)
        return {"difference": self.estimate.to_json(), "p_value": p_value, "test": TEST}


def difference_estimates(
    columns: Mapping[str, np.ndarray],
    groups: Sequence[Hashable] | np.ndarray,
    first: np.ndarray,
    statistics: Mapping[str, Ratio],
    *,
    n: int = DRAWS,
    seed: int = 0,
) -> dict[str, Difference]:
    """Each statistic on the rows where `first` holds, minus the same on the others.

    Args:
        columns, groups, statistics: as in `resampling.ratio_estimates`.
        first: bool [row].
        n: replicates of the bootstrap, and permutations.
    """
    if not len(np.asarray(first)):
        return {name: Difference(Estimate.undefined("there are no such rollouts"), None) for name in statistics}
    sides = _split(columns, groups, first)
    rng = np.random.default_rng(seed)
    drawn = _Sides(columns, resample([cells for cells in sides.cells if cells.n_groups], n, rng))
    dealt = _Sides(columns, _permuted(*sides.cells, n, rng))
    totals = _Sides(columns, np.hstack([sides.a, sides.b]).sum(axis=0, keepdims=True))
    out = {}
    for name, ratio in statistics.items():
        index = None if ratio.cases is None else [*columns].index(ratio.cases)
        cases = (sides.rows_a, sides.rows_b) if index is None else (sides.a[:, index], sides.b[:, index])
        out[name] = _difference(ratio, totals, drawn, dealt, cases)
    return out


def permutation_p(
    columns: Mapping[str, np.ndarray],
    groups: Sequence[Hashable] | np.ndarray,
    first: np.ndarray,
    statistic: Ratio,
    *,
    n: int = DRAWS,
    seed: int = 0,
) -> float | None:
    """The test of `difference_estimates` alone, for one statistic; None where it is undefined."""
    sides = _split(columns, groups, first)
    totals = _Sides(columns, np.hstack([sides.a, sides.b]).sum(axis=0, keepdims=True))
    dealt = _Sides(columns, _permuted(*sides.cells, n, np.random.default_rng(seed)))
    return _p_value(float(totals.gap(statistic)[0]), dealt.gap(statistic))


@dataclass(frozen=True)
class _Split:
    """Sums [group, column] and rows [group] of the two sets; cells of groups in both, in the first, in the second."""

    a: np.ndarray
    b: np.ndarray
    rows_a: np.ndarray
    rows_b: np.ndarray
    cells: tuple[Cells, Cells, Cells]


def _split(columns: Mapping[str, np.ndarray], groups: Sequence[Hashable] | np.ndarray, first: np.ndarray) -> _Split:
    codes, n_groups = codes_of(groups)
    first = np.asarray(first, bool)
    a, b = (
        group_sums({name: column * rows for name, column in columns.items()}, codes, n_groups)
        for rows in (first, ~first)
    )
    rows_a, rows_b = (np.bincount(codes, rows, minlength=n_groups) for rows in (first, ~first))
    in_a, in_b = rows_a > 0, rows_b > 0
    both, only_a, only_b = (
        make_cells(np.hstack([a[mine], b[mine]])) for mine in (in_a & in_b, in_a & ~in_b, in_b & ~in_a)
    )
    return _Split(a, b, rows_a, rows_b, (both, only_a, only_b))


class _Sides:
    """Sums of the two sets in every replicate, from [replicate, columns of the first and then of the second]."""

    def __init__(self, columns: Mapping[str, np.ndarray], sums: np.ndarray) -> None:
        self.a = {name: sums[:, index] for index, name in enumerate(columns)}
        self.b = {name: sums[:, len(columns) + index] for index, name in enumerate(columns)}

    def gap(self, ratio: Ratio) -> np.ndarray:
        """The statistic of the first minus that of the second."""
        return evaluate(ratio, self.a) - evaluate(ratio, self.b)


def _difference(
    ratio: Ratio, totals: _Sides, drawn: _Sides, dealt: _Sides, cases: tuple[np.ndarray, np.ndarray]
) -> Difference:
    (a, edge_a), (b, edge_b) = (
        estimate(ratio, totals.a, drawn.a, cases[0]),
        estimate(ratio, totals.b, drawn.b, cases[1]),
    )
    for side in (a, b):
        if side.value is None:
            return Difference(Estimate.undefined(f"one of the two is undefined: {side.reason}"), None)
    value = float(totals.gap(ratio)[0])
    replicates = drawn.gap(ratio)
    if np.isnan(replicates).mean() > MOST_UNDEFINED:
        why = "undefined in more than a tenth of the bootstrap replicates: too little data"
        return Difference(Estimate.undefined(why), None)
    limits, method = interval(replicates), "bootstrap over groups"
    if (edge_a or edge_b) and a.value is not None and b.value is not None and a.ci95 and b.ci95:
        limits = hull(limits, difference_interval(a.value, a.ci95, b.value, b.ci95))
        method = "bootstrap and newcombe over groups"
    return Difference(Estimate(value, limits, (a.n or 0) + (b.n or 0), method), _p_value(value, dealt.gap(ratio)))


def _p_value(value: float, null: np.ndarray) -> float | None:
    """Share of the null at least as far from 0, counting what was observed (Phipson & Smyth 2010)."""
    null = null[np.isfinite(null)]
    if np.isnan(value) or not len(null):
        return None
    return float((1 + (np.abs(null) >= abs(value) - TIE).sum()) / (1 + len(null)))


def _permuted(paired: Cells, only_a: Cells, only_b: Cells, n: int, rng: np.random.Generator) -> np.ndarray:
    """Sums of the two sets under `n` permutations, [replicate, columns of the first and then of the second]."""
    width = paired.sums.shape[1] // 2
    out = np.zeros((n, 2 * width))
    turn = np.hstack([paired.sums[:, width:], paired.sums[:, :width]]) - paired.sums
    for part in chunks(n, paired.chunk()):
        out[part] += paired.counts @ paired.sums + _coins(paired, part.stop - part.start, rng) @ turn
    alone = np.vstack(
        [
            np.repeat(only_a.sums[:, :width], only_a.counts, axis=0),
            np.repeat(only_b.sums[:, width:], only_b.counts, axis=0),
        ]
    )
    pool, n_first = make_cells(alone), only_a.n_groups
    for part in chunks(n, pool.chunk()):
        chosen = _dealt(pool, n_first, part.stop - part.start, rng) @ pool.sums
        out[part] += np.hstack([chosen, pool.counts @ pool.sums - chosen])
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
