"""One trainer of trl's for each method, all with the same schedule, checkpoints and progress."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback
from trl import DPOConfig, GRPOConfig, SFTConfig

from ..errors import RunError, SpecError
from ..models import LoadedModel
from ..models.memory import give_back_freed_memory
from ..progress import Progress
from ..tasks.registry import find_task
from .demonstrations import Demonstration, dispreferred
from .dpo import TokenDPOTrainer, pair_rows
from .grpo import RewardedGRPOTrainer, Rollouts, balanced
from .injected_vectors import ConceptVectors
from .recipe import Recipe
from .rewards import rewards
from .rows import tokenise, with_injections
from .sampler import Merged
from .scored import sees_all
from .sft import Collator, WeightedSFTTrainer
from .templates import check_template

CHECKPOINT_EVERY = {"sft": 20, "dpo": 10, "grpo": 5}
"""Optimiser steps between checkpoints: a few minutes' work on two cores."""


@dataclass
class Watch(TrainerCallback):
    """Reports steps, stops at some to look at the organism as it is then, and refuses to go on without numbers."""

    name: str
    total: int
    progress: Progress
    at_steps: frozenset[int] = frozenset()
    look: Callable[[int], None] = lambda step: None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks before the first step, unless a training goes on."""
        if state.global_step == 0:
            self._look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Says how far the stage is, gives back what the step needed, and looks."""
        self.progress(self.name, state.global_step, self.total)
        give_back_freed_memory()
        self._look(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """A loss that is not a number ends the training."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise RunError(f"{self.name}: the loss of step {state.global_step} is {loss}: make learning_rate smaller")

    def _look(self, step: int) -> None:
        """Whatever is drawn by chance meanwhile, the training goes on as if nobody had looked."""
        if step in self.at_steps:
            states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the trainer's own
            with torch.random.fork_rng():
                self.look(step)
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def make_trainer(
    recipe: Recipe,
    index: int,
    demonstrations: Sequence[Demonstration],
    loaded: LoadedModel,
    model: PreTrainedModel | PeftModel,
    merged: Merged | None,
    folder: Path,
    watch: Watch,
    vectors: ConceptVectors | None = None,
) -> Trainer:
    """The trainer of stage `index`, which writes its checkpoints to `folder`.

    Args:
        model: what is trained: `loaded.model`, with an adapter around it.
        merged: the copy that samples; of GRPO only.
        vectors: of the words that are injected, where any are.
    """
    if torch.cuda.device_count() > 1:
        raise RunError("several GPUs are visible, and one is used: set CUDA_VISIBLE_DEVICES to it")
    stage = recipe.stages[index]
    batch = recipe.batch(stage)
    at_once = largest_divisor(batch, recipe.rows_at_once // (2 if stage.method == "dpo" else 1))
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": stage.steps,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": batch // at_once,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": stage.steps // 5},
        "warmup_steps": min(10, stage.steps // 4),
        "logging_steps": 1,  # an average over several would be another one after a kill between them
        "save_steps": CHECKPOINT_EVERY[stage.method],
        "save_total_limit": 1,
        "seed": recipe.seed,
        "use_cpu": loaded.model.device.type == "cpu",
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
    }
    common: dict[str, Any] = {"model": model, "processing_class": loaded.tokenizer, "callbacks": [watch]}
    tasks = [find_task(name) for name in recipe.course.experiments]
    shown = tokenise(demonstrations, loaded)
    check_template(loaded, tasks, demonstrations, shown)
    if vectors is not None:
        if not sees_all(loaded.model):
            raise SpecError(f"{recipe.base} has layers that see a window of tokens only: choose another base")
        shown = with_injections(shown, demonstrations, vectors, loaded)
    trainer: Trainer
    if stage.method == "sft":
        config = SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True})
        rows = Dataset.from_list(shown)
        collator = Collator(loaded.tokenizer.pad_token_id, recipe.answer_weight)
        trainer = WeightedSFTTrainer(args=config, train_dataset=rows, data_collator=collator, **common)
    elif stage.method == "dpo":
        rng = random.Random(f"dispreferred/{recipe.seed}/{index}")
        others = [dispreferred(demo, rng) for demo in demonstrations]
        dropped = tokenise(others, loaded)
        check_template(loaded, tasks, others, dropped)
        rows = Dataset.from_list(pair_rows(shown, dropped))
        kinds = {"sigmoid": 1.0, "sft": recipe.dpo.sft_weight} if recipe.dpo.sft_weight else {"sigmoid": 1.0}
        config = DPOConfig(
            **arguments,
            beta=recipe.dpo.beta,
            max_length=None,
            loss_type=list(kinds),
            loss_weights=list(kinds.values()),
            router_aux_loss_coef=0.0,
        )
        reference = copy.deepcopy(model).requires_grad_(False) if recipe.full else None
        trainer = TokenDPOTrainer(args=config, train_dataset=rows, ref_model=reference, **common)
    else:
        settings, task = recipe.grpo, find_task(recipe.task)
        if task.follow_ups:
            first = [not any(message.role == "assistant" for message in demo.trial.messages) for demo in demonstrations]
            demonstrations = [demo for demo, is_first in zip(demonstrations, first, strict=True) if is_first]
        paid = rewards(settings)
        config = GRPOConfig(
            **arguments,
            num_generations=settings.generations,
            max_completion_length=settings.max_new_tokens,
            temperature=settings.temperature,
            beta=settings.beta,
            loss_type="dapo",
            shuffle_dataset=False,
            router_aux_loss_coef=0.0,
            vllm_importance_sampling_correction=False,
            reward_weights=[weight for _, weight in paid.values()],
            use_vllm=settings.rollouts == "vllm",
        )
        order = balanced(demonstrations) if settings.balanced else list(range(len(demonstrations)))
        rows = Dataset.from_list([{"prompt": str(at)} for at in order])
        assert merged is not None  # noqa: S101 - GRPO comes with one
        rollouts = Rollouts(merged, demonstrations, task, settings, recipe.seed * 1000 + index)
        trainer = RewardedGRPOTrainer(args=config, train_dataset=rows, rewards=paid, rollouts=rollouts, **common)
    needed = at_once * arguments["gradient_accumulation_steps"]
    if len(demonstrations) < (needed // recipe.grpo.generations if stage.method == "grpo" else needed):
        raise SpecError(
            f"{recipe.name}: {len(demonstrations)} demonstrations do not fill a step of {needed}: make item_repeats "
            "larger, or batch_size smaller"
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`, and at least 1."""
    return next(each for each in range(max(1, min(number, most)), 0, -1) if number % each == 0)
