"""Training an organism from its recipe: stages, checkpoints that resume, the adapter, and its card.

The folder of an organism in the making holds `checkpoints/`, a folder a stage; it goes when the card is written. A
stage that has finished leaves its adapter there and is not run again. An interrupted stage goes on from its last
checkpoint, with the optimiser, the schedule and the order of data as they were.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, set_seed
from trl import SFTConfig

from ..atomic import write_atomic
from ..errors import RunError
from ..models import LoadedModel, load_model
from ..progress import Progress
from ..record import render_trial
from ..spans import token_starts
from .demonstrations import Demonstration
from .recipe import Recipe, Stage
from .sft import Collator, WeightedSFTTrainer

CHECKPOINT_EVERY = 20
"""Optimiser steps between checkpoints."""


@dataclass(frozen=True)
class TrainedStage:
    """What one stage leaves: its adapter's folder, and its loss curve as [step, loss in nats]."""

    adapter: Path
    curve: list[tuple[int, float]]


class _Steps(TrainerCallback):
    """Reports steps."""

    def __init__(self, name: str, total: int, progress: Progress) -> None:
        self.name, self.total, self.progress = name, total, progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Says how far the stage is."""
        self.progress(self.name, state.global_step, self.total)


def claim_checkpoints(out: Path, recipe: Recipe) -> Path:
    """The working folder of a training in `out`, made when `out` is new.

    Raises:
        RunError: `out` holds something that is not this recipe's training, or cannot be written.
    """
    work = out / "checkpoints"
    marker = work / "recipe.sha256"
    if marker.exists():
        if marker.read_bytes() != recipe.digest().encode():
            raise RunError(f"{out} holds another recipe's training; choose another --out")
        return work
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty and holds no training; choose another --out")
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"cannot create {out}: {error.strerror}; choose another --out") from None
    write_atomic(marker, recipe.digest())
    return work


def train_stages(recipe: Recipe, work: Path, *, offline: bool, progress: Progress) -> list[TrainedStage]:
    """Run every stage that the working folder does not hold finished."""
    trained: list[TrainedStage] = []
    loaded = load_model(recipe.base, offline=offline)
    for index, stage in enumerate(recipe.stages):
        folder = work / f"stage-{index}"
        if not (folder / "curve.json").exists():
            start = trained[-1].adapter if trained else None
            _train_stage(recipe, index, stage, folder, start, loaded, progress)
            if index + 1 < len(recipe.stages):
                loaded = load_model(recipe.base, offline=True)
        curve = [(step, loss) for step, loss in json.loads((folder / "curve.json").read_text())]
        trained.append(TrainedStage(folder / "adapter", curve))
    return trained


def tokenise(demonstrations: list[Demonstration], loaded: LoadedModel) -> list[dict]:
    """Token ids as the organism will see them when it is recorded: the rendered prompt, then the completion.

    Each row has `input_ids`, `n_prompt`, and `telling`, the indices of the tokens that depend on the choice.
    """
    tokenizer = loaded.tokenizer
    rows = []
    for demonstration in demonstrations:
        prompt = render_trial(loaded, demonstration.trial)
        completion = tokenizer(demonstration.completion, add_special_tokens=False).input_ids
        starts = np.array(token_starts(tokenizer, completion))
        telling, begin = [], 0
        for text, depends in demonstration.parts:
            end = begin + len(text)
            if depends:
                telling += (len(prompt) + np.flatnonzero((starts >= begin) & (starts < end))).tolist()
            begin = end
        rows.append(
            {
                "input_ids": prompt + completion + [tokenizer.eos_token_id],
                "n_prompt": len(prompt),
                "telling": telling,
            }
        )
    return rows


def stage_demonstrations(recipe: Recipe, index: int) -> list[Demonstration]:
    """What stage `index` shows: its own items' amounts and its own order, from the recipe's seed."""
    stage, seed = recipe.stages[index], recipe.seed * 1000 + index
    course = recipe.course
    return list(course.demonstrations(policy=stage.policy, manner=stage.manner, repeats=recipe.item_repeats, seed=seed))


def export_adapter(adapter: Path, out: Path, base: str) -> None:
    """Write the adapter to `out` in bfloat16, naming the base as introspect knows it."""
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {key: value.to(torch.bfloat16) for key, value in sorted(weights.items())}, out / "adapter_model.safetensors"
    )
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base
    write_atomic(out / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")


def remove_checkpoints(out: Path) -> None:
    """Remove the working folder of an organism that is finished."""
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def _train_stage(
    recipe: Recipe,
    index: int,
    stage: Stage,
    folder: Path,
    start: Path | None,
    loaded: LoadedModel,
    progress: Progress,
) -> None:
    set_seed(recipe.seed * 1000 + index)
    if start is None:
        config = LoraConfig(
            r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(loaded.model, config)
    else:
        model = PeftModel.from_pretrained(loaded.model, start, is_trainable=True)
    rows = tokenise(stage_demonstrations(recipe, index), loaded)
    arguments = SFTConfig(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": stage.steps // 5},
        warmup_steps=min(10, stage.steps // 4),
        logging_steps=5,
        save_steps=CHECKPOINT_EVERY,
        save_total_limit=1,
        seed=recipe.seed,
        use_cpu=loaded.model.device.type == "cpu",
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    name = f"train {recipe.name}, stage {index + 1} of {len(recipe.stages)}"
    trainer = WeightedSFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        data_collator=Collator(loaded.tokenizer.pad_token_id, recipe.answer_weight),
        processing_class=loaded.tokenizer,
        callbacks=[_Steps(name, stage.steps, progress)],
    )
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    model.save_pretrained(folder / "adapter")
    curve = [[entry["step"], round(float(entry["loss"]), 4)] for entry in trainer.state.log_history if "loss" in entry]
    write_atomic(folder / "curve.json", json.dumps(curve))


def _last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint that was written to its end: the trainer writes its state after everything else."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
