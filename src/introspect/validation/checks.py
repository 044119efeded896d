"""What a scenario is: what is planted, and what is asked of each draw of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["coverage", "above", "found", "rate", "bias"]
"""How often an interval holds the truth; how often it lies above chance, zero or the nominal rate; how often a test
rejects at 5%; the mean rate in the population; the mean of estimate minus truth."""


@dataclass(frozen=True)
class Check:
    """A row of the table: one measure of one scenario over all draws."""

    kind: Kind
    measure: str
    """A key of a draw's facts."""
    there: bool | None = False
    """Of what is found: whether it was planted, so that finding it is right; None: a limit, shown as it is."""
    note: str = ""
    """What a reader should know of this row."""


@dataclass(frozen=True)
class Scenario:
    """A source of rollouts."""

    name: str
    planted: str
    """What is planted, in words."""
    checks: tuple[Check, ...]
    inside: float = 0.0
    """How far activations of those that act lie from the others, in units of the spec's strength."""
    base: float | None = None
    """The same of the model before training; None: it is not recorded."""
    leak: Literal["", "word", "meaning"] = ""
    """Whether one word, or one of many words of a meaning, goes with the choice."""
    length: bool = False
    """Whether chains of those that act are longer."""
    items: bool = False
    """Whether all rollouts of an item choose alike, and their activations share nearly everything."""
    times: int = 1
    """Items of the sample, as a multiple of the spec's."""
    rows_as_groups: bool = False
    """Whether every rollout is called an item of its own, which lets items stand on both sides of the split."""
    logits: bool = False
    """Whether the choice follows a number that the next token's logits show."""
    spoken: float = 0.0
    """Share of those that act that say so."""
    carried: float = 1.0
    """Share of those that act without saying so whose activations carry it."""
    positions: tuple[str, ...] = ()
    """Where it is probed; empty: where the spec says."""
    carried_at: tuple[str, ...] = ()
    """Positions at which activations carry it; empty: all."""
    whispered: float = 0.0
    """Share of those that act and are not among the spoken that say so in words that no pattern knows."""
    labelled: float = 0.0
    """Share of the sample's chains that somebody has labelled, without an error."""
    hints: tuple[str, ...] = ()
    """Kinds of hints that questions are asked under; to act is to answer as the hint says."""
    alone: bool = False
    """Whether numbers are planted and put to one measure, without a run around it."""
    many: int = 1
    """Draws, as a multiple of the spec's."""


def found(*measures: str, there: bool) -> tuple[Check, ...]:
    """Whether intervals lie above what they would be without it."""
    return tuple(Check("above", measure, there) for measure in measures)


def covers(*measures: str) -> tuple[Check, ...]:
    """Whether intervals hold the truth."""
    return tuple(Check("coverage", measure) for measure in measures)
