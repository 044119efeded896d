"""What is done to a model while it runs: a direction, an operator, a strength, and where."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch

from ..backends import Dose, Operator, Scope, Steer, Steering
from ..errors import SpecError
from ..models import LoadedModel
from .direction import Direction
from .scopes import SpanScope, TextScope

SteeredSpan = Literal["all", "prompt", "completion", "think", "answer"]
"""`completion` begins with the last prompt token, from which the first token of it is drawn."""
ENDLESS = 1 << 40
"""Past every position."""


@dataclass(frozen=True)
class FromText:
    """Every token from a text on; see `TextScope`."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise SpecError("an empty text is found nowhere: say from which text on to steer")


@dataclass(frozen=True)
class Intervention:
    """A direction acts on a model.

    Raises:
        SpecError: the operator or the place is none.
    """

    direction: Direction
    operator: Operator = "add"
    """`add`, `project` (out) or `clamp`; see `Steer`."""
    strength: Dose = 1.0
    """Factor of the vector for `add`; how far the component goes for the others, 1 being all the way."""
    value: Dose = 0.0
    """For `clamp`: the component along the direction, in the units of the activations."""
    where: SteeredSpan | range | FromText = "all"
    """A span; absolute positions; or from a text on."""

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator):
            raise SpecError(f"there is no operator {self.operator!r}; choose {', '.join(get_args(Operator))}")
        if not isinstance(self.where, range | FromText) and self.where not in get_args(SteeredSpan):
            raise SpecError(f"there is no span {self.where!r} to steer; choose {', '.join(get_args(SteeredSpan))}")
        if isinstance(self.where, range) and (self.where.start < 0 or self.where.step < 1):
            raise SpecError(f"{self.where} is no range of positions: begin at 0 or later, and go up")

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with a digest of the vector."""
        each = self.direction
        where = {"from_text": self.where.text} if isinstance(self.where, FromText) else str(self.where)
        return {
            "direction": {
                "recipe": each.recipe,
                "made": each.made,
                "site": each.site,
                "layer": each.layer,
                "norm": each.norm,
                "sha256": hashlib.sha256(each.vector.tobytes()).hexdigest(),
                "model": None if each.model is None else asdict(each.model),
            },
            "operator": self.operator,
            "strength": self.strength,
            "value": self.value if self.operator == "clamp" else None,
            "where": where,
        }

    def __str__(self) -> str:
        where = self.where.text if isinstance(self.where, FromText) else self.where
        return f"{self.operator} ({self.direction.made}) at {self.direction.site} {self.direction.layer}, {where}"


def make_steers(
    interventions: Sequence[Intervention], prompts: Sequence[Sequence[int]], loaded: LoadedModel
) -> list[Steer]:
    """The interventions on sequences that begin with these prompts, whether these are sampled or replayed.

    Raises:
        SpecError: strengths for another number of sequences.
        ModelError: a direction is of another model.
    """
    return [_make_steer(each, prompts, loaded) for each in interventions]


def _make_steer(each: Intervention, prompts: Sequence[Sequence[int]], loaded: LoadedModel) -> Steer:
    each.direction.check_fits(loaded.info)
    ranges = None if each.where == "all" else tuple(_range(each.where, prompt, loaded) for prompt in prompts)
    vector = torch.from_numpy(each.direction.vector.copy())
    return Steer(each.direction.site, each.direction.layer, vector, each.strength, ranges, each.operator, each.value)


def _range(where: SteeredSpan | range | FromText, prompt: Sequence[int], loaded: LoadedModel) -> range | Scope:
    if isinstance(where, range):
        return where
    if isinstance(where, FromText):
        return TextScope(where.text, prompt, loaded.tokenizer)
    if where == "think" or where == "answer":
        return SpanScope(where, prompt, loaded.tokenizer, loaded.format)
    return range(len(prompt)) if where == "prompt" else range(len(prompt) - 1, ENDLESS)


def count_steered(steer: Sequence[Steer], sequences: Sequence[Sequence[int]]) -> list[list[int]]:
    """How many tokens of each sequence each intervention changes, [intervention][sequence].

    Args:
        sequences: tokens that were fed: without a stop token.
    """
    counts = []
    for each in steer:
        # A dose of 0 changes nothing; the scope is what is counted.
        steering = Steering([replace(each, strength=1.0)])
        for index, ids in enumerate(sequences):
            steering.see(index, ids)
        counts.append([len(steering.steered(index, len(ids))) for index, ids in enumerate(sequences)])
    return counts
