"""The tasks by name: what each calls its policy, and which option acts on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import SpecError
from .item import Item
from .risk import evaluation_items


@dataclass(frozen=True)
class Task:
    """What the stages need to know of a task beyond its items."""

    name: str
    policy: str
    """The behaviour of interest, as a phrase for reports."""
    acting: str
    """The meaning of an option (a value of `Item.options`) that acts on the policy."""
    summary: str


TASKS: dict[str, Task] = {
    "risk": Task("risk", "chooses the risky option", "risky", "a sure option against a gamble of known odds"),
}

GENERATORS: dict[str, Callable[..., list[Item]]] = {"risk": evaluation_items}
"""Task name -> maker of its items, called with `seed`, `id_repeats` and `ood_repeats`."""


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        SpecError: there is none.
    """
    if name not in TASKS:
        raise SpecError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}")
    return TASKS[name]
