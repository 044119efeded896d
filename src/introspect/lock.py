"""One writer at a time, held by the operating system: a process that dies, however it dies, lets go of its lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import RunError


@contextmanager
def only_writer(marker: Path, what: Path) -> Iterator[None]:
    """Hold the lock of `marker`, an empty file that is made and stays.

    Raises:
        RunError: another process holds it, or it cannot be made. Names `what` it writes to.
    """
    lock = FileLock(marker, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(f"another process is writing to {what}: wait for it, or choose another --out") from None
    except (OSError, NotImplementedError) as error:
        raise RunError(f"cannot lock {what} ({error}); choose another --out") from None
    try:
        yield
    finally:
        lock.release()
