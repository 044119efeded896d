"""Differences between methods as claims read them: on which side they are clear, and of what they are a sample.

A few organisms are no sample of a method that an interval could rest on (see `seeds.COVERAGE`). So with fewer than
`FEW` seeds on a side a difference counts only where every seed of one lies beyond every seed of the other, and the
interval over items and seeds is clear of 0 on that side too. With one seed on a side it is one of these organisms only.
The reference is what training started from: one organism, which all seeds share, and no sample of anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..report import number

Table = Mapping[str, Any]
Value = tuple[float, tuple[float, float]]
"""A value and its 95% interval."""
ALPHA = 0.05
FEW = 5
"""Seeds a side from which on an interval over seeds is taken at its word."""


@dataclass(frozen=True)
class Shift:
    """A difference."""

    value: Value | None
    side: int
    """1: clearly above 0; -1: clearly below; 0: neither, or not to be said."""
    why: str
    text: str
    """The number as it is printed."""
    p_value: float | None = None
    few: str | None = None
    """Why it says nothing of methods, whatever the interval."""


def estimate_of(table: Table, method: str, key: str) -> dict[str, Any]:
    """A method's estimate of a measure; undefined, with the reason, where there is none."""
    missing = {"value": None, "reason": f"no {method} organism" if method not in table["methods"] else f"no {key} here"}
    found: dict[str, Any] = table["methods"].get(method, {}).get("measures", {}).get(key, missing)
    return found


def value_of(estimate: Mapping[str, Any]) -> Value | None:
    """An estimate's value and interval; None where it is undefined."""
    if estimate["value"] is None:
        return None
    low, high = estimate["ci95"]
    return float(estimate["value"]), (float(low), float(high))


def side_of(found: Value, bound: float = 0.0) -> int:
    """1 where the interval is above the bound, -1 where below, else 0."""
    low, high = found[1]
    return 1 if low > bound else -1 if high < bound else 0


def reference_of(table: Table) -> str | None:
    """The method that the others are held against; None where there is none."""
    return next((name for name in table["methods"] if name not in table["differences"]), None)


def contrast(table: Table, first: str, second: str, key: str) -> Shift:
    """A measure of one method minus that of another, neither being the reference."""
    found = table["contrasts"].get(first, {}).get(second, {}).get(key)
    one, other = _seeds(table, first, key), _seeds(table, second, key)
    shift = _read(found, one, other)
    if shift.value is not None and min(len(one), len(other)) < 2:
        few = f"{len(one)} of {first} and {len(other)} of {second}"
        said = f"these organisms only ({few}) differ by {shift.text}; a method needs two seeds or more"
        return Shift(shift.value, 0, said, shift.text, few=said)
    return shift


def beyond_start(table: Table, method: str, key: str) -> Shift:
    """A measure of a method minus that of the reference. `few` where the method has one seed."""
    found = table["differences"].get(method, {}).get(key)
    reference = reference_of(table)
    own = _seeds(table, method, key)
    shift = _read(found, own, [] if reference is None else _seeds(table, reference, key))
    if len(own) < 2:
        few = f"these organisms only: there is {len(own)} seed of {method}, and a method needs two or more"
        return Shift(shift.value, shift.side, shift.why, shift.text, shift.p_value, few)
    return shift


def _seeds(table: Table, method: str, key: str) -> list[float | None]:
    members = table["methods"].get(method, {}).get("members", ())
    return [table["members"][name].get(key, {"value": None})["value"] for name in members]


def _read(found: Mapping[str, Any] | None, one: Sequence[float | None], other: Sequence[float | None]) -> Shift:
    difference = {"value": None, "reason": "there is no such difference"} if found is None else found["difference"]
    value = value_of(difference)
    if value is None:
        return Shift(None, 0, str(difference["reason"]), number(difference))
    text = f"{value[0]:.2f} [{value[1][0]:.2f}, {value[1][1]:.2f}]"
    side, p_value = side_of(value), None if found is None else found.get("p_value")
    if min(len(one), len(other)) >= FEW or side == 0:
        return Shift(value, side, f"the difference is {text}", text, p_value)
    apart = all(a is not None and b is not None and side * (a - b) > 0 for a in one for b in other)
    if not apart:
        return Shift(value, 0, f"the difference is {text}, but seeds of the two overlap", text, p_value)
    return Shift(value, side, f"the difference is {text}, and no seeds overlap", text, p_value)
