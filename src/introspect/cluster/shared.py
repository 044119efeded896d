"""Whether a folder is the same one everywhere: this process writes a nonce, each worker reads it and writes it back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..atomic import read_at_most, write_atomic
from ..errors import RunError

MOST_BYTES = 64
SEEN_AFTER = (0.0, 0.1, 0.5, 1.5, 3.0)
"""Seconds between looks: a network folder shows late what another machine wrote."""


@dataclass(frozen=True)
class Nonce:
    """A small file in the folder that is to be shared."""

    path: Path
    text: str

    def answer(self, worker: str) -> Path:
        """Where a worker writes what it has read."""
        return self.path.with_name(f"{self.path.stem}-{worker}.tmp")


@contextmanager
def nonce_in(out: Path) -> Iterator[Nonce]:
    """A nonce in `out` or, while that is not there, in the nearest folder above it. It is taken away again.

    Raises:
        RunError: it cannot be written.
    """
    folder = out
    while not folder.is_dir():
        folder = folder.parent
    text = secrets.token_hex(16)
    nonce = Nonce(folder / f".shared-{secrets.token_hex(4)}.tmp", text)
    write_atomic(nonce.path, text)
    try:
        yield nonce
    finally:
        for left in folder.glob(f"{nonce.path.stem}*.tmp"):
            left.unlink(missing_ok=True)


def read_back(path: Path, text: str, answer: Path) -> str | None:
    """In a worker: look for the nonce and answer it. Returns what went wrong, or None."""
    found = _read(path)
    if found is None:
        return "it sees nothing of what this machine writes there"
    if found != text:
        return "it sees something else there"
    try:
        write_atomic(answer, text)
    except RunError as error:
        return str(error.__cause__ or error)
    return None


def check_answer(nonce: Nonce, answer: Path, where: str, wrong: str | None) -> None:
    """Refuse a folder that a worker cannot read and write as this machine does.

    Args:
        wrong: what `read_back` returned there.

    Raises:
        RunError: names the folder, the worker's machine and what is wrong.
    """
    if wrong is None and _read(answer) != nonce.text:
        wrong = "this machine sees nothing of what it writes there"
    if wrong is not None:
        raise RunError(
            f"{nonce.path.parent} is not shared with the worker on {where}: {wrong}; choose an --out in a folder that "
            "every machine of the cluster has at this path"
        )


def _read(path: Path) -> str | None:
    for wait in SEEN_AFTER if path.parent.is_dir() else ():
        time.sleep(wait)
        try:
            return read_at_most(path, MOST_BYTES).decode("ascii", errors="replace")
        except OSError:
            continue
    return None
