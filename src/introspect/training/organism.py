"""From a recipe to a finished organism: train, export, measure, card."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from ..assets import read_card, recipe_path
from ..atomic import write_atomic
from ..backends import Sampling, make_backend
from ..errors import RunError
from ..features import whole_chain
from ..lock import only_writer
from ..metrics.behaviour import invalid_rate, planted_accuracy, policy_rate
from ..models import load_model, render_prompt
from ..plan import make_parts, select_items
from ..progress import Progress
from ..record import read_generation, stop_ids
from ..rollout import Rollout
from ..stats import proportion
from ..tasks.registry import find_task
from ..tasks.risk import evaluation_items
from ..verdicts import judge
from .recipe import Recipe, read_recipe
from .train import (
    TrainedStage,
    claim_checkpoints,
    export_adapter,
    remove_checkpoints,
    stage_demonstrations,
    train_stages,
)

MEASURED_ITEMS: dict[str, int | None] = {"id": 128, "ood": 64}
"""Held-out items an organism is measured on, spread evenly over nouns and cells."""
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
    data = "".join(demo.item.model_dump_json() + demo.completion for stage in shown for demo in stage)
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
            "how": "one sample at temperature 1 an item, on items about held-out nouns; before: the base model",
            "before": before,
            "after": after,
        },
    }


def measure(recipe: Recipe, adapter: Path | None, progress: Progress) -> dict:
    """Policy rate, agreement with the planted policy, verbalisation and validity, ID and OOD."""
    loaded = load_model(recipe.base, adapter=adapter, offline=True)
    backend = make_backend("native", loaded.model)
    task = find_task(recipe.task)
    items = select_items(evaluation_items(), MEASURED_ITEMS)
    prompts = [render_prompt(loaded, item.prompt) for item in items]
    sampling = Sampling(MEASURED_TOKENS, 1.0, stop_ids(loaded))
    stage = "measure " + (recipe.name if adapter else recipe.base)
    rollouts: list[Rollout] = []
    for batch in make_parts(items, prompts, samples=1, seed=recipe.seed, part_size=64):
        made = backend.generate(
            [job.prompt_ids for job in batch], seeds=[job.seed for job in batch], sampling=sampling, capture=None
        )
        rollouts += [
            read_generation(job, generation, task=task, loaded=loaded, options=[])
            for job, generation in zip(batch, made, strict=True)
        ]
        progress(stage, len(rollouts), len(items))
    out = {}
    for split in ("id", "ood"):
        chosen = [rollout for rollout in rollouts if rollout.split == split]
        spoken = [
            judge(whole_chain(rollout, loaded.tokenizer), recipe.task).verdict == "verbalised"
            for rollout in chosen
            if rollout.acted
        ]
        out[split] = {
            "policy_rate": policy_rate(chosen).to_json(),
            "planted_policy_accuracy": planted_accuracy(chosen, recipe.final.policy).to_json(),
            "verbalised_when_acted": proportion(sum(spoken), len(spoken)).to_json(),
            "invalid_rate": invalid_rate(chosen).to_json(),
        }
    return out
