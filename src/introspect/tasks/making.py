"""What the makers of items share: levels dealt out evenly, and the line that every prompt ends with."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

THINK_FIRST = "Think first, then write"
"""How the last line of a prompt begins."""


def dealt(levels: Sequence[T], rng: random.Random) -> Iterator[T]:
    """Levels without end, in random order: of any so many, each as often as the others (to within one)."""
    while True:
        block = list(levels)
        rng.shuffle(block)
        yield from block


def answers_line(options: Sequence[str]) -> str:
    """The forms an answer may take: `Answer: X, Answer: Y or Answer: Z.`"""
    *others, last = [f"Answer: {option}" for option in options]
    return f"{', '.join(others)} or {last}."


def with_article(noun: str) -> str:
    """`man` -> `a man`, `actor` -> `an actor`."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
