"""`introspect-files.json`: what a pushed folder holds, file by file, with digests. A pulled one may be a stranger's.

Only what it names is fetched, so it is read strictly: paths are plain and inside the folder, whatever the system does
with capitals, and every size is known before anything is fetched.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import StoreError

INDEX, CARD = "introspect-files.json", "README.md"
MARKER = "introspect-push.json"
"""There while a push goes on that is not one commit: the index of what is being pushed."""
MAX_INDEX_BYTES, MAX_FILES, MAX_DEPTH, MAX_PATH = 16 << 20, 50_000, 8, 400
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,199}")
SUFFIXES = (".yaml", ".json", ".jsonl", ".h5", ".html", ".safetensors")
"""Of what runs and probes consist of."""
OTHER_NAMES = ("DONE", CARD)

Kind = Literal["run", "probe"]


class FileEntry(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes: Annotated[int, Field(ge=0, lt=1 << 50)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileIndex(BaseModel):
    """Every file of a folder but this one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1]
    kind: Kind
    introspect: Annotated[str, Field(max_length=100)]
    """Version that wrote it."""
    files: Annotated[dict[str, FileEntry], Field(max_length=MAX_FILES)]
    """Path -> file."""

    @property
    def n_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())

    def content(self) -> bytes:
        """What `introspect-files.json` holds; the same for the same files."""
        ordered = self.model_dump() | {"files": {path: self.files[path].model_dump() for path in sorted(self.files)}}
        return (json.dumps(ordered, indent=1) + "\n").encode()


def is_plain(path: str) -> bool:
    """Whether a path is one that a run or a probe has: relative, inside, not hidden, of a known ending."""
    names = path.split("/")
    known = names[-1].endswith(SUFFIXES) or names[-1] in OTHER_NAMES
    plain = all(_NAME.fullmatch(name) and not name.endswith(".") for name in names)
    return known and plain and len(names) <= MAX_DEPTH and len(path) <= MAX_PATH and path not in (INDEX, MARKER)


def parse_index(content: bytes, source: str) -> FileIndex:
    """An index that may be a stranger's.

    Raises:
        StoreError: it is none, or names a file that no run or probe has. Names the source.
    """
    remedy = "it was not pushed by introspect, or is damaged: do not use it"
    try:
        index = FileIndex.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:100] or "the document"
        raise StoreError(f"{source}/{INDEX}: {place}: {first['msg'][:200]}; {remedy}") from None
    bad = next((path for path in index.files if not is_plain(path)), None)
    if bad is not None:
        raise StoreError(f"{source}/{INDEX} names {bad[:100]!r}, which is no file of a run or a probe; {remedy}")
    clash = _clash(index.files)
    if clash is not None:
        raise StoreError(f"{source}/{INDEX} names {clash[:100]!r} twice, or as a file and a folder; {remedy}")
    return index


def _clash(files: Mapping[str, FileEntry]) -> str | None:
    """A path that another one differs from by capitals only, or runs through."""
    folded = [path.lower() for path in files]
    taken = set(folded)
    for path in folded:
        parents = {path[:i] for i, letter in enumerate(path) if letter == "/"}
        if parents & taken:
            return path
    return next((path for path, times in Counter(folded).items() if times > 1), None)
