"""How stages say how far they are, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Stage in words, units done, units in all. Called from the thread that does the work."""


def silent(stage: str, done: int, total: int) -> None:
    """Says nothing."""
