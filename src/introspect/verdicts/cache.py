"""Replies of a judge, kept by what was asked, so that scoring a run again asks and pays for nothing twice.

`judge_cache.jsonl` in a run directory grows by one line a reply, written in one piece as soon as it is there: a kill
loses the replies under way and no other. A last line that was torn, and any line that is not ours, is not read.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..atomic import read_at_most
from ..errors import RunError

CACHE = "judge_cache.jsonl"
MAX_CACHE_BYTES = 1 << 28
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK

Count = Annotated[int, Field(ge=0, le=1 << 40)]


class Reply(BaseModel):
    """What a judge said."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    cut: bool
    """Whether it ended because it was as long as it may be."""
    prompt_tokens: Count | None = None
    """None where the endpoint did not say."""
    reply_tokens: Count | None = None


class _Line(Reply):
    key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def request_key(settings: Mapping[str, object], prompt: str) -> str:
    """SHA-256 of everything that a reply depends on.

    Args:
        settings: model, address and how tokens are drawn, as JSON values.
    """
    return hashlib.sha256(json.dumps([settings, prompt], sort_keys=True).encode()).hexdigest()


class ReplyCache:
    """The replies in a file, and those that are added to it. Threads may share one."""

    def __init__(self, path: Path) -> None:
        """Raises RunError where there is something at `path` that cannot be a cache."""
        self._path = path
        self._replies = _read(path)
        self._file: int | None = None
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def get(self, key: str) -> Reply | None:
        """The reply to a request, if it has been given before."""
        return self._replies.get(key)

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply, on disk before this returns.

        Raises:
            RunError: it cannot be written.
        """
        line = json.dumps({"key": key} | reply.model_dump()) + "\n"
        with self._lock:
            try:
                if self._file is None:
                    self._file = _open(self._path)
                data = line.encode()
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError as error:
                raise RunError(f"cannot write {self._path} ({error.strerror}); free space or remove it") from None
            self._replies[key] = reply


def _open(path: Path) -> int:
    """The file, ready to be appended to: a torn last line is ended."""
    file = os.open(path, APPEND, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "not a regular file")
        if not _ends_a_line(path):
            os.write(file, b"\n")
    except OSError:
        os.close(file)
        raise
    return file


def _ends_a_line(path: Path) -> bool:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read(1) in (b"", b"\n")


def _read(path: Path) -> dict[str, Reply]:
    try:
        content = read_at_most(path, MAX_CACHE_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror}); remove it, and the judge is asked again") from None
    replies: dict[str, Reply] = {}
    for line in content.split(b"\n"):
        try:
            found = _Line.model_validate_json(line)
        except ValidationError:
            continue
        replies[found.key] = Reply(**found.model_dump(exclude={"key"}))
    return replies
