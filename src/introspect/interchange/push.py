"""A run or a probe, pushed: what goes along is settled first, then where, and nothing that is there is written over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError, SpecError, StoreError
from ..progress import Progress, silent
from .cargo import Cargo, gather
from .file_index import INDEX, MARKER, MAX_INDEX_BYTES
from .places import Place, open_place, read_whole

OF_A_REPOSITORY = (".gitattributes",)
"""What a hub puts into a new repository by itself."""


@dataclass(frozen=True)
class Pushed:
    """What was, or would be, pushed."""

    cargo: Cargo
    address: str
    was_there: bool
    """It had been pushed before, whole, so nothing was done."""


def push(
    given: str | Path,
    address: str,
    *,
    public: bool = False,
    keep_paths: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Pushed:
    """Push a run's folder, or a probe's folder or name, with a card; goes on with a push that was interrupted.

    Args:
        address: see `places`.
        public: make a repository of the hub that everybody sees.
        keep_paths: leave paths of this machine as they are.
        dry_run: settle what would be pushed, and ask no place.

    Raises:
        SpecError: no such address, folder or probe, or a token or library is missing.
        RunError: the place holds something else or cannot be reached, or the folder holds a key.
        StoreError: the folder is damaged, not finished or being written to, or what had been pushed is damaged.
    """
    if dry_run:
        return Pushed(gather(given, keep_paths=keep_paths, progress=progress), address, was_there=False)
    place: Place | None = (
        None if address.startswith("hf://") else open_place(address, None, public=public, writing=True)
    )
    cargo = gather(given, keep_paths=keep_paths, progress=progress)
    place = place or open_place(address, cargo.index.kind, public=public, writing=True)
    if place.local is not None and place.local.is_relative_to(cargo.folder.resolve()):
        raise SpecError(f"{address} is inside {cargo.folder}, which holds its own files only; choose a place elsewhere")
    there = {path: size for path, size in place.sizes().items() if path not in OF_A_REPOSITORY}
    content = cargo.index.content()
    if INDEX in there and MARKER not in there:
        sizes = {path: entry.bytes for path, entry in cargo.index.files.items()}
        if there.keys() != {INDEX, *sizes} or read_whole(place, INDEX, MAX_INDEX_BYTES) != content:
            raise RunError(
                f"{place.address} holds another run or probe, or another version of it: choose another place"
            )
        other = next((path for path, size in sizes.items() if there[path] != size), None)
        if other is not None:
            raise StoreError(
                f"{place.address}/{other} has {there[other]:,} bytes and not {sizes[other]:,}: damaged since it was "
                "pushed; remove what is there, and push again"
            )
        return Pushed(cargo, place.address, was_there=True)
    begun = there.keys() <= {MARKER} or (MARKER in there and read_whole(place, MARKER, MAX_INDEX_BYTES) == content)
    if not begun:
        raise RunError(
            f"{place.address} is not empty and holds something else, such as {min(there)}: choose another place"
        )
    place.put(cargo, there, progress)
    return Pushed(cargo, place.address, was_there=False)
