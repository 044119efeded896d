"""The pieces that are left, dealt out one by one to whoever is free; and those whose workers died, dealt out again."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from ..errors import BusyError, RunError

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Workers that a piece may end before it is called its fault."""
NOT_HERE_AFTER = 2
"""Deaths after which a piece is not tried in the process that has everything to lose."""
LEAST_SECONDS, TIMES_LONGEST = 900.0, 10.0
"""A worker is stuck that has been at a piece for so many times what the longest so far took, and at least for so long;
twice as long for a piece of which that was thought before.
"""
UNKNOWN_SECONDS = 86_400.0
"""The same while no piece has been done, by anybody."""
BUSY_SECONDS, AGAIN_SECONDS = 600.0, 5.0
"""A piece that another process has is tried again for so long, and so often: what a machine held that is gone is free
after minutes, on the file systems that free it at all.
"""


class Pieces:
    """Shared by this process's threads.

    Args:
        name: how to call a piece.
        others: workers that are expected to take pieces, beside this process.
    """

    def __init__(self, todo: Sequence[int], name: Callable[[int], str], others: int) -> None:
        self._waiting, self._out = deque(todo), set[int]()
        self._name, self._others = name, others
        self._deaths: Counter[int] = Counter()
        self._begun: dict[int, float] = {}
        self._longest: float | None = None
        self._busy: dict[int, float] = {}
        self._resting: dict[int, float] = {}
        self._changed = threading.Condition()
        self.failure: BaseException | None = None

    def left(self) -> bool:
        """Whether there is anything to do, or may be."""
        with self._changed:
            return self.failure is None and bool(self._waiting or self._out)

    def next(self, *, here: bool = False) -> int | None:
        """A piece to do; waits while all are being done by others. None: there is nothing left, or something failed.

        Args:
            here: asked by the process that commits.
        """
        with self._changed:
            while self.failure is None and (self._waiting or self._out):
                now = time.monotonic()
                mine = [index for index in self._waiting if not here or self._deaths[index] < NOT_HERE_AFTER]
                index = next((index for index in mine if self._resting.get(index, now) <= now), None)
                if index is not None:
                    self._waiting.remove(index)
                    self._out.add(index)
                    self._begun[index] = now
                    return index
                if here and not self._others and not self._out and not mine:
                    self._fail(RunError(self._blame(self._waiting[0], "no worker is left to try it again")))
                    break
                self._changed.wait(0.5)
            return None

    def wait(self) -> None:
        """Until nothing is left, or something failed."""
        with self._changed:
            while self.failure is None and (self._waiting or self._out):
                self._changed.wait(0.5)

    def done(self, index: int) -> None:
        """A piece is done, and handed over."""
        with self._changed:
            self._out.discard(index)
            self._longest = max(self._longest or 0.0, time.monotonic() - self._begun[index])
            self._changed.notify_all()

    def patience(self, index: int) -> float:
        """Seconds that a piece may take before whoever does it is taken to be stuck."""
        with self._changed:
            usual = UNKNOWN_SECONDS if self._longest is None else max(LEAST_SECONDS, TIMES_LONGEST * self._longest)
            return usual * 2 ** self._deaths[index]

    def busy(self, index: int, error: BusyError) -> None:
        """A piece is in another process's hands: it is tried again, later and not for ever."""
        with self._changed:
            self._out.discard(index)
            now = time.monotonic()
            if now - self._busy.setdefault(index, now) > BUSY_SECONDS:
                self._fail(
                    BusyError(f"{self._name(index)} could not be begun for {BUSY_SECONDS / 60:.0f} minutes: {error}")
                )
            else:
                if index not in self._resting:
                    log.warning(
                        "%s: %s; tried again for up to %.0f minutes", self._name(index), error, BUSY_SECONDS / 60
                    )
                self._resting[index] = now + AGAIN_SECONDS
                self._waiting.append(index)
            self._changed.notify_all()

    def lost(self, index: int, where: str, why: str) -> None:
        """Whoever did a piece is gone: it is dealt out again, first of all."""
        with self._changed:
            self._out.discard(index)
            self._deaths[index] += 1
            if self._deaths[index] >= MOST_DEATHS:
                self._fail(RunError(self._blame(index, f"the last one on {where}: {why}")))
            else:
                self._waiting.appendleft(index)
            self._changed.notify_all()

    def gone(self, where: str, why: str, *, here: bool) -> None:
        """A worker is gone for good.

        Args:
            here: whether the process that commits goes on by itself.
        """
        with self._changed:
            self._others -= 1
            if not self._others and not here and (self._waiting or self._out):
                self._fail(
                    RunError(
                        f"no worker is left (the last one on {where}: {why}); what is done is kept: see to the "
                        "cluster, then go on with --resume"
                    )
                )
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Nothing more is dealt out."""
        with self._changed:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._changed.notify_all()

    def _blame(self, index: int, last: str) -> str:
        return (
            f"{self._name(index)} has ended {self._deaths[index]} workers ({last}); what is done is kept: see to the "
            "memory and the logs there, then go on with --resume"
        )
