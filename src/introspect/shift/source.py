"""The run that is shifted: its rollouts, each with what it was asked, checked against the model and the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, SpecError, StoreError
from ..experiment import Experiment, Limit
from ..models import ModelInfo
from ..notebook.folder import RunFolder, check_same_weights
from ..plan import Job
from ..prepare import Prepared
from ..results import read_run_manifest
from ..rollout import Rollout
from ..sections import VerdictSpec
from ..tasks.registry import find_task
from ..transcripts.replay import file_digest

SHIFTED_FROM = "shifted_from"
"""Key of a shifted run's manifest."""


@dataclass(frozen=True)
class Source:
    """A finished run."""

    folder: Path
    spec: Experiment
    """Of the runs that are made of it: its own without what needs sampling, and with lexical verdicts."""
    name: str
    rollouts: list[Rollout]
    model: Mapping[str, Any]
    """What its manifest says of the model."""
    spec_digest: object
    """As its manifest says."""
    rollouts_digest: str
    """SHA-256 of rollouts.jsonl."""
    headline: str
    """The classifier whose verdicts it linked with readouts."""

    def mark(self) -> dict[str, object]:
        """What a shifted run states of it."""
        return {
            "run": self.folder.resolve().name,
            "experiment": self.name,
            "spec_digest": self.spec_digest,
            "rollouts_digest": self.rollouts_digest,
        }


def read_source(run: Path, limit: int | None) -> Source:
    """A finished run that may be a stranger's.

    Args:
        limit: at most so many items of each split; None: all.

    Raises:
        RunError: it is no run of an experiment, is not finished, is itself shifted, has further turns, was steered, or
            has a probe of verdicts.
        SpecError, StoreError: its spec, rollouts or manifest are damaged.
    """
    held = RunFolder(run)
    if not held.has_results:
        raise RunError(f"{run} is no finished run of an experiment: finish it with `introspect run ... --resume`")
    _ = held.results
    spec, manifest = held.spec, read_run_manifest(run / "manifest.json") or {}
    if SHIFTED_FROM in manifest:
        raise RunError(f"{run} is shifted itself: give the run that it was made from")
    if find_task(spec.task).follow_ups:
        raise RunError(
            f"{run} has chats of several turns (task {spec.task}), whose later turns would have to be sampled"
        )
    if spec.steering:
        raise RunError(f"{run} was recorded under steering, and a shift replays without it: shift an unsteered run")
    if spec.probe.label != "acted":
        raise RunError(
            f"{run}: its probe predicts {spec.probe.label}, which a shift would read anew in other words: shift a run "
            "whose probe.label is acted"
        )
    changed: dict[str, object] = {
        "awareness": False,
        "chain": None,
        "negative_control": None,
        "verdicts": VerdictSpec(),
        "limit": spec.limit
        if limit is None
        else Limit(id=_least(spec.limit.id, limit), ood=_least(spec.limit.ood, limit)),
    }
    return Source(
        folder=run,
        spec=spec.model_copy(update=changed),
        name=spec.name,
        rollouts=held.rollouts,
        model=held.model,
        spec_digest=manifest.get("spec_digest"),
        rollouts_digest=_digest(run / "rollouts.jsonl"),
        headline=spec.verdicts.headline,
    )


def _least(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error}); record the run again into another --out") from None


def check_model(source: Source, info: ModelInfo) -> None:
    """Refuse a model that is not the one that was run, with a ModelError."""
    check_same_weights(source.folder, source.model, info)


def matched(source: Source, prepared: Prepared) -> list[tuple[Job, Rollout]]:
    """What the plan asks, each with the rollout that came of it in the run, by number of the rollout.

    Raises:
        StoreError: the run lacks a rollout of its plan.
        SpecError: a rollout was asked something else than its items, hints and chat template ask now.
    """
    made = {(each.item_id, each.condition, each.sample): each for each in source.rollouts}
    pairs: list[tuple[Job, Rollout]] = []
    for job in _jobs(prepared):
        found = made.get((job.item.item_id, job.trial.condition, job.sample))
        if found is None:
            raise StoreError(
                f"{source.folder / 'rollouts.jsonl'} lacks item {job.item.item_id} under {job.trial.condition}: finish "
                "the run with --resume"
            )
        if tuple(found.prompt_ids) != job.prompt_ids or set(found.options) != set(job.item.options):
            raise SpecError(
                f"{source.folder}: item {job.item.item_id} was asked otherwise than its items, hints and the model's "
                "chat template ask now: put those back, or run the experiment again"
            )
        pairs.append((job, found))
    return sorted(pairs, key=lambda pair: pair[1].rollout)


def _jobs(prepared: Prepared) -> Sequence[Job]:
    return [job for part in prepared.parts for job in part]
