"""Where an export goes: a new file or folder, whole or not at all, and never inside the run that it is of."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RunError, SpecError


def check_out(out: Path, run: Path) -> None:
    """Refuse a place that an export cannot be written to.

    Raises:
        SpecError: it is inside the run.
        RunError: there is something already, or no folder to write it into.
    """
    if out.resolve().is_relative_to(run.resolve()):
        raise SpecError(f"--out {out} is inside the run, which holds its own files only; choose a place elsewhere")
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise RunError(f"{out} is there already; choose another --out, or remove it")
    if not out.parent.is_dir():
        raise RunError(f"cannot write {out}: there is no folder {out.parent}; make it, or choose another --out")


@contextmanager
def new_place(out: Path, needed: int) -> Iterator[Path]:
    """A hidden place next to `out`, which becomes `out` in one step when all has gone well; else nothing is left.

    Args:
        needed: bytes that will be written, so that a disk without room is known before.

    Raises:
        RunError: there is no room, or it cannot be written.
    """
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise RunError(
            f"{out.parent} has {free / 1e9:.1f} GB free and the export may need {needed / 1e9:.1f} GB; free space, "
            "choose another --out, or export fewer --layers"
        )
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.tmp{out.suffix}")
    try:
        yield temporary
        for file in (path for path in (temporary, *temporary.rglob("*")) if path.is_file()):
            _sync(file)
        if out.is_dir() and temporary.is_dir():
            out.rmdir()
        temporary.rename(out)
        _sync(out.parent)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}; free space or choose another --out") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
