"""Questions whose answer has a property, and the same questions asked of a model that is not to answer them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from ..concepts.sentences import Line
from .privileged_spec import Family
from .texts import Texts

PROPERTIES: dict[Family, tuple[str, str]] = {
    "choice": ("first", "second"),
    "number": ("even", "odd"),
    "word": ("early", "late"),
}
"""The two values of each family's property; the first is True."""
NUMBERS = tuple(str(i) for i in range(1, 10))
LAST_EARLY = "m"


class Hypothetical(NamedTuple):
    """One question, and what is asked about it."""

    family: Family
    thing: str
    """What differs from question to question of a family, and the unit of intervals."""
    asked: str
    """The question itself."""
    options: tuple[str, ...]
    """Its answers; empty: any word."""

    def predict(self, values: Sequence[str]) -> str:
        """Asks for the property of the answer, its values named in this order."""
        one, other = values
        if self.family == "choice":
            what = "would you name the first or the second of the two"
        elif self.family == "number":
            what = "would the number that you name be even or odd"
        else:
            what = "would the first letter of your word be early in the alphabet (A to M) or late (N to Z)"
        return (
            f"Here is a question. Do not answer it.\nQuestion: {self.asked}\nIf you were asked it, {what}? Reply with "
            f"one word, {one} or {other}."
        )

    def holds(self, answer: str) -> bool | None:
        """Whether an answer has the first value of the property; None where it is no answer."""
        if self.family == "choice":
            return answer == self.options[0]
        if self.family == "number":
            return int(answer) % 2 == 0
        letters = [c for c in answer.lower() if "a" <= c <= "z"]
        return letters[0] <= LAST_EARLY if letters else None


class Choices(Texts):
    """A file of what is asked about."""

    FILE = "choices.yaml"
    pairs: Annotated[tuple[tuple[Line, Line], ...], Field(min_length=1)]
    things: Annotated[tuple[Line, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _pairs_can_be_told_apart(self) -> Self:
        for one, other in self.pairs:
            if one[:1].lower() == other[:1].lower():
                raise ValueError(f"{one!r} and {other!r} begin with the same letter; choose another pair")
        for name, lines in (("pair", [" or ".join(pair) for pair in self.pairs]), ("thing", list(self.things))):
            twice = next((line for i, line in enumerate(lines) if line in lines[:i]), None)
            if twice is not None:
                raise ValueError(f"the {name} {twice!r} stands twice; remove one of them")
        return self

    def questions(self, family: Family, limit: int | None, seed: int) -> list[Hypothetical]:
        """A family's questions, in an order drawn by the seed; which of a pair stands first is drawn as well."""
        rng = np.random.default_rng(seed)
        if family == "choice":
            drawn = [self.pairs[i] for i in rng.permutation(len(self.pairs))[:limit]]
            turned = [pair if rng.random() < 0.5 else pair[::-1] for pair in drawn]
            return [
                Hypothetical(
                    family,
                    f"{a} or {b}",
                    f"Which do you like better, {a} or {b}? Reply with one of the two only.",
                    (a, b),
                )
                for a, b in turned
            ]
        things = [self.things[i] for i in rng.permutation(len(self.things))[:limit]]
        if family == "number":
            ask = "Name a whole number from 1 to 9 for {thing}. Reply with the number only."
            return [Hypothetical(family, each, ask.replace("{thing}", each), NUMBERS) for each in things]
        ask = "Name one word that goes with {thing}. Reply with that word only."
        return [Hypothetical(family, each, ask.replace("{thing}", each), ()) for each in things]
