"""Words, sentences and prompts together, which they only fit if no word stands in what the model reads anyway."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SpecError
from . import prompts as prompt_file
from . import sentences as sentence_file
from . import words as word_file
from .forms import WordFinder
from .prompts import ConceptPrompts, read_prompts
from .sentences import ConceptSentences, read_sentences
from .words import ConceptWords, concepts_file, read_words


@dataclass(frozen=True)
class Materials:
    """What a study of injected concepts is made of."""

    words: ConceptWords
    sentences: ConceptSentences
    prompts: ConceptPrompts

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of all of it."""
        texts = [each.model_dump_json() for each in (self.words, self.sentences, self.prompts)]
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def read_materials(words: Path | None = None, sentences: Path | None = None, prompts: Path | None = None) -> Materials:
    """The three files; what is not given is what ships with introspect.

    Raises:
        SpecError: as `read_words`, `read_sentences` and `read_prompts`; or a word stands in a sentence, a question or a
            prompt. Names both files, the word and the text.
    """
    found = Materials(read_words(words), read_sentences(sentences), read_prompts(prompts))
    finder = WordFinder(word for word, _ in found.words.places())
    source = words or concepts_file(word_file.FILE)
    lines = ((repr(line), line) for line in found.sentences.lines())
    _refuse_words(finder, source, sentences or concepts_file(sentence_file.FILE), lines)
    _refuse_words(finder, source, prompts or concepts_file(prompt_file.FILE), found.prompts.texts())
    return found


def _refuse_words(finder: WordFinder, words: Path, texts: Path, named: Iterable[tuple[str, str]]) -> None:
    for name, text in named:
        for word, token in finder.find(text):
            raise SpecError(
                f"{texts}: {name} has {token!r}, and {words} the word {word!r}: what is injected may not be read as "
                "well; reword the one, or remove the other"
            )
