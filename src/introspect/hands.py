"""Who does the pieces of a plan: this process, one after another, or a crew of workers beside it (see `cluster`).

A piece is known by its index in the plan, which has its seeds; what it comes to depends on no other piece, unless who
plans says so. So it does not matter who does it, or when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from .errors import RunError

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
    """What hands over in the order of `todo`, whatever the order in which pieces are done.

    Once `take` did not return, by an error or an interruption, nobody knows what it did: what it gives then raises
    RunError, and no later piece takes the place of the one that was being handed over.
    """
    left, waiting = deque(todo), dict[int, R]()
    under_way = False

    def taken(index: int, made: R) -> None:
        nonlocal under_way
        if under_way:
            raise RunError(f"piece {left[0]} was being handed over when that was stopped; go on with --resume")
        waiting[index] = made
        while left and left[0] in waiting:
            under_way = True
            take(left[0], waiting[left[0]])
            del waiting[left.popleft()]
            under_way = False

    return taken


def in_turn(todo: Sequence[int], make: Callable[[int], R], take: Callable[[int, R], object]) -> None:
    """One after another, here."""
    for index in todo:
        take(index, make(index))
