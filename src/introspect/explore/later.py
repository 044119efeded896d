"""What takes longer than a page may: done once, in a thread, and asked for again until it is there."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
MOST_KEPT = 256
"""Results; the oldest are forgotten."""


class Later:
    """Results by what was asked for; one is made after the other."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._asked: dict[Hashable, Future[Any]] = {}
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T], wait: float | None) -> T | None:
        """What `make` gives, made once for each key; None: not there after so many seconds (None: however many).

        Raises what `make` raises, each time that it is asked for.
        """
        with self._lock:
            if key not in self._asked:
                if len(self._asked) >= MOST_KEPT:
                    del self._asked[next(each for each, made in self._asked.items() if made.done())]
                self._asked[key] = self._pool.submit(make)
            asked: Future[T] = self._asked[key]
        try:
            return asked.result(wait)
        except NotYet:
            return None

    def close(self) -> None:
        """Give up what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)
