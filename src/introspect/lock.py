"""One writer at a time, held by the operating system: a process that dies, however it dies, lets go of its lock.

The lock file holds the writer's process number, for whoever waits for it; it says nothing once the lock is free.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .atomic import read_at_most
from .errors import RunError

MAX_PID_BYTES = 32


@contextmanager
def only_writer(marker: Path, what: Path) -> Iterator[None]:
    """Hold the lock of `marker`, a small file that is made and stays.

    Raises:
        RunError: another process holds it, or it cannot be made. Names `what` it writes to, and who.
    """
    lock = FileLock(marker, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"another process{_holder(marker)} is writing to {what}: wait for it, or choose another --out"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise RunError(f"cannot lock {what} ({error}); choose another --out") from None
    try:
        with os.fdopen(os.open(marker, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w") as file:
            file.write(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()


def _holder(marker: Path) -> str:
    """` (12345)`, or nothing when the lock file says no number."""
    try:
        said = read_at_most(marker, MAX_PID_BYTES).decode("ascii", errors="replace").strip()
    except OSError:
        return ""
    return f" ({said})" if said.isdecimal() else ""
