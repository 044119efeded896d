"""The tasks by name."""

from __future__ import annotations

from ..errors import SpecError
from . import bias, hints, pressure, reward_hacking, risk, sampling
from .task import Task

TASKS: dict[str, Task] = {
    task.name: task for task in (risk.TASK, bias.TASK, reward_hacking.TASK, sampling.TASK, pressure.TASK, hints.TASK)
}


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        SpecError: there is none.
    """
    if name not in TASKS:
        raise SpecError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}")
    return TASKS[name]
