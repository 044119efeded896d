"""One writer at a time, held by the operating system: a process that dies, however it dies, lets go of its lock.

On a network folder that is the file system's work, and takes as long as its lease (NFS: minutes) where the writer's
machine is gone. The lock file holds the writer's process number and machine, for whoever waits for it; it says nothing
once the lock is free.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .atomic import read_at_most
from .errors import BusyError, RunError

MOST_BYTES = 300
HOLDER = re.compile(r"(\d{1,20})(?: ([A-Za-z0-9._-]{1,255}))?")
"""What a lock file says: a process, and its machine."""


@contextmanager
def only_writer(marker: Path, what: Path) -> Iterator[None]:
    """Hold the lock of `marker`, a small file that is made and stays.

    Raises:
        BusyError: another process holds it. Names `what` it writes to, and who.
        RunError: it cannot be made.
    """
    lock = FileLock(marker, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"another process{_holder(marker)} is writing to {what}: wait for it, or choose another --out"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise RunError(f"cannot lock {what} ({error}); choose another --out") from None
    try:
        if type(lock) is not FileLock:  # a file that counts as a lock, which a writer that dies leaves behind for ever
            raise RunError(f"cannot lock {what}: its file system has no locks; choose another --out")
        with os.fdopen(os.open(marker, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w") as file:
            file.write(f"{os.getpid()} {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


def _holder(marker: Path) -> str:
    """` (12345)`; of another machine ` (12345 on its name; ...)`; nothing when the lock file says no number."""
    try:
        said = HOLDER.fullmatch(read_at_most(marker, MOST_BYTES).decode("ascii", errors="replace").strip())
    except OSError:
        return ""
    if said is None:
        return ""
    process, machine = said.groups()
    if machine in (None, socket.gethostname()):
        return f" ({process})"
    return f" ({process} on {machine}; if that is gone, the folder's file system frees the lock after a while)"
