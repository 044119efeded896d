"""Sentences and questions that have nothing to do with any concept word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ..sections import Section
from ..spec_file import read_spec
from .words import concepts_file

FILE = "sentences.yaml"
LISTED = 10
"""Sentences that localisation lists at a time, and so the fewest that a file has."""


def _is_one_line(text: str) -> str:
    if not text.strip() or text != " ".join(text.split()) or "{" in text:
        raise ValueError(f"{text!r} is no line of plain text: write one line, without braces or double spaces")
    return text


def _asks(text: str) -> str:
    if not text.endswith("?"):
        raise ValueError(f"{text!r} is no question: end it with a question mark")
    return text


Line = Annotated[str, AfterValidator(_is_one_line)]
Question = Annotated[Line, AfterValidator(_asks)]


class QuestionPair(Section):
    """Two questions of one form."""

    no: Question
    """Its right answer is No."""
    yes: Question
    """Its right answer is Yes."""


class ConceptSentences(Section):
    """A file of sentences and questions."""

    sentences: Annotated[tuple[Line, ...], Field(min_length=LISTED)]
    questions: Annotated[tuple[QuestionPair, ...], Field(min_length=1)]
    asked_for_a_word: tuple[Question, ...] = ()
    """Facts that are one word; with none, no study holds what it names against what is named where a fact is asked."""

    @model_validator(mode="after")
    def _none_stands_twice(self) -> Self:
        seen: set[str] = set()
        for line in self.lines():
            if line.lower() in seen:
                raise ValueError(f"{line!r} stands twice; remove one of them")
            seen.add(line.lower())
        return self

    def lines(self) -> tuple[str, ...]:
        """Everything in the file that a model may be shown."""
        pairs = (line for pair in self.questions for line in (pair.no, pair.yes))
        return (*self.sentences, *pairs, *self.asked_for_a_word)


def read_sentences(path: Path | None = None) -> ConceptSentences:
    """The sentences and questions of a file; by default those that ship with introspect.

    Raises:
        SpecError: the file cannot be read, has fewer than ten sentences or no question, or one stands twice. Names the
            file and the line.
    """
    return read_spec(ConceptSentences, path or concepts_file(FILE))
