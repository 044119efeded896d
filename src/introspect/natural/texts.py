"""Files of words that studies ask with: one reader, and what stands for their words in a study's manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import ClassVar, Self

from ..assets import assets_root
from ..sections import Section
from ..spec_file import read_spec


class Texts(Section):
    """The content of a file like one of `data/natural`."""

    FILE: ClassVar[str]
    """The one that ships with introspect."""

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """The content of a file; by default of the one that ships with introspect.

        Raises:
            SpecError: the file cannot be read, or is not one. Names the file, and the key or the line.
        """
        return read_spec(cls, path or assets_root() / "data" / "natural" / cls.FILE)

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of all of it, in its order."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class NamedTexts(Texts):
    """One whose texts have names: their order in the file decides nothing."""

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of all of it, in the order of names."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()
