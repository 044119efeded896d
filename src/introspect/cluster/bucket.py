"""A bucket where machines meet that share no folder: whatever fsspec reaches, such as an object store.

Everything of a crew is below one name of its own, and is taken away when the crew ends. A parcel's files are checked by
size and digest when they arrive, and get their place together.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ..atomic import put_in_place, sync
from ..errors import IntrospectError, RunError
from ..models.boundary import first_line
from ..progress import Progress, silent
from ..remote_files import remote_folder
from .ground import MOST_BYTES, Parcel, looks

log = logging.getLogger(__name__)

KEYS = "give every machine its keys and the packages that it needs"
TRIED_AFTER = (0.0, 0.5, 2.0, 8.0, 20.0)
"""Seconds between tries to bring or fetch a file: some stores show late what was written, or have bad moments."""
HERE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""What a disk of this machine says, and no store."""


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
        self._cleared = False

    def setting(self) -> Parcel:
        return {"bucket": self.address if self._at.local is None else str(self._at.local), "number": self.number}

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

    def forget(self, name: str) -> None:
        with self._at.reached():
            self._files.rm_file(f"{self._own}/{name}")

    def clear(self) -> None:
        self._cleared = True
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
        for done, file in enumerate(files, start=1):
            name = file.relative_to(path).as_posix() if path.is_dir() else path.name
            parcel["files"][name] = [file.stat().st_size, _digest(file)]
            self._put(file, self._target(parcel, name))
            progress("send files", done, len(files))
        return parcel

    def hand_in(self, path: Path) -> Parcel:
        parcel = self.send(path)
        _remove(path)
        return parcel

    def receive(self, parcel: Parcel) -> Path:
        into = self.writes_to(Path(_checked(parcel)["at"]) / parcel["name"])
        self._fetch(parcel, into)
        return into

    def collect(self, parcel: Parcel, into: Path) -> None:
        self._fetch(_checked(parcel), into)
        try:
            with self._at.reached():
                self._files.rm(f"{self._own}/{parcel['at']}", recursive=True)
        except RunError as error:  # all of it is here, and `clear` tries again
            log.warning("%s is fetched, and could not be removed there: %s", into.name, error)

    def _target(self, parcel: Parcel, name: str) -> str:
        return f"{self._own}/{parcel['at']}/{name}"

    def _fetch(self, parcel: Parcel, into: Path) -> None:
        """A parcel becomes `into`, in the place of what is there: whole or not at all."""
        into.parent.mkdir(parents=True, exist_ok=True)
        for stale in into.parent.glob(f".{into.name}.*.tmp"):
            _remove(stale)
        aside = into.with_name(f".{into.name}.{secrets.token_hex(8)}.tmp")
        needed, free = sum(size for size, _ in parcel["files"].values()), shutil.disk_usage(into.parent).free
        if needed > free:
            raise RunError(_no_room(into, f"{free / 1e9:.1f} GB are free, and {needed / 1e9:.1f} GB are to come"))
        try:
            for name, (size, digest) in parcel["files"].items():
                file = aside / name if parcel["folder"] else aside
                file.parent.mkdir(parents=True, exist_ok=True)
                self._get(self._target(parcel, name), file, size, digest)
            self._check_open()
            if into.is_dir():
                into.rename(into.with_name(f".{into.name}.{secrets.token_hex(8)}.tmp"))
            put_in_place(aside, into)
        finally:
            for left in into.parent.glob(f".{into.name}.*.tmp"):
                _remove(left)

    def _get(self, source: str, into: Path, size: int, digest: str) -> None:
        def arrived() -> bool:
            self._files.get_file(source, str(into))
            if into.stat().st_size != size or _digest(into) != digest:
                return False
            sync(into)
            return True

        self._try(arrived, source, into, "does not arrive here whole")

    def _put(self, file: Path, target: str) -> None:
        def put() -> bool:
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(file), target)
            return True

        self._try(put, target, file, "cannot be brought there")

    def _try(self, do: Callable[[], bool], there: str, here: Path, otherwise: str) -> None:
        """Again and again, until it is done.

        Raises:
            RunError: it never is, the disk of this machine is full, or the crew has ended meanwhile.
        """
        why = "it is another file"
        for wait in TRIED_AFTER:
            time.sleep(wait)
            self._check_open()
            self._files.invalidate_cache()
            try:
                if do():
                    return
            except Exception as error:
                if isinstance(error, (IntrospectError, MemoryError)):
                    raise
                if isinstance(error, OSError) and error.errno in HERE:
                    raise RunError(_no_room(here, first_line(error))) from None
                why = first_line(error)
        raise RunError(
            f"{there} {otherwise} ({why}): {self.remedy}; what is done is kept, so go on with --resume afterwards"
        )

    def _check_open(self) -> None:
        if self._cleared:
            raise RunError(f"the work that {self.address} was for has ended")


def _no_room(path: Path, why: str) -> str:
    return f"cannot write {path.name} in {path.parent} ({why}): free space there; at a worker TMPDIR says where that is"


def _checked(parcel: Parcel) -> Parcel:
    """A parcel, if what it names is inside it.

    Raises:
        RunError: no worker of ours has sent it.
    """
    names = [parcel["name"], *parcel["files"]]
    paths = [PurePosixPath(name) for name in names]
    inside = all(path.parts and not path.is_absolute() and ".." not in path.parts for path in paths)
    if not inside or not re.fullmatch("[0-9a-f]{16}", parcel["at"]) or len(paths[0].parts) != 1:
        raise RunError(
            f"a worker has sent {', '.join(names)[:200]!r}, which is outside its place: do not use this cluster"
        )
    return parcel


def _files_of(folder: Path) -> list[Path]:
    """A folder's own files; hidden ones are locks, and unfinished."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
