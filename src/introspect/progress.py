"""How stages say how far they are, without knowing who listens; and how long work takes."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Stage in words, units done, units in all. Called from the thread that does the work."""


def silent(stage: str, done: int, total: int) -> None:
    """Says nothing."""


def within(progress: Progress, name: str) -> Progress:
    """The stages of something that has a name, as `name: stage`."""
    return lambda stage, done, total: progress(f"{name}: {stage}", done, total)


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
