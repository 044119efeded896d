"""Training an organism from its recipe: stages, checkpoints that resume, and the adapter.

The folder of an organism in the making holds `checkpoints/`, a folder a stage; it goes when the card is written. A
stage that has finished leaves its adapter there and is not run again. An interrupted stage goes on from its last
checkpoint, with the optimiser, the schedule and the order of data as they were.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel, TrainerState, set_seed

from ..atomic import write_atomic
from ..backends.sites import find_blocks
from ..errors import IntrospectError, RunError, SpecError
from ..models import LoadedModel, load_model
from ..models.adapter import check_base, find_adapter
from ..progress import Progress
from ..run_folder import check_room, enough_memory
from .export import export
from .injected_vectors import concept_vectors, other_prompts, training_and_held_out_words
from .recipe import Recipe, Stage
from .rows import stage_demonstrations
from .sampler import Merged
from .trainers import Watch, make_trainer

Snapshot = Callable[[int, Path], None]
"""Called with a step of the last stage and a folder that holds the organism as of that step."""


BYTES_A_WEIGHT = 40
"""On disk, of each trained weight: two checkpoints (the weight and two moments of its gradient), what the stage leaves
and what is exported.
"""
NO_ROOM = 1 << 24
"""Bytes: with fewer left, a failed write was a full disk."""


FRESH: dict[str, object] = {
    "use_dora": False,
    "use_rslora": False,
    "lora_bias": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}
"""Settings of an adapter that training can go on from."""


@dataclass(frozen=True)
class Curves:
    """How a stage went."""

    loss: list[list[float]]
    """[step, loss]."""
    rewards: dict[str, list[list[float]]] = field(default_factory=dict)
    """Name of what a method logs beside its loss -> [step, value]."""


@dataclass(frozen=True)
class TrainedStage:
    """What one stage leaves: the folder of its adapter (or model) in full precision, and its curves."""

    folder: Path
    curves: Curves


def claim_checkpoints(out: Path, recipe: Recipe) -> Path:
    """The working folder of a training in `out`, made when `out` is new.

    Raises:
        RunError: `out` holds something that is not this recipe's training, or cannot be written.
    """
    work = out / "checkpoints"
    marker = work / "recipe.sha256"
    whose = recipe.digest() + (start_digest(recipe) or "")
    if marker.exists():
        if marker.read_bytes() != whose.encode():
            raise RunError(f"{out} holds another recipe's training, or its start has changed; choose another --out")
        return work
    begun = work.is_dir() and not any(work.iterdir()) and [*out.iterdir()] == [work]
    if out.exists() and any(out.iterdir()) and not begun:
        raise RunError(f"{out} is not empty and holds no training; choose another --out")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create {out}: {error.strerror}; choose another --out") from None
    write_atomic(marker, whose)
    return work


def start_digest(recipe: Recipe) -> str | None:
    """sha256 of the adapter that a recipe starts from; None where it starts from none."""
    return None if recipe.start is None else find_adapter(recipe.start).digest()


def train_stages(
    recipe: Recipe,
    work: Path,
    *,
    offline: bool,
    progress: Progress,
    at_steps: Sequence[int] = (),
    on_step: Snapshot | None = None,
) -> list[TrainedStage]:
    """Run every stage that the working folder does not hold finished.

    Args:
        at_steps: steps of the last stage at which `on_step` is called; 0 is before the first.
    """
    trained: list[TrainedStage] = []
    for index, stage in enumerate(recipe.stages):
        folder = work / f"stage-{index}"
        if not (folder / "curves.json").exists():
            last = index + 1 == len(recipe.stages)
            wanted = (at_steps, on_step) if last and on_step is not None else ((), None)
            start = trained[-1].folder if trained else None
            _train_stage(recipe, index, stage, folder, start, wanted, offline=offline, progress=progress)
        curves = Curves(**json.loads((folder / "curves.json").read_text()))
        trained.append(TrainedStage(folder / "trained", curves))
    return trained


@contextmanager
def enough_room(folder: Path) -> Iterator[None]:
    """Turn a full disk, by whichever library it is met, into one line.

    Raises:
        RunError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, IntrospectError):
            raise
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or shutil.disk_usage(folder).free < NO_ROOM:
            raise RunError(f"the disk of {folder} is full: free space and go on with --resume") from error
        raise


def remove_checkpoints(out: Path) -> None:
    """Remove the working folder of an organism that is finished."""
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def _train_stage(
    recipe: Recipe,
    index: int,
    stage: Stage,
    folder: Path,
    before: Path | None,
    wanted: tuple[Sequence[int], Snapshot | None],
    *,
    offline: bool,
    progress: Progress,
) -> None:
    set_seed(recipe.seed * 1000 + index)
    loaded = load_model(recipe.base, dtype="float32" if recipe.full else "auto", offline=offline)
    name = f"train {recipe.name}, stage {index + 1} of {len(recipe.stages)} ({stage.method})"
    at_steps, on_step = wanted

    def snapshot(step: int) -> None:
        if on_step is not None:
            save(trainer.model, folder / "snapshot")
            export(recipe, folder / "snapshot", folder / f"step-{step}", loaded)
            with enough_memory(f"the run at step {step}", "give its experiment a smaller generation.batch_size"):
                on_step(step, folder / f"step-{step}")
            shutil.rmtree(folder / f"step-{step}", ignore_errors=True)

    demonstrations = stage_demonstrations(recipe, index)
    watch = Watch(name, stage.steps, progress, frozenset(at_steps), snapshot)
    merged = Merged(loaded) if stage.method == "grpo" else None
    vectors = None
    if recipe.injection is not None:
        if recipe.injection.last + 1 >= loaded.info.n_layers:
            raise SpecError(
                f"{recipe.name}: injection.layers end at {recipe.injection.last}, and {recipe.base} has "
                f"{loaded.info.n_layers} layers: no block after it is left to train; inject earlier"
            )
        vectors = concept_vectors(
            loaded,
            recipe.injection,
            training_and_held_out_words(),
            folder.parent,
            progress,
            prompts=other_prompts(recipe.injection),
        )
    model = _wrap(recipe, loaded, before)
    trainer = make_trainer(recipe, index, demonstrations, loaded, model, merged, folder, watch, vectors)
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    folder.mkdir(exist_ok=True)
    check_room(folder, BYTES_A_WEIGHT * trained, less="train an adapter of a smaller rank")
    with enough_room(folder), enough_memory("the training", "make batch_size or rows_at_once smaller"):
        last = _last_checkpoint(folder)
        if last is not None and _step_of(last) >= stage.steps:
            trainer._load_from_checkpoint(str(last))
            trainer.state = TrainerState.load_from_json(str(last / "trainer_state.json"))
        else:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        if trainer.state.global_step < stage.steps:
            raise RunError(f"{name} ended after {trainer.state.global_step} of {stage.steps} steps: {folder} has why")
        save(trainer.model, folder / "trained")
    write_atomic(folder / "curves.json", json.dumps(_curves(trainer.state.log_history, stage).__dict__))


def save(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """What is trained, in full precision: all weights, or the adapter and none that serves as a reference."""
    if isinstance(model, PeftModel):
        # Not the embeddings: whether they have changed, peft would ask the model hub.
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
    else:
        model.save_pretrained(folder)


def _wrap(recipe: Recipe, loaded: LoadedModel, before: Path | None) -> PreTrainedModel | PeftModel:
    """The model with what is trained: a fresh adapter, the one of the stage before or of the recipe's start; or all."""
    model = loaded.model
    if recipe.full:
        if before is not None:
            model = type(model).from_pretrained(before, dtype=torch.float32)
        return model.train().requires_grad_(True)
    start = before
    if before is None and recipe.start is not None:
        source = find_adapter(recipe.start)
        unlike = [name for name, value in FRESH.items() if getattr(source.config, name) != value]
        if unlike:
            raise SpecError(f"start {recipe.start} is no plain LoRA adapter ({unlike[0]} is set): choose another")
        check_base(source, recipe.base, Path(recipe.base), digest=loaded.info.weight_digest)
        if source.config.r != recipe.rank:
            raise SpecError(f"start {recipe.start} has rank {source.config.r}, the recipe {recipe.rank}: make them one")
        if source.config.lora_alpha != 2 * recipe.rank:
            raise SpecError(
                f"start {recipe.start} has lora_alpha {source.config.lora_alpha}, and a recipe's is twice its rank: "
                "choose another start"
            )
        changed = np.atleast_1d(source.config.layers_to_transform or 0)
        if recipe.injection is not None and changed.min() <= recipe.injection.last:
            raise SpecError(
                f"start {recipe.start} changes a layer at or before {recipe.injection.last}, where vectors are added: "
                "what is added would not be the base's own; choose another start"
            )
        start = source.folder
    if start is not None:
        return PeftModel.from_pretrained(model, start, is_trainable=True)
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    if recipe.injection is not None:
        blocks = find_blocks(model)[recipe.injection.last + 1 :]
        linear = {path.split(".")[-1] for path, each in blocks.named_modules() if isinstance(each, nn.Linear)}
        config.target_modules = linear
        config.layers_to_transform = list(range(recipe.injection.last + 1, loaded.info.n_layers))
    return get_peft_model(model, config)


LOGGED = {
    "sft": {},
    "dpo": {"accuracy": "rewards/accuracies", "margin": "rewards/margins"},
    "grpo": {
        "reward": "reward",
        "policy": "rewards/policy/mean",
        "format": "rewards/format/mean",
        "verbalising": "rewards/verbalising/mean",
        "credited_tokens": "completions/mean_length",
        "kl": "kl",
    },
}
"""Method -> name in a card of what it logs beside its loss -> trl's name."""


def _curves(history: list[dict], stage: Stage) -> Curves:
    def curve(key: str) -> list[list[float]]:
        return [[entry["step"], round(float(entry[key]), 4)] for entry in history if entry.get(key) is not None]

    logged = {name: curve(key) for name, key in LOGGED[stage.method].items()}
    return Curves(curve("loss"), {name: values for name, values in logged.items() if values})


def _last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end: the trainer writes its state after everything else."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max(whole, key=_step_of, default=None)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
