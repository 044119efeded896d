"""What the log holds, as measures: of stored chains that were steered, and of rollouts that were sampled anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .effects import Measured
from .held_out import SENTENCES
from .log import Replayed, Sampled, Unit
from .settings import ScopeName

Units = Mapping[str, Unit]


def replayed_rows(units: Units, rollouts: Sequence[int], scope: ScopeName) -> list[Replayed]:
    """A row a case."""
    return [next(row for row in units[f"replayed/{number}"].replayed if row.scope == scope) for number in rollouts]


def apart(units: Units, n_directions: int, n_acts: int) -> np.ndarray:
    """KL of every sentence, [direction, act, sentence]; NaN where a direction is not read on it, or it is no number."""
    found = np.full((n_directions, n_acts, SENTENCES), np.nan)
    for number in range(SENTENCES):
        for row in units[f"apart/{number}"].apart:
            found[row.direction, :, number] = np.array(row.kl, dtype=float)
    return found


def log_odds(rows: Sequence[Replayed], n_directions: int, n_acts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds [direction, act, case], KL [direction, act, case], and unsteered log-odds [case]; NaN where none."""
    odds, kl = np.full((2, n_directions, n_acts, len(rows)), np.nan)
    for i, row in enumerate(rows):
        if row.n_tokens:
            odds[:, :, i], kl[:, :, i] = np.array(row.log_odds, dtype=float), np.array(row.kl, dtype=float)
    plain = np.array([np.nan if row.plain is None else row.plain for row in rows])
    return odds, kl, plain


def components(rows: Sequence[Replayed], n_directions: int) -> np.ndarray:
    """Mean size of the component along each direction, [direction, case]; NaN where none."""
    found = np.full((n_directions, len(rows)), np.nan)
    for i, row in enumerate(rows):
        if row.n_tokens:
            found[:, i] = np.array(row.component, dtype=float)
    return found


def own_out(rows: Sequence[Replayed], odds: np.ndarray) -> np.ndarray:
    """Log-odds [direction, case] of the tested direction projected out, beside those of each control's own component
    projected out.

    Args:
        odds: those of the tested direction, [case].
    """
    found = [[np.nan] * len(row.own_out) if row.n_tokens == 0 else row.own_out for row in rows]
    n = max((len(each) for each in found), default=0)
    rest = np.array([each or [np.nan] * n for each in found], dtype=float).reshape(len(rows), n)
    return np.vstack([odds, rest.T])


def mean_of(values: np.ndarray, plain: np.ndarray) -> Measured:
    """A mean over cases of values [direction, case], beside that of plain ones [case]; NaN is left out of both."""
    there = np.isfinite(values) & np.isfinite(plain)
    return Measured(
        np.where(there, values, 0.0),
        there.astype(float),
        np.where(np.isfinite(plain), plain, 0.0),
        np.isfinite(plain).astype(float),
        there,
    )


def only(measured: Measured, keep: np.ndarray) -> Measured:
    """Some of the cases, bool [case]."""
    return replace(
        measured,
        value=measured.value[:, keep],
        count=measured.count[:, keep],
        plain=measured.plain[keep],
        plain_count=measured.plain_count[keep],
        tried=measured.tried[:, keep],
    )


Fact = Callable[[Sampled], float | None]
SAME = "same"
FACTS: dict[str, tuple[Fact, bool]] = {
    "acts": (lambda row: None if row.acted is None else float(row.acted), True),
    SAME: (lambda row: None if row.acted is None else float(row.acted), True),
    "verbalised": (lambda row: None if row.verbalised is None else float(row.verbalised), True),
    "accuracy": (lambda row: None if row.correct is None else float(row.correct), True),
    "invalid": (lambda row: float(row.acted is None), True),
    "repetition": (lambda row: row.repeated, False),
    "tokens": (lambda row: float(row.n_tokens), False),
    "nats": (lambda row: row.nats, False),
}
"""Measure -> what it is of a rollout, and whether it is a share. `same`: whether it acts where the unsteered rollout
does, and does not where that does not."""


def sampled_measure(
    rows: Sequence[Sampled], plain: Sequence[Sampled], rollouts: Sequence[int], n_directions: int, name: str
) -> Measured:
    """A measure of rollouts that were sampled under one act. Those that met no token of the scope were not steered, and
    are left out; `steered_cases` says of which cases that leaves the tested direction's. A mean is of rollouts whose
    unsteered one has a number as well.
    """
    fact, is_share = FACTS[name]
    place = {number: i for i, number in enumerate(rollouts)}
    value, count, tried = (np.zeros((n_directions, len(rollouts))) for _ in range(3))
    bare = {row.rollout: fact(row) for row in plain}
    for row in (row for row in rows if row.steered_tokens):
        cell, found = (row.direction, place[row.rollout]), fact(row)
        tried[cell] = 1
        if bare[row.rollout] is None and (name == SAME or not is_share):
            found = None
        elif name == SAME and found is not None:
            found = float(found == bare[row.rollout])
        if found is not None:
            value[cell], count[cell] = found, 1
    before = [bare[number] for number in rollouts]
    if name == SAME:
        before = [None if each is None else 1.0 for each in before]
    return Measured(
        value,
        count,
        np.array([each or 0.0 for each in before]),
        np.array([float(each is not None) for each in before]),
        tried.astype(bool),
        is_share,
    )


def steered_cases(rows: Sequence[Sampled], rollouts: Sequence[int]) -> np.ndarray:
    """Whether the tested direction met a token: bool [case]."""
    met = {row.rollout for row in rows if row.direction == 0 and row.steered_tokens}
    return np.array([number in met for number in rollouts])
