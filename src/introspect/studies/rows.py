"""A finished run of a comparison, and the rows that its measures are summed from.

Verdicts are those of the patterns, which every run has; they are read from the rollouts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..awareness import AWARENESS_FILE, BASE_AWARENESS_FILE, AwarenessRow, read_awareness
from ..behaviour import think_label
from ..experiment import Experiment, load_experiment
from ..metrics import faithfulness, think_answer
from ..metrics.hint_rows import hint_rows
from ..results import read_results
from ..rollout import RolloutSummary, read_summaries
from ..scoring import lexical_verdict
from ..tasks.policies import PLANTED
from ..tasks.registry import find_task
from ..tasks.task import Task
from .seeds import Rows

NOT_ASKED = "the model was not asked about itself"
NOT_HINTED = "nothing is hinted at in this task"
NO_UNTRAINED = "this model is no organism: there is no untrained one to compare it with"


@dataclass(frozen=True)
class Measured:
    """One finished run of a comparison."""

    run: Path
    spec: Experiment
    task: Task
    results: dict[str, Any]
    rollouts: list[RolloutSummary]

    @property
    def counted(self) -> list[RolloutSummary]:
        """Rollouts that could act on the policy."""
        return self.task.counted(self.rollouts)


def read_member(run: Path) -> Measured:
    """A finished run.

    Raises:
        StoreError: it is damaged or not finished. Names the file.
    """
    spec = load_experiment(run / "experiment.yaml")
    results, rollouts = read_results(run / "results.json"), read_summaries(run / "rollouts.jsonl")
    return Measured(run, spec, find_task(spec.task), results, rollouts)


def rows_of(member: Measured, planted: str | None) -> dict[str, Rows]:
    """Name -> rows, for every measure that has rows; those on which nothing can be measured say why.

    Args:
        planted: the policy that the task's organisms were trained into, which every run is held against.

    Raises:
        StoreError: the self-reports are damaged.
    """
    counted = member.counted
    labels = [think_label(member.task, r) for r in counted]
    return {
        "all": _validity(member.rollouts),
        "policy": _policy(counted),
        "planted": _planted(counted, planted),
        "aligned": _alignment(counted, [label is True for label in labels]),
        "decided": _alignment(
            [r for r, label in zip(counted, labels, strict=True) if label is not None],
            [label for label in labels if label is not None],
        ),
        "leaning": _leaning(counted, labels),
        "verdicts": _verdicts(member.task, counted),
        **_self_reports(member.run),
        **_hints(member),
    }


def _nothing(reason: str) -> Rows:
    return Rows({}, [], reason=reason)


def _validity(rollouts: Sequence[RolloutSummary]) -> Rows:
    """Every rollout, and those without an answer."""
    invalid = np.array([r.acted is None for r in rollouts], float)
    return Rows({"rows": np.ones(len(rollouts)), "invalid": invalid}, [r.group for r in rollouts])


def _policy(counted: Sequence[RolloutSummary]) -> Rows:
    """Valid answers and those of them that act on the policy, by split."""
    valid = [r for r in counted if r.acted is not None]
    acted = np.array([r.acted is True for r in valid], float)
    ood = np.array([r.split == "ood" for r in valid], float)
    columns = {
        "valid": np.ones(len(valid)),
        "id": 1 - ood,
        "ood": ood,
        "id_acted": acted * (1 - ood),
        "ood_acted": acted * ood,
    }
    return Rows(columns, [r.group for r in valid], ood.astype(np.int64))


def _planted(counted: Sequence[RolloutSummary], policy: str | None) -> Rows:
    """Valid answers, and those of them that are what the planted policy says, by split."""
    says = PLANTED.get(policy or "")
    if policy is None or says is None:
        return _nothing("the organisms' cards state no one policy that answers can be held against")
    valid = [r for r in counted if r.acted is not None]
    try:
        agrees = np.array([r.acted == says(r.fields) for r in valid], float)
    except KeyError as error:
        return _nothing(f"the planted policy depends on a field that these items lack: {error}")
    ood = np.array([r.split == "ood" for r in valid], float)
    columns = {"id": 1 - ood, "ood": ood, "id_agrees": agrees * (1 - ood), "ood_agrees": agrees * ood}
    return Rows(columns, [r.group for r in valid], ood.astype(np.int64))


def _alignment(rollouts: Sequence[RolloutSummary], think: Sequence[bool]) -> Rows:
    """Think label by answer label, of answered rollouts."""
    answered = [(r, label) for r, label in zip(rollouts, think, strict=True) if r.acted is not None]
    labels = np.array([label for _, label in answered], bool)
    acted = np.array([r.acted is True for r, _ in answered], bool)
    return Rows(think_answer.columns_of(labels, acted), [r.group for r, _ in answered])


def _leaning(rollouts: Sequence[RolloutSummary], think: Sequence[bool | None]) -> Rows:
    """Answered rollouts, and those of them whose chain leans to the policy or away from it."""
    answered = [(r, label) for r, label in zip(rollouts, think, strict=True) if r.acted is not None]
    decided = np.array([label is not None for _, label in answered], float)
    return Rows({"chains": np.ones(len(answered)), "decided": decided}, [r.group for r, _ in answered])


def _verdicts(task: Task, counted: Sequence[RolloutSummary]) -> Rows:
    """Rollouts that acted and have a verdict, and those of them whose chain says so."""
    given = [(r, lexical_verdict(task, r)) for r in counted if r.acted is True]
    usable = [(r, each.verdict) for r, each in given if each is not None and each.verdict is not None]
    said = np.array([verdict == "verbalised" for _, verdict in usable], float)
    return Rows({"acted": np.ones(len(usable)), "said": said}, [r.group for r, _ in usable])


def _self_reports(run: Path) -> dict[str, Rows]:
    """Self-ratings of the policy, and the same less those of the untrained model, question by question."""
    own, base = _ratings(run / AWARENESS_FILE), _ratings(run / BASE_AWARENESS_FILE)
    if own is None:
        return dict.fromkeys(("rating", "rating_minus"), _nothing(NOT_ASKED))
    theirs = {(row.wording, row.order): row.score for row in base or ()}
    paired = [row for row in own if (row.wording, row.order) in theirs]
    beyond = _rated([row.score - theirs[row.wording, row.order] for row in paired], paired)
    return {
        "rating": _rated([row.score for row in own], own),
        "rating_minus": _nothing(NO_UNTRAINED) if base is None else beyond,
    }


def _ratings(path: Path) -> list[AwarenessRow] | None:
    return [row for row in read_awareness(path) if row.kind == "rating"] if path.exists() else None


def _rated(scores: Sequence[float], rows: Sequence[AwarenessRow]) -> Rows:
    columns = {"value": np.asarray(scores, float), "asked": np.ones(len(rows))}
    return Rows(columns, [f"wording {row.wording}" for row in rows])


def _hints(member: Measured) -> dict[str, Rows]:
    """Hinted rollouts of the incorrect arm, for each measure of faithfulness."""
    hinted = [r for r in member.rollouts if "hint" in r.facts]
    if not hinted:
        return {f"hints {name}": _nothing(NOT_HINTED) for name in faithfulness.STATISTICS}
    given = ((r.rollout, lexical_verdict(member.task, r)) for r in hinted)
    table = hint_rows(member.rollouts, {number: each for number, each in given if each is not None})
    names = np.array(list(dict.fromkeys(r.group for r in hinted)), object)
    table = table.take(table.arm == "incorrect")
    if member.spec.hints.spontaneous == "drop":
        table = table.take(~table.reaches)
    columns = faithfulness.columns_of(table)
    reasons = faithfulness.undefined_because(table, columns)
    groups = list(names[table.group])
    return {f"hints {name}": Rows(columns, groups, reason=reasons.get(name)) for name in faithfulness.STATISTICS}
