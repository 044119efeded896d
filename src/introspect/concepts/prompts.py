"""What the injected-concept studies ask, as data: several wordings of every prompt, for large models and for small.

`data/concepts/prompts.yaml` says what each is for; a file of your own has the same keys. Filling a prompt says where in
the text each filled-in part is, so that an injection can be kept to it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ..sections import Section
from ..spec_file import read_spec
from .words import concepts_file

FILE = "prompts.yaml"
_FILLER = re.compile(r"\{([A-Za-z_]*)\}")

Range = tuple[int, int]
"""Characters of a text: the first, and the one after the last."""


def _holds(*names: str) -> Callable[[str], str]:
    """A check that a prompt has each of these placeholders once, and no other."""

    def check(text: str) -> str:
        if sorted(_FILLER.findall(text)) != sorted(names) or not text.strip():
            wanted = " and ".join(f"{{{name}}}" for name in names) + " once and no" if names else "no"
            raise ValueError(f"the prompt {text!r} must hold {wanted} other placeholder; correct it")
        return text

    return check


Plain = Annotated[str, AfterValidator(_holds())]
WithWord = Annotated[str, AfterValidator(_holds("word"))]
WithQuestion = Annotated[str, AfterValidator(_holds("question"))]
WithSentence = Annotated[str, AfterValidator(_holds("sentence"))]
WithSentences = Annotated[str, AfterValidator(_holds("sentences"))]
WithBoth = Annotated[str, AfterValidator(_holds("word", "sentence"))]


class Trial(Section):
    """One wording of the injected-thought trial. An injection runs from just before the ask to the end of the reply."""

    opening: Plain | None = None
    """What the user says before the ask; null: nothing."""
    reply: Plain | None = None
    """What the assistant answered to that."""
    detect: Plain
    """Is there a thought, and which: Yes where there is."""
    reversed: Plain
    """Is there none: No where there is one."""
    which: Plain
    """Which word; needs no yes."""
    concept: WithWord
    """Is it about this word."""
    unrelated: WithQuestion
    """A question of fact, asked as `detect` is."""

    @model_validator(mode="after")
    def _an_opening_is_answered(self) -> Self:
        if (self.opening is None) != (self.reply is None):
            raise ValueError("opening and reply come together; give both, or neither")
        return self

    def messages(self, ask: str) -> list[dict[str, str]]:
        """A chat that ends with the ask, a filled-in prompt of this wording; the ask is its last message."""
        before = [] if self.opening is None or self.reply is None else [self.opening, self.reply]
        roles = ("user", "assistant")
        return [{"role": roles[i % 2], "content": text} for i, text in enumerate([*before, ask])]


class ThoughtText(Section):
    """A thought against a text: asked after a sentence on whose tokens alone something was injected."""

    thought: WithSentence
    """Which word is in mind."""
    repeat: WithSentence
    """What the sentence says."""


class Prefill(Section):
    """A word in the model's mouth: the ask, the word as its reply, and one of two questions about it."""

    ask: WithSentence
    meant: Plain
    """Was it meant: Yes accepts it."""
    slip: Plain
    """Was it a slip: No accepts it."""


class Intentional(Section):
    """A sentence to be written, with five things to do about a word meanwhile."""

    think: WithBoth
    avoid: WithBoth
    search: WithBoth
    mention: WithBoth
    plain: WithSentence
    """No word at all."""


class PromptSet(Section):
    """Every prompt, for models of one size; each in wordings that are numbered from 0."""

    vector: Annotated[tuple[WithWord, ...], Field(min_length=1)]
    """The message before whose reply a concept vector is read."""
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]
    thought_text: Annotated[tuple[ThoughtText, ...], Field(min_length=1)]
    prefill: Annotated[tuple[Prefill, ...], Field(min_length=1)]
    intentional: Annotated[tuple[Intentional, ...], Field(min_length=1)]
    localise: Annotated[tuple[WithSentences, ...], Field(min_length=1)]
    """Which of several lettered sentences was injected."""


class ConceptPrompts(Section):
    """A file of prompts."""

    full: PromptSet
    """For models that follow longer instructions."""
    small: PromptSet
    """For models that do not."""

    def texts(self) -> Iterator[tuple[str, str]]:
        """Where each prompt stands (`full.trials.0.detect`), and its text without placeholders."""
        for where, text in _texts(self.model_dump(mode="json")):
            yield where, _FILLER.sub(" ", text)


def _texts(node: object, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield where.removeprefix("."), node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _texts(value, f"{where}.{key}")


@dataclass(frozen=True)
class Filled:
    """A prompt with its placeholders filled in."""

    text: str
    at: dict[str, Range]
    """Placeholder (or letter of a listed sentence) -> the characters of `text` that stand for it."""


def fill(prompt: str, **values: str) -> Filled:
    """The prompt with each placeholder replaced by its value. Braces within values are text.

    >>> fill("Tell me about {word}.", word="rain").at
    {'word': (14, 18)}

    Raises:
        KeyError: a placeholder has no value.
    """
    text, at, end = "", dict[str, Range](), 0
    for filler in _FILLER.finditer(prompt):
        text += prompt[end : filler.start()]
        value, end = values[filler[1]], filler.end()
        at[filler[1]] = (len(text), len(text) + len(value))
        text += value
    return Filled(text + prompt[end:], at)


def fill_sentences(prompt: str, sentences: Sequence[str]) -> Filled:
    """A prompt for localisation with its sentences as lines, `A) ...` first; `at` holds each sentence by its letter.

    Raises:
        ValueError: there are more sentences than letters.
    """
    letters = string.ascii_uppercase[: len(sentences)]
    lines = [f"{letter}) {sentence}" for letter, sentence in zip(letters, sentences, strict=True)]
    filled = fill(prompt, sentences="\n".join(lines))
    start, at = filled.at["sentences"][0], dict[str, Range]()
    for letter, line, sentence in zip(letters, lines, sentences, strict=True):
        at[letter] = (start + len(line) - len(sentence), start + len(line))
        start += len(line) + 1
    return Filled(filled.text, at)


def read_prompts(path: Path | None = None) -> ConceptPrompts:
    """The prompts of a file; by default those that ship with introspect.

    Raises:
        SpecError: the file cannot be read, a key of it is missing, or a prompt has not the placeholders that its place
            needs. Names the file and the key.
    """
    return read_spec(ConceptPrompts, path or concepts_file(FILE))
