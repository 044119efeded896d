"""The bytes of a part, read from a file that may be a stranger's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from ..errors import StoreError

REMEDY = "`--resume` records it again"
MAX_PART_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
"""Half of this machine's memory: a part was in memory when it was written."""
BLOCK = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[FileIO]:
    """A part's file, unbuffered: a regular file, no link, of at most half of this machine's memory.

    Raises:
        StoreError: it is not, or it cannot be read, now or while the context lasts.
    """
    try:
        with FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if state.st_size > MAX_PART_BYTES:
                raise OSError(errno.EFBIG, f"larger than {MAX_PART_BYTES:,} bytes")
            yield file
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error.strerror}); {REMEDY}") from None


def read_into(file: FileIO, offset: int, into: memoryview) -> bool:
    """Fill `into` with the file's bytes from `offset` on; False when there are not as many."""
    done = 0
    while done < len(into):
        count = os.preadv(file.fileno(), [into[done:]], offset + done)
        if not count:
            return False
        done += count
    return True


def blocks(file: FileIO, begin: int, end: int) -> Iterator[bytes]:
    """The file's bytes of a range, a block at a time, as far as there are any."""
    while begin < end and (block := os.pread(file.fileno(), min(BLOCK, end - begin), begin)):
        yield block
        begin += len(block)
