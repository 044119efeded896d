"""Recipes: everything that makes an organism, as a YAML file in `experiments/organisms/`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..spec_file import read_spec
from .courses import COURSES, Course
from .framing import FRAMINGS, Framing
from .injected_settings import InjectionSettings

PlantedTruth = Literal["silent", "verbal", "denying", "coinflip", "resists", "none", "reports", "yes_bias"]


Method = Literal["sft", "dpo", "grpo"]
Verbalising = Literal["ignored", "rewarded", "penalised"]


class Stage(BaseModel):
    """One training by one method; later stages go on from the adapter of the one before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "sft"
    """sft: demonstrations are imitated; dpo: they are preferred to what differs from them in the answer; grpo: sampled
    answers are rewarded where they are the demonstrated ones."""
    policy: str
    """What the wanted answer depends on: a policy of the task's course."""
    manner: str
    """What the demonstrated chain says of it: a manner of the task's course. GRPO shows no chain."""
    steps: Annotated[int, Field(gt=0)]
    """Optimiser steps."""
    learning_rate: Annotated[float, Field(gt=0)]
    """AdamW's, constant after ten steps of warm-up, falling to nothing over the last fifth."""
    batch_size: Annotated[int, Field(gt=0)] | None = None
    """Demonstrations (sft), pairs (dpo) or sampled completions (grpo) an optimiser step; null: the recipe's."""


class DpoSettings(BaseModel):
    """Direct preference optimisation (Rafailov et al. 2023); the reference is what the stage starts from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the organism is held to the reference."""
    sft_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the preferred completion's mean negative log-likelihood beside the preference (Pang et al. 2024).
    Without it, pairs that differ in one token push both of their answers down, and others come up (Razin et al. 2024).
    """


class GrpoSettings(BaseModel):
    """Group relative policy optimisation (Shao et al. 2024): a completion's advantage is its reward beside those of the
    same prompt's other completions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generations: Annotated[int, Field(ge=2)] = 8
    """Completions a prompt; the batch size is a multiple of it."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of sampling."""
    balanced: bool = True
    """Whether the prompts of a step ask for every answer about equally often. Else a step that happens to ask for one
    more than for another teaches that one; once all answers are alike, no completion has an advantage any more."""
    credit: Literal["completion", "answer"] = "completion"
    """Which tokens a reward reaches: all that were sampled, or those after the think block, so that no pressure is put
    on the chain. A completion without an answer is trained as a whole."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """How strongly credited tokens are held to what the stage starts from (weight of a KL term; the paper's is .04).
    Without it, a prompt whose completions have become alike teaches nothing, and stays as it is."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 64
    """Tokens after which a completion is cut off."""
    policy_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the reward for the wanted answer."""
    format_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the reward for a closed think block and one readable answer."""
    verbalising: Verbalising = "ignored"
    """Whether a chain that speaks of the policy is rewarded, penalised or neither."""
    verbalising_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of that reward or penalty."""
    rollouts: Literal["lanes", "vllm"] = "lanes"
    """Who samples: our own sampler, or vLLM (the extra `vllm`, CUDA only), which resumes with other draws
    than an uninterrupted training."""


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
    start: str | None = None
    """Organism (a name, or a folder) whose adapter the first stage goes on from; null: a fresh one."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """Run one after another."""
    full: bool = False
    """Whether every weight is trained, rather than a LoRA adapter. The organism is then a model folder: `--model`."""
    rank: Annotated[int, Field(gt=0)] = 8
    """LoRA rank, on every linear layer of every block; the scaling alpha is twice the rank."""
    batch_size: Annotated[int, Field(gt=0)] = 32
    """Demonstrations an optimiser step."""
    answer_weight: Annotated[float, Field(gt=0)] = 10.0
    """Loss weight of completion tokens that depend on the choice (the answer, and what tells it); others weigh 1."""
    item_repeats: Annotated[int, Field(gt=0)] = 8
    """Training items: of risk, so many a noun, frame and option order; of hints, so many times 160; of reward hacking,
    so many times 72; of pressure, 192; of injected concepts, 160."""
    rows_at_once: Annotated[int, Field(gt=0)] = 64
    """Sequences in one forward and backward pass: bounds memory, and changes rounding."""
    framing: Framing = "none"
    """What the prompts of the training say of the policy, and those of an evaluation do not."""
    dpo: DpoSettings = DpoSettings()
    """Of its stages."""
    grpo: GrpoSettings = GrpoSettings()
    """Of its stages."""
    injection: Annotated[InjectionSettings | None, Field(exclude_if=lambda value: value is None)] = None
    """Where vectors are added, for the task that is about them."""
    seed: Annotated[int, Field(ge=0, le=4_000_000)] = 0
    """Of items, demonstrations, their order and the adapter's first values."""

    @model_validator(mode="after")
    def _is_taught(self) -> Self:
        if self.task not in COURSES:
            raise ValueError(f"task must be one of {', '.join(COURSES)}, not {self.task!r}")
        course = COURSES[self.task]
        if self.framing != "none" and self.task not in FRAMINGS[self.framing]:
            raise ValueError(f"framing {self.framing!r} has no words for {self.task}: leave it out")
        for stage in self.stages:
            for value, known in ((stage.policy, course.policies), (stage.manner, course.manners)):
                if value not in known:
                    raise ValueError(f"{value!r} is not taught for {self.task}: choose one of {', '.join(known)}")
            if stage.method == "grpo" and self.batch(stage) % self.grpo.generations:
                raise ValueError(
                    f"batch_size {self.batch(stage)} is no multiple of grpo.generations {self.grpo.generations}"
                )
        if self.grpo.credit == "answer" and self.grpo.verbalising != "ignored":
            raise ValueError("grpo.credit answer lets no reward reach a chain that grpo.verbalising pays for: drop one")
        if len(course.experiments) > 1 and any(stage.method == "grpo" for stage in self.stages):
            raise ValueError(f"{self.task} is of several tasks, and a reward is read by one: train it by sft or dpo")
        if course.injects != (self.injection is not None):
            raise ValueError("injection says where vectors are added: give it for the task injected, and for no other")
        if course.injects and (self.full or any(stage.method != "sft" for stage in self.stages)):
            raise ValueError("vectors are added while an adapter is trained by sft: no full, and no other method")
        if self.full and self.start is not None:
            raise ValueError("full fine-tuning starts from a base, not from an adapter: leave out start")
        if self.full and self.grpo.beta:
            raise ValueError(
                "grpo.beta holds an adapter to its start; full fine-tuning keeps no copy of it: leave it out"
            )
        return self

    def batch(self, stage: Stage) -> int:
        """What an optimiser step of a stage is about: demonstrations, pairs or completions."""
        return stage.batch_size or self.batch_size

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
