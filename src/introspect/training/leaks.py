"""No evaluation item may be trained on: the check that refuses a training set that shows one.

The unit is the group, as it is of every split: the noun, trait, opponent, firm, family of problems or stem of a
question. What is shown is looked through besides, every message and chain word by word, since an item's words can stand
in another's chat, in a chain, or under another's group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from ..errors import SpecError
from ..tasks.choice import normalised
from ..tasks.item import Item
from .demonstrations import Demonstration

_line = lru_cache(maxsize=1 << 16)(normalised)
KEY = 3
"""Words by which questions are looked up."""


def check_leaks(
    demonstrations: Sequence[Demonstration],
    evaluation_items: Iterable[Item],
    *,
    mixed: bool = False,
    named: str = "the training set",
) -> None:
    """Check that demonstrations show none of a task's evaluation items.

    Args:
        evaluation_items: of one task: groups of different tasks can have the same name.
        mixed: the demonstrations are of several tasks. Groups are then compared for those whose options mean what some
            evaluation item's do.
        named: what the demonstrations are, for the message.

    Raises:
        SpecError: there are no demonstrations or no evaluation items; or a demonstration is of an evaluation item, is
            of a group of one, or shows the question of one, but for case, punctuation and spacing. Names both.
    """
    items = list(evaluation_items)
    if not demonstrations:
        raise SpecError(f"{named} is empty: give it demonstrations, with item_repeats of 1 or more")
    if not items:
        raise SpecError(f"{named} cannot be checked for leaks: there are no evaluation items; give the task's own")
    ids = {item.item_id: item for item in items}
    groups = {item.group: item for item in reversed(items)}
    meanings = {meaning for item in items for meaning in item.options.values()}
    openings = _by_first_words(items)
    for number, demonstration in enumerate(demonstrations):
        own = demonstration.item
        same_task = not mixed or not meanings.isdisjoint(own.options.values())
        for leaked, why in (
            (ids.get(own.item_id), "it has its item_id"),
            (groups.get(own.group) if same_task else None, f"it is of its group {own.group!r}"),
            (_shown_in(demonstration, openings), "it shows its question"),
        ):
            if leaked is not None:
                raise SpecError(
                    f"{named} leaks evaluation item {leaked.item_id!r}: demonstration {number} (item {own.item_id!r}): "
                    f"{why}; train on items that no evaluation asks"
                )


def _opening(item: Item) -> tuple[str, ...]:
    """The words of a prompt that ask, without options and instruction, normalised."""
    lines = item.prompt.split("\n")
    names = "|".join(map(re.escape, item.options))
    end = next((i for i, line in enumerate(lines) if i and re.match(rf"(?:{names})[:)]", line)), len(lines) - 1)
    return _words("\n".join(lines[: max(end, 1)]))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for line in text.split("\n") if line.strip() for word in _line(line).split())


def _by_first_words(items: Iterable[Item]) -> dict[tuple[str, ...], list[tuple[tuple[str, ...], Item]]]:
    found: dict[tuple[str, ...], list[tuple[tuple[str, ...], Item]]] = {}
    for item in items:
        opening = _opening(item)
        if opening:
            found.setdefault(opening[:KEY], []).append((opening, item))
    return found


def _shown_in(
    demonstration: Demonstration, openings: Mapping[tuple[str, ...], list[tuple[tuple[str, ...], Item]]]
) -> Item | None:
    """The evaluation item whose question stands in a message or in the chain, if any does."""
    for text in (*(message.content for message in demonstration.trial.messages), demonstration.completion):
        words = _words(text)
        for at in range(len(words)):
            for length in range(1, KEY + 1):
                for opening, item in openings.get(words[at : at + length], ()):
                    if words[at : at + len(opening)] == opening:
                        return item
    return None
