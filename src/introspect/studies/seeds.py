"""A measure of several organisms that differ in their seed of training: its mean, and differences between methods.

A method's value is the mean over its organisms of each one's own value, so that a coefficient is never that of rows
thrown together. Organisms and groups of items are crossed (every organism is asked the same items), and a replicate
draws both: the groups once, for all organisms alike, and of k organisms k - 1 with replacement, which leaves the
variance of a mean unbiased where drawing k of them would halve it for two (Rao & Wu 1988; Owen 2007 on crossed draws).
Of one organism only groups are drawn, and the method of the interval says so: it says nothing of other seeds.
Percentiles are expanded for the number of groups (see `stats.interval`).

Known trade-off: two seeds say little of a third, and neither these intervals nor those of `range_of` hold the mean over
all seeds as often as they say once seeds differ by more than the items' error: see `COVERAGE`. Student's t with one
degree of freedom would, and would span nearly every rate. Seeds are seeds of training alone: the organisms of a study
all go on from one warm start, and nothing here says what another start would give.

A difference between methods has such an interval too. Its test permutes groups between the organisms that there are,
paired by item, and so is about these organisms: with two seeds a method, no test could say more.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..metrics.contrasts import TEST, difference_estimates
from ..metrics.resampling import (
    MOST_UNDEFINED,
    Interval,
    Ratio,
    Sums,
    difference_interval,
    evaluate,
    even_draws,
    hull,
    ratio_estimates,
    without_dust,
)
from ..stats import Estimate, interval

ALL = "cases of all"
COVERAGE = (
    "Intervals over seeds are only as good as the seeds are many. Simulated 1,200 times with two seeds a method (70 "
    "groups of two rows, a true rate of .5), the 95% interval holds the mean over all seeds in 100% of cases where "
    "seeds do not differ, 97% where they spread as much as the items' error, 92% at twice and 78% at four times that; "
    "the interval of the difference between two methods in 100%, 98%, 93% and 86%; limits from the lowest to the "
    "highest end of the seeds' own in 100%, 99%, 94% and 81%. Two equal methods of two seeds are told apart by "
    "both, no seed overlapping and the interval clear of 0, in 0%, 2%, 7% and 14%; the permutation test, which is "
    "of these organisms, gives p < .05 in 4%, 17%, 36% and 66%. All seeds go on from one warm start: what another "
    "start would give is not in any interval."
)
"""How far intervals over few seeds can be relied on, for the page."""
NOT_TESTED = "not tested: no rows of this measure can be permuted"
FIXED = f"{TEST}, of these organisms"


@dataclass(frozen=True)
class Rows:
    """What a measure of one organism is summed from."""

    columns: Mapping[str, np.ndarray]
    """Name -> number [row]."""
    groups: Sequence[Hashable]
    """What a row is resampled with: the item's group, or the wording of a question."""
    strata: np.ndarray | None = None
    """int [row]: resampled apart; None: all together."""
    reason: str | None = None
    """Why nothing can be measured on these rows; None: something can."""


def own_estimate(rows: Rows, statistic: Ratio, *, n: int, seed: int) -> Estimate:
    """The measure of one organism, with an interval over groups."""
    if rows.reason is not None:
        return Estimate.undefined(rows.reason)
    found = ratio_estimates(rows.columns, rows.groups, {"one": statistic}, n=n, seed=seed, strata=rows.strata)
    return found["one"]


def over_seeds(members: Sequence[Rows], own: Sequence[Estimate], statistic: Ratio, *, n: int, seed: int) -> Estimate:
    """The mean of the organisms' values, with an interval over seeds and groups.

    Args:
        own: what `own_estimate` says of each.

    Returns:
        Never narrower than the mean of the organisms' own limits; undefined where it is so for any of them.
    """
    settled = _without_several(own)
    if settled is not None:
        return settled
    drawn = _replicates(members, statistic, _draws(members, n, seed), n, seed)
    if np.isnan(drawn).mean() > MOST_UNDEFINED:
        return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
    value = without_dust(float(np.mean([each.value for each in own])))
    limits = hull(interval(drawn, _n_groups(members, statistic)), _mean_limits(own))
    method = f"mean of {len(own)} seeds; bootstrap over seeds and groups"
    return Estimate(value, limits, sum(each.n or 0 for each in own), method)


def _without_several(own: Sequence[Estimate]) -> Estimate | None:
    """What is said where a value is undefined, or there is only one; None where several are to be put together."""
    missing = [each.reason for each in own if each.value is None]
    if missing:
        where = "" if len(own) == 1 else f"{len(missing)} of {len(own)} seeds: "
        return Estimate.undefined(f"{where}{missing[0]}")
    return replace(own[0], method=f"{own[0].method}; one seed") if len(own) == 1 else None


def range_of(own: Sequence[Estimate]) -> Estimate:
    """The mean of values that cannot be resampled, with the ends of their own intervals as its limits.

    It leaves out no seed that there is. It is no interval of the mean over all seeds: see `COVERAGE`.
    """
    settled = _without_several(own)
    if settled is not None:
        return settled
    ends = [each.ci95 for each in own if each.ci95 is not None]
    limits = min(low for low, _ in ends), max(high for _, high in ends)
    method = f"mean of {len(own)} seeds; from the lowest to the highest end of their own intervals"
    return Estimate(float(np.mean([each.value for each in own])), limits, sum(each.n or 0 for each in own), method)


def difference_of_means(
    first: Sequence[Rows], second: Sequence[Rows], statistic: Ratio, *, n: int, seed: int
) -> dict[str, Any]:
    """The mean of the first method's organisms minus the second's: `difference`, `p_value` and `test`.

    The interval draws seeds of both and groups once for all; it is never narrower than the one over groups alone.
    """
    both = [*first, *second]
    reason = next((rows.reason for rows in both if rows.reason is not None), None)
    if reason is not None:
        return undefined_difference(f"one of the two is undefined: {reason}")
    slots = math.lcm(len(first), len(second))
    columns, groups, is_first = _side_by_side(first, second, slots, statistic)
    found = difference_estimates(columns, groups, is_first, {"one": _mean_over(statistic, slots)}, n=n, seed=seed)[
        "one"
    ]
    fixed = found.estimate
    if fixed.value is None or fixed.ci95 is None:
        return undefined_difference(fixed.reason or "undefined")
    draws = _draws(both, n, seed)
    drawn = _replicates(first, statistic, draws[: len(first)], n, seed) - _replicates(
        second, statistic, draws[len(first) :], n, seed + 1
    )
    if np.isnan(drawn).mean() > MOST_UNDEFINED:
        return undefined_difference("undefined in more than a tenth of the bootstrap replicates: too little data")
    n_seeds = f"{len(first)} and {len(second)} seeds"
    estimate = Estimate(
        fixed.value,
        hull(interval(drawn, _n_groups(both, statistic)), fixed.ci95),
        _n_cases(both, statistic),
        f"{n_seeds}; bootstrap over seeds and groups",
    )
    return {
        "difference": estimate.to_json(),
        "p_value": None if found.p_value is None else round(found.p_value, 6),
        "test": FIXED,
    }


def _n_cases(members: Sequence[Rows], statistic: Ratio) -> int:
    """Cases of the organisms, each counted once."""
    if statistic.cases is None:
        return sum(len(rows.groups) for rows in members)
    return round(sum(float(np.sum(rows.columns[statistic.cases])) for rows in members))


def _n_groups(members: Sequence[Rows], statistic: Ratio) -> int:
    """Groups that were resampled, of the organism with the fewest: those that hold a case."""
    counted = []
    for rows in members:
        cases = (
            np.ones(len(rows.groups)) if statistic.cases is None else np.asarray(rows.columns[statistic.cases], float)
        )
        counted.append(len({group for group, case in zip(rows.groups, cases, strict=True) if case > 0}))
    return min(counted)


def difference_of_ranges(first: Estimate, second: Estimate) -> dict[str, Any]:
    """As `difference_of_means`, of two that `range_of` gave: limits combined as independent, and no test."""
    for each in (first, second):
        if each.value is None:
            return undefined_difference(f"one of the two is undefined: {each.reason}")
    a, b = first.value or 0.0, second.value or 0.0
    limits = difference_interval(a, first.ci95 or (a, a), b, second.ci95 or (b, b))
    estimate = Estimate(a - b, limits, (first.n or 0) + (second.n or 0), "from the limits of both")
    return {"difference": estimate.to_json(), "p_value": None, "test": NOT_TESTED}


def turned_round(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a difference is with its two sides exchanged."""
    difference = found["difference"]
    if difference["value"] is None:
        return dict(found)
    low, high = difference["ci95"]
    turned = {**difference, "value": 0.0 - difference["value"], "ci95": [0.0 - high, 0.0 - low]}
    return {**found, "difference": turned}


def undefined_difference(reason: str) -> dict[str, Any]:
    """A difference that cannot be taken."""
    return {"difference": Estimate.undefined(reason).to_json(), "p_value": None, "test": None}


def _draws(members: Sequence[Rows], n: int, seed: int) -> list[np.ndarray]:
    """How often each row of each member is drawn, [replicate, row]: groups once for all members, strata apart."""
    stratum_of: dict[Hashable, int] = {}
    for rows in members:
        strata = np.zeros(len(rows.groups), np.int64) if rows.strata is None else rows.strata
        for group, stratum in zip(rows.groups, strata, strict=True):
            stratum_of[group] = stratum_of.get(group, 0) | (1 << int(stratum))
    places: dict[int, list[Hashable]] = {}
    for group in sorted(stratum_of, key=repr):
        places.setdefault(stratum_of[group], []).append(group)
    rng = np.random.default_rng(seed)
    counts = [even_draws(len(groups), rng, n) for _, groups in sorted(places.items())]
    at = {group: place for place, group in enumerate(g for _, groups in sorted(places.items()) for g in groups)}
    drawn = np.hstack(counts) if counts else np.zeros((n, 0))
    return [drawn[:, [at[group] for group in rows.groups]] for rows in members]


def _replicates(
    members: Sequence[Rows], statistic: Ratio, draws: Sequence[np.ndarray], n: int, seed: int
) -> np.ndarray:
    """The mean over drawn members of the statistic on drawn rows, [replicate]."""
    values = np.stack(
        [
            evaluate(statistic, {name: drawn @ np.asarray(column, float) for name, column in rows.columns.items()})
            for rows, drawn in zip(members, draws, strict=True)
        ]
    )
    k = len(members)
    if k == 1:
        return np.asarray(values[0], float)
    times = np.random.default_rng([seed, k]).multinomial(k - 1, np.full(k, 1 / k), size=n).T
    chosen = np.where(times > 0, values * times, 0.0)
    return np.asarray(chosen.sum(axis=0) / (k - 1), float)


def _mean_limits(own: Sequence[Estimate]) -> Interval:
    ends = np.array([each.ci95 for each in own])
    return float(ends[:, 0].mean()), float(ends[:, 1].mean())


def _side_by_side(
    first: Sequence[Rows], second: Sequence[Rows], slots: int, statistic: Ratio
) -> tuple[dict[str, np.ndarray], list[Hashable], np.ndarray]:
    """Rows of both methods, each of their organisms in columns of its own: every slot holds one of either."""
    placed = [(side[slot % len(side)], slot, side is first) for side in (first, second) for slot in range(slots)]
    sizes = [len(rows.groups) for rows, _, _ in placed]
    columns: dict[str, np.ndarray] = {}
    for name in first[0].columns:
        for slot in range(slots):
            parts = [
                np.asarray(rows.columns[name], float) if at == slot else np.zeros(size)
                for (rows, at, _), size in zip(placed, sizes, strict=True)
            ]
            columns[_slot(name, slot)] = np.concatenate(parts)
    if statistic.cases is not None:
        columns[ALL] = np.sum([columns[_slot(statistic.cases, slot)] for slot in range(slots)], axis=0)
    groups = [group for rows, _, _ in placed for group in rows.groups]
    is_first = np.concatenate([np.full(size, own) for (_, _, own), size in zip(placed, sizes, strict=True)])
    return columns, groups, is_first


def _slot(name: str, slot: int) -> str:
    return f"{name} of {slot}"


def _mean_over(statistic: Ratio, slots: int) -> Ratio:
    """The mean over slots of a statistic, as a statistic of all their columns."""

    def of(sums: Sums, slot: int) -> Sums:
        ending = f" of {slot}"
        return _Slot(sums, ending)

    def mean(value: Any) -> Any:
        return lambda sums: np.mean([value(of(sums, slot)) for slot in range(slots)], axis=0)

    def edges(sums: Sums) -> list[np.ndarray]:
        return [edge for slot in range(slots) for edge in (statistic.edges(of(sums, slot)) if statistic.edges else ())]

    def outer(sums: Sums, n_groups: int) -> Interval:
        limits = [statistic.outer(of(sums, slot), n_groups) for slot in range(slots) if statistic.outer is not None]
        return float(np.mean([low for low, _ in limits])), float(np.mean([high for _, high in limits]))

    return Ratio(
        mean(statistic.value),
        None if statistic.cases is None else ALL,
        edges if statistic.edges is not None else None,
        outer if statistic.outer is not None else None,
        statistic.reason,
        smooth=None if statistic.smooth is None else mean(statistic.smooth),
        bounded=statistic.bounded,
    )


class _Slot(dict[str, np.ndarray]):
    """The columns of one slot under their own names. Read through to `sums`, which may note what is read."""

    def __init__(self, sums: Sums, ending: str) -> None:
        super().__init__()
        self._sums, self._ending = sums, ending

    def __missing__(self, name: str) -> np.ndarray:
        return self._sums[name + self._ending]
