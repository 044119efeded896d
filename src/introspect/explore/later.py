"""What takes longer than a page may: done once, in a thread, and asked for again until it is there."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")
MOST_KEPT = 256
"""Results; the oldest are forgotten."""


class Later:
    """Results by what was asked for; one is made after the other, in a thread that no end of the program waits for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._asked: dict[Hashable, Future[Any]] = {}
        self._lock = Lock()
        self._started = self._closed = False

    def get(self, key: Hashable, make: Callable[[], T], wait: float | None) -> T | None:
        """What `make` gives, made once for each key; None: not there after so many seconds (None: however many), too
        much else is waited for, or everything was given up.

        Raises what `make` raises, each time that it is asked for.
        """
        with self._lock:
            if key not in self._asked and not self._begin(key, make):
                return None
            asked: Future[T] = self._asked[key]
        try:
            return asked.result(wait)
        except (NotYet, CancelledError):
            if asked.done() and not asked.cancelled():
                raise
            return None

    def _begin(self, key: Hashable, make: Callable[[], Any]) -> bool:
        """Put something into the queue, in the place of the oldest that is done; the lock is held."""
        if len(self._asked) >= MOST_KEPT:
            oldest = next((each for each, made in self._asked.items() if made.done()), None)
            if oldest is None:
                return False
            del self._asked[oldest]
        if self._closed:
            return False
        if not self._started:
            self._started = True
            Thread(target=self._work, name=self._name, daemon=True).start()
        self._asked[key] = Future()
        self._waiting.put((self._asked[key], make))
        return True

    def _work(self) -> None:
        while True:
            made, make = self._waiting.get()
            if made.set_running_or_notify_cancel():
                try:
                    made.set_result(make())
                except BaseException as error:  # noqa: BLE001  # whoever asks is told
                    made.set_exception(error)
            del made, make

    def close(self) -> None:
        """Give up what waits."""
        with self._lock:
            self._closed = True
            for made in self._asked.values():
                made.cancel()
