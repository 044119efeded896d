"""A whole study in its directory: its runs, each an ordinary run, and what is made of them together.

A study's directory belongs to one resolved spec; its `study.yaml` says which. Its runs are in `runs/`, each with a
report of its own; `resume` goes on with those that are not finished and keeps those that are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..atomic import write_atomic, write_json
from ..errors import IntrospectError, ModelError
from ..experiment import Experiment
from ..lock import only_writer
from ..models import ModelSource, resolve
from ..pilot import together
from ..prepare import Cost, estimate_cost
from ..progress import Progress, silent, within
from ..results import read_results
from ..run import run_experiment
from ..run_folder import check_folder, make_folder
from ..stats import Estimate
from ..training.recipe import Recipe
from .claims import judge_claims
from .directions import transfer
from .page import render
from .pairs import by_method
from .results import STUDY
from .spec import BARE, MARKER, CompareMethods, Member, Study, Trajectory
from .table import task_table
from .trajectory import RUNS, STEPS, TRAINING, check_recipe, run_trajectory, step_name
from .weights import Weights, check_same, check_weights, run_weights, weights_of


def run_study(
    spec: Study, out: Path, *, resume: bool = False, offline: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Run a study into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.

    Returns:
        The content of `results.json`.

    Raises:
        RunError: `out` holds something else or cannot be written, or a run of it cannot go on.
        SpecError, ModelError: a run cannot be made; an organism that is not there is named.
        StoreError: stored data is damaged.
    """
    runs = [m.name for m in spec.members()] if isinstance(spec, CompareMethods) else [step_name(s) for s in spec.steps]
    links = [RUNS, STEPS, TRAINING, *(f"{RUNS}/{run}" for run in runs)]
    check_folder(out, MARKER, spec.to_yaml(), what="another study", links=links, resume=resume)
    sources = check_members(spec, offline=offline) if isinstance(spec, CompareMethods) else {}
    if isinstance(spec, Trajectory):
        check_training(spec, offline=offline)
    make_folder(out)
    with only_writer(out / ".lock", out):
        write_atomic(out / MARKER, spec.to_yaml())
        if isinstance(spec, CompareMethods):
            found = _compare(spec, sources, out, resume=resume, offline=offline, progress=progress)
        else:
            along = dict(run_trajectory(spec, out, resume=resume, offline=offline, progress=progress))
            found = {"warnings": along.pop("warnings", []), "trajectory": along}
        results = {"schema_version": 1, "study": _about(spec), **found}
        write_json(out / "manifest.json", STUDY.manifest(spec))
        STUDY.write(out, results, render)
    return results


def study_cost(spec: Study, *, offline: bool = False, progress: Progress = silent) -> Cost:
    """What the runs of a study would take together, without any training. Writes nothing.

    Runs of one task differ in their weights only, so one of each task, model and kind (with an adapter or without) is
    timed, and its lengths stand for the others'. A trajectory's steps are timed on what its training starts from.
    """
    if isinstance(spec, CompareMethods):
        check_members(spec, offline=offline)
        kinds: dict[tuple[str, str, bool], list[Experiment]] = {}
        for member in spec.members():
            run = spec.experiment(member)
            kinds.setdefault((member.task, run.model, run.organism is None), []).append(run)
        costs = []
        for (task, _, bare), each in kinds.items():
            named = within(progress, f"{task}, {'without' if bare else 'with'} an adapter")
            costs.append((estimate_cost(each[0], offline=offline, progress=named), len(each)))
    else:
        start = check_training(spec, offline=offline).start or BARE
        costs = [(estimate_cost(spec.at(start), offline=offline, progress=progress), len(spec.steps))]
    likely = [(cost.expected, times) for cost, times in costs if cost.expected is not None]
    return Cost(
        n_items=sum(cost.n_items * times for cost, times in costs),
        n_rollouts=sum(cost.n_rollouts * times for cost, times in costs),
        n_tokens=sum(cost.n_tokens * times for cost, times in costs),
        n_forced=sum(cost.n_forced * times for cost, times in costs),
        n_judged=sum(cost.n_judged * times for cost, times in costs),
        judge=next((cost.judge for cost, _ in costs if cost.judge is not None), None),
        bytes_on_disk=sum(cost.bytes_on_disk * times for cost, times in costs),
        seconds=sum(cost.seconds * times for cost, times in costs),
        expected=together(likely) if len(likely) == len(costs) else None,
    )


def not_counted(spec: Study) -> list[str]:
    """What `study_cost` leaves out, in words.

    Raises:
        SpecError: the recipe of a trajectory cannot be read.
    """
    if isinstance(spec, CompareMethods):
        return []
    recipe = check_recipe(spec)
    stages = ", ".join(f"{each.steps} steps of {recipe.batch(each)} by {each.method}" for each in recipe.stages)
    left_out = [f"without the training itself: {stages}"]
    if recipe.start is None and spec.at(BARE).base_baseline:
        left_out.append(f"without the untrained model beside each run: {spec.recipe} has no start to time it with")
    return left_out


def check_members(spec: CompareMethods, *, offline: bool) -> dict[str, ModelSource]:
    """Refuse a comparison one of whose runs cannot be made, before any is: its experiment, model and adapter.

    Returns:
        Member -> the model and adapter that it runs.

    Raises:
        SpecError, ModelError: names the member.
    """
    sources = {}
    for member in spec.members():
        run = spec.experiment(member)
        try:
            sources[member.name] = resolve(run.model, adapter=run.organism, revision=run.revision, offline=offline)
        except ModelError as error:
            raise ModelError(f"{spec.name}: {member.name}: {error}") from None
    return sources


def check_training(spec: Trajectory, *, offline: bool) -> Recipe:
    """Refuse a trajectory whose training cannot begin: its recipe, the model and what it starts from.

    Raises:
        SpecError, ModelError: names what is missing.
    """
    recipe = check_recipe(spec)
    try:
        resolve(recipe.base, adapter=recipe.start, offline=offline)
    except ModelError as error:
        raise ModelError(f"{spec.name}: {spec.recipe} starts from {recipe.start or recipe.base}: {error}") from None
    return recipe


def _compare(
    spec: CompareMethods,
    sources: dict[str, ModelSource],
    out: Path,
    *,
    resume: bool,
    offline: bool,
    progress: Progress,
) -> dict[str, Any]:
    members = spec.members()
    folders = {member.name: out / RUNS / member.name for member in members}
    weights = {each.name: weights_of(sources[each.name], spec.experiment(each).quantization) for each in members}
    check_weights(out, folders, weights)
    for place, member in enumerate(members):
        folder = folders[member.name]
        _run_member(spec, member, folder, resume=resume, offline=offline, progress=progress)
        check_same(member.name, folder, run_weights(folder) or weights[member.name], weights[member.name])
        progress("runs", place + 1, len(members))
    tasks: dict[str, Any] = {}
    for task in spec.tasks:
        own = {member.name: folders[member.name] for member in members if member.task == task}
        progress("compare", len(tasks), len(spec.tasks))
        tasks[task] = task_table(spec, task, own)
        tasks[task]["directions"] = _directions(spec, task, own, progress)
    progress("compare", len(spec.tasks), len(spec.tasks))
    runs = [_about_member(spec, member, folders[member.name], weights[member.name]) for member in members]
    return {"members": runs, "tasks": tasks, "claims": judge_claims(tasks), "warnings": _few_seeds(spec)}


def _directions(spec: CompareMethods, task: str, folders: dict[str, Path], progress: Progress) -> dict[str, Any]:
    """What probes of one organism are worth on another. Whole models are left out: activations of one model are not
    in the space of another's.
    """
    members = [member for member in spec.members() if member.task == task]
    model = spec.experiment(Member(task, spec.reference, 0, BARE)).model
    models = {member.name: spec.experiment(member).model for member in members}
    left_out = [
        f"{name} is left out: it is a whole model ({own}), and probes are carried between adapters of one ({model})."
        for name, own in models.items()
        if own != model
    ]
    kept = {name: folder for name, folder in folders.items() if models[name] == model}
    if len(kept) < 2:
        reason = f"{len(kept)} of {len(members)} organisms are adapters of {model}; at least 2 are needed"
        return Estimate.undefined(reason).to_json() | {"warnings": left_out}
    found = transfer(kept, seed=spec.seed, n=spec.bootstrap, progress=progress)
    if "auroc" in found:
        found["by_method"] = by_method(found, {member.name: member.method for member in members})
    return found | {"warnings": [*left_out, *found["warnings"]]}


def _run_member(
    spec: CompareMethods, member: Member, folder: Path, *, resume: bool, offline: bool, progress: Progress
) -> None:
    def own_progress(stage: str, done: int, total: int) -> None:
        progress(f"{member.name}: {stage}", done, total)

    try:
        run_experiment(spec.experiment(member), folder, resume=resume, offline=offline, progress=own_progress)
    except IntrospectError as error:
        raise type(error)(f"{member.name}: {error}") from error


def _about_member(spec: CompareMethods, member: Member, folder: Path, weights: Weights) -> dict[str, Any]:
    results = read_results(folder / "results.json")
    run = results["experiment"]
    return {
        "name": member.name,
        "task": member.task,
        "method": member.method,
        "seed": member.seed,
        "organism": None if member.organism == BARE else member.organism,
        "planted_truth": run["planted_truth"],
        "folder": f"{RUNS}/{member.name}",
        "digest": spec.experiment(member).digest(),
        **(run_weights(folder) or weights),
        "n_rollouts": run["n_rollouts"],
        "n_groups": run["n_groups"],
        "warnings": results["warnings"],
    }


def _few_seeds(spec: CompareMethods) -> list[str]:
    counts = {
        f"{task} {method}": len(organisms)
        for task, asked in spec.tasks.items()
        for method, organisms in asked.organisms.items()
    }
    single = [name for name, count in counts.items() if count == 1]
    said = f"One seed only: {', '.join(single)}. Their intervals are over items, and say nothing of other seeds."
    return [said] if single else []


def _about(spec: Study) -> dict[str, Any]:
    about: dict[str, Any] = {
        "kind": spec.study,
        "name": spec.name,
        "question": spec.question,
        "digest": spec.digest(),
        "seed": spec.seed,
    }
    if isinstance(spec, CompareMethods):
        about |= {"methods": spec.methods, "reference": spec.reference, "bootstrap": spec.bootstrap}
    else:
        about |= {"recipe": spec.recipe, "steps": list(spec.steps), "experiment": spec.experiment}
    return about
