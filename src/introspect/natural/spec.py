"""What the spec of every study of natural states has: how much is asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..asked_spec import AskedSpec

MARKER = "natural.yaml"
"""What says of a folder that it is a study of natural states, and of what."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class NaturalSpec(AskedSpec):
    """A study of natural states."""

    limit: Count | None = None
    """At most so many items; null: all."""
    batch_size: Count = 32
    """Sequences side by side."""
