"""Files: writing a whole one or none of it, and reading one that may be a stranger's."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import RunError

Buffer = bytes | memoryview
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
"""A file that nothing stands in the place of, not even a link."""


def write_atomic(path: Path, content: str | bytes | Iterable[Buffer]) -> None:
    """Replace `path` by `content` in one step that survives a kill or a power cut.

    Args:
        content: text, bytes, or buffers that are written one after another.

    Raises:
        RunError: the disk is full or the folder cannot be written to. What was at `path` is still there.
    """
    put_in_place(write_aside(path, content), path)


def write_aside(path: Path, content: str | bytes | Iterable[Buffer]) -> Path:
    """Bring content to the disk beside `path`, under a hidden name of its own that ends in `.tmp`; returns that name.

    Raises:
        RunError: as `write_atomic`.
    """
    whole = content.encode("utf-8") if isinstance(content, str) else content
    pieces = [whole] if isinstance(whole, bytes) else whole
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with _removed_on_failure(temporary, path), os.fdopen(os.open(temporary, NEW, 0o666), "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def put_in_place(temporary: Path, path: Path) -> None:
    """Give what `write_aside` has written its name, in one step.

    Raises:
        RunError: as `write_atomic`.
    """
    with _removed_on_failure(temporary, path):
        temporary.replace(path)
        sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _removed_on_failure(temporary: Path, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {path}: {error.strerror}; free space or choose another --out, then go on with --resume"
        ) from error


def write_json(path: Path, document: Any) -> None:
    """Replace `path` by a document, as `write_atomic` does, as JSON that people can read.

    Raises:
        RunError: it cannot be written.
        ValueError: it holds a number that is not finite.
    """
    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_at_most(path: Path, most: int) -> bytes:
    """The content of a file that may be a stranger's: a regular file, no link, of at most `most` bytes.

    Raises:
        OSError: it is not, or cannot be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = b"" if state.st_size > most else file.read(most + 1)
    if max(state.st_size, len(content)) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return content
