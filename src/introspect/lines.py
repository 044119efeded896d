"""Lines of a JSON-lines file that may be a stranger's, one at a time, each with the place where it begins.

What is wrong is said of a line by the title of its model: `not a rollout`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import StoreError

AGAIN = "record the run again into another --out"
MAX_LINE = 1 << 26
"""Bytes of one line; a rollout of 100,000 tokens with eight options is a fifth of it."""
M = TypeVar("M", bound=BaseModel)


@contextmanager
def opened(path: Path, remedy: str = AGAIN) -> Iterator[BinaryIO]:
    """A regular file, no link, for reading.

    Raises:
        StoreError: it is not, or cannot be read.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StoreError(f"cannot read {path}: not a regular file; {remedy}")
            yield file
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}; {remedy}") from None


def read_lines(path: Path, kind: type[M]) -> Iterator[tuple[int, M]]:
    """Every line that is not blank, validated, and the byte at which it begins.

    Raises:
        StoreError: the file cannot be read, or a line is not what it should be. Names the file and the line.
    """
    with opened(path) as file:
        begin, number = 0, 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if line.strip():
                yield begin, parse_line(line, kind, f"{path}:{number}")
            begin += len(line)


def read_line(path: Path, begin: int, kind: type[M]) -> M:
    """The line that begins at a byte.

    Raises:
        StoreError: as `read_lines`: also when the file was changed since it was first read.
    """
    with opened(path) as file:
        file.seek(begin)
        return parse_line(file.readline(MAX_LINE + 1), kind, f"{path}, byte {begin}")


def parse_line(line: str | bytes, kind: type[M], where: str) -> M:
    """A line, validated.

    Args:
        where: what to call it.

    Raises:
        StoreError: it is not what it should be.
    """
    if len(line) > MAX_LINE:
        raise StoreError(f"{where}: a line of more than {MAX_LINE:,} bytes; {AGAIN}")
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "line"
        raise StoreError(f"{where}: not a {error.title.lower()} ({at}: {first['msg']}); {AGAIN}") from None
