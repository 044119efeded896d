"""Writing a whole file or none of it."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import RunError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` in one step that survives a kill or a power cut.

    Raises:
        RunError: the disk is full or the folder cannot be written to. What was at `path` is still there.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {path}: {error.strerror}; free space or choose another --out, then go on with --resume"
        ) from error
