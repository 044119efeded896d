"""Where runs and probes are pushed to and pulled from: any folder or bucket that fsspec reaches, and the hub.

A place is four calls, so that what is checked of a transfer is the same everywhere. Addresses are `hf://...` (see
`hub`), a URL of fsspec (`s3://bucket/name`, `file:///...`), or a path of this machine; keys come from where their own
libraries look for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from ..errors import RunError, SpecError, StoreError
from ..progress import Progress
from ..remote_files import remote_folder
from .cargo import BLOCK, Cargo, matches
from .file_index import INDEX, MARKER, FileEntry, Kind
from .outputs import sync_all

WRITTEN_TO = "{} was written to while it was pushed; push again once nothing writes to it"


class Place(Protocol):
    """Somewhere that holds one run or probe, or will."""

    @property
    def address(self) -> str:
        """As users write it, with what it was found to be, such as the commit."""
        ...

    @property
    def local(self) -> Path | None:
        """Where it is on this machine, resolved; None: elsewhere."""
        ...

    def sizes(self) -> dict[str, int]:
        """Path -> bytes of what is there; empty where there is nothing, or no such place."""
        ...

    def read(self, path: str, most: int) -> Iterator[bytes]:
        """A file's content; more than `most` bytes of it are not fetched, beyond one block."""
        ...

    def put(self, cargo: Cargo, there: Mapping[str, int], progress: Progress) -> None:
        """Write everything, the index last or at once; `there` is what an interrupted push left."""
        ...


def open_place(address: str, kind: Kind | None, *, writing: bool = False, public: bool = False) -> Place:
    """The place that an address means.

    Args:
        kind: what is pushed there; None: what is there is to be found out.
        public: whether a repository of the hub is made for everybody to see.

    Raises:
        SpecError: no such kind of address, or a library or a token that it needs is missing.
        RunError: it cannot be reached.
    """
    if address.startswith("hf://"):
        from .hub import open_hub

        return open_hub(address, kind, writing=writing, public=public)
    if public:
        raise SpecError(f"{address} is no repository of the hub, and who sees it is set there: leave --public out")
    return FolderPlace(address)


def read_whole(place: Place, path: str, most: int) -> bytes:
    """A small file.

    Raises:
        StoreError: it is larger than `most`.
    """
    content = bytearray()
    for block in place.read(path, most):
        content += block
        if len(content) > most:
            raise StoreError(f"{place.address}/{path} has more than {most:,} bytes; do not use it")
    return bytes(content)


class FolderPlace:
    """A folder, wherever fsspec finds it."""

    def __init__(self, address: str) -> None:
        self._at = remote_folder(address)
        self.address, self.local = self._at.address, self._at.local
        self._files, self._root = self._at.files, self._at.root

    def sizes(self) -> dict[str, int]:
        with self._at.reached():
            self._files.invalidate_cache()
            if not self._files.exists(self._root):
                return {}
            if not self._files.isdir(self._root):
                raise RunError(f"{self.address} is a file; give a folder")
            found = self._files.find(self._root, detail=True)
        return {
            name[len(self._root) :].lstrip("/"): int(about.get("size") or 0) for name, about in sorted(found.items())
        }

    def read(self, path: str, most: int) -> Iterator[bytes]:
        with self._at.reached():
            self._refuse_link(path)
            read = 0
            with self._files.open(f"{self._root}/{path}", "rb") as file:
                while read <= most and (block := file.read(min(BLOCK, most + 1 - read))):
                    read += len(block)
                    yield block

    def put(self, cargo: Cargo, there: Mapping[str, int], progress: Progress) -> None:
        index = cargo.index.content()
        with self._at.reached():
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(f"{self._root}/{MARKER}", index)
            for done, (path, entry) in enumerate(cargo.index.files.items(), start=1):
                if not self._is_whole(path, entry, there):
                    self._write(cargo, path, entry)
                progress("push files", done, len(cargo.index.files))
            self._bring_to_disk()
            self._files.pipe_file(f"{self._root}/{INDEX}", index)
            self._bring_to_disk()
            self._files.rm_file(f"{self._root}/{MARKER}")

    def _is_whole(self, path: str, entry: FileEntry, there: Mapping[str, int]) -> bool:
        """Whether an interrupted push has written a file to its end: elsewhere a file is there whole or not at all."""
        return there.get(path) == entry.bytes and (self.local is None or matches(self.local, path, entry))

    def _write(self, cargo: Cargo, path: str, entry: FileEntry) -> None:
        target, digest, size = f"{self._root}/{path}", hashlib.sha256(), 0
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        with cargo.opened(path) as source, self._files.open(target, "wb") as file:
            while block := source.read(BLOCK):
                digest.update(block)
                size += len(block)
                file.write(block)
        if FileEntry(bytes=size, sha256=digest.hexdigest()) != entry:
            self._files.rm_file(target)
            raise StoreError(WRITTEN_TO.format(cargo.folder / path))

    def _bring_to_disk(self) -> None:
        """On this machine, before something is said of it that a power cut must not make untrue."""
        if self.local is not None:
            sync_all(self.local)

    def _refuse_link(self, path: str) -> None:
        """On this machine a link could lead anywhere; elsewhere there are none."""
        about = self._files.info(f"{self._root}/{path}")
        if about.get("type") != "file" or about.get("islink"):
            raise StoreError(f"{self.address}/{path} is no file, or a link, and is not followed; do not use it")
        if self.local is not None and Path(f"{self._root}/{path}").resolve() != self.local / path:
            raise StoreError(
                f"{self.address}/{path} leads elsewhere through a link, and is not followed; do not use it"
            )
