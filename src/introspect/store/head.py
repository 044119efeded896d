"""The head of a part: where every dataset lies in the file, and the digest of its bytes.

It is JSON in the user block that HDF5 leaves free at the start of a file, so that one layer can be read and checked by
itself, and without asking HDF5. The file's name has the head's SHA-256; the head has XXH3-128 digests of every dataset,
and of what HDF5 wrote around them: no byte of the file is under no digest. XXH3 is as fast as memory and detects every
accident, not intent, which no digest in the same folder could: whoever writes a part can also write its digests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from .spec import FORMAT, StoreSpec

MAX_ROWS = 1 << 32
BASE_BYTES, ENTRY_BYTES = 512, 96
"""What the head's fields need at most, and a dataset's besides its name."""


class Extent(NamedTuple):
    """Where a dataset's bytes lie in the file, and their XXH3-128; an empty one lies at 0."""

    offset: int
    length: int
    digest: str


@dataclass(frozen=True)
class Head:
    """What a part says of itself."""

    rows: int
    size: int
    """Bytes of the file."""
    manifest: str
    """SHA-256 of the manifest that the part was written under."""
    structure: str
    """XXH3-128 of all bytes that are neither head nor dataset, in the file's order."""
    datasets: dict[str, Extent]

    def gaps(self, begin: int) -> Iterator[tuple[int, int]]:
        """Begin and end of every range from `begin` on that belongs to no dataset, in order."""
        for extent in sorted(each for each in self.datasets.values() if each.length):
            yield begin, extent.offset
            begin = extent.offset + extent.length
        yield begin, self.size


def head_bytes(spec: StoreSpec) -> int:
    """Bytes of the head of a part: the power of two, as HDF5 asks, that has room for every dataset."""
    needed = BASE_BYTES + sum(len(name) + ENTRY_BYTES for name in spec.cells)
    return 1 << (needed - 1).bit_length()


def dataset_bytes(spec: StoreSpec, rows: int) -> dict[str, int]:
    """Bytes of every dataset of a part with so many rows."""
    return {name: rows * count * np.dtype(kind).itemsize for name, (kind, count) in spec.cells.items()}


def pack_head(head: Head, spec: StoreSpec) -> bytes:
    """The head as it stands in the file, padded with spaces."""
    text = json.dumps({"format": FORMAT, **asdict(head)})
    return text.ljust(head_bytes(spec) - 1).encode() + b"\n"


def parse_head(content: bytes, spec: StoreSpec) -> Head:
    """The head of a part of this store.

    Raises:
        ValueError: it is not one: another store's, or ranges that overlap, leave the file or are of a wrong size.
    """
    try:
        found: dict[str, Any] = json.loads(content)
        head = Head(
            rows=found["rows"],
            size=found["size"],
            manifest=found["manifest"],
            structure=found["structure"],
            datasets={name: Extent(*extent) for name, extent in found["datasets"].items()},
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its head lacks {error}") from None
    if head.manifest != spec.digest:
        raise ValueError("it was written under another manifest")
    numbers = [head.rows, head.size, *(n for extent in head.datasets.values() for n in extent[:2])]
    if not all(type(number) is int and 0 <= number <= 1 << 62 for number in numbers) or head.rows > MAX_ROWS:
        raise ValueError("a number in its head is out of range")
    if {name: extent.length for name, extent in head.datasets.items()} != dataset_bytes(spec, head.rows):
        raise ValueError("its datasets are not the manifest's, or of another size")
    if any(begin > end for begin, end in head.gaps(len(content))):
        raise ValueError("its datasets overlap or leave the file")
    return head
