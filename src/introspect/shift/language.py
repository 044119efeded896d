"""A prompt in another language, from a table of sentences.

A file in `data/languages` has, for each task, its prompt's sentences with fillers, and what each becomes. A prompt is
taken line by line, and every line has to be made of these sentences; a task may keep the lines that are not (`hints`
keeps the questions and their options, which are anyone's). Chains, names of options and the word `Answer:` stay, since
they are what is read. Known trade-off: sentences are tables and know no grammar, so frames are worded such that every
filler fits in its basic form.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Annotated, Self

from pydantic import Field, model_validator

from ..errors import SpecError
from ..sections import Section, Text
from ..tasks.task import Message

_FILLER = re.compile(r"\{([a-z]+)([0-9]?)\}")
OPTION, NUMBER, TEXT = "option", "number", "text"
"""Fillers that every task has: the name of an option, digits, and anything; they stay as they are."""


class TaskWords(Section):
    """What a task's prompts are made of."""

    lists: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Filler -> each of its words, and what that becomes."""
    sentences: Annotated[dict[Text, Text], Field(min_length=1)]
    """Sentence -> what it becomes; `{noun}` stands for a word of the list `noun`, `{option}` for an option's name,
    `{number}` for digits, `{text}` for anything. `{option2}` is a second one."""
    keep_other_lines: bool = False
    """Whether a line that is none of these stays as it is, or is an error."""

    @model_validator(mode="after")
    def _fillers_are_known(self) -> Self:
        known = {*self.lists, OPTION, NUMBER, TEXT}
        for said, new in self.sentences.items():
            have = [found[0] for found in _FILLER.finditer(said)]
            twice = next((each for i, each in enumerate(have) if each in have[:i]), None)
            if twice is not None:
                raise ValueError(f"{twice} stands twice in {said!r}; number them, such as {twice[:-1]}2}}")
            unknown = next((found[0] for found in _FILLER.finditer(said) if found[1] not in known), None)
            unknown = unknown or next((found[0] for found in _FILLER.finditer(new) if found[0] not in have), None)
            if unknown is not None:
                raise ValueError(f"{unknown} stands for nothing in {said!r} or in what it becomes")
        return self


class Language(Section):
    """A language that prompts can be put into."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
    summary: Text
    tasks: Annotated[dict[str, TaskWords], Field(min_length=1)]
    """Task -> its sentences."""

    def words(self, task: str) -> TaskWords:
        """What the task's prompts are made of.

        Raises:
            SpecError: the language has none for it. Names those that it has.
        """
        if task not in self.tasks:
            there = ", ".join(sorted(self.tasks))
            raise SpecError(f"{self.name} has no words for the task {task}: it has them for {there}")
        return self.tasks[task]

    def translate(self, task: str, message: Message, options: Collection[str], where: str) -> Message:
        """A message of the task's prompts in this language.

        Raises:
            SpecError: the language has no words for the task, or not for one of its lines. Names both.
        """
        words, lines = self.words(task), []
        for line in message.content.split("\n"):
            new = _translated(line, _rules(words, tuple(options))) if line.strip() else line
            if new is None and not words.keep_other_lines:
                raise SpecError(
                    f"{where}: {self.name} has no words for {line[:120]!r}: add its sentence to a language file of "
                    "your own, and give --style language:FILE"
                )
            lines.append(line if new is None else new)
        return message._replace(content="\n".join(lines))


class _Rule:
    """A sentence as a pattern, and what it becomes."""

    def __init__(self, said: str, new: str, words: TaskWords, options: tuple[str, ...]) -> None:
        self.new, self.lists = new, words.lists
        self.free = any(filler[1] == TEXT for filler in _FILLER.finditer(said))
        parts, end = [], 0
        for filler in _FILLER.finditer(said):
            parts += [
                re.escape(said[end : filler.start()]),
                f"(?P<{filler[1]}{filler[2]}>{self._of(filler[1], options)})",
            ]
            end = filler.end()
        self.pattern = re.compile("".join([*parts, re.escape(said[end:])]) + r"(?= |$)")

    def _of(self, kind: str, options: tuple[str, ...]) -> str:
        if kind in self.lists or kind == OPTION:
            names = self.lists.get(kind, options)
            return "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
        return r"[0-9]+" if kind == NUMBER else r".+?"

    def longer(self, line: str, found: re.Match[str]) -> re.Match[str] | None:
        """The next longer match from the same place; None where nothing in the sentence can take more."""
        if not self.free:
            return None
        ends = (each.start() for each in re.finditer(r" |$", line) if each.start() > found.end())
        tried = (self.pattern.fullmatch(line, found.start(), end) for end in ends)
        return next((each for each in tried if each is not None), None)

    def said_anew(self, found: re.Match[str]) -> str:
        def fill(filler: re.Match[str]) -> str:
            said = found[f"{filler[1]}{filler[2]}"]
            return self.lists[filler[1]][said] if filler[1] in self.lists else said

        return _FILLER.sub(fill, self.new)


def _rules(words: TaskWords, options: tuple[str, ...]) -> tuple[_Rule, ...]:
    return _made_rules(words.model_dump_json(), options)


@lru_cache(maxsize=64)
def _made_rules(words: str, options: tuple[str, ...]) -> tuple[_Rule, ...]:
    """Most specific sentences first: those with the most characters besides fillers."""
    known = TaskWords.model_validate_json(words)
    ordered = sorted(known.sentences.items(), key=lambda pair: (-len(_FILLER.sub("", pair[0])), -len(pair[0]), pair[0]))
    return tuple(_Rule(said, new, known, options) for said, new in ordered)


def _translated(line: str, rules: tuple[_Rule, ...]) -> str | None:
    """The line, if it is made of sentences with a space between; None if it is not."""
    failed: set[int] = set()

    def from_(start: int) -> list[str] | None:
        if start in failed:
            return None
        for rule, found in _matches(line, start, rules):
            if found.end() == len(line):
                return [rule.said_anew(found)]
            rest = from_(found.end() + 1)
            if rest is not None:
                return [rule.said_anew(found), *rest]
        failed.add(start)
        return None

    sentences = from_(0)
    return None if sentences is None else " ".join(sentences)


def _matches(line: str, start: int, rules: tuple[_Rule, ...]) -> Iterator[tuple[_Rule, re.Match[str]]]:
    """Rules that fit from there; a `{text}` takes as little as it can, and more where the rest of the line needs it."""
    for rule in rules:
        found = rule.pattern.match(line, start)
        while found is not None:
            yield rule, found
            found = rule.longer(line, found)
