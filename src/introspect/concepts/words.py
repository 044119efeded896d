"""The words of the injected-concept studies: categories, and four lists in each.

`data/concepts/words.yaml` is the list that ships; a file of your own has the same keys. No word may be in two lists,
nor in one twice, in any form (`forms.py`): a baseline that holds the concept subtracts it from itself, and a
confirmation word that was explored confirms nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from ..assets import assets_root
from ..sections import Section, Text
from ..spec_file import read_spec
from .forms import WordFinder

Part = Literal["exploration", "confirmation", "baseline", "control"]
PARTS: tuple[Part, ...] = ("exploration", "confirmation", "baseline", "control")

FOLDER = "concepts"
FILE = "words.yaml"
_WORD = re.compile(r"[^\W\d_]+(?:[ '’-][^\W\d_]+)*")


def _is_a_word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} is no word: write letters only, parts joined by one space, hyphen or apostrophe")
    return text


Word = Annotated[str, AfterValidator(_is_a_word)]


class Place(NamedTuple):
    """Where a word stands in a file."""

    category: str
    part: Part


class Category(Section):
    """Words of one kind."""

    about: Text
    """The kind in one line."""
    concrete: bool | None
    """What the category is in the regression on concreteness; null: neither, and left out of it."""
    exploration: Annotated[tuple[Word, ...], Field(min_length=1)]
    """Words on which layer and strength are chosen."""
    confirmation: Annotated[tuple[Word, ...], Field(min_length=1)]
    """Words on which the chosen cell is tested."""
    baseline: tuple[Word, ...] = ()
    """Words whose mean is subtracted to make a concept vector."""
    control: tuple[Word, ...] = ()
    """Words that are never the injected concept."""


class ConceptWords(Section):
    """A file of words."""

    categories: Annotated[dict[Text, Category], Field(min_length=1)]

    @model_validator(mode="after")
    def _lists_are_there_and_apart(self) -> Self:
        for part in ("baseline", "control"):
            if not self.words(part):
                raise ValueError(f"no category has {part} words; give at least one category some")
        held = list(self.places())
        at: dict[str, Place] = {}
        for word, place in held:
            if word in at:
                raise ValueError(f"{word!r} stands in {_path(at[word])} and in {_path(place)}; remove one of them")
            at[word] = place
        finder = WordFinder(at)
        for word, place in held:
            for other, _ in finder.find(word):
                if other != word:
                    raise ValueError(
                        f"{word!r} in {_path(place)} and {other!r} in {_path(at[other])} are forms of one word, or one "
                        "is a part of the other; remove one of them"
                    )
        return self

    def places(self) -> Iterator[tuple[str, Place]]:
        """Every word with its place, in the order of the file."""
        for name, category in self.categories.items():
            for part in PARTS:
                yield from ((word, Place(name, part)) for word in getattr(category, part))

    def words(self, part: Part, category: str | None = None) -> tuple[str, ...]:
        """The words of a part: of every category, in the order of the file, or of one.

        Raises:
            KeyError: there is no such category.
        """
        chosen = self.categories.values() if category is None else (self.categories[category],)
        return tuple(word for each in chosen for word in getattr(each, part))

    @property
    def place(self) -> dict[str, Place]:
        """Word -> its category and list."""
        return dict(self.places())


def _path(place: Place) -> str:
    return f"{place.category}.{place.part}"


def read_words(path: Path | None = None) -> ConceptWords:
    """The words of a file; by default those that ship with introspect.

    Raises:
        SpecError: the file cannot be read; a list is empty; or a word stands twice, is a form or a part of another, or
            is no word. Names the file, the word and what to do.
    """
    return read_spec(ConceptWords, path or concepts_file(FILE))


def list_categories() -> dict[str, str]:
    """Shipped category -> what it is and how many words each of its lists has, in one line."""
    return {
        name: f"{each.about} ({', '.join(f'{len(getattr(each, part))} {part}' for part in PARTS)})"
        for name, each in read_words().categories.items()
    }


def concepts_file(name: str) -> Path:
    """A file of `data/concepts`."""
    return assets_root() / "data" / FOLDER / name
