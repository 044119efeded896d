"""What is asked of a causal check, and the interventions that it comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from ..backends import Operator
from ..errors import SpecError
from ..experiment import LayerSelection
from ..steering import SteeredSpan

Recipe = Literal["probe", "difference"]
ScopeName = Literal["think", "answer", "both"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)
SPANS: dict[ScopeName, SteeredSpan] = {"think": "think", "answer": "answer", "both": "completion"}
"""Scope -> the span that is steered. `completion` begins with the last prompt token."""
DOSES = (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5)
CONTROLS = 20
KL_BOUND = 0.1
MOST = 1000
"""Of items, controls and doses."""


class Act(NamedTuple):
    """One intervention with a direction."""

    operator: Operator
    dose: float
    """Of `add`: the part of a typical activation's norm that is added, s ||v|| / ||h||; of `project`, 1."""


@dataclass(frozen=True)
class SteerSettings:
    """A causal check.

    Raises:
        SpecError: it cannot be done.
    """

    direction: str | None = None
    """A saved direction's or probe's folder, or a shipped probe's name; None: made of the run."""
    recipe: Recipe = "probe"
    """What it is made of: the run's probe, or the difference of means."""
    layer: int | None = None
    position: str | None = None
    """Where it is made; None: where the run's headline probe reads."""
    doses: tuple[float, ...] = DOSES
    controls: int = CONTROLS
    """Random directions, and as many orthogonal ones."""
    items: int = 24
    """Test items that are steered."""
    control_items: int = 6
    """Items that each control direction is sampled on, in rotation."""
    layers: LayerSelection | None = "::4"
    """Of the map; None: no map."""
    kl_bound: float = KL_BOUND
    """Nats a token."""
    lanes: int = 192
    """Rollouts that are sampled side by side."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("controls", 0), ("items", 1), ("control_items", 0), ("lanes", 1)):
            if not least <= getattr(self, name) <= MOST:
                raise SpecError(f"--{name.replace('_', '-')} {getattr(self, name)}: choose {least} to {MOST}")
        if not any(self.doses) or len(self.doses) > MOST or not all(map(math.isfinite, self.doses)):
            raise SpecError("--doses: give finite numbers that are not all 0, such as -0.25,0.25")
        if not self.kl_bound > 0:
            raise SpecError(f"--kl-bound {self.kl_bound}: choose a number of nats above 0")

    @property
    def acts(self) -> tuple[Act, ...]:
        """Every intervention but none: each dose once, ascending, and projecting out."""
        doses = sorted({float(dose) for dose in self.doses if dose})
        return (*(Act("add", dose) for dose in doses), Act("project", 1.0))
