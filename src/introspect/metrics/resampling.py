"""The bootstrap over groups for whatever is a function of sums: shares, ratios, slopes, coefficients of a 2x2 table.

Rows are summed within their groups once. A replicate is then how often each group is drawn, times those sums, and a
statistic is a vectorised function of the resampled sums; all statistics of a section share one resampling, so that
quantities which depend on each other (p, q, alpha, F) are recomputed together. Groups with equal sums are drawn
together (a multinomial over the distinct ones), so a hundred thousand rollouts cost little more than a hundred. Nothing
depends on the order of rows or on the names of groups.

Intervals are expanded percentile intervals, as in `stats`. Where a replicate in forty or more has nothing of what a
statistic counts (no verbalised chain, say) the bootstrap sees no spread there, and the interval is widened to hold a
closed form with groups for cases, such as Wilson's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..stats import MIN_GROUPS, Estimate, group_codes, interval, proportion

Sums = dict[str, np.ndarray]
"""Column -> its sum in every replicate."""
Interval = tuple[float, float]

DRAWS = 2000
EDGE = 0.025
"""Share of replicates from which on a count that vanishes in them widens an interval."""
MOST_UNDEFINED = 0.1
CHUNK = 1 << 17
"""Numbers drawn at once: what a processor's cache holds is twice as fast."""
TIE = 1e-12


@dataclass(frozen=True)
class Ratio:
    """A statistic of sums."""

    value: Callable[[Sums], np.ndarray]
    """Sums -> value in every replicate; NaN where it is undefined."""
    cases: str | None = None
    """The column that counts its cases; None: rows."""
    edges: Callable[[Sums], Sequence[np.ndarray]] | None = None
    """Quantities, at least 0, such that there is no spread left to see where one of them is 0."""
    outer: Callable[[Sums, int], Interval] | None = None
    """Sums of all rows and groups with cases -> an interval that holds at the edges too."""
    reason: str = "undefined on these rollouts"
    single: bool = False
    """A plain share of cases: Wilson's interval, when no two cases share a group."""
    smooth: Callable[[Sums], np.ndarray] | None = None
    """The value without the ends that it is cut off at, to take its standard error from; None: `value`."""
    bounded: bool = False
    """Its spread follows from its value, as a share's does: two sets that do not differ in it spread alike."""
    note: Callable[[Sums], str | None] | None = None
    """Replicates' sums -> what the method has to say besides of them."""


def share(part: str, whole: str, *, single: bool = True) -> Ratio:
    """One column as a share of another that it is part of.

    Args:
        single: each case is in the part or not; False where the part sums fractions of cases.
    """

    def outer(sums: Sums, n_groups: int) -> Interval:
        return wilson(float(sums[part][0] / sums[whole][0]), n_groups)

    return Ratio(
        lambda sums: sums[part] / sums[whole],
        whole,
        lambda sums: (sums[part], sums[whole] - sums[part]),
        outer,
        "no cases to take a share of",
        single,
        bounded=single,
    )


def difference_of_shares(first: str, second: str, whole: str) -> Ratio:
    """`first / whole - second / whole`, two shares of the same cases."""

    def outer(sums: Sums, n_groups: int) -> Interval:
        shares = [float(sums[name][0] / sums[whole][0]) for name in (first, second)]
        return difference_interval(shares[0], wilson(shares[0], n_groups), shares[1], wilson(shares[1], n_groups))

    return Ratio(
        lambda sums: (sums[first] - sums[second]) / sums[whole],
        whole,
        lambda sums: (sums[first], sums[second]),
        outer,
        "no cases to take a share of",
        bounded=True,
    )


def wilson(value: float, n: int) -> Interval:
    """Wilson's interval of a share of n cases; the share need not be a whole number of them."""
    limits = proportion(min(max(value, 0.0), 1.0) * n, n).ci95
    return limits if limits is not None else (0.0, 1.0)


def difference_interval(a: float, limits_a: Interval, b: float, limits_b: Interval) -> Interval:
    """An interval of a - b from one of each, combined as independent (Newcombe 1998; Zou & Donner 2008)."""
    low = a - b - np.hypot(a - limits_a[0], limits_b[1] - b)
    high = a - b + np.hypot(limits_a[1] - a, b - limits_b[0])
    return float(low), float(high)


def quotient_interval(a: float, limits_a: Interval, b: float, limits_b: Interval) -> Interval:
    """An interval of a / b from one of each, none negative, combined as independent (Donner & Zou 2012).

    It has no upper end (infinity) where b may be 0.
    """

    def root(near: float, far: float, sign: int) -> float:
        product, constant, square = a * b, near * (2 * a - near), far * (2 * b - far)
        inner = product + np.sqrt(max(product**2 - constant * square, 0.0))
        above, below = (inner, square) if sign > 0 else (constant, inner)
        return float(above / below) if below > 0 else float("inf") if sign > 0 else 0.0

    return root(limits_a[0], limits_b[1], -1), root(limits_a[1], limits_b[0], 1)


def hull(first: Interval, second: Interval) -> Interval:
    """The shortest interval that holds both."""
    return min(first[0], second[0]), max(first[1], second[1])


@dataclass(frozen=True)
class Cells:
    """Groups of one stratum with their sums; those with equal sums are one cell, where that saves enough."""

    sums: np.ndarray
    """[cell, column]"""
    counts: np.ndarray
    """Groups in each cell."""

    @property
    def n_groups(self) -> int:
        return int(self.counts.sum())

    @property
    def merged(self) -> bool:
        return len(self.counts) < self.n_groups

    def chunk(self) -> int:
        """Replicates that are drawn at once."""
        return max(1, CHUNK // max(len(self.counts), 1))

    def draws(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """How often each cell is drawn in `n` resamples of as many groups as there are, float [replicate, cell]."""
        if self.merged:
            return rng.multinomial(self.n_groups, self.counts / self.n_groups, size=n).astype(float)
        return even_draws(len(self.counts), rng, n)


def even_draws(size: int, rng: np.random.Generator, n: int) -> np.ndarray:
    """How often each of `size` is drawn in `n` resamples of as many, float [replicate, one of them]."""
    index = rng.integers(size, size=(n, size)) + size * np.arange(n)[:, None]
    return np.bincount(index.ravel(), minlength=n * size).reshape(n, size).astype(float)


def make_cells(sums: np.ndarray) -> Cells:
    """Cells of groups' sums [group, column], in an order that does not depend on that of the groups."""
    # Sums of fractions depend on the order of rows in their last digits; equal groups have to be equal.
    cells, counts = np.unique(np.round(sums, 9) + 0.0, axis=0, return_counts=True)
    if 16 * len(cells) > len(sums):
        cells, counts = np.repeat(cells, counts, axis=0), np.ones(len(sums), np.int64)
    return Cells(cells, counts)


def chunks(n: int, size: int) -> Iterator[slice]:
    """0..n in slices of at most `size`."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def codes_of(groups: Sequence[Hashable] | np.ndarray) -> tuple[np.ndarray, int]:
    """Groups as integers [row], and how many there are."""
    if isinstance(groups, np.ndarray) and groups.dtype.kind in "iu":
        names, codes = np.unique(groups, return_inverse=True)
        return codes, len(names)
    return group_codes(groups)


def group_sums(columns: Mapping[str, np.ndarray], codes: np.ndarray, n_groups: int) -> np.ndarray:
    """The columns summed within groups, [group, column]."""
    out = [np.bincount(codes, np.asarray(column, float), minlength=n_groups) for column in columns.values()]
    return np.stack(out, axis=1) if out else np.zeros((n_groups, 0))


def resample(cells: Sequence[Cells], n: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap sums [replicate, column], groups drawn within each stratum."""
    out = np.zeros((n, cells[0].sums.shape[1]))
    for stratum in cells:
        for part in chunks(n, stratum.chunk()):
            out[part] += stratum.draws(rng, part.stop - part.start) @ stratum.sums
    return out


def evaluate(ratio: Ratio, sums: Sums) -> np.ndarray:
    """A statistic in every replicate, NaN where it is not a finite number."""
    with np.errstate(all="ignore"):
        values = np.asarray(ratio.value(sums), float)
    return np.where(np.isfinite(values), values, np.nan)


def without_dust(value: float) -> float:
    """0 for what sums of fractions leave of it, the sign of which depends on the order of rows."""
    return 0.0 if abs(value) <= TIE else value


def ratio_estimates(
    columns: Mapping[str, np.ndarray],
    groups: Sequence[Hashable] | np.ndarray,
    statistics: Mapping[str, Ratio | Callable[[Sums], np.ndarray]],
    *,
    n: int = DRAWS,
    seed: int = 0,
    strata: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """Statistics of column sums, with intervals from one resampling of groups.

    Args:
        columns: name -> number [row]; of shares, the counts that they are made of.
        groups: the group of each row.
        statistics: name -> `Ratio`, or a bare function of the sums.
        n: replicates.
        strata: integers 0..62 [row]; as many groups with rows in just these strata are drawn as there are. None: one.

    Returns:
        name -> estimate; undefined, with the reason, where the statistic is undefined on the rows or in more than a
        tenth of the replicates, or its cases come from fewer than `MIN_GROUPS` groups.
    """
    codes, n_groups = codes_of(groups)
    sums = group_sums(columns, codes, n_groups)
    cells = _stratified(sums, codes, strata)
    drawn = resample(cells, n, np.random.default_rng(seed)) if n_groups else sums[:0]
    replicates, totals = _named(columns, drawn), _named(columns, sums.sum(axis=0, keepdims=True))
    out = {}
    for name, statistic in statistics.items():
        ratio = statistic if isinstance(statistic, Ratio) else Ratio(statistic)
        cases = (
            np.bincount(codes, minlength=n_groups) if ratio.cases is None else sums[:, [*columns].index(ratio.cases)]
        )
        out[name] = estimate(ratio, totals, replicates, cases)[0]
    return out


def estimate(ratio: Ratio, totals: Sums, replicates: Sums, cases: np.ndarray) -> tuple[Estimate, bool]:
    """One statistic with its interval, and whether the bootstrap alone would see too little spread.

    Args:
        cases: cases in each group.
    """
    n_cases, n_groups = round(float(cases.sum())), int((cases > 0).sum())
    value = without_dust(float(evaluate(ratio, totals)[0]))
    if np.isnan(value):
        return Estimate.undefined(ratio.reason), False
    edge = _at_edge(ratio, replicates)
    if ratio.single and cases.max() <= 1:
        return proportion(round(value * n_cases), n_cases), edge
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})"), False
    drawn = evaluate(ratio, replicates)
    if np.isnan(drawn).mean() > MOST_UNDEFINED:
        why = "undefined in more than a tenth of the bootstrap replicates: too little data"
        return Estimate.undefined(why), False
    limits, note = interval(drawn, n_groups), None if ratio.note is None else ratio.note(replicates)
    said = "" if note is None else f"; {note}"
    if ratio.outer is not None and edge:
        limits = hull(limits, ratio.outer(totals, n_groups))
        return Estimate(value, limits, n_cases, f"bootstrap and wilson over groups{said}"), True
    return Estimate(value, limits, n_cases, f"bootstrap over groups{said}"), False


def _at_edge(ratio: Ratio, replicates: Sums) -> bool:
    if ratio.edges is None:
        return False
    with np.errstate(all="ignore"):
        return any((np.asarray(edge) <= TIE).mean() >= EDGE for edge in ratio.edges(replicates))


def _named(columns: Mapping[str, np.ndarray], sums: np.ndarray) -> Sums:
    return {name: sums[:, index] for index, name in enumerate(columns)}


def _stratified(sums: np.ndarray, codes: np.ndarray, strata: np.ndarray | None) -> list[Cells]:
    """Cells of each stratum: groups whose rows are in the same strata."""
    if strata is None:
        return [make_cells(sums)]
    of_group = np.zeros(len(sums), np.int64)
    np.bitwise_or.at(of_group, codes, np.int64(1) << np.asarray(strata, np.int64))
    return [make_cells(sums[of_group == stratum]) for stratum in np.unique(of_group)]
