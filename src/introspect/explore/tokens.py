"""A rollout's tokens for a page: what each spells, its span, and how much colour a probe's log-odds give it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..rollout import Rollout
from ..spans import span_code

LEVELS = 10
"""Steps of colour on each side; the style sheet has a rule for each."""
SPANS = ("prompt", "think", "answer", "other")


@dataclass(frozen=True)
class Token:
    """One token."""

    position: int
    text: str
    log_odds: float | None
    """None: no activation of it was recorded, or it is not finite."""
    level: str
    """Class of its colour: `n10` (against the label) to `p10` (for it); `none` without log-odds."""
    about: str
    named: bool
    """Whether the answer's name begins here."""


@dataclass(frozen=True)
class Stretch:
    """Tokens that stand together in one span."""

    span: str
    tokens: list[Token]


@dataclass(frozen=True)
class Coloured:
    """A rollout under one probe."""

    stretches: list[Stretch]
    n_read: int
    scale: float
    """Log-odds that have the full colour."""

    @property
    def tokens(self) -> list[Token]:
        return [token for stretch in self.stretches for token in stretch.tokens]


def level_of(value: float | None, scale: float = 1.0) -> str:
    """The class of a value's colour."""
    if value is None or not math.isfinite(value):
        return "none"
    step = round(LEVELS * max(-1.0, min(1.0, value / scale)))
    return f"{'p' if step > 0 else 'n'}{abs(step)}" if step else "z"


def coloured(
    rollout: Rollout, texts: Sequence[str], positions: np.ndarray, scores: np.ndarray, scale: float
) -> Coloured:
    """The tokens of a rollout.

    Args:
        texts: what each token spells, [token].
        positions: of the tokens that were read, [row], and their log-odds, [row].
        scale: log-odds with the full colour; NaN: what 5% of these tokens have or pass.
    """
    if math.isnan(scale):
        finite = np.abs(scores[np.isfinite(scores)])
        scale = max(float(np.quantile(finite, 0.95)), 1e-9) if len(finite) else 1.0
    found = dict(zip(positions.tolist(), scores.tolist(), strict=True))
    codes = span_code(rollout.spans, np.arange(len(texts)))
    stretches: list[Stretch] = []
    for position, (text, code) in enumerate(zip(texts, codes.tolist(), strict=True)):
        span, odds = SPANS[code], found.get(position)
        if not stretches or stretches[-1].span != span:
            stretches.append(Stretch(span, []))
        said = "no activation recorded" if odds is None else f"log-odds {odds:+.2f}"
        if odds is not None and not math.isfinite(odds):
            odds, said = None, "its activation is not finite"
        where = "" if span == "other" else f", {span}"
        stretches[-1].tokens.append(
            Token(
                position,
                text.replace("\n", "⏎\n") or "·",
                odds,
                level_of(odds, scale),
                f"position {position}{where}: {said}",
                position == rollout.answer_position,
            )
        )
    return Coloured(stretches, len(found), scale)
