"""Who does the pieces of a plan: this process, one after another, or a crew of workers beside it (see `cluster`).

A piece is known by its index in the plan, which has its seeds; what it comes to depends on no other piece, unless who
plans says so. So it does not matter who does it, or when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

R = TypeVar("R")


class Hands(Protocol[R]):
    """Do the pieces that are left."""

    def __call__(self, todo: Sequence[int], make: Callable[[int], R], take: Callable[[int, R], object]) -> None:
        """Do every piece of `todo`, and hand each over as it is done.

        Args:
            make: does a piece here.
            take: is handed a piece's index and what it came to; from any thread, by one at a time.
        """


def in_order(todo: Sequence[int], take: Callable[[int, R], object]) -> Callable[[int, R], None]:
    """What hands over in the order of `todo`, whatever the order in which pieces are done."""
    left, waiting = deque(todo), dict[int, R]()

    def taken(index: int, made: R) -> None:
        waiting[index] = made
        while left and left[0] in waiting:
            take(left[0], waiting.pop(left.popleft()))

    return taken


def in_turn(todo: Sequence[int], make: Callable[[int], R], take: Callable[[int, R], object]) -> None:
    """One after another, here."""
    for index in todo:
        take(index, make(index))
