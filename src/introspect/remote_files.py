"""Files wherever fsspec finds them, and what its libraries raise as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import IntrospectError, RunError, SpecError
from .models.boundary import first_line


@dataclass(frozen=True)
class RemoteFolder:
    """A folder or bucket: fsspec's own object, and the folder as that names it."""

    address: str
    """As users write it."""
    files: Any
    root: str

    @property
    def local(self) -> Path | None:
        """Where it is on this machine, resolved; None: elsewhere."""
        protocol = self.files.protocol
        return Path(self.root).resolve() if "file" in ((protocol,) if isinstance(protocol, str) else protocol) else None

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Whatever the library of a place raises, as one line.

        Raises:
            RunError: names the address, and what was said.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise RunError(f"{self.address} has no {Path(str(error.args[-1])).name}; check the address") from None
        except Exception as error:
            if isinstance(error, (IntrospectError, MemoryError)):
                raise
            raise RunError(
                f"cannot reach {self.address} ({first_line(error)}); check address, keys and rights"
            ) from error


def remote_folder(address: str) -> RemoteFolder:
    """The folder that an address means: a URL of fsspec (`s3://bucket/name`, `file:///...`), or a path of this machine.

    Raises:
        SpecError: no such kind of address, or a library that it needs is missing.
    """
    import fsspec

    if "::" in address:
        raise SpecError(f"{address} is a chain of places; give one, such as s3://bucket/name")
    try:
        files, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise SpecError(f"{address} needs a package that is not installed: {first_line(error)}") from None
    except ValueError as error:
        raise SpecError(f"{address} is no address of a place: {first_line(error)}; give a folder or URL") from None
    return RemoteFolder(address.rstrip("/"), files, str(root).rstrip("/"))
