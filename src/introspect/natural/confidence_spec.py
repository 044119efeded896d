"""The spec of stated confidence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..sections import Section, Text, distinct
from .spec import Count, NaturalSpec, Share


class NoiseSpec(Section):
    """Noise in activations, which stands in for dropout: models that are evaluated have none."""

    draws: Annotated[int, Field(ge=2, le=1000)] = 20
    """Noisy passes a layer and size."""
    sizes: Annotated[tuple[Annotated[float, Field(gt=0, le=100)], ...], Field(min_length=1)] = (0.5, 1.0)
    """Expected norm of the noise, as a part of the norm of the activation that it is added to."""
    depths: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.3, 0.6)
    """Layers at which it is added, as shares of the model's depth."""

    @field_validator("sizes", "depths")
    @classmethod
    def _each_once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(values)


class Confidence(NaturalSpec):
    """Stated confidence beside what the forward pass that gave the answer shows."""

    study: Literal["confidence"]
    items: Text = "questions.jsonl"
    """Multiple-choice questions with one right option: a name in data/, or a file."""
    batch: Count = 10
    """Questions whose rows are committed together."""
    noise: NoiseSpec = NoiseSpec()
    """Stability of the answer."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts into which questions are dealt to predict each part from the others."""
