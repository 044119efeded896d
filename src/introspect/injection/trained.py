"""What an organism's card says of how it was trained on injected concepts: where, how strongly, and against what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..assets import find_card
from ..errors import IntrospectError

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
UNKNOWN = "not known: the card of what it started from cannot be read"
MOST_STARTS = 16
"""Organisms that start from one another, at the most."""
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
    whole: bool = True
    """Whether the cards of all that it started from could be read: else more may have been shown."""

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
        if not self.whole:
            held_out = [UNKNOWN]
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
    """What the cards of an organism, and of those that it started from, say; None for no organism, no card, or one that
    says nothing that can be read.
    """
    recipes, whole = _recipes(organism)
    found: list[_Settings] = []
    manners: set[str] = set()
    for recipe in recipes:
        try:
            found.append(_Settings.model_validate(recipe.get("injection")))
        except ValidationError:
            if not found:
                return None
            whole = whole and recipe.get("injection") is None
        stages = recipe.get("stages")
        manners |= (
            {str(stage.get("manner")) for stage in stages if isinstance(stage, dict)}
            if isinstance(stages, list)
            else set()
        )
    if not found:
        return None
    return Trained(
        tuple(sorted({layer for each in found for layer in each.layers})),
        (min(min(each.strengths) for each in found), max(max(each.strengths) for each in found)),
        tuple(dict.fromkeys(control for each in found for control in each.controls)),
        LISTS_SENTENCES in manners,
        whole,
    )


def _recipes(organism: str | None) -> tuple[list[dict[str, Any]], bool]:
    """An organism's recipe, then that of what it started from, and so on; and whether these are all."""
    found: list[dict[str, Any]] = []
    while organism is not None:
        try:
            recipe = find_card(organism).get("recipe") if len(found) < MOST_STARTS else None
        except IntrospectError:
            recipe = None
        if not isinstance(recipe, dict):
            return found, False
        found.append(recipe)
        start = recipe.get("start")
        organism = start if isinstance(start, str) else None
    return found, True
