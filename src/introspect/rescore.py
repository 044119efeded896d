"""Score a run that exists again: other judges, labels by hand, other headline; without a model.

Behaviour, verdicts and link follow from `rollouts.jsonl` and, for the link, from what the probes scored
(`readouts.jsonl`). Probes, baselines and controls do not depend on verdicts, and stay as they are. Token ids are not
read, so a run of a hundred thousand rollouts fits in little memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from .assets import find_card
from .atomic import read_at_most, write_atomic
from .behaviour import behavioural_sections
from .errors import RunError, SpecError, StoreError
from .experiment import Experiment, load_experiment
from .link import Linked, link_section
from .lock import only_writer
from .probes import Split
from .progress import Progress, silent
from .report import write_report
from .results import experiment_section, negative_control_section, read_results, validate_results
from .rollout import RolloutSummary, read_summaries
from .scoring import chains, score
from .stats import Estimate
from .tasks.registry import find_task
from .verdicts.sheet import write_sheet

MAX_READOUTS = 1 << 30
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
        if "threshold" in results["link"]:
            results["link"] = _link_again(run, spec, results["link"], rollouts, scored.spoken)
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
        validate_results(results)
        write_atomic(run / "results.json", json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_report(run)
    return results


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


def _link_again(
    run: Path,
    spec: Experiment,
    before: Mapping[str, Any],
    rollouts: Sequence[RolloutSummary],
    spoken: Mapping[int, str],
) -> dict[str, Any]:
    """The link with other verdicts: the same scores, split and threshold."""
    path = run / "readouts.jsonl"
    rows = _readouts(path)
    by_number = {rollout.rollout: rollout for rollout in rollouts}
    try:
        probed = [by_number[row.rollout] for row in rows]
        along = [
            (each["position"], each["layer"], np.array([row.along[each["position"]] for row in rows]))
            for each in before["along_chain"]
        ]
    except (KeyError, TypeError) as error:
        raise StoreError(f"{path} does not fit the run ({error!r}); run it again") from None
    if not rows or len({row.rollout for row in rows}) < len(rows) or any(each.acted is None for each in probed):
        raise StoreError(f"{path} does not fit the run: its rollouts are not those that were probed; run it again")
    scores = np.array([row.headline for row in rows])
    parts = np.array([row.part for row in rows])
    texts = [row.text for row in rows if row.text is not None]
    dev = np.flatnonzero(parts == "dev")
    linked = Linked(
        np.array([bool(rollout.acted) for rollout in probed]),
        [spoken.get(rollout.rollout, "") for rollout in probed],
        np.array([rollout.group for rollout in probed]),
        Split(dev, np.flatnonzero(parts == "test"), np.zeros(len(dev), dtype=int)),
        spec.link.fpr,
        n=spec.probe.bootstrap,
        seed=spec.seed,
    )
    name = before["text_baseline"]["name"]
    baseline = None if len(texts) < len(rows) or name is None else (name, np.array(texts))
    return link_section(linked, scores, policy=before["policy"], baseline=baseline, along=along)


class Readout(BaseModel):
    """A line of readouts.jsonl: what probes and words scored, log-odds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rollout: int
    part: Literal["dev", "test", "ood"]
    headline: float
    readout: Literal["policy", "none"] | None
    text: float | None
    along: dict[str, float]


def _readouts(path: Path) -> list[Readout]:
    try:
        lines = read_at_most(path, MAX_READOUTS).decode("utf-8").splitlines()
        return [Readout.model_validate_json(line) for line in lines if line]
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"cannot read {path} ({reason}); run the experiment again") from None
