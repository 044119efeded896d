"""A row: two sides measured in turns, the ratio of their medians, and whether it meets the goal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Literal

from ..progress import Progress, seconds_of

Row = dict[str, Any]
"""`what` was measured; medians of `ours` and of the `peer`, in `unit`; the `ratio` of the medians, of which side `of`
which; the `range of ratios` of neighbouring pairs; `repeats`; `goal`; whether it is `met` (None without a goal); and a
`note`. A row that could not be measured has `what`, and `skipped` or `failed` with the reason."""

Way = Literal["ours / peer", "peer / ours"]
_GOAL = re.compile(r"(<=|>=) ([0-9.]+)")


def meets(value: float, goal: str) -> bool | None:
    """Whether a number meets a goal such as `<= 1.05`; None when no goal is stated."""
    if not goal:
        return None
    parsed = _GOAL.fullmatch(goal)
    if parsed is None:
        raise ValueError(f"cannot read the goal {goal!r}")
    return value <= float(parsed[2]) if parsed[1] == "<=" else value >= float(parsed[2])


def in_turns(
    stage: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    repeats: int,
    progress: Progress,
    before: Callable[[], object] = lambda: None,
    warm: bool = True,
) -> tuple[list[float], list[float]]:
    """Seconds of each side, side by side in pairs; who goes first changes from pair to pair.

    Args:
        before: done before each run, untimed.
        warm: run each side once first, untimed.
    """
    if warm:
        for side in (ours, peer):
            before()
            side()
    times: tuple[list[float], list[float]] = ([], [])
    progress(stage, 0, repeats)
    for repeat in range(repeats):
        for which in (0, 1) if repeat % 2 == 0 else (1, 0):
            before()
            times[which].append(seconds_of((ours, peer)[which]))
        progress(stage, repeat + 1, repeats)
    return times


def make_row(
    what: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    of: Way,
    goal: str,
    unit: str = "s",
    note: str = "",
) -> Row:
    """The row of paired measurements."""
    sides = (ours, peer) if of == "ours / peer" else (peer, ours)
    ratios = [over / under for over, under in zip(*sides, strict=True)]
    ratio = median(sides[0]) / median(sides[1])
    return {
        "what": what,
        "ours": short(median(ours)),
        "peer": short(median(peer)),
        "unit": unit,
        "ratio": short(ratio),
        "of": of,
        "range of ratios": [short(min(ratios)), short(max(ratios))],
        "repeats": len(ours),
        "goal": goal or None,
        "met": meets(ratio, goal),
        "note": note,
    }


def short(number: float) -> float:
    """Four digits."""
    return float(f"{number:.4g}")
