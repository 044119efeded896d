"""The tasks by name: what each calls its policy, and which option acts on it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SpecError


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


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        SpecError: there is none.
    """
    if name not in TASKS:
        raise SpecError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}")
    return TASKS[name]
