"""What an organism's card says of how it was trained on injected concepts: where, how strongly, and against what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..assets import find_card

CONTROLS = ("random", "negated", "shuffled")
"""Vectors that stand for no word, of which organisms of injected concepts are shown that there is nothing to report
(`training/injected_course.py`); for cards that do not say so themselves."""
HELD_OUT = ("natural", "swapped")
"""Further controls of the studies; a training has none of them where its card says nothing."""
ASKED = ("the question turned round", "unrelated questions", "the mismatched concept question")
"""What else is asked in training, of other words and questions."""
LOCALISED = "which sentence was injected"
NEVER_ASKED = (
    "concept vector before the question only",
    "an unrelated question whose answer begins as a word's does",
)
"""Controls of `inject-thought` that no training asks."""
LISTS_SENTENCES = "told_apart"
"""The manner of training (`training/injected_course.py`) that asks for the sentence too."""

Strength = Annotated[float, Field(gt=0, le=1000)]


@dataclass(frozen=True)
class Trained:
    """How vectors were added in a training."""

    layers: tuple[int, ...]
    strengths: tuple[float, float]
    """Least and greatest, as parts of a typical activation's norm."""
    controls: tuple[str, ...]
    """Kinds of vectors that stood for no word."""
    lists_sentences: bool = False
    """Whether it was shown which of several sentences was injected."""

    def to_json(self, study: str, kinds: dict[str, str]) -> dict[str, Any]:
        """Where, and which controls of a study the training has shown.

        Args:
            kinds: kind of vector -> what it is.
        """
        seen = [kinds[kind] for kind in kinds if kind in self.controls]
        held_out = [kinds[kind] for kind in (*CONTROLS, *HELD_OUT) if kind in kinds and kind not in self.controls]
        if study == "inject-thought":
            seen, held_out = [*seen, *ASKED], [*held_out, *NEVER_ASKED]
            (seen if self.lists_sentences else held_out).append(LOCALISED)
        else:
            held_out.append("every prompt of this study")
        return {
            "layers": list(self.layers),
            "strengths": list(self.strengths),
            "seen": seen,
            "held_out": held_out,
        }


class _Settings(BaseModel):
    """`recipe.injection` of a card. Others may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    layers: Annotated[tuple[Annotated[int, Field(ge=0, lt=10_000)], ...], Field(min_length=1, max_length=1000)]
    strengths: tuple[Strength, Strength]
    controls: Annotated[tuple[Annotated[str, Field(max_length=80)], ...], Field(max_length=40)] = CONTROLS


def read_trained(organism: str | None) -> Trained | None:
    """What the card of an organism says; None for no organism, no card, or one that says nothing that can be read."""
    recipe = find_card(organism).get("recipe")
    said, stages = (recipe.get("injection"), recipe.get("stages")) if isinstance(recipe, dict) else (None, None)
    try:
        found = _Settings.model_validate(said)
    except ValidationError:
        return None
    low, high = sorted(found.strengths)
    manners = [stage.get("manner") for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    return Trained(tuple(sorted(set(found.layers))), (low, high), found.controls, LISTS_SENTENCES in manners)
