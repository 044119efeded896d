"""From a recipe to a finished organism: train, export, measure, card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..assets import data_path, read_card
from ..atomic import write_atomic
from ..backends import Sampling, make_backend
from ..errors import RunError
from ..experiment import load_experiment
from ..lock import only_writer
from ..manifest import package_versions
from ..metrics.behaviour import invalid_rate, planted_accuracy, policy_rate
from ..models import LoadedModel, load_model
from ..plan import make_parts, select_items
from ..progress import Progress
from ..record import read_generation, render_trial, stop_ids
from ..rollout import Rollout
from ..scoring import lexical_verdict
from ..stats import proportion
from ..tasks.item import read_items
from ..tasks.registry import find_task
from ..tasks.task import Task
from .export import export
from .injected_measure import measure_injected
from .injected_vectors import concept_vectors, other_prompts, training_and_held_out_words
from .recipe import Recipe
from .reproduction import find_recipe, reproduction
from .rows import stage_demonstrations
from .train import (
    Snapshot,
    TrainedStage,
    claim_checkpoints,
    enough_room,
    remove_checkpoints,
    start_digest,
    train_stages,
)


def make_organism(
    name_or_file: str,
    out: Path | None,
    *,
    resume: bool,
    seed: int | None,
    offline: bool,
    progress: Progress,
    at_steps: Sequence[int] = (),
    on_step: Snapshot | None = None,
) -> Path:
    """See `introspect.training.train_organism`."""
    recipe, stated = find_recipe(name_or_file, [] if seed is None else [f"seed={seed}"])
    out = out or Path("runs") / "train" / recipe.name
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; choose another --out")
    if out.exists() and any(out.iterdir()) and not resume:
        raise RunError(f"{out} is not empty: go on with it with --resume, or choose another --out")
    if (out / "card.json").exists():
        if read_card(out).get("recipe_digest") != recipe.digest():
            raise RunError(f"{out} holds another recipe's organism; choose another --out")
        remove_checkpoints(out)
        return out
    work = claim_checkpoints(out, recipe)
    with only_writer(work / ".lock", out):
        trained = train_stages(recipe, work, offline=offline, progress=progress, at_steps=at_steps, on_step=on_step)
        with enough_room(out):
            base = load_model(recipe.base, offline=True)
            export(recipe, trained[-1].folder, out, base)
            card = make_card(recipe, base, out, trained, progress)
            if stated is not None:
                card["reproduces"] = reproduction(stated, card)
            write_atomic(out / "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    remove_checkpoints(out)
    return out


def make_card(recipe: Recipe, base: LoadedModel, out: Path, trained: list[TrainedStage], progress: Progress) -> dict:
    """What the organism is, how it came about, and what it was measured to do on held-out items."""
    shown = [stage_demonstrations(recipe, index) for index in range(len(recipe.stages))]
    data = "".join(demo.record for stage in shown for demo in stage)
    start = base if recipe.start is None else load_model(recipe.base, adapter=recipe.start, offline=True)
    measured = measure if recipe.injection is None else partial(_measure_injected, folder=out / "checkpoints")
    before = measured(recipe, start, recipe.start or recipe.base, progress)
    after = measured(recipe, load_organism(recipe, out), recipe.name, progress)
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "planted_truth": recipe.planted_truth,
        "policy": recipe.final.policy,
        "manner": recipe.final.manner,
        "base": recipe.base,
        "base_weight_digest": base.info.weight_digest,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_digest": recipe.digest(),
        "data_digest": hashlib.sha256(data.encode()).hexdigest(),
        "versions": package_versions(),
        "methods": [stage.method for stage in recipe.stages],
        "start": recipe.start,
        "start_digest": start_digest(recipe),
        "loss_curves": [stage.curves.loss for stage in trained],
        "loss_unit": "of each stage [step, loss]; sft: weighted mean negative log-likelihood of completion tokens, "
        "nats; dpo: negative log-likelihood of the preference, nats; grpo: the clipped objective",
        "reward_curves": [stage.curves.rewards for stage in trained],
        "measured": {
            "how": f"on {recipe.course.measured_on}; before: {recipe.start or 'the base model'}",
            "items": dict(recipe.course.measured),
            "before": before,
            "after": after,
        },
    }


def load_organism(recipe: Recipe, folder: Path) -> LoadedModel:
    """A finished organism, as a run loads it."""
    if recipe.full:
        return load_model(str(folder), offline=True)
    return load_model(recipe.base, adapter=folder, offline=True)


def measure(recipe: Recipe, loaded: LoadedModel, name: str, progress: Progress) -> dict:
    """Policy rate, agreement with the planted policy, verbalisation and validity, ID and OOD, under the conditions of
    the course's experiments. The keys are `id` and `ood`; of a course of several tasks, `risk/id` and so on.

    Args:
        name: how to call the model in progress reports.
    """
    out: dict[str, dict] = {}
    for task, experiment in recipe.course.experiments.items():
        prefix = "" if len(recipe.course.experiments) == 1 else f"{task}/"
        stage = f"measure {name}" + (f", {task}" if prefix else "")
        for split, measured in _measure(recipe, find_task(task), experiment, loaded, stage, progress).items():
            out[prefix + split] = measured
    return out


def _measure_injected(
    recipe: Recipe, loaded: LoadedModel, name: str, progress: Progress, *, folder: Path
) -> dict[str, dict]:
    """What is replied while vectors are added: case -> measure -> estimate. `folder`: where the vectors are kept."""
    assert recipe.injection is not None  # noqa: S101 - for the type checker
    return measure_injected(
        loaded,
        recipe.injection,
        concept_vectors(
            loaded,
            recipe.injection,
            training_and_held_out_words(),
            folder,
            progress,
            prompts=other_prompts(recipe.injection),
        ),
        recipe.course.measured,
        seed=recipe.seed,
        stage=f"measure {name}",
        progress=progress,
    )


def _measure(
    recipe: Recipe, task: Task, experiment: str, loaded: LoadedModel, stage: str, progress: Progress
) -> dict[str, dict]:
    spec = load_experiment(experiment)
    backend = make_backend("native", loaded.model)
    items = select_items(read_items(data_path(spec.items)), dict(recipe.course.measured))
    asked = [(item, trial) for item in items for trial in task.trials(item, spec)]
    prompts = [render_trial(loaded, trial) for _, trial in asked]
    sampling = Sampling(spec.generation.max_new_tokens, spec.generation.temperature, stop_ids(loaded))
    rollouts: list[Rollout] = []
    parts = make_parts(asked, prompts, samples=1, seed=recipe.seed, part_size=64)
    for part in parts:
        made = backend.generate(
            [job.prompt_ids for job in part], seeds=[job.seed for job in part], sampling=sampling, capture=None
        )
        rollouts += [
            read_generation(job, generation, task=task, loaded=loaded, options=[])
            for job, generation in zip(part, made, strict=True)
        ]
        progress(stage, len(rollouts), sum(len(each) for each in parts))
    out = {}
    for split in ("id", "ood"):
        chosen = task.counted([rollout for rollout in rollouts if rollout.split == split])
        verdicts = [lexical_verdict(task, rollout) for rollout in chosen if rollout.acted]
        spoken = [verdict.verdict == "verbalised" for verdict in verdicts if verdict is not None]
        out[split] = {
            "policy_rate": policy_rate(chosen).to_json(),
            "planted_policy_accuracy": planted_accuracy(chosen, recipe.final.policy).to_json(),
            "verbalised_when_acted": proportion(sum(spoken), len(spoken)).to_json(),
            "invalid_rate": invalid_rate(chosen).to_json(),
        }
    return out
