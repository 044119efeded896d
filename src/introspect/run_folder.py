"""The folder of a run before it is one: what may be there already, and whether disk and memory hold what is to come."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .backends import is_out_of_memory
from .errors import RunError
from .free_memory import free_memory

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")
"""Where an address begins, as a path has it: `s3://bucket` is `s3:/bucket`."""


def check_path(out: Path) -> None:
    """Refuse the address of an object store: parts are renamed and locked, which it cannot do.

    Raises:
        RunError: says how to bring a run there.
    """
    if ADDRESS.match(str(out)):
        address = str(out).replace(":/", "://", 1)
        raise RunError(
            f"{address} is no folder, and a run is written into one (parts are renamed, and it is locked): choose a "
            f"folder as --out, and bring it there with `introspect push FOLDER {address}`"
        )


def check_folder(out: Path, marker: str, content: str, *, what: str, links: Sequence[str], resume: bool) -> None:
    """Refuse a folder that holds something else than this run.

    Args:
        marker: the file that says which run a folder holds; content: of this run's.
        what: how to call a run whose marker says something else.
        links: entries that would be written through if they were links.
        resume: whether this run itself may be there already.

    Raises:
        RunError: names the folder and the remedy.
    """
    check_path(out)
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; choose another --out")
    if not out.exists() or not any(_visible(out)):
        return
    for name in links:
        if (out / name).is_symlink():
            raise RunError(f"{out / name} is a link, and would be written through; choose another --out")
    if not (out / marker).is_file():
        raise RunError(f"{out} is not empty and holds no run ({marker}); choose another --out")
    if (out / marker).read_text(encoding="utf-8", errors="replace") != content:
        raise RunError(f"{out} holds {what} ({out / marker} differs); choose another --out")
    if not resume:
        raise RunError(f"{out} already holds this run; add --resume to go on with it, or choose another --out")


def _visible(folder: Path) -> Iterator[Path]:
    """What a folder holds but locks and what a kill left of a file that was being written."""
    return (path for path in folder.iterdir() if not (path.name.startswith(".") and path.suffix in (".lock", ".tmp")))


def make_folder(out: Path) -> None:
    """Create the folder of a run.

    Raises:
        RunError: it cannot be created.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create {out}: {error.strerror}; choose another --out") from None


def check_room(
    out: Path,
    needed: int,
    *,
    less: str = "record less: fewer layers, sites, tokens (capture.tokens) or a smaller --limit",
) -> None:
    """Refuse a run that the disk cannot hold, counting what of it is there already.

    Args:
        less: what would need less room, for the message.

    Raises:
        RunError: names both sizes and the remedy.
    """
    held = sum(path.stat().st_size for path in (*out.rglob("*.h5"), *out.glob("rollouts.jsonl")))
    free = shutil.disk_usage(out).free
    if needed > free + held:
        raise RunError(
            f"{out} has {free / 1e9:.1f} GB free and the run may need {needed / 1e9:.1f} GB; free space, choose "
            f"another --out, or {less}"
        )


def check_memory(needed: int) -> None:
    """Refuse a run whose activations would not fit in memory, which the system may answer by killing the process.

    Raises:
        RunError: names both sizes and the remedy.
    """
    free = free_memory()
    if needed > free:
        raise RunError(
            f"there are {free / 1e9:.1f} GB of memory free and the activations of a part may take "
            f"{needed / 1e9:.1f} GB; set a smaller generation.part_size, or fewer capture.layers or sites"
        )


@contextmanager
def enough_memory(work: str, remedy: str) -> Iterator[None]:
    """Turn running out of memory, of whichever kind, into one line.

    Raises:
        RunError: there was not enough memory for the work.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(f"there is not enough memory for {work}; {remedy}") from None
