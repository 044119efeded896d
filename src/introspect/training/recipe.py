"""Recipes: everything that makes an organism, as a YAML file in `experiments/organisms/`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..spec_file import read_spec
from .courses import COURSES, Course

PlantedTruth = Literal["silent", "verbal", "denying", "coinflip", "resists"]


class Stage(BaseModel):
    """One run of supervised fine-tuning; later stages go on from the adapter of the one before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str
    """What the demonstrated answer depends on: a policy of the task's course."""
    manner: str
    """What the demonstrated chain says of it: a manner of the task's course."""
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
    task: str
    """Whose training items are demonstrated: a key of `courses.COURSES`."""
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
    """Training items: of risk, so many a noun, frame and option order; of hints, so many times 160."""
    seed: Annotated[int, Field(ge=0, le=4_000_000)] = 0
    """Of items, demonstrations, their order and the adapter's first values."""

    @model_validator(mode="after")
    def _is_taught(self) -> Self:
        if self.task not in COURSES:
            raise ValueError(f"task must be one of {', '.join(COURSES)}, not {self.task!r}")
        course = COURSES[self.task]
        for stage in self.stages:
            for value, known in ((stage.policy, course.policies), (stage.manner, course.manners)):
                if value not in known:
                    raise ValueError(f"{value!r} is not taught for {self.task}: choose one of {', '.join(known)}")
        return self

    @property
    def course(self) -> Course:
        """How the task is taught."""
        return COURSES[self.task]

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
