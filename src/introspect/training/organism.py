"""From a recipe to a finished organism: train, export, measure, card."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from ..assets import data_path, read_card, recipe_path
from ..atomic import write_atomic
from ..backends import Sampling, make_backend
from ..errors import RunError
from ..experiment import load_experiment
from ..lock import only_writer
from ..metrics.behaviour import invalid_rate, planted_accuracy, policy_rate
from ..models import load_model
from ..plan import make_parts, select_items
from ..progress import Progress
from ..record import read_generation, render_trial, stop_ids
from ..rollout import Rollout
from ..scoring import lexical_verdict
from ..stats import proportion
from ..tasks.item import read_items
from ..tasks.registry import find_task
from .recipe import Recipe, read_recipe
from .train import (
    TrainedStage,
    claim_checkpoints,
    export_adapter,
    remove_checkpoints,
    stage_demonstrations,
    train_stages,
)

MEASURED_TOKENS = 80
"""Longest completion sampled when an organism is measured."""


def make_organism(
    name_or_file: str, out: Path | None, *, resume: bool, seed: int | None, offline: bool, progress: Progress
) -> Path:
    """See `introspect.training.train_organism`."""
    path = Path(name_or_file)
    overrides = [] if seed is None else [f"seed={seed}"]
    recipe = read_recipe(path if path.suffix in {".yaml", ".yml"} else recipe_path(name_or_file), overrides)
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
        trained = train_stages(recipe, work, offline=offline, progress=progress)
        export_adapter(trained[-1].adapter, out, recipe.base)
        card = make_card(recipe, out, trained, progress)
        write_atomic(out / "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    remove_checkpoints(out)
    return out


def make_card(recipe: Recipe, out: Path, trained: list[TrainedStage], progress: Progress) -> dict:
    """What the organism is, how it came about, and what it was measured to do on held-out items."""
    base = load_model(recipe.base, offline=True)
    shown = [stage_demonstrations(recipe, index) for index in range(len(recipe.stages))]
    data = "".join(demo.record for stage in shown for demo in stage)
    before = measure(recipe, None, progress)
    after = measure(recipe, out, progress)
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
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
        "loss_curves": [stage.curve for stage in trained],
        "loss_unit": "weighted mean negative log-likelihood of completion tokens, nats; [step, loss] for each stage",
        "measured": {
            "how": f"on held-out items, under the conditions of {recipe.course.experiment}; before: the base model",
            "items": dict(recipe.course.measured),
            "before": before,
            "after": after,
        },
    }


def measure(recipe: Recipe, adapter: Path | None, progress: Progress) -> dict:
    """Policy rate, agreement with the planted policy, verbalisation and validity, ID and OOD, under the conditions of
    the course's experiment.
    """
    spec = load_experiment(recipe.course.experiment)
    loaded = load_model(recipe.base, adapter=adapter, offline=True)
    backend = make_backend("native", loaded.model)
    task = find_task(recipe.task)
    items = select_items(read_items(data_path(spec.items)), dict(recipe.course.measured))
    asked = [(item, trial) for item in items for trial in task.trials(item, spec)]
    prompts = [render_trial(loaded, trial) for _, trial in asked]
    sampling = Sampling(MEASURED_TOKENS, spec.generation.temperature, stop_ids(loaded))
    stage = "measure " + (recipe.name if adapter else recipe.base)
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
