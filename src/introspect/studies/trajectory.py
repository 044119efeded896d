"""One organism along its training: what it does and says, and where its direction points, step by step.

The training stops at chosen steps. What it is then is kept in `steps/step-0040/`, and the study's experiment is run on
it into `runs/step-0040/`, an ordinary run through our own capture, with the same items and seeds at every step. So a
kill at any moment costs no finished step: `resume` lets the training go on from its checkpoint, which passes every step
that is not kept yet, and finishes runs of kept steps without it. A study's folder may be moved: its runs name the
step's folder that they were made on, and follow it on `resume`.
"""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from ..assets import read_card, recipe_path
from ..atomic import write_atomic
from ..errors import RunError, SpecError
from ..experiment import Experiment, load_experiment
from ..progress import Progress, silent
from ..run import MARKER, run_experiment
from ..training import train_organism
from ..training.recipe import Recipe, read_recipe
from .along import along
from .spec import BARE, Trajectory

RUNS, STEPS, TRAINING = "runs", "steps", "training"


def run_trajectory(
    spec: Trajectory, out: Path, *, resume: bool = False, offline: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Train, measure at each step, and set the steps against each other.

    Args:
        out: the study's folder; gets `training/`, `steps/` and `runs/`.

    Returns:
        What `along.along` makes of the runs.

    Raises:
        SpecError: the recipe is too short for the steps, trains no adapter, or one of another model.
        RunError: a folder cannot be used, or a step was never kept.
        StoreError: stored data is damaged.
    """
    recipe = check_recipe(spec)
    folders = {step: out / RUNS / step_name(step) for step in spec.steps}

    def measure(step: int) -> None:
        def own_progress(stage: str, done: int, total: int) -> None:
            progress(f"step {step}: {stage}", done, total)

        organism = (out / STEPS / step_name(step)).resolve()
        follow(folders[step], spec.at(organism))
        run_experiment(spec.at(organism), folders[step], resume=True, offline=offline, progress=own_progress)

    def on_step(step: int, organism: Path) -> None:
        keep(organism, out / STEPS / step_name(step), recipe, step)
        measure(step)

    (out / RUNS).mkdir(parents=True, exist_ok=True)
    for left_over in (out / STEPS).glob(".step-*.tmp"):
        shutil.rmtree(left_over, ignore_errors=True)
    train_organism(
        spec.recipe,
        out / TRAINING,
        resume=resume,
        seed=spec.training_seed,
        offline=offline,
        progress=progress,
        at_steps=spec.steps,
        on_step=on_step,
    )
    for step in spec.steps:
        if not (out / STEPS / step_name(step)).is_dir():
            raise RunError(f"{out}: the training is over and step {step} was not kept; choose another --out")
        measure(step)
    return along(folders, recipe, read_card(out / TRAINING), seed=spec.seed, progress=progress)


def step_name(step: int) -> str:
    """The folder of a step."""
    return f"step-{step:04d}"


def follow(run: Path, spec: Experiment) -> None:
    """Let a run that was made before its study was moved say where its step's folder is now.

    A run's spec says where its organism lies, and a run of another spec is refused. Nothing else of it is changed: its
    results keep the digest of the spec that they were made with.
    """
    path = run / MARKER
    if not path.is_file() or path.is_symlink():
        return
    made = load_experiment(path)
    was, now = (Path(each.organism or "").parts[-2:] for each in (made, spec))
    if made != spec and was == now and made.model_copy(update={"organism": spec.organism}) == spec:
        write_atomic(path, spec.to_yaml())


def check_recipe(spec: Trajectory) -> Recipe:
    """The recipe of a trajectory.

    Raises:
        SpecError: it cannot be read, or no trajectory with these steps and this experiment can be made of it.
    """
    path = Path(spec.recipe)
    overrides = [] if spec.training_seed is None else [f"seed={spec.training_seed}"]
    recipe = read_recipe(path if path.suffix in {".yaml", ".yml"} else recipe_path(spec.recipe), overrides)
    model = spec.at(BARE).model
    if spec.steps[-1] > recipe.final.steps:
        raise SpecError(
            f"{spec.name}: steps: the last stage of {spec.recipe} has {recipe.final.steps} steps, and {spec.steps[-1]} "
            "is asked for; leave it out"
        )
    if recipe.full:
        raise SpecError(f"{spec.name}: recipe: {spec.recipe} trains every weight; a trajectory keeps adapters only")
    if recipe.base != model:
        raise SpecError(
            f"{spec.name}: {spec.recipe} adapts {recipe.base}, and {spec.experiment} runs {model}; make them one model"
        )
    return recipe


def keep(organism: Path, kept: Path, recipe: Recipe, step: int) -> None:
    """Copy the organism as of a step, whole or not at all, with a card that says what it is to become.

    What a resumed training passes a second time is kept as it was the first time: a run may stand on it.
    """
    if kept.is_dir():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f".{kept.name}.{secrets.token_hex(8)}.tmp")
    card = {
        "name": f"{recipe.name}, step {step}",
        "summary": f"{recipe.summary}; as of step {step} of {recipe.final.steps} of its last stage",
        "planted_truth": recipe.planted_truth,
        "policy": recipe.final.policy,
        "manner": recipe.final.manner,
        "base": recipe.base,
        "recipe_digest": recipe.digest(),
        "step": step,
    }
    try:
        shutil.copytree(organism, temporary)
        write_atomic(temporary / "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        temporary.rename(kept)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(f"cannot write {kept}: {error.strerror}; free space, then go on with --resume") from None
