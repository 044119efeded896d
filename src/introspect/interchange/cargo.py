"""What is pushed of a folder: its files, checked, with what is private taken out, an index of them, and a card.

Nothing outside the folder is read (links are refused), and nothing of it that is not a file of a run or a probe goes
along: hidden files, parts that were set aside, and whatever else somebody put there stay, and are named.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..assets import user_path
from ..atomic import read_at_most
from ..errors import RunError, StoreError
from ..probe_folders import CARD as PROBE_CARD
from ..probe_folders import probe_folder
from ..probes.saved import TENSORS, load_probe
from ..progress import Progress, silent
from ..results import MAX_BYTES
from ..run import MARKERS, STORES, verify_run
from ..store import MANIFEST
from .card import make_card
from .file_index import CARD, INDEX, MARKER, FileEntry, FileIndex, Kind, is_plain
from .private import SEARCHED, SHORTENED, Looked, Private, parsed

OF_A_PROBE = (PROBE_CARD, TENSORS)
OWN_HIDDEN = (".lock", ".tmp")
"""Of locks, and of what a kill left of a file that was being written."""
SPECS = ("manifest.json", *MARKERS)
"""Files that say how a run was made, wherever they stand in it."""
RECORDED = "parts repeat the digest of this file, which an earlier introspect wrote, so record the run again"
T = TypeVar("T")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Cargo:
    """What is pushed."""

    folder: Path
    index: FileIndex
    contents: dict[str, bytes]
    """Files that are not pushed as they are on disk: the card, and those in which paths were shortened."""
    left: tuple[str, ...]
    """What of the folder stays where it is."""

    @property
    def shortened(self) -> list[str]:
        """Files in which paths of this machine were shortened."""
        return sorted(set(self.contents) - {CARD})

    def local(self, path: str) -> Path | bytes:
        """A file's place on disk, or its content where that differs."""
        return self.contents.get(path, self.folder / path)

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """A file of the cargo, for reading."""
        if path in self.contents:
            yield BytesIO(self.contents[path])
        else:
            with _opened(self.folder / path) as file:
                yield file


def kind_of(folder: Path) -> Kind | None:
    """What a folder is; None: neither a run nor a probe."""
    if any((folder / marker).is_file() for marker in MARKERS):
        return "run"
    return "probe" if (folder / PROBE_CARD).is_file() else None


def check_whole(folder: Path, kind: Kind) -> None:
    """Every digest of a run or a probe.

    Raises:
        StoreError: something is damaged or missing. Names it.
    """
    if kind == "probe":
        load_probe(folder)
        return
    damaged = verify_run(folder)
    if damaged:
        raise StoreError(f"{folder}: damaged or missing: {', '.join(damaged)[:1000]}")


def gather(given: str | Path, *, keep_paths: bool = False, progress: Progress = silent) -> Cargo:
    """What is to be pushed of a run's folder, or of a probe's folder or name.

    Args:
        keep_paths: leave paths of this machine as they are.

    Raises:
        SpecError: there is no such folder or probe.
        RunError: the folder is neither a run nor a probe, or holds a key or a path that cannot be taken out.
        StoreError: it is damaged, not finished, or has a link in it.
    """
    folder = user_path(given)
    kind = kind_of(folder)
    if kind is None:
        folder = probe_folder(str(given))
        kind = kind_of(folder)
    if kind is None:
        raise RunError(f"{folder} is neither a run nor a probe: it has no {', '.join((*MARKERS, PROBE_CARD))}")
    check_whole(folder, kind)
    found, left = _walk(folder, kind)
    documents = [parsed(path, _read(folder / path)) for path in found if path.rpartition("/")[2] in SPECS]
    private = Private(folder, documents)
    contents = {CARD: make_card(folder, kind).encode()}
    if not keep_paths:
        contents[CARD] = private.shortened(contents[CARD])
        for path in filter(_may_change, found):
            content = _read(folder / path)
            changed = private.shortened(content)
            if changed != content:
                contents[path] = changed
    cargo = Cargo(folder, FileIndex(format=1, kind=kind, introspect=version("introspect"), files={}), contents, left)
    entries = {}
    names = sorted([CARD, *found])
    for done, path in enumerate(names, start=1):
        if path.endswith(SEARCHED) or path == CARD:
            with cargo.opened(path) as file:
                looked_for: Looked = "none" if keep_paths else "own" if _may_change(path) else "all"
                remedy = RECORDED if _is_of_store(path) else "take it out there"
                private.check(file, f"{folder / path}", paths=looked_for, remedy=remedy)
        with cargo.opened(path) as file:
            entries[path] = _entry(file)
        progress("digest files", done, len(names))
    index = cargo.index.model_copy(update={"files": entries})
    return Cargo(folder, index, contents, left)


def _may_change(path: str) -> bool:
    """Whether paths in a file are shortened."""
    return path == CARD or (path.endswith(SHORTENED) and not _is_of_store(path))


def _is_of_store(path: str) -> bool:
    """Whether a file is the manifest of a store, which has to stay as it is: every part repeats its digest."""
    return f"/{path}".endswith(tuple(f"/{store}/{MANIFEST}" for store in STORES))


def _entry(file: BinaryIO) -> FileEntry:
    digest, size = hashlib.sha256(), 0
    while block := file.read(BLOCK):
        digest.update(block)
        size += len(block)
    return FileEntry(bytes=size, sha256=digest.hexdigest())


def matches(folder: Path, path: str, entry: FileEntry) -> bool:
    """Whether a file is there already, by its digest; what leads through a link is not."""
    try:
        file = folder / path
        if file.resolve() != (folder.resolve() / path) or file.stat().st_size != entry.bytes:
            return False
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
            return _entry(opened) == entry
    except OSError:
        return False


def _walk(folder: Path, kind: Kind) -> tuple[list[str], tuple[str, ...]]:
    """Paths of what goes along, and of what stays."""
    found: list[str] = []
    left: list[str] = []
    waiting = [folder]
    while waiting:
        for each in sorted(waiting.pop().iterdir()):
            path = each.relative_to(folder).as_posix()
            if each.is_symlink():
                raise StoreError(f"{each} is a link, and is not followed; copy what it points to there, or remove it")
            if each.is_dir() and not each.name.startswith("."):
                waiting.append(each)
            elif each.name.startswith(".") and each.suffix in OWN_HIDDEN:
                continue
            elif path in (INDEX, MARKER, CARD) or not is_plain(path) or (kind == "probe" and path not in OF_A_PROBE):
                left.append(path)
            else:
                found.append(path)
    return found, tuple(sorted(set(left) - {INDEX, MARKER}))


def _read(path: Path) -> bytes:
    return _guarded(path, lambda: read_at_most(path, MAX_BYTES))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    handle = _guarded(path, lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
    with os.fdopen(handle, "rb") as file:
        yield file


def _guarded(path: Path, call: Callable[[], T]) -> T:
    try:
        return call()
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error.strerror}); nothing was pushed") from None
