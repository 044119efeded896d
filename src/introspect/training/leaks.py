"""No evaluation item may be trained on: the check that refuses a training set that shows one.

The unit is the group, as it is of every split: the noun, trait, opponent, firm, family of problems or stem of a
question. What is shown is looked through besides, every message line by line, since an item's words can stand in
another's chat, or under another's group.
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
    openings = _by_first_line(items)
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
    """The lines of a prompt that ask, without options and instruction, normalised and without blank ones."""
    lines = item.prompt.split("\n")
    names = "|".join(map(re.escape, item.options))
    end = next((i for i, line in enumerate(lines) if i and re.match(rf"(?:{names})[:)]", line)), len(lines) - 1)
    return _lines("\n".join(lines[: max(end, 1)]))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in map(_line, text.split("\n")) if line)


def _by_first_line(items: Iterable[Item]) -> dict[str, list[tuple[tuple[str, ...], Item]]]:
    found: dict[str, list[tuple[tuple[str, ...], Item]]] = {}
    for item in items:
        opening = _opening(item)
        if opening:
            found.setdefault(opening[0], []).append((opening, item))
    return found


def _shown_in(demonstration: Demonstration, openings: Mapping[str, list[tuple[tuple[str, ...], Item]]]) -> Item | None:
    """The evaluation item whose question stands in a message, if any does."""
    for message in demonstration.trial.messages:
        lines = _lines(message.content)
        for at, line in enumerate(lines):
            for opening, item in openings.get(line, ()):
                if lines[at : at + len(opening)] == opening:
                    return item
    return None
