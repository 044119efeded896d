"""Writing while the model goes on: one task at a time, in a thread of its own, at most one batch behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class OneBehind:
    """Runs tasks in order, each while the caller goes on; a context that ends when the last one has.

    An error in a task is raised by the next `submit`, or at the end; no task runs after one that failed.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="introspect-writer")
        self._last: Future[object] | None = None

    def submit(self, task: Callable[[], object]) -> None:
        """Wait for the task before, then start this one."""
        self._wait()
        self._last = self._pool.submit(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            self._wait()

    def _wait(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            last.result()
