"""What is asked of transcripts: through which model they are replayed, and what of it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import SpecError
from ..experiment import BackendName, CaptureSpec, read_layers
from ..sections import Quantised


class ReplaySpec(BaseModel):
    """Through which model transcripts are replayed, and what is recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: Annotated[str, Field(min_length=1)]
    """An embedded model's name, a hub id, a local folder or a .gguf file."""
    revision: str | None = None
    """Commit of a hub model."""
    organism: str | None = None
    """Adapter on top of the model; null: the bare model."""
    backend: BackendName | Literal["interp-engine", "ndif"] = "auto"
    """Engine that runs the model; interp-engine: inside vLLM; ndif: the model is hosted elsewhere, and only its config
    and tokenizer are here."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of weights and activations."""
    quantization: Quantised = None
    """Weights in 4 or 8 bits; null: in full."""
    capture: CaptureSpec = CaptureSpec()
    """Sites, layers, spans and tokens that are recorded."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many transcripts, from the first; null: all."""

    @model_validator(mode="after")
    def _hosted_as_it_is(self) -> Self:
        if self.backend == "ndif" and (self.organism is not None or self.quantization is not None):
            raise ValueError("a model that NDIF hosts is taken as it is: leave organism and quantization out")
        return self

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if self.capture.tokens == "before_answer" or not self.capture.spans:
            raise ValueError("transcripts have no parsed answer: name spans, and tokens other than before_answer")
        return self


def read_replay_spec(given: Mapping[str, Any]) -> ReplaySpec:
    """The spec that command-line options say: names of its fields and of `capture`'s -> values, lists by commas.

    Raises:
        SpecError: an option's value is not one. Names the option.
    """
    capture: dict[str, Any] = {key: given[key] for key in CaptureSpec.model_fields if key in given}
    for key in ("sites", "spans"):
        if key in capture:
            capture[key] = tuple(capture[key].split(","))
    if "layers" in capture:
        capture["layers"] = read_layers(capture["layers"])
    rest = {key: value for key, value in given.items() if key not in capture}
    try:
        return ReplaySpec(**rest, capture=CaptureSpec(**capture))
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}: " if first["loc"] else ""
        why = first["msg"].removeprefix("Value error, ")
        given_as = "" if first["type"] == "value_error" else f", not {first['input']!r}"
        raise SpecError(f"{option}{why[:1].lower()}{why[1:]}{given_as}") from None
