"""Post-training organisms. The only room that imports trl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..assets import read_card
from ..progress import Progress, silent

__all__ = ["plan_training", "reproduced", "train_organism"]


def train_organism(
    name_or_file: str,
    out: Path | None = None,
    *,
    resume: bool = False,
    seed: int | None = None,
    offline: bool = False,
    progress: Progress = silent,
    at_steps: Sequence[int] = (),
    on_step: Callable[[int, Path], None] | None = None,
) -> Path:
    """Train an organism, measure what it does, and write its card.

    Args:
        name_or_file: a recipe that ships with introspect, a YAML file, or the folder of an organism whose card says how
            it was made; its new card then says whether what was measured came out again.
        out: folder for adapter and card; default `runs/train/<name>`.
        resume: go on with what `out` holds.
        seed: replaces the recipe's.
        at_steps: steps of the last stage at which `on_step` is called; 0 is before the first.
        on_step: called with the step and a folder that holds the organism as of then (no card), between two optimiser
            steps, outside the trainer's own rollouts; what it draws by chance changes nothing of the training.

    Returns:
        `out`, which holds `adapter_config.json`, `adapter_model.safetensors` and `card.json`.

    Raises:
        SpecError: no such recipe, or a faulty one.
        RunError: `out` holds something, and `resume` was not asked for; or it holds another recipe's training.
    """
    from .organism import make_organism

    return make_organism(
        name_or_file,
        out,
        resume=resume,
        seed=seed,
        offline=offline,
        progress=progress,
        at_steps=at_steps,
        on_step=on_step,
    )


def plan_training(name_or_file: str, *, seed: int | None = None) -> dict[str, Any]:
    """What a training would be of: base, start, stages with their steps and sequences, demonstrations.

    Raises:
        SpecError: no such recipe, or a faulty one; or an item of an evaluation is among what it shows.
    """
    from .reproduction import find_recipe
    from .rows import stage_demonstrations

    recipe, _ = find_recipe(name_or_file, [] if seed is None else [f"seed={seed}"])
    a_step = {"sft": "demonstrations", "dpo": "pairs", "grpo": "sampled completions"}
    stages = [
        f"{stage.method}, {stage.policy}, {stage.manner}: {stage.steps} steps of {recipe.batch(stage)} "
        f"{a_step[stage.method]}, {len(stage_demonstrations(recipe, index))} items"
        for index, stage in enumerate(recipe.stages)
    ]
    after = "" if recipe.injection is None else f" after block {recipe.injection.last}"
    return {
        "organism": recipe.name,
        "base": recipe.base,
        "start": recipe.start or "nothing: " + ("all weights" if recipe.full else "a fresh adapter"),
        **{f"stage_{number}": text for number, text in enumerate(stages, start=1)},
        "framing": recipe.framing,
        "trained": "all weights" if recipe.full else f"LoRA of rank {recipe.rank} on every linear layer" + after,
        "measured": f"on {recipe.course.measured_on}; before and after",
    }


def reproduced(folder: Path) -> dict[str, Any] | None:
    """What an organism's card says of the card it was trained again from; None where it was trained from a recipe."""
    found = read_card(folder).get("reproduces")
    return found if isinstance(found, dict) else None
