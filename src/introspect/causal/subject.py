"""The run that is steered: its model, its test items, and what each was asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..backends import ModelBackend
from ..errors import RunError, SpecError
from ..experiment import Experiment
from ..link import open_link
from ..models import LoadedModel
from ..notebook.folder import RunFolder
from ..plan import Job, rollout_seed
from ..prepare import Prepared, prepare
from ..results import read_run_manifest
from ..rollout import Rollout
from ..saved_probes.source import Source, read_source
from ..shift.source import SHIFTED_FROM, check_model, matched
from ..shift.source import read_source as read_asked
from ..tasks.registry import find_task
from ..tasks.task import Task


@dataclass(frozen=True)
class Case:
    """A test item, what it was asked, and the rollout that the run has of it."""

    job: Job
    rollout: Rollout
    seed: int
    """Of what is sampled of it here, with and without steering: not that of the run's own rollout. Items are looked at
    by what that one did, and with its seed it would do so again: any change at all would look like an effect.
    """


@dataclass(frozen=True)
class Subject:
    """A finished run with its model."""

    run: Path
    spec: Experiment
    """The run's own."""
    source: Source
    """Its activations, labels and split."""
    prepared: Prepared
    cases: list[Case]
    n_test: int
    """Test rollouts that the cases were taken from."""
    classifier: str
    """The run's headline classifier."""
    said: Mapping[int, str]
    """Rollout -> its usable verdict, of those that acted on the policy, as they are linked."""

    @property
    def loaded(self) -> LoadedModel:
        return self.prepared.loaded

    @property
    def backend(self) -> ModelBackend:
        return self.prepared.backend

    @cached_property
    def task(self) -> Task:
        return find_task(self.spec.task)

    @property
    def groups(self) -> list[str]:
        """The group of each case."""
        return [case.rollout.group for case in self.cases]


def read_subject(run: Path, items: int, *, seed: int = 0, offline: bool = False) -> Subject:
    """A finished run, its model loaded, and some of its test items.

    Args:
        items: at most so many; groups take turns, in an order fixed by their names.
        seed: of what will be sampled.

    Raises:
        RunError: no finished run of an experiment, or one that cannot be steered; says why.
        SpecError: its items are not what they were.
        ModelError: its model is not here, or is another.
        StoreError: it is damaged.
    """
    spec = _check_unsteered(run)
    source, asked = read_source(run), read_asked(run, None)
    prepared = prepare(asked.spec, offline=offline)
    check_model(asked, prepared.loaded.info)
    test = [source.recorded.probed.rollouts[row] for row in source.split.test]
    jobs = {rollout.rollout: job for job, rollout in matched(asked, prepared)}
    cases = [
        Case(jobs[each.rollout], each, rollout_seed(each.seed, f"steered {seed}", each.condition, each.sample))
        for each in _in_turn(test)[:items]
    ]
    rows = open_link(run).rows
    said = {
        each.rollout: str(verdict)
        for each, acted, verdict in zip(rows.rollouts, rows.acted, rows.verdict, strict=True)
        if acted and verdict
    }
    return Subject(run, spec, source, prepared, cases, len(test), rows.classifier, said)


def _check_unsteered(run: Path) -> Experiment:
    """The spec of a run that was made without steering, by sampling, in one turn."""
    held = RunFolder(run)
    if not held.has_results:
        raise RunError(f"{run} is no finished run of an experiment: finish it with `introspect run ... --resume`")
    spec, manifest = held.spec, read_run_manifest(run / "manifest.json") or {}
    if spec.steering:
        raise RunError(f"{run} was itself recorded under steering: steer a run that was recorded without it")
    if SHIFTED_FROM in manifest:
        raise RunError(f"{run} is shifted, and nothing was sampled in it: steer the run that it was made from")
    if find_task(spec.task).follow_ups:
        raise RunError(f"{run} has chats of several turns (task {spec.task}), of which only one could be steered here")
    if spec.probe.label != "acted":
        raise RunError(
            f"{run}: its probe predicts {spec.probe.label}, and what is measured is whether the policy is acted on: "
            "steer a run whose probe.label is acted"
        )
    return spec


def _in_turn(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Groups in turn, and within one items, by the digests of their names: what was done plays no part."""

    def place(text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()

    turns: dict[str, list[Rollout]] = {}
    for rollout in sorted(rollouts, key=lambda r: (r.sample, place(f"{r.item_id}/{r.condition}"), r.rollout)):
        turns.setdefault(rollout.group, []).append(rollout)
    placed = [(i, place(group), rollout) for group, own in turns.items() for i, rollout in enumerate(own)]
    return [rollout for _, _, rollout in sorted(placed, key=lambda each: each[:2])]


def check_options(subject: Subject) -> None:
    """Refuse items whose answers are no options that act or do not.

    Raises:
        SpecError: names the task.
    """
    acting = subject.task.acting
    for case in subject.cases:
        means = [meaning == acting for meaning in case.rollout.options.values()]
        if not any(means) or all(means):
            raise SpecError(
                f"{subject.run}: answers of the task {subject.spec.task} are no options of which some act on the "
                "policy and some do not, so there are no log-odds to steer"
            )


def median_norm(activations: np.ndarray) -> float:
    """The norm of a typical activation, [row, width]: the median, since first tokens are often of another size."""
    return float(np.median(np.linalg.norm(activations.astype(np.float64), axis=-1)))
