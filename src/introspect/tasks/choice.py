"""Multiple-choice questions with one right option: their layout, and making and merging them.

A sample item::

    Which gas do plants take in to make sugar?
    A) helium
    B) carbon dioxide
    C) neon
    D) argon
    Think first, then write Answer: A, B, C or D.

    options: {"A": "wrong", "B": "right", "C": "wrong", "D": "wrong"}
    fields:  subject=biology level=1 correct=B

The stem may have several lines; an option has one. `parts` takes a prompt apart again, so that a hint can be worked
into it. Questions with the same stem but for case, punctuation and spacing share a group, the unit of every split.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import SpecError
from .item import Item, Scalar

LETTERS = string.ascii_uppercase
RIGHT, WRONG = "right", "wrong"

_LETTER = r"[^\W\d_]"
_HYPHEN = re.compile(rf"(?<={_LETTER})[-‐‑](?={_LETTER})")
_APOSTROPHE = re.compile(rf"(?<={_LETTER})['’](?={_LETTER})")
_TOKEN = re.compile(rf"\.?\d+(?:[.,]\d+)*|{_LETTER}+|[^\w\s]")
_PUNCTUATION = frozenset(".,;:?!'\"`´‘’“”„«»‹›…–—¿¡_")


@dataclass(frozen=True)
class Question:
    """A question taken apart."""

    stem: str
    options: dict[str, str]
    """Letter -> text, in order."""
    instruction: str
    """The last line: what to write as the answer."""


def instruction(letters: Iterable[str]) -> str:
    """`Think first, then write Answer: A, B, C or D.`"""
    *most, last = letters
    return f"Think first, then write Answer: {', '.join(most)} or {last}."


def compose(stem: str, options: Mapping[str, str]) -> str:
    """The prompt of a question.

    Args:
        options: letter -> text. The letters are A, B, C and so on, in order; 2 to 26 of them.

    Raises:
        SpecError: the stem or an option is blank, an option has several lines, or the letters are others.
    """
    named = f"question {_short(stem)}"
    if not stem.strip():
        raise SpecError("a question has no text: write what is asked")
    letters = list(options)
    if not 2 <= len(letters) <= len(LETTERS) or letters != list(LETTERS[: len(letters)]):
        raise SpecError(
            f"{named} has options {', '.join(letters) or '(none)'}: give 2 to 26, A, B, C and so on in order"
        )
    for letter, text in options.items():
        if not text.strip():
            raise SpecError(f"{named}: option {letter} is empty; write it or leave the question out")
        if "\n" in text:
            raise SpecError(f"{named}: option {letter} has several lines; write it in one")
    return "\n".join([stem, *(f"{letter}) {text}" for letter, text in options.items()), instruction(letters)])


def parts(item: Item) -> Question:
    """The stem, options and instruction of an item's prompt: the inverse of `compose`.

    Raises:
        SpecError: the item has no lettered options, or its prompt is not laid out as a question with them.
    """
    letters = list(item.options)
    lines = item.prompt.split("\n")
    first = len(lines) - 1 - len(letters)
    shown = lines[first:-1] if first >= 1 else []
    for number, letter in enumerate(letters):
        mark = f"{letter}) "
        if letter != LETTERS[number : number + 1] or not shown or not shown[number].startswith(mark):
            raise SpecError(
                f"item {item.item_id}: no line {mark.strip()!r} of option {letter!r} where the layout has it; write "
                "the prompt as: the question, a line 'A) ...' for each option in order, and one line of instruction"
            )
    stem, asked = "\n".join(lines[:first]), lines[-1]
    options = {letter: line[len(letter) + 2 :] for letter, line in zip(letters, shown, strict=True)}
    if not stem.strip() or not asked.strip() or not all(text.strip() for text in options.values()):
        raise SpecError(f"item {item.item_id}: its question, an option or its instruction is empty; write all of them")
    return Question(stem, options, asked)


def right_letter(item: Item) -> str:
    """The letter of the right option.

    Raises:
        SpecError: not exactly one option means `right`.
    """
    right = [letter for letter, meaning in item.options.items() if meaning == RIGHT]
    if len(right) != 1:
        raise SpecError(f"item {item.item_id} has {len(right)} right options: mark exactly one as {RIGHT!r}")
    return right[0]


def make_question(
    item_id: str,
    stem: str,
    right: str,
    wrong: Sequence[str],
    *,
    letter: str | None = None,
    rng: random.Random | None = None,
    subject: str,
    level: int | None = None,
    split: Literal["id", "ood"] = "id",
    group: str | None = None,
    fields: Mapping[str, Scalar] | None = None,
) -> Item:
    """An item of a stem, its right option and the wrong ones, which keep their order.

    Args:
        letter: of the right option; None: drawn by `rng`, which by default is seeded with `item_id`.
        level: 1 easy, 2, 3 hard; None where nobody rated it: the item then has no such field.
        group: the unit of every split; None: that of the stem (`stem_group`).
        fields: further fields.

    Raises:
        SpecError: as `compose`; two options have the same text; or no option has that letter.
    """
    texts = [one_line(text) for text in wrong]
    letters = LETTERS[: len(texts) + 1]
    if letter is None:
        letter = (rng or random.Random(f"letter/{item_id}")).choice(letters)
    if len(letter) != 1 or letter not in letters:
        raise SpecError(f"item {item_id}: no option has the letter {letter!r}; choose one of {', '.join(letters)}")
    texts.insert(letters.index(letter), one_line(right))
    same = next((text for i, text in enumerate(texts) if text in texts[:i]), None)
    if same:
        raise SpecError(f"item {item_id}: two options are {_short(same)}; make them differ")
    stem = tidy(stem)
    about: dict[str, Scalar] = {"subject": subject, **({} if level is None else {"level": level}), "correct": letter}
    return Item(
        item_id=item_id,
        group=group or stem_group(stem),
        split=split,
        domain=subject,
        prompt=compose(stem, dict(zip(letters, texts, strict=False))),
        options={each: RIGHT if each == letter else WRONG for each in letters},
        fields={**about, **(fields or {})},
    )


def merge_duplicates(items: Iterable[Item]) -> tuple[list[Item], int]:
    """The items without those whose stem stood before, and how many those are. The first of each stem is kept.

    Stems are the same when they differ only in case, sentence punctuation and spacing; signs of arithmetic count. Two
    questions with the same stem and other options are merged too: they share a group, and one of them says enough.

    Raises:
        SpecError: an item is not laid out as a question.
    """
    kept: dict[str, Item] = {}
    n_items = 0
    for item in items:
        kept.setdefault(normalised(parts(item).stem), item)
        n_items += 1
    return list(kept.values()), n_items - len(kept)


def normalised(stem: str) -> str:
    """A stem without case, sentence punctuation and spacing; numbers, brackets and operators stay.

    >>> normalised("Is it  a “Well-known” fact?") == normalised("is it a well known fact")
    True
    >>> normalised("What is 3 - 4?") == normalised("What is 3 + 4?")
    False
    """
    text = _APOSTROPHE.sub("", _HYPHEN.sub(" ", unicodedata.normalize("NFKC", stem).casefold()))
    tokens = [match[0] for match in _TOKEN.finditer(text)]
    return " ".join(token for token in tokens if token not in _PUNCTUATION) or one_line(stem)


def stem_group(stem: str) -> str:
    """The group of every question with this stem: a digest of `normalised`."""
    return f"stem-{hashlib.sha256(normalised(stem).encode()).hexdigest()[:12]}"


def one_line(text: str) -> str:
    """The text with all spacing, line breaks too, as single spaces."""
    return " ".join(text.split())


def tidy(text: str) -> str:
    """The text with line feeds only, and without spacing at either end or at the ends of lines."""
    return "\n".join(line.rstrip() for line in re.split(r"\r\n|\r|\n", text)).strip()


def _short(text: str) -> str:
    flat = one_line(text)
    return repr(flat if len(flat) <= 60 else f"{flat[:57]}...")
