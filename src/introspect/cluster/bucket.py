"""A bucket where machines meet that share no folder: whatever fsspec reaches, such as an object store.

Everything of a crew is below one name of its own, and is taken away when the crew ends. A parcel's files are checked by
size and digest when they arrive.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ..atomic import put_in_place, sync
from ..errors import RunError
from ..progress import Progress, silent
from ..remote_files import remote_folder
from .ground import MOST_BYTES, Parcel, looks

KEYS = "give every machine its keys and the packages that it needs"
ARRIVED_AFTER = (0.0, 0.5, 2.0, 8.0, 20.0)
"""Seconds between tries to fetch a file: some stores show late what was written, or have bad moments."""


class Bucket:
    """A folder of an object store, or of any other place that fsspec reaches.

    Args:
        address: its URL.
        number: in hex, of the crew that meets here.

    Raises:
        SpecError: there is no such kind of address, or a library that it needs is missing.
    """

    remedy = f"give a bucket that all machines reach, and {KEYS}"

    def __init__(self, address: str, number: str) -> None:
        self.number, self._at = number, remote_folder(address)
        self.address = self._at.address
        self._files, self._own = self._at.files, f"{self._at.root}/introspect-{number}"
        self._here: Path | None = None

    def setting(self) -> Parcel:
        return {"bucket": self.address, "number": self.number}

    def note(self, name: str, text: str) -> None:
        with self._at.reached():
            self._files.makedirs(self._own, exist_ok=True)
            self._files.pipe_file(f"{self._own}/{name}", text.encode("ascii"))

    def noted(self, name: str) -> str | None:
        with self._at.reached():
            for _ in looks():
                self._files.invalidate_cache()
                with suppress(FileNotFoundError):
                    content: bytes = self._files.cat_file(f"{self._own}/{name}", start=0, end=MOST_BYTES)
                    return content.decode("ascii", errors="replace")
        return None

    def clear(self) -> None:
        with self._at.reached():
            self._files.invalidate_cache()
            if self._files.exists(self._own):
                self._files.rm(self._own, recursive=True)

    def writes_to(self, path: Path) -> Path:
        """A place of this machine's own: it is empty when it is first asked for, and goes with this object."""
        if self._here is None:
            self._here = Path(tempfile.mkdtemp(prefix="introspect-"))
            weakref.finalize(self, shutil.rmtree, self._here, ignore_errors=True)
        return self._here / hashlib.sha256(str(path).encode()).hexdigest()[:16] / path.name

    def send(self, path: Path, progress: Progress = silent) -> Parcel:
        parcel: Parcel = {"at": secrets.token_hex(8), "name": path.name, "folder": path.is_dir(), "files": {}}
        files = _files_of(path) if path.is_dir() else [path]
        with self._at.reached():
            for done, file in enumerate(files, start=1):
                name = file.relative_to(path).as_posix() if path.is_dir() else path.name
                parcel["files"][name] = [file.stat().st_size, _digest(file)]
                target = self._target(parcel, name)
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(file), target)
                progress("send files", done, len(files))
        return parcel

    def hand_in(self, path: Path) -> Parcel:
        parcel = self.send(path)
        if parcel["folder"]:
            shutil.rmtree(path)
        else:
            path.unlink()
        return parcel

    def receive(self, parcel: Parcel) -> Path:
        into = self.writes_to(Path(parcel["at"]) / parcel["name"])
        self._fetch(parcel, into if parcel["folder"] else into.parent)
        return into

    def collect(self, parcel: Parcel, into: Path) -> None:
        self._fetch(parcel, into)
        with self._at.reached():
            self._files.rm(f"{self._own}/{parcel['at']}", recursive=True)

    def _target(self, parcel: Parcel, name: str) -> str:
        return f"{self._own}/{parcel['at']}/{name}"

    def _fetch(self, parcel: Parcel, into: Path) -> None:
        """Every file of a parcel into a folder: all are brought to the disk before the first gets its name."""
        aside: dict[Path, Path] = {}
        for name, (size, digest) in parcel["files"].items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise RunError(f"{self.address} is to bring {name}, which is outside {into}: do not use this cluster")
            file = into / path
            file.parent.mkdir(parents=True, exist_ok=True)
            aside[file] = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
            self._fetch_file(self._target(parcel, name), aside[file], size, digest)
        for file, temporary in aside.items():
            put_in_place(temporary, file)

    def _fetch_file(self, source: str, into: Path, size: int, digest: str) -> None:
        with self._at.reached():
            for wait in ARRIVED_AFTER:
                time.sleep(wait)
                self._files.invalidate_cache()
                with suppress(FileNotFoundError):
                    self._files.get_file(source, str(into))
                    if into.stat().st_size == size and _digest(into) == digest:
                        sync(into)
                        return
        into.unlink(missing_ok=True)
        raise RunError(
            f"{source} was written by another machine, and does not arrive here whole: {self.remedy}; what is done is "
            "kept, go on with --resume"
        )


def _files_of(folder: Path) -> list[Path]:
    """A folder's own files in the order in which they were written, so that what says that all is there comes last.
    Hidden ones are locks and unfinished.
    """
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(shown, key=lambda path: (path.stat().st_mtime_ns, path))


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
