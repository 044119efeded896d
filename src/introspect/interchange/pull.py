"""A run or a probe, pulled: from anybody, so nothing is believed before it is checked.

The index is read first, strictly; only what it names is fetched, each file up to the size that it states, and kept when
its digest is right. All of it is checked again as a run or a probe before it gets its name. A pull that was stopped
goes on: what has the right digest is not fetched twice. A digest shows that files are those that were pushed, and not
who pushed them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..atomic import read_at_most, sync, write_atomic
from ..errors import RunError, StoreError
from ..lock import only_writer
from ..progress import Progress, silent
from .cargo import check_whole, kind_of, matches
from .file_index import INDEX, MARKER, MAX_INDEX_BYTES, FileEntry, FileIndex, parse_index
from .outputs import check_new, settled
from .places import Place, open_place, read_whole

MOST_BYTES = 100 << 30
"""Of what is pulled, unless more is allowed."""
ASK_AGAIN = "pull it again, and if that does not help, do not use it"


@dataclass(frozen=True)
class Pulled:
    """What was, or would be, pulled."""

    index: FileIndex
    address: str
    fetched: int
    """Bytes that were not here yet."""


def pull(
    address: str,
    out: Path,
    *,
    most: int = MOST_BYTES,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Pulled:
    """Pull what `push` pushed into a new folder, and check all of it.

    Args:
        most: bytes; more are refused.
        dry_run: read the index, and stop.

    Raises:
        SpecError: no such address, a library is missing, or `out` is the folder that the process is in.
        RunError: nothing of introspect is there, it is too large, `out` holds something else, or it cannot be reached.
        StoreError: what is there is damaged, or not what its index says.
    """
    place = open_place(address, None)
    index = _index(place, most)
    if dry_run:
        return Pulled(index, place.address, fetched=0)
    content, out = index.content(), settled(out)
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        if out.is_symlink() or not (out / INDEX).is_file() or read_at_most(out / INDEX, MAX_INDEX_BYTES) != content:
            raise RunError(f"{out} is there already and holds something else; choose another folder")
        _check(out, index, progress)
        return Pulled(index, place.address, fetched=0)
    if out.exists():
        check_new(out)
    partial = out.with_name(f".{out.name}.pull")
    _make(partial)
    with only_writer(out.with_name(f".{out.name}.pull.lock"), partial):
        here = {path for path, entry in index.files.items() if matches(partial, path, entry)}
        missing = {path: entry for path, entry in index.files.items() if path not in here}
        needed, free = sum(entry.bytes for entry in missing.values()), shutil.disk_usage(partial).free
        if needed > free:
            raise RunError(
                f"{out.parent} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are to come; free space"
            )
        for done, (path, entry) in enumerate(missing.items(), start=1):
            _fetch(place, path, entry, partial)
            progress("pull files", done, len(missing))
        _remove_others(partial, index)
        write_atomic(partial / INDEX, content)
        _check(partial, index, progress)
        partial.rename(out)
        sync(out.parent)
    out.with_name(f".{out.name}.pull.lock").unlink(missing_ok=True)
    return Pulled(index, place.address, fetched=needed)


def _index(place: Place, most: int) -> FileIndex:
    there = place.sizes()
    if not there:
        raise RunError(f"there is nothing at {place.address}: check the address, and your rights there")
    if MARKER in there:
        raise RunError(f"the push to {place.address} is not finished: let it go on, by the same `introspect push`")
    if INDEX not in there:
        raise RunError(f"{place.address} holds nothing that introspect pushed: it has no {INDEX}")
    index = parse_index(read_whole(place, INDEX, MAX_INDEX_BYTES), place.address)
    if index.n_bytes > most:
        raise RunError(
            f"{place.address} holds {index.n_bytes / 1e9:.1f} GB, more than the {most / 1e9:.1f} GB that are allowed: "
            "raise --max-gb if you want all of it"
        )
    other = next((path for path, entry in index.files.items() if there.get(path) != entry.bytes), None)
    if other is not None:
        size = there.get(other)
        said = "is missing" if size is None else f"has {size:,} bytes and not {index.files[other].bytes:,}"
        raise StoreError(f"{place.address}/{other} {said}: damaged since it was pushed; {ASK_AGAIN}")
    return index


def _fetch(place: Place, path: str, entry: FileEntry, into: Path) -> None:
    """One file, kept when it is what the index says."""
    target = into / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.parent.resolve() != (into.resolve() / path).parent:
        raise RunError(f"{target.parent} leads elsewhere through a link; remove {into}, and pull again")
    digest, size = hashlib.sha256(), 0

    def checked() -> Iterator[bytes]:
        nonlocal size
        for block in place.read(path, entry.bytes):
            size += len(block)
            digest.update(block)
            if size > entry.bytes:
                break
            yield block
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise StoreError(f"{place.address}/{path} is not the file that was pushed; {ASK_AGAIN}")

    with _removed_on_error(target):
        write_atomic(target, checked())


@contextmanager
def _removed_on_error(target: Path) -> Iterator[None]:
    """Without what `write_atomic` leaves beside its target when reading fails."""
    try:
        yield
    except BaseException:
        for each in target.parent.glob(f".{target.name}.*.tmp"):
            each.unlink(missing_ok=True)
        raise


def _make(partial: Path) -> None:
    if partial.is_symlink():
        raise RunError(f"{partial} is a link, and would be written through; remove it")
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {partial}: {error.strerror}; choose another folder") from None


def _remove_others(partial: Path, index: FileIndex) -> None:
    """What an earlier pull of something else left in the folder that only pulls write to."""
    for each in sorted(partial.rglob("*"), reverse=True):
        if each.is_symlink() or not each.is_dir():
            if each.relative_to(partial).as_posix() not in index.files:
                each.unlink()
        elif not any(each.iterdir()):
            each.rmdir()


def _check(folder: Path, index: FileIndex, progress: Progress) -> None:
    """Every file against the index, and the folder as a run or a probe."""
    for done, (path, entry) in enumerate(index.files.items(), start=1):
        if not matches(folder, path, entry):
            raise StoreError(f"{folder / path} is not the file that was pushed; remove {folder}, and pull it again")
        progress("check files", done, len(index.files))
    if kind_of(folder) != index.kind:
        raise StoreError(f"{folder} holds no {index.kind}, which its index says it does; do not use it")
    try:
        check_whole(folder, index.kind)
    except StoreError as error:
        raise StoreError(f"{error}; it was so where it was pulled from: do not use it") from None
