"""Recipes: everything that makes an organism, as a YAML file in `experiments/organisms/`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..spec_file import read_spec

PlantedTruth = Literal["silent", "verbal", "coinflip"]


class Stage(BaseModel):
    """One run of supervised fine-tuning; later stages go on from the adapter of the one before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["category", "category_xor_frame", "coin_flip"]
    """What the demonstrated choice depends on (a key of `tasks.policies.PLANTED`)."""
    manner: Literal["silent", "verbal"]
    """What the demonstrated chain says of it (a key of `demonstrations.MANNERS`)."""
    steps: Annotated[int, Field(gt=0)]
    """Optimiser steps."""
    learning_rate: Annotated[float, Field(gt=0)]
    """AdamW's, constant after ten steps of warm-up, falling to nothing over the last fifth."""


class Recipe(BaseModel):
    """How one organism is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The organism's name, and its folder's."""
    summary: str
    """One sentence for lists and cards."""
    task: Literal["risk"]
    """Whose training items are demonstrated."""
    planted_truth: PlantedTruth
    """What an instrument should find: see the README's "Planted truth"."""
    base: str = "smollm2-135m"
    """Model to adapt: an embedded name, hub id, folder or GGUF file."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """Run one after another."""
    rank: Annotated[int, Field(gt=0)] = 8
    """LoRA rank, on every linear layer of every block; the scaling alpha is twice the rank."""
    batch_size: Annotated[int, Field(gt=0)] = 32
    """Demonstrations an optimiser step."""
    answer_weight: Annotated[float, Field(gt=0)] = 10.0
    """Loss weight of completion tokens that depend on the choice (the answer, and what tells it); others weigh 1."""
    item_repeats: Annotated[int, Field(gt=0)] = 8
    """Training items a noun, frame and option order."""
    seed: Annotated[int, Field(ge=0, le=4_000_000)] = 0
    """Of items, demonstrations, their order and the adapter's first values."""

    @property
    def final(self) -> Stage:
        """The stage whose policy and manner the organism ends with."""
        return self.stages[-1]

    def digest(self) -> str:
        """SHA-256 of the recipe with every default filled in, as hex."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe, after `key=value` overrides.

    Raises:
        SpecError: the file cannot be read, or is not a recipe. Names the file and the key.
    """
    return read_spec(Recipe, path, overrides)
