"""Where an export goes: a new file or folder, whole or not at all, and never inside the run that it is of.

A process that is killed, or a power cut, leaves what was written under a hidden name beside the place; the next export
to the same place removes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..atomic import sync
from ..errors import RunError, SpecError
from ..lock import only_writer
from ..store import StoreReader
from ..store.layout import DONE

IN_THE_WAY = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)


def settled(place: Path) -> Path:
    """A place with its folder resolved, so that it has a name and a neighbourhood; a link at its end stays one."""
    return place.resolve() if place.name in ("", "..") else place.parent.resolve() / place.name


def check_new(place: Path) -> None:
    """Refuse a place that a new file or folder cannot be put at.

    Raises:
        SpecError: it is the folder that the process is in, which would be replaced under it.
        RunError: there is something already, or no folder to write it into.
    """
    place = settled(place)
    if place.is_symlink() or (place.exists() and not (place.is_dir() and not any(place.iterdir()))):
        raise RunError(f"{place} is there already; choose another place, or remove it")
    if place == Path.cwd():
        raise SpecError(f"{place} is the folder that you are in, and a new one would take its place; name a new folder")
    if not place.parent.is_dir():
        raise RunError(f"cannot write {place}: there is no folder {place.parent}; make it, or choose another place")


def check_out(out: Path, run: Path) -> None:
    """Refuse a place that an export cannot be written to.

    Raises:
        SpecError: it is inside the run, or the folder that the process is in.
        RunError: there is something already, or no folder to write it into.
    """
    if out.resolve().is_relative_to(run.resolve()):
        raise SpecError(f"--out {out} is inside the run, which holds its own files only; choose a place elsewhere")
    check_new(out)


def is_finished(store: StoreReader) -> bool:
    """Whether a store was recorded to its end."""
    return (store.path / DONE).is_file()


@contextmanager
def new_place(out: Path, needed: int) -> Iterator[Path]:
    """A hidden place next to `out`, which becomes `out` in one step when all has gone well; what fails leaves nothing.

    Args:
        needed: bytes that will be written, so that a disk without room is known before.

    Raises:
        SpecError, RunError: as `check_new`, also of what has appeared there meanwhile; there is no room, it cannot be
            written, or another process exports to it.
    """
    check_new(out)
    out = settled(out)
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise RunError(
            f"{out.parent} has {free / 1e9:.1f} GB free and the export may need {needed / 1e9:.1f} GB; free space, "
            "choose another --out, or export fewer --layers"
        )
    lock = out.with_name(f".{out.name}.export.lock")
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.tmp{out.suffix}")
    with only_writer(lock, out):
        try:
            _remove_left(out)
            yield temporary
            sync_all(temporary)
            _put(temporary, out)
            sync(out.parent)
        except OSError as error:
            if error.errno in IN_THE_WAY and os.path.lexists(out):
                raise RunError(
                    f"{out} is there already, since the export began; choose another --out, or remove it"
                ) from None
            said = error.strerror or error
            raise RunError(f"cannot write {out}: {said}; free space or choose another --out") from error
        finally:
            _remove(temporary)
            lock.unlink(missing_ok=True)


def sync_all(path: Path) -> None:
    """Bring a file, or a folder with everything in it, to the disk."""
    for each in (*(path.rglob("*") if path.is_dir() else ()), path):
        sync(each)


def _put(temporary: Path, out: Path) -> None:
    """Give it its name, in a step that fails where anything stands but an empty folder for a folder.

    Known trade-off: where a file system has no hard links, a file is looked for and then renamed over.
    """
    if temporary.is_dir():
        temporary.rename(out)
        return
    try:
        os.link(temporary, out)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(out):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(out)) from None
        temporary.rename(out)


def _remove_left(out: Path) -> None:
    """What exports to this place that were killed have left; their lock is held."""
    ours = re.compile(re.escape(f".{out.name}.") + "[0-9a-f]{16}" + re.escape(f".tmp{out.suffix}"))
    for each in out.parent.iterdir():
        if ours.fullmatch(each.name):
            _remove(each)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
