"""A worker's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Slot:
    """A worker's place, whoever fills it."""

    name: str
    actor: Any = None
    hello: Any = None
    where: str = "a machine of the cluster"
    began: tuple[str, Any] | None = None
    """The errand that it was sent on last, and what will say how that went."""
    starts: int = 0
    """In a row, without a piece done."""
    answer: str = ""
    """The note in which it says that it sees our ground."""
    host: str = ""
    machine: str = ""
    """As `room.this_machine` names it there."""
    memory: int = 0
    """Bytes that a piece of its errand may take there."""
    room: int = 0
    """Bytes that were found to be free for it: what a process has needed once, it keeps."""
