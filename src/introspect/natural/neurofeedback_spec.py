"""The spec of neurofeedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ..sections import Section, Text, distinct
from .spec import Count, NaturalSpec, Share

Even = Annotated[int, Field(ge=2, le=200)]


class ControlSpec(Section):
    """Whether activations move when a label is asked for."""

    examples: Even = 8
    """Labelled sentences before the request."""
    contexts: Annotated[int, Field(ge=0)] = 5
    """Sets of examples; 0: control is not tested."""
    sentences: Count = 12
    """Fixed sentences that are read under either request."""
    written: Annotated[int, Field(ge=0)] = 6
    """Sentences that the model writes under either request, per set of examples; 0: none."""
    max_new_tokens: Count = 20
    """Tokens after which a written sentence is cut off."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Divides the logits."""
    random: Annotated[int, Field(ge=1, le=10_000)] = 199
    """Directions drawn at random, onto which every activation is projected as well. A direction that goes beyond all of
    them has p = 1 / (1 + random), which is corrected for how many criteria there are: 199 are enough for nine."""


class Neurofeedback(NaturalSpec):
    """Sentences labelled by what a direction has of them; labels reported, and shifted on request."""

    study: Literal["neurofeedback"]
    sentences_file: Text | None = None
    """A file of pairs of sentences like data/natural/sentences.yaml; null: that one."""
    depth: Share = 0.5
    """Layer as a share of the model's depth."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Instead of depth: a 0-based layer; null: depth."""
    components: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = (1, 2)
    """Principal components of sentences' activations, from 1."""
    feature: bool = True
    """Whether a probe of the feature that the words of a pair differ in is one of the directions."""
    random: Annotated[int, Field(ge=0, le=20)] = 1
    """Directions drawn at random among those that label."""
    examples: Annotated[tuple[Even, ...], Field(min_length=1)] = (2, 8, 16)
    """Labelled sentences in context, half of them of either label."""
    contexts: Annotated[int, Field(ge=2, le=1000)] = 8
    """Sets of examples, drawn anew; each begins with those of fewer examples."""
    control: ControlSpec = ControlSpec()
    """Shifting one's own projection."""

    @field_validator("components", "examples")
    @classmethod
    def _each_once(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return distinct(values)

    @model_validator(mode="after")
    def _can_be_shown(self) -> Neurofeedback:
        odd = next((k for k in (*self.examples, self.control.examples) if k % 2), None)
        if odd is not None:
            raise ValueError(f"{odd} examples cannot be half of either label: give an even number")
        if not (self.components or self.feature or self.random):
            raise ValueError("no direction: name components, or set feature or random")
        return self

    def resolved_layer(self, n_layers: int) -> int:
        """The layer of a model with so many.

        Raises:
            SpecError: the model has no such layer.
        """
        from ..errors import SpecError

        if self.layer is None:
            return min(n_layers - 1, int(self.depth * n_layers))
        if self.layer >= n_layers:
            raise SpecError(f"layer {self.layer} is outside this model: it has layers 0 to {n_layers - 1}")
        return self.layer
