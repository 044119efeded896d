"""Where the machines of a cluster meet: what one puts there, all others see. A folder at one path everywhere, mostly.

Small notes show that all see the same place. Files travel as parcels: a process sends them, and another one receives
them, to read, or collects them, to where they belong. In a shared folder nothing has to travel.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..atomic import read_at_most, write_atomic
from ..progress import Progress, silent

Parcel = dict[str, Any]
"""What was sent, as JSON values."""
MOST_BYTES = 64
"""Of a note."""
SEEN_AFTER = (0.0, 0.1, 0.5, 1.5, 3.0)
"""Seconds between looks: what another machine wrote may show late."""


class Ground(Protocol):
    """A meeting place."""

    address: str
    """As users write it."""
    remedy: str
    """Where not all see it."""

    def setting(self) -> Parcel:
        """What `ground_of` makes it again from, on another machine."""
        ...

    def note(self, name: str, text: str) -> None:
        """Write a note.

        Raises:
            RunError: it cannot be written.
        """
        ...

    def noted(self, name: str) -> str | None:
        """What a note says; None: there is none, after seconds."""
        ...

    def forget(self, name: str) -> None:
        """Take a note away."""
        ...

    def clear(self) -> None:
        """Take away what is left of all that was put here."""
        ...

    def writes_to(self, path: Path) -> Path:
        """Where a worker writes what is to come to `path` of the process that started it."""
        ...

    def send(self, path: Path, progress: Progress = silent) -> Parcel:
        """Bring a file, or a folder's files, to where all see them.

        Raises:
            RunError: they cannot be brought there.
        """
        ...

    def hand_in(self, path: Path) -> Parcel:
        """Send what was written where `writes_to` says; it need not stay there."""
        ...

    def receive(self, parcel: Parcel) -> Path:
        """Where a worker reads what was sent to it.

        Raises:
            RunError: it does not arrive, or not whole.
        """
        ...

    def collect(self, parcel: Parcel, into: Path) -> None:
        """What a worker has sent becomes `into`, a file or a folder, whole; and is taken from where all see it.

        Raises:
            RunError: as `receive`.
        """
        ...


class SharedFolder:
    """A folder that every machine has at the same path: what is written there is there for all.

    Args:
        folder: one that is there, with what is written into in it.
        number: in hex, of the crew that meets here.
    """

    remedy = "choose an --out in a folder that every machine of the cluster has at this path, or give a --ray-bucket"

    def __init__(self, folder: Path, number: str) -> None:
        self.folder, self.number, self.address = folder, number, str(folder)

    def setting(self) -> Parcel:
        return {"folder": str(self.folder), "number": self.number}

    def note(self, name: str, text: str) -> None:
        write_atomic(self._path(name), text)

    def noted(self, name: str) -> str | None:
        for _ in looks() if self.folder.is_dir() else ():
            try:
                return read_at_most(self._path(name), MOST_BYTES).decode("ascii", errors="replace")
            except OSError:
                continue
        return None

    def forget(self, name: str) -> None:
        self._path(name).unlink()

    def clear(self) -> None:
        for left in self.folder.glob(f".shared-{self.number}-*.tmp"):
            left.unlink(missing_ok=True)

    def writes_to(self, path: Path) -> Path:
        return path

    def send(self, path: Path, progress: Progress = silent) -> Parcel:
        return {"path": str(path.absolute())}

    def hand_in(self, path: Path) -> Parcel:
        return self.send(path)

    def receive(self, parcel: Parcel) -> Path:
        return Path(parcel["path"])

    def collect(self, parcel: Parcel, into: Path) -> None:
        """It was written there."""

    def _path(self, name: str) -> Path:
        return self.folder / f".shared-{self.number}-{name}.tmp"


def ground_of(setting: Mapping[str, Any]) -> Ground:
    """The ground that another process has said.

    Raises:
        SpecError: a library that a bucket needs is missing here.
    """
    if "bucket" in setting:
        from .bucket import Bucket

        return Bucket(setting["bucket"], setting["number"])
    return SharedFolder(Path(setting["folder"]), setting["number"])


def meet(out: Path, bucket: str | None) -> Ground:
    """Where a crew meets that writes into `out`: in that folder or, while it is not there, in the nearest one above it.

    Args:
        bucket: URL of one to meet in instead.

    Raises:
        SpecError: that is none, or a library that it needs is missing.
    """
    number = secrets.token_hex(4)
    if bucket is not None:
        return ground_of({"bucket": bucket, "number": number})
    folder = next(each for each in (out, *out.parents) if each.is_dir())
    return SharedFolder(folder, number)


def looks() -> Iterator[None]:
    """One after another, with longer and longer waits."""
    for wait in SEEN_AFTER:
        time.sleep(wait)
        yield
