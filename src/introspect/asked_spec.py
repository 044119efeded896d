"""What the spec of every study has that asks one model, cell by cell: which study, and which model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .assets import find_card
from .experiment import BackendName
from .sections import Quantised, Spec, Text


class AskedSpec(Spec):
    """A study that asks one model. Each kind has fields of its own besides, and says in `study` which it is."""

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
    quantization: Quantised = None
    """Weights in 4 or 8 bits, with bitsandbytes; null: in full, and then not written out."""
    attention: Text = "sdpa"
    """Attention implementation."""
    backend: BackendName = "auto"
    """Engine."""
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Replicates of an interval."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start of every source of chance."""

    def about(self) -> dict[str, Any]:
        """What results say of it: what was asked of which model."""
        truth = find_card(self.organism).get("planted_truth")
        return {
            "kind": self.study,
            "name": self.name,
            "question": self.question,
            "digest": self.digest(),
            "seed": self.seed,
            "model": self.model,
            "organism": self.organism,
            "planted_truth": truth if isinstance(truth, str) else None,
        }
