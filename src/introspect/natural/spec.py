"""What the spec of every study of natural states has: which model is asked, how much, from which seed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..experiment import BackendName
from ..sections import Spec, Text

MARKER = "natural.yaml"
"""What says of a folder that it is a study of natural states, and of what."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class NaturalSpec(Spec):
    """A study of natural states. Each kind has fields of its own besides, and says in `study` which it is."""

    study: str
    """Which."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    """A word; names the folder."""
    question: Text
    """What is asked, in one sentence."""
    model: Text = "smollm2-135m"
    """An embedded model's name, a hub id, a local folder or a .gguf file."""
    organism: Text | None = None
    """Adapter on the model; null: the bare model."""
    revision: Text | None = None
    """Branch, tag or commit of a hub model."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of the model."""
    attention: Text = "sdpa"
    """Attention implementation."""
    backend: BackendName = "auto"
    """Engine."""
    limit: Count | None = None
    """At most so many items; null: all."""
    batch_size: Count = 32
    """Sequences side by side."""
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Replicates of an interval."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start of every source of chance."""
