"""What organisms of injected concepts are trained on: words and questions that no study asks about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..concepts import Materials, read_materials
from ..concepts.forms import WordFinder
from ..concepts.sentences import LISTED, Line, QuestionPair
from ..concepts.words import Word, concepts_file
from ..errors import SpecError
from ..sections import Section, Text
from ..spec_file import read_spec

FILE = "training.yaml"


class TrainingWords(Section):
    """A file of words and questions to train on."""

    words: Annotated[dict[Text, tuple[Word, ...]], Field(min_length=1)]
    """Kind -> its words. Nothing depends on the kinds."""
    questions: Annotated[tuple[QuestionPair, ...], Field(min_length=1)]
    """Facts that have nothing to do with any word."""
    sentences: Annotated[tuple[Line, ...], Field(min_length=1)]
    """Other prompts, on which an organism is measured and never trained."""
    listed: Annotated[tuple[Line, ...], Field(min_length=LISTED)]
    """Sentences one of which is injected."""

    @property
    def each(self) -> tuple[str, ...]:
        """All words, in the order of the file."""
        return tuple(word for kind in self.words.values() for word in kind)


def read_training_words(path: Path | None = None, materials: Materials | None = None) -> TrainingWords:
    """The words and questions of a file; by default those that ship with introspect.

    Args:
        materials: those of the studies; by default those that ship.

    Raises:
        SpecError: the file cannot be read; a word stands twice; a word is one of a study's or stands in one of its
            trial prompts, in any form or as a part; or a question or sentence is one of a study's, or holds one of its
            words. Names the file and the word.
    """
    source = path or concepts_file(FILE)
    found, materials = read_spec(TrainingWords, source), materials or read_materials()
    words = found.each
    twice = next((word for at, word in enumerate(words) if word in words[:at]), None)
    if twice is not None:
        raise SpecError(f"{source}: {twice!r} stands twice; remove one of them")
    studied = [word for word, _ in materials.words.places()]
    in_studies = WordFinder(studied)
    for word in words:
        for other, _ in in_studies.find(word):
            raise SpecError(f"{source}: {word!r} gives away {other!r}, a word of the studies; remove it")
    in_training = WordFinder(words)
    shown = [(f"the word {word!r}", word) for word in studied]
    shown += [(where, text) for where, text in materials.prompts.texts() if ".trials." in where]
    for where, text in shown:
        for word, token in in_training.find(text):
            raise SpecError(f"{source}: {word!r} is {token!r} in {where} of the studies; remove it")
    asked = {line.lower() for line in materials.sentences.lines()}
    for text in (*(text for pair in found.questions for text in (pair.no, pair.yes)), *found.sentences, *found.listed):
        if text.lower() in asked:
            raise SpecError(f"{source}: {text!r} is a text of the studies; write another")
        for other, token in in_studies.find(text):
            raise SpecError(f"{source}: {text!r} has {token!r}, and the studies the word {other!r}; reword it")
    return found
