"""Kinds of hints: where a hint stands, how it is worded, and how a chain speaks of it, in one small YAML file each.

The six that ship with introspect are in `data/hints`; the families are those of Chen et al. 2025 (arXiv 2505.05410),
the wording is our own. `data/hints/metadata.yaml` is a sample. A kind of your own needs `name`, `class`, `summary`,
`what`, `placement`, `wordings` and `patterns.mentions`; a spec names its file.

Known trade-off: a kind that is given as a file is found again by its path, so a run that used one can be scored again
only while that file is there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ..assets import hints_path, user_path
from ..errors import SpecError
from ..sections import HINT_KINDS, Section, Text
from ..spec_file import read_spec
from ..verdicts.verdict import Subject
from .choice import LETTERS
from .hint_patterns import check_pattern, hint_patterns

LETTER_FILLERS = ("letter", "code", "literal")
"""What a wording may hold for the hinted letter: `C`, and `"C"` for `literal`. A computed hint has the letter in words
for `letter`, and an expression for the others."""

_FILLER = re.compile(r"\{([A-Za-z_]+)\}")


def _fillers_are_known(wording: str) -> str:
    known = (*LETTER_FILLERS, "option", "id")
    for name in _FILLER.findall(wording):
        if name not in known:
            raise ValueError(f"{{{name}}} in {wording!r} stands for nothing; use {{{'}, {'.join(known)}}}")
    return wording


Pattern = Annotated[str, Field(min_length=1), AfterValidator(check_pattern)]
Wording = Annotated[str, Field(min_length=1), AfterValidator(_fillers_are_known)]


class HintPatterns(Section):
    """Regular expressions for what a chain says of a hint, beside those that hold for every kind.

    Each is tried on one clause at a time, without regard to case. `<hint>` stands for any of `mentions` with an article
    or pronoun before it. Quantifiers are bounded.
    """

    mentions: Annotated[tuple[Pattern, ...], Field(min_length=1)]
    """Noun phrases by which a chain may call the hint, without an article."""
    claims: tuple[Pattern, ...] = ()
    """The chain leans on the hint."""
    contrary: tuple[Pattern, ...] = ()
    """The chain turns away from it."""
    denies: tuple[Pattern, ...] = ()
    """The hint does not matter."""


class Shot(Section):
    """A solved example."""

    stem: Text
    options: Annotated[tuple[Text, ...], Field(min_length=2, max_length=len(LETTERS))]
    right: Annotated[str, Field(pattern=r"^[A-Z]$")]
    """Letter of the right option."""

    @model_validator(mode="after")
    def _right_is_there(self) -> Self:
        if self.right not in LETTERS[: len(self.options)]:
            raise ValueError(f"no option is {self.right}; give the letter of one of the {len(self.options)} options")
        return self


class HintKind(Section):
    """One kind of hint."""

    model_config = ConfigDict(ignored_types=(cached_property,))

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
    """A word; stands in conditions and facts."""
    hint_class: Annotated[Literal["ordinary", "concerning"], Field(alias="class")]
    """Whether to use such a hint would be a wrong in itself."""
    summary: Text
    """The kind in one line, for lists."""
    what: Text
    """What a judge looks for reliance on: a noun phrase that does not say which option is hinted at."""
    placement: Literal["before", "after", "system", "earlier_turn", "mark"]
    """Where the hint stands: before the question; after its options; in a system message; as the assistant's reply when
    the question was asked a first time; or as a mark on an option, after solved examples that are marked too."""
    wordings: Annotated[tuple[Wording, ...], Field(min_length=1)]
    """The hint, in several wordings that items share evenly. `{letter}`, `{code}` or `{literal}` is where the letter
    stands, `{id}` six hexadecimal digits; for a mark, `{option}` is the text of the option that is marked."""
    option: Annotated[str, Field(pattern=r"^[A-Z]$")] | None = None
    """The letter that is always hinted at; null: drawn for every question."""
    again: Text = "Here is the question once more."
    """Placement `earlier_turn`: what is said before the question is asked again."""
    shots: tuple[Shot, ...] = ()
    """Placement `mark`: the solved examples."""
    patterns: HintPatterns
    """How a chain speaks of it."""

    @model_validator(mode="after")
    def _fits_its_placement(self) -> Self:
        marks = self.placement == "mark"
        for wording in self.wordings:
            fillers = _FILLER.findall(wording)
            if marks and (fillers.count("option") != 1 or "\n" in wording or len(fillers) > 1):
                raise ValueError(f"the mark {wording!r} must be one line with {{option}} once and no other filler")
            if not marks and "option" in fillers:
                raise ValueError(f"{{option}} in {wording!r} is for placement mark; use {{letter}}")
            if not marks and self.option is None and not set(fillers) & set(LETTER_FILLERS):
                raise ValueError(f"the wording {wording!r} names no letter; put {{letter}} where it stands")
        if marks != bool(self.shots):
            raise ValueError("placement mark needs shots, and only that; give solved examples, or another placement")
        return self

    @property
    def can_be_computed(self) -> bool:
        """Whether every wording has a place at which a letter can be worked out."""
        return self.placement == "mark" or all(
            set(_FILLER.findall(wording)) & set(LETTER_FILLERS) for wording in self.wordings
        )

    @cached_property
    def subject(self) -> Subject:
        """What a verdict on this kind is about."""
        own = self.patterns
        return Subject(
            f"hint/{self.name}",
            f"reliance on {self.what}",
            hint_patterns(own.mentions, own.claims, own.contrary, own.denies),
        )


def fill(wording: str, values: dict[str, str]) -> str:
    """The wording with its fillers filled in; other braces stay as they are."""
    return _FILLER.sub(lambda filler: values[filler[1]], wording)


def find_kind(name_or_file: str) -> HintKind:
    """The kind of that name, or the one in that file.

    Args:
        name_or_file: what ends in `.yaml` or `.yml`, or holds a `/`, is a file; anything else is a name.

    Raises:
        SpecError: there is no such kind, or the file is not one. Names the file and the key.
    """
    if not is_file(name_or_file):
        return _shipped(name_or_file)
    path = user_path(name_or_file)
    try:
        state = path.stat()
    except (OSError, ValueError):
        raise SpecError(f"hints.kinds: no file {path}; give a YAML file of a kind, or a name") from None
    kind = _read(path, state.st_mtime_ns, state.st_size)
    if kind.name in HINT_KINDS:
        raise SpecError(f"{path}: name: {kind.name!r} ships with introspect; call the kind something else")
    return kind


def is_file(name_or_file: str) -> bool:
    """Whether the text means a file rather than a shipped kind."""
    return name_or_file.endswith((".yaml", ".yml")) or "/" in name_or_file


def load_kinds(names_or_files: Sequence[str]) -> dict[str, HintKind]:
    """The kinds that a spec names, under what it calls each.

    Raises:
        SpecError: as `find_kind`; or two of them share a name.
    """
    kinds = {text: find_kind(text) for text in names_or_files}
    owner: dict[str, str] = {}
    for text, kind in kinds.items():
        if kind.name in owner:
            raise SpecError(f"hints.kinds: {owner[kind.name]} and {text} are both called {kind.name!r}; rename one")
        owner[kind.name] = text
    return kinds


@cache
def _shipped(name: str) -> HintKind:
    return read_spec(HintKind, hints_path(name))


@lru_cache(maxsize=64)
def _read(path: Path, modified: int, size: int) -> HintKind:
    """A file as it was at that time: it is read again once it has changed."""
    return read_spec(HintKind, path)
