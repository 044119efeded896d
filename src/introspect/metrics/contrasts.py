"""Differences between two sets of rows, with an interval and a test.

Items (groups) that are in both sets are paired. The interval resamples groups, those in both, in one and in the other
each among themselves. The test is a permutation of groups: a group that is in both sets has them swapped, or not, by a
coin; groups in one set only are dealt anew to the two sets, as many to each as before. What is permuted is the
difference over its own standard error (see `studentised`), so that the test holds, in large samples, where the
statistic is the same in both sets and all else (how many cases there are, how they spread) is not; the bare difference
would reject such sets far too often (Janssen 1997; Chung & Romano 2013).
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
    Ratio,
    codes_of,
    difference_interval,
    estimate,
    evaluate,
    group_sums,
    hull,
    make_cells,
    resample,
    without_dust,
)
from .studentised import TEST, Strata, permutation_p_values

__all__ = ["TEST", "Difference", "difference_estimates", "permutation_p"]


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
    drawn = _Sides(
        columns, resample([cells for cells in sides.strata if cells.n_groups], n, np.random.default_rng(seed))
    )
    totals = _Sides(columns, np.hstack([sides.a, sides.b]).sum(axis=0, keepdims=True))
    p_values = permutation_p_values([*columns], sides.strata, statistics, n=n, seed=seed)
    out = {}
    for name, ratio in statistics.items():
        index = None if ratio.cases is None else [*columns].index(ratio.cases)
        cases = (sides.rows_a, sides.rows_b) if index is None else (sides.a[:, index], sides.b[:, index])
        out[name] = _difference(ratio, totals, drawn, p_values[name], cases)
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
    strata = _split(columns, groups, first).strata
    return permutation_p_values([*columns], strata, {"one": statistic}, n=n, seed=seed)["one"]


@dataclass(frozen=True)
class _Split:
    """Sums [group, column] and rows [group] of the two sets; cells of groups in both, and in one only."""

    a: np.ndarray
    b: np.ndarray
    rows_a: np.ndarray
    rows_b: np.ndarray
    strata: Strata


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
    ratio: Ratio, totals: _Sides, drawn: _Sides, p_value: float | None, cases: tuple[np.ndarray, np.ndarray]
) -> Difference:
    (a, edge_a), (b, edge_b) = (
        estimate(ratio, totals.a, drawn.a, cases[0]),
        estimate(ratio, totals.b, drawn.b, cases[1]),
    )
    for side in (a, b):
        if side.value is None:
            return Difference(Estimate.undefined(f"one of the two is undefined: {side.reason}"), None)
    value = without_dust(float(totals.gap(ratio)[0]))
    replicates = drawn.gap(ratio)
    if np.isnan(replicates).mean() > MOST_UNDEFINED:
        why = "undefined in more than a tenth of the bootstrap replicates: too little data"
        return Difference(Estimate.undefined(why), None)
    n_groups = min(int((each > 0).sum()) for each in cases)
    limits, method = interval(replicates, n_groups), "bootstrap over groups"
    if (edge_a or edge_b) and a.value is not None and b.value is not None and a.ci95 and b.ci95:
        limits = hull(limits, difference_interval(a.value, a.ci95, b.value, b.ci95))
        method = "bootstrap and newcombe over groups"
    notes = [] if ratio.note is None else [note for side in (drawn.a, drawn.b) if (note := ratio.note(side))]
    return Difference(Estimate(value, limits, (a.n or 0) + (b.n or 0), "; ".join([method, *notes])), p_value)
