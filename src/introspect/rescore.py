"""Score a run that exists again: other judges, labels by hand, other headline; without a model.

Behaviour, verdicts and link follow from `rollouts.jsonl` and, for the link, from what the probes scored
(`readouts.jsonl`). Probes, baselines and controls do not depend on verdicts, and stay as they are. Token ids are not
read, so a run of a hundred thousand rollouts fits in little memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .assets import find_card
from .atomic import write_json
from .behaviour import behavioural_sections
from .errors import RunError, SpecError
from .experiment import Experiment, load_experiment
from .link import READOUTS
from .link.stored import open_link, section_of, stored_rows
from .lock import only_writer
from .progress import Progress, silent
from .report import write_report
from .results import experiment_section, negative_control_section, read_results, validate_results
from .rollout import RolloutSummary, read_summaries
from .scoring import chains, score
from .stats import Estimate
from .tasks.registry import find_task
from .verdicts.sheet import write_sheet

NOT_PROBED = "these rollouts were scored without activations: run the experiment to probe them"


def score_run(
    run: Path, overrides: Sequence[str] = (), *, offline: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Score the rollouts of a run again, and write verdicts.jsonl, results.json and the report.

    Args:
        overrides: of the spec's `verdicts` section, such as `verdicts.judge.url=http://localhost:8000/v1`.

    Returns:
        The new content of results.json.

    Raises:
        RunError: `run` holds no experiment's rollouts.
        SpecError: an override is not one of the section, or a classifier cannot be asked.
        StoreError: what the run holds is damaged.
    """
    spec, rollouts = _held(run, overrides)
    with only_writer(run / ".lock", run):
        task = find_task(spec.task)
        scored = score(run, spec.verdicts, task, rollouts, offline=offline, progress=progress)
        behaviour, verdicts, warnings = behavioural_sections(run, spec, task, rollouts, scored)
        before = read_results(run / "results.json") if (run / "results.json").exists() else None
        results = _unprobed(spec, rollouts) if before is None else before
        kept = [each for each in results["warnings"] if each not in results["behaviour"].get("warnings", [])]
        results |= {"behaviour": behaviour, "verdicts": verdicts, "warnings": [*warnings, *kept]}
        if "headline" in results["probe"] and (run / READOUTS).exists():
            rows = stored_rows(run, spec, rollouts, scored.verdicts, scored.headline)
            results["link"] = section_of(rows, spec, results)
            results["examples"] = [
                example | {"verdict": scored.spoken.get(example["rollout"], "no usable verdict")}
                for example in results["examples"]
            ]
        if "organism" in results["controls"].get("negative_control", {}):
            control = [override for override in overrides if not override.startswith("verdicts.labels")]
            unlabelled = [*control, "verdicts.labels=null"]
            if spec.verdicts.headline == "labels":
                unlabelled.append("verdicts.headline=lexical")
            measured = score_run(run / "negative_control", unlabelled, offline=offline, progress=progress)
            results["controls"]["negative_control"] = negative_control_section(measured)
        _write(run, results)
    return results


def link_again(run: Path) -> dict[str, Any]:
    """Link a run again, at its spec's own false-positive rate, and write results.json and the report.

    Returns:
        The new content of results.json.

    Raises:
        RunError: `run` is no finished run of an experiment, or nothing was probed in it.
        StoreError: what the run holds is damaged.
    """
    with only_writer(run / ".lock", run):
        stored = open_link(run)
        results = stored.results | {"link": stored.section()}
        if "organism" in results["controls"].get("negative_control", {}):
            with contextlib.suppress(RunError):
                results["controls"]["negative_control"] = negative_control_section(link_again(run / "negative_control"))
        _write(run, results)
    return results


def _write(run: Path, results: dict[str, Any]) -> None:
    validate_results(results)
    write_json(run / "results.json", results)
    write_report(run)


def export_sheet(run: Path, path: Path, *, n: int | None, seed: int = 0) -> int:
    """Write a sheet of chains to be labelled by hand; returns how many it holds.

    Args:
        n: at most so many, chosen without regard to what they did; None: all.

    Raises:
        RunError: `run` holds no experiment's rollouts.
    """
    spec, rollouts = _held(run, ())
    task = find_task(spec.task)
    return write_sheet(path, chains(task, task.counted(rollouts)), n=n, seed=seed)


def _held(run: Path, overrides: Sequence[str]) -> tuple[Experiment, list[RolloutSummary]]:
    whole = (run / "results.json").is_file() or not (run / "activations").exists()
    if not whole or not (run / "experiment.yaml").is_file() or not (run / "rollouts.jsonl").is_file():
        raise RunError(
            f"{run} holds no finished rollouts of an experiment; finish it with `introspect run ... --resume`"
        )
    outside = [override for override in overrides if not override.startswith("verdicts.")]
    if outside:
        raise RunError(f"{outside[0]}: only the section verdicts can be changed here; make a new run for the rest")
    spec = load_experiment(run / "experiment.yaml", overrides)
    judge = spec.verdicts.judge
    if judge is not None and judge.url is not None and not any("judge.url=" in override for override in overrides):
        raise SpecError(
            f"the spec of {run} has its chains judged at {judge.url}: name it with --url (and --judge) to send chains "
            f"and the value of {judge.key_variable} there, or leave the judge out with --set verdicts.judge=null"
        )
    return spec, read_summaries(run / "rollouts.jsonl")


def _unprobed(spec: Experiment, rollouts: Sequence[RolloutSummary]) -> dict[str, Any]:
    """The results of a run in which nothing has been probed."""
    nothing = Estimate.undefined(NOT_PROBED).to_json()
    return {
        "schema_version": 1,
        "experiment": experiment_section(spec, rollouts, (), find_card(spec.organism)),
        "behaviour": {},
        "verdicts": {},
        "probe": nothing,
        "baselines": nothing,
        "controls": {"negative_control": nothing},
        "link": nothing,
        "steering": nothing,
        "warnings": [],
        "examples": [],
    }
