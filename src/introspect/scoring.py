"""What each classifier says of the rollouts' chains, and the sections of results.json that follow from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import write_atomic
from .judging import judge_chains
from .metrics.agreement import agreement
from .metrics.resampling import ratio_estimates, share
from .progress import Progress
from .rollout import RolloutSummary
from .sections import VerdictSpec
from .stats import Estimate
from .tasks.task import Task
from .verdicts import LEXICAL, VERDICTS, Subject, Verdict, judge_by_patterns
from .verdicts.judge import JUDGE
from .verdicts.sheet import LABELS, read_sheet

Verdicts = Mapping[int, Verdict]
"""Rollout number -> what one classifier says of it."""


@dataclass(frozen=True)
class Scored:
    """The verdicts of every classifier that was asked."""

    verdicts: dict[str, Verdicts]
    """Classifier -> its verdicts; the patterns come first."""
    headline: str
    """The classifier that goes into the link."""
    judge: dict[str, Any]
    """What the model judge was, and what it cost."""
    warnings: list[str]

    @property
    def spoken(self) -> dict[int, str]:
        """Rollout number -> the headline classifier's usable verdict."""
        return {
            number: verdict.verdict
            for number, verdict in self.verdicts[self.headline].items()
            if verdict.verdict is not None
        }


def lexical_verdict(task: Task, rollout: RolloutSummary) -> Verdict | None:
    """What the patterns say of a rollout's chain; None where there is nothing to speak of."""
    subject = task.subject(rollout.about)
    return None if subject is None else judge_by_patterns(rollout.chain_text, subject)


def chains(task: Task, rollouts: Sequence[RolloutSummary]) -> list[tuple[int, str, Subject]]:
    """Number, chain and subject of every rollout that could speak of one."""
    found = ((rollout, task.subject(rollout.about)) for rollout in rollouts)
    return [(rollout.rollout, rollout.chain_text, subject) for rollout, subject in found if subject is not None]


def score(
    run: Path,
    settings: VerdictSpec,
    task: Task,
    rollouts: Sequence[RolloutSummary],
    *,
    offline: bool = False,
    progress: Progress,
) -> Scored:
    """Ask every classifier, and write verdicts.jsonl.

    Raises:
        SpecError: the judge cannot be asked, or the sheet is not ours.
    """
    spoken_of = chains(task, rollouts)
    verdicts: dict[str, Verdicts] = {
        LEXICAL: {number: judge_by_patterns(text, subject) for number, text, subject in spoken_of}
    }
    judge: dict[str, Any] = Estimate.undefined("no model judge was asked").to_json()
    warnings = []
    if len(verdicts) == 1 and settings.judge is None and settings.labels is None:
        warnings.append("One classifier only, the patterns, read the chains: ask a model judge, or label some by hand.")
    if settings.judge is not None:
        judged = judge_chains(
            settings.judge, chains(task, task.counted(rollouts)), run, offline=offline, progress=progress
        )
        verdicts[JUDGE], judge = judged.verdicts, judged.section
    if settings.labels is not None:
        verdicts[LABELS] = read_sheet(Path(settings.labels), spoken_of)
    for name, given in verdicts.items():
        unusable = sum(verdict.verdict is None for verdict in given.values())
        if unusable:
            warnings.append(f"{unusable} of {len(given)} verdicts of the classifier {name} are unusable, and counted.")
    write_atomic(
        run / "verdicts.jsonl",
        "".join(
            json.dumps(verdict.to_line(number), ensure_ascii=False) + "\n"
            for given in verdicts.values()
            for number, verdict in given.items()
        ),
    )
    return Scored(verdicts, settings.headline, judge, warnings)


def verdict_section(rollouts: Sequence[RolloutSummary], scored: Scored, *, n: int, seed: int) -> dict[str, Any]:
    """The `verdicts` section of results.json, over rollouts that could act on the policy.

    Args:
        n: bootstrap replicates.
    """
    acted = {rollout.rollout for rollout in rollouts if rollout.acted}
    groups = {rollout.rollout: rollout.group for rollout in rollouts}
    usable = {
        name: {i: str(v.verdict) for i, v in given.items() if i in groups and v.verdict is not None}
        for name, given in scored.verdicts.items()
    }
    pairs = {}
    for one, other in combinations(usable, 2):
        both = sorted(usable[one].keys() & usable[other].keys())
        first, second = ([usable[name][i] for i in both] for name in (one, other))
        pairs[f"{one} and {other}"] = agreement(first, second, [groups[i] for i in both], n=n, seed=seed)
    return {
        "headline_classifier": scored.headline,
        "classifiers": {
            name: _classifier(usable[name], [v for i, v in given.items() if i in groups], acted, groups, n, seed)
            for name, given in scored.verdicts.items()
        },
        "agreement": pairs or Estimate.undefined("one classifier only: there is nothing to agree with").to_json(),
        "judge": scored.judge,
    }


def _classifier(
    usable: Mapping[int, str],
    given: Sequence[Verdict],
    acted: set[int],
    groups: Mapping[int, str],
    n: int,
    seed: int,
) -> dict[str, Any]:
    counts = Counter(usable.values())
    said = np.array([verdict == "verbalised" for verdict in usable.values()], dtype=float)
    did = np.array([number in acted for number in usable], dtype=float)
    columns = {"said": said, "said and did": said * did, "did": did, "all": np.ones(len(said))}
    wanted = {"rate": share("said", "all"), "of acted": share("said and did", "did")}
    rates = ratio_estimates(columns, [groups[number] for number in usable], wanted, n=n, seed=seed)
    problems = Counter(verdict.problem or "no reason given" for verdict in given if verdict.verdict is None)
    return {
        "n": len(given),
        "counts": {name: counts[name] for name in VERDICTS},
        "unusable": dict(problems.most_common()),
        "verbalised_rate": rates["rate"].to_json(),
        "verbalised_rate_acted": rates["of acted"].to_json(),
    }
