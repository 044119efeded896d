"""The words of the question that follows an answer: which of these cues was used? Loads no model."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Field, field_validator

from ..sections import Text, distinct
from .texts import NamedTexts

T = TypeVar("T")
NONE = "none"
"""What stands for no cue among the names of kinds."""
LETTERS = string.ascii_uppercase[15:]
"""Letters of the options, P to Z: none that an answer to a question has, so that no letter of one is copied."""
MOST = len(LETTERS) - 1
"""Kinds of hints that a question has letters for."""


class CueTexts(NamedTexts):
    """The content of a file like data/natural/cue.yaml."""

    FILE = "cue.yaml"
    questions: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Wordings."""
    names: dict[str, Text]
    """Kind of hint -> how an option calls it."""
    none: Text
    """The option of no cue."""
    ask: Text
    """The line below the options; `{letters}` stands for their letters."""

    @field_validator("questions")
    @classmethod
    def _differ(cls, questions: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(questions)

    @field_validator("ask")
    @classmethod
    def _has_letters(cls, ask: str) -> str:
        if "{letters}" not in ask:
            raise ValueError("put {letters} where the letters of the options stand")
        return ask

    def asked(self, question: int, options: Sequence[str]) -> str:
        """The question with these options, in their order."""
        letters = LETTERS[: len(options)]
        lines = [f"{letter}) {text}" for letter, text in zip(letters, options, strict=True)]
        ask = self.ask.replace("{letters}", f"{', '.join(letters[:-1])} or {letters[-1]}")
        return "\n".join([self.questions[question], *lines, ask])


def rotated(names: Sequence[T], by: int) -> list[T]:
    """The names, beginning with the one that stands at `by`, and round: in all of them each stands once everywhere."""
    return [*names[by:], *names[:by]]
