"""The effect of an intervention on one measure, beside that of the control directions.

Each item's steered value is compared with its own unsteered one, so items are their own controls; control
directions say how much of that any push of this size does. Intervals resample groups of items. The p-value is the rank
of the direction's effect, in size, among the controls' ((1 + count) / (1 + n), Phipson & Smyth 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..metrics.resampling import Ratio, Sums, difference_interval, ratio_estimates, wilson
from ..stats import Estimate, permutation_p

NO_CONTROLS = "no control direction was steered here"
NO_VALUES = "nothing could be measured under this intervention"


@dataclass(frozen=True)
class Measured:
    """One measure, as sums and counts of each case: a share's cases, or a mean's."""

    value: np.ndarray
    """float [direction, case]: the sum under the intervention; 0 where there is none."""
    count: np.ndarray
    """float [direction, case]: what it is a sum of; 0 where there is none."""
    plain: np.ndarray
    """float [case]: the same without steering."""
    plain_count: np.ndarray
    tried: np.ndarray
    """bool [direction, case]: whether the direction was steered on the case at all."""
    share: bool = False
    """Whether each case is 0 or 1."""


@dataclass(frozen=True)
class Effect:
    """What an intervention changes."""

    n_items: int
    """Cases that the direction was measured on, with and without steering."""
    level: Estimate
    """Under the direction."""
    change: Estimate
    """From what it is without steering."""
    controls: Estimate
    """The controls' mean change, on the items that each was steered on."""
    spread: tuple[float, float] | None
    """The central 95% of the controls' changes."""
    beyond: Estimate
    """The direction's change minus the controls' mean. Its interval is of these controls: whether others would do as
    much is for `p` to say."""
    p: float | None
    n_controls: int

    def to_json(self) -> dict[str, Any]:
        """As in results.json."""
        return {
            "n_items": self.n_items,
            "level": self.level.to_json(),
            "change": self.change.to_json(),
            "controls": self.controls.to_json(),
            "controls_95": None if self.spread is None else [round(each, 6) for each in self.spread],
            "beyond": self.beyond.to_json(),
            "p": None if self.p is None else round(self.p, 6),
            "n_controls": self.n_controls,
        }


def nothing(reason: str) -> Effect:
    """Of no case."""
    none = Estimate.undefined(reason)
    return Effect(0, none, none, none, None, none, None, 0)


def effect(measured: Measured, groups: Sequence[Hashable], *, n: int, seed: int) -> Effect:
    """The effect of the first direction, beside that of the others.

    Args:
        groups: of each case.
        n: bootstrap replicates.
    """
    each = measured
    weights = each.tried[1:].sum(axis=0).astype(float)
    both = each.share
    # A mean is compared over the same cases; a share over those that have an answer, with and without steering.
    plain_count = each.plain_count if both else each.plain_count * (each.count[0] > 0)
    weighted = weights if both else (each.count[1:] > 0).sum(axis=0).astype(float)
    columns = {
        "value": each.value[0],
        "count": each.count[0],
        "plain": np.where(plain_count > 0, each.plain, 0.0),
        "plain count": plain_count,
        "controls": each.value[1:].sum(axis=0),
        "controls count": each.count[1:].sum(axis=0),
        "controls plain": each.plain * weighted,
        "controls plain count": each.plain_count * weighted,
        **_moves(each),
    }

    def change(sums: Sums) -> np.ndarray:
        return sums["value"] / sums["count"] - sums["plain"] / sums["plain count"]

    def of_controls(sums: Sums) -> np.ndarray:
        return sums["controls"] / sums["controls count"] - sums["controls plain"] / sums["controls plain count"]

    statistics = {
        "level": _ratio(lambda sums: sums["value"] / sums["count"], ("value", None), both, "count"),
        "change": _ratio(change, ("up", "down"), both, "count"),
        "controls": _ratio(of_controls, ("controls up", "controls down"), both, "controls count", NO_CONTROLS),
        "beyond": _ratio(
            lambda sums: change(sums) - of_controls(sums),
            ("up", "down"),
            both,
            "count",
            NO_VALUES if weights.sum() else NO_CONTROLS,
        ),
    }
    found = ratio_estimates(columns, groups, statistics, n=n, seed=seed)
    own, others = _changes(each)
    others, own = others[np.isfinite(others)], own[np.isfinite(others)]
    ranked = len(others) and np.isfinite(own).all()
    return Effect(
        int(((each.count[0] > 0) & (each.plain_count > 0)).sum()),
        **found,
        spread=(float(np.quantile(others, 0.025)), float(np.quantile(others, 0.975))) if len(others) else None,
        p=permutation_p(0.0, np.round(np.abs(others) - np.abs(own), 9)) if ranked else None,
        n_controls=len(others),
    )


def _changes(each: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Of each control, the tested direction's change on the cases that the control was steered on, and its own change
    there, [control]; NaN where there is none. A change on few cases is 0 or large, so only like is set beside like.
    """
    used = (each.tried if each.share else (each.count > 0) & (each.count[0] > 0))[1:]
    with np.errstate(all="ignore"):
        plain = (used * each.plain).sum(axis=1) / (used * each.plain_count).sum(axis=1)
        own = (used * each.value[0]).sum(axis=1) / (used * each.count[0]).sum(axis=1) - plain
        found = (used * each.value[1:]).sum(axis=1) / (used * each.count[1:]).sum(axis=1) - plain
    return own, found


def _moves(each: Measured) -> dict[str, np.ndarray]:
    """How many of a share's cases go up and down from what they are without steering: columns [case]."""
    there = (each.count > 0) & (each.plain_count > 0)
    moved = np.where(there, each.value - each.plain, 0.0)
    up, down = np.maximum(moved, 0), np.maximum(-moved, 0)
    return {
        "up": up[0],
        "down": down[0],
        "controls up": up[1:].sum(axis=0),
        "controls down": down[1:].sum(axis=0),
    }


def _ratio(
    value: Callable[[Sums], np.ndarray],
    parts: tuple[str, str | None],
    share: bool,
    cases: str,
    reason: str = NO_VALUES,
) -> Ratio:
    """A statistic; of a share, or of cases that go up less those that go down, the interval has a width where the
    bootstrap sees no spread.
    """
    if not share:
        return Ratio(value, cases, reason=reason)
    up, down = parts

    def edges(sums: Sums) -> list[np.ndarray]:
        return [sums[up], sums[cases] - sums[up] if down is None else sums[down]]

    def outer(sums: Sums, n_groups: int) -> tuple[float, float]:
        a = float(sums[up][0] / sums[cases][0])
        if down is None:
            return wilson(a, n_groups)
        b = float(sums[down][0] / sums[cases][0])
        low, high = difference_interval(a, wilson(a, n_groups), b, wilson(b, n_groups))
        off = float(value(sums)[0]) - (a - b)
        return low + off, high + off

    return Ratio(value, cases, edges, outer, reason)
