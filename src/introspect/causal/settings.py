"""What is asked of a causal check, and the interventions that it comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from ..backends import Operator
from ..errors import SpecError
from ..experiment import LayerSelection
from ..steering import SteeredSpan

Recipe = Literal["probe", "difference", "pairs"]
ScopeName = Literal["think", "answer", "both"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)
SPANS: dict[ScopeName, SteeredSpan] = {"think": "think", "answer": "answer", "both": "completion"}
"""Scope -> the span that is steered. `completion` begins with the last prompt token."""
DOSES = (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5)
CONTROLS = 20
KL_BOUND = 0.1
MAP = "::4"
METHOD = 4
"""Of measuring: goes up whenever the same settings come to mean other numbers."""
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
    """A saved direction: our folder, a probe's, a shipped probe's name, a GGUF control vector or a safetensors file;
    None: made of the run."""
    tensor: str | None = None
    """Of a safetensors file: which tensor; None: the only one."""
    site: str | None = None
    """Of a safetensors file: of which site its tensor is; None: what the file says, or resid_post."""
    recipe: Recipe | None = None
    """What it is made of: the run's probe (None as well), the difference of means, or the differences of pairs within
    groups."""
    layer: int | None = None
    position: str | None = None
    """Where it is made; None: where the run's headline probe reads. Of a file of other tools, the layer is its own."""
    doses: tuple[float, ...] = DOSES
    controls: int = CONTROLS
    """Random directions, and as many orthogonal ones."""
    items: int = 24
    """Test items that are steered."""
    control_items: int = 6
    """Items that each control direction is sampled on, in rotation."""
    layers: LayerSelection | None = MAP
    """Of the map: a slice of those that the run has recorded, or numbers, of which each has to be; None: no map. A
    saved direction is of one layer, and has none."""
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
        self._check_used()

    def _check_used(self) -> None:
        """Refuse what would be without effect: of a saved direction where none is given, and the other way round."""
        if self.direction is None:
            for name in ("site", "tensor"):
                if getattr(self, name) is not None:
                    raise SpecError(
                        f"--{name} {getattr(self, name)} is of a file that --direction names: give one, or leave it out"
                    )
            return
        for name in ("recipe", "position"):
            if getattr(self, name) is not None:
                raise SpecError(f"--direction was made somewhere else: leave --{name} out")
        if self.layers not in (None, MAP):
            raise SpecError("--direction is of one layer, of which there is no map: leave --layers out")

    @property
    def acts(self) -> tuple[Act, ...]:
        """Every intervention but none: each dose once, ascending, and projecting out."""
        doses = sorted({float(dose) for dose in self.doses if dose})
        return (*(Act("add", dose) for dose in doses), Act("project", 1.0))
