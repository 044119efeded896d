"""The words of the question that follows an answer: which of these cues was used? Loads no model."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, field_validator

from ..assets import assets_root
from ..sections import Section, Text, distinct
from ..spec_file import read_spec

T = TypeVar("T")
NONE = "none"
"""What stands for no cue among the names of kinds."""
LETTERS = string.ascii_uppercase[15:]
"""Letters of the options, P to Z: none that an answer to a question has, so that no letter of one is copied."""
MOST = len(LETTERS) - 1
"""Kinds of hints that a question has letters for."""


class CueTexts(Section):
    """The content of a file like data/natural/cue.yaml."""

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

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of what is asked."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()

    def asked(self, question: int, options: Sequence[str]) -> str:
        """The question with these options, in their order."""
        letters = LETTERS[: len(options)]
        lines = [f"{letter}) {text}" for letter, text in zip(letters, options, strict=True)]
        ask = self.ask.replace("{letters}", f"{', '.join(letters[:-1])} or {letters[-1]}")
        return "\n".join([self.questions[question], *lines, ask])


def read_texts(path: Path | None = None) -> CueTexts:
    """The texts of a file; by default those that ship with introspect.

    Raises:
        SpecError: the file cannot be read, or lacks something. Names the file and the key.
    """
    return read_spec(CueTexts, path or assets_root() / "data" / "natural" / "cue.yaml")


def rotated(names: Sequence[T], by: int) -> list[T]:
    """The names, beginning with the one that stands at `by`, and round: in all of them each stands once everywhere."""
    return [*names[by:], *names[:by]]
