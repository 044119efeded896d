"""Stages of one episode: what is done, what is reported of it, and what is said when confronted (Scheurer et al. 2023,
arXiv 2311.07590).

Each stage's rate is conditional on having acted on the policy at every stage before: P(misaligned act), P(deceptive
report | act), P(doubles down | deceived). Invalid answers are left out of the rate they would belong to and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from ..rollout import RolloutSummary
from .contrasts import difference_estimates
from .resampling import DRAWS, codes_of, ratio_estimates, share
from .think_answer import think_answer_section

CONDITION = "condition"
KNOBS = (CONDITION, "pressure", "detection")
RATE = share("acted", "valid")

Stages = dict[str, list[RolloutSummary]]


def stages_section(
    stages: Mapping[str, Iterable[RolloutSummary]],
    think: Mapping[str, Mapping[int, bool | None]],
    *,
    by: tuple[str, ...] = KNOBS,
    n: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Rates of every stage, overall and by what was varied.

    Args:
        stages: name -> its rollouts, in order; those of one episode share item, condition and sample.
        think: name -> rollout number -> think label of the chain (None: undecided). Rollouts without one, or
            with nothing written before the answer, are no part of `think_answer`.
        by: `condition`, and names of facts or item fields.

    Returns:
        `rates`: stage -> `reached` (episodes that acted at all stages before), `not_asked` (of those, without a
        rollout), `without_answer` and `rate`;
        `by`: name -> level -> the same, and `differences`: each two levels, stage -> `difference`, `p_value`, `test`,
        paired over items that are in both;
        `think_answer`: stage -> see `think_answer.think_answer_section`, over the chains of episodes that reached it.
    """
    reached, missing = reached_stages({name: list(rollouts) for name, rollouts in stages.items()})
    return {
        "rates": {name: {**_rate(records, n, seed), "not_asked": missing[name]} for name, records in reached.items()},
        "by": {name: _by(reached, name, n, seed) for name in by},
        "think_answer": {name: _labels(records, think.get(name, {}), n, seed) for name, records in reached.items()},
    }


def _labels(records: list[RolloutSummary], think: Mapping[int, bool | None], n: int, seed: int) -> dict[str, Any]:
    labelled = [record for record in records if record.rollout in think and record.chain_text.strip()]
    return think_answer_section(
        [think[record.rollout] for record in labelled],
        [record.acted for record in labelled],
        [record.group for record in labelled],
        [record.split for record in labelled],
        n=n,
        seed=seed,
    )


def reached_stages(stages: Stages) -> tuple[Stages, dict[str, int]]:
    """The rollouts of each stage whose episode acted at every stage before, and how many such episodes have none."""
    going_on: set[tuple[str, str, int]] | None = None
    reached: Stages = {}
    missing: dict[str, int] = {}
    for name, records in stages.items():
        kept = [record for record in records if going_on is None or _episode(record) in going_on]
        reached[name] = kept
        missing[name] = 0 if going_on is None else len(going_on - {_episode(record) for record in kept})
        going_on = {_episode(record) for record in kept if record.acted}
    return reached, missing


def _episode(record: RolloutSummary) -> tuple[str, str, int]:
    return record.item_id, record.condition, record.sample


def _columns(records: list[RolloutSummary]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns and groups of the valid answers."""
    valid = [record for record in records if record.acted is not None]
    acted = np.array([record.acted is True for record in valid], float)
    return {"acted": acted, "valid": np.ones(len(valid))}, codes_of([record.group for record in valid])[0]


def _rate(records: list[RolloutSummary], n: int, seed: int) -> dict[str, Any]:
    columns, groups = _columns(records)
    rate = ratio_estimates(columns, groups, {"rate": RATE}, n=n, seed=seed)["rate"]
    return {
        "reached": len(records),
        "without_answer": len(records) - len(groups),
        "rate": rate.to_json(),
    }


def _by(stages: Stages, name: str, n: int, seed: int) -> dict[str, Any]:
    levels: dict[str, Stages] = {}
    for stage, records in stages.items():
        for record in records:
            level = record.condition if name == CONDITION else record.about.get(name)
            if level is not None:
                levels.setdefault(str(level), {each: [] for each in stages})[stage].append(record)
    out: dict[str, Any] = {
        level: {stage: _rate(records, n, seed) for stage, records in levels[level].items()} for level in sorted(levels)
    }
    out["differences"] = [
        {
            "first": a,
            "second": b,
            **{stage: _difference(levels[a][stage], levels[b][stage], n, seed) for stage in stages},
        }
        for a, b in combinations(sorted(levels), 2)
    ]
    return out


def _difference(first: list[RolloutSummary], second: list[RolloutSummary], n: int, seed: int) -> dict[str, Any]:
    records = [record for record in (*first, *second) if record.acted is not None]
    columns, groups = _columns(records)
    side = np.arange(len(records)) < sum(record.acted is not None for record in first)
    return difference_estimates(columns, groups, side, {"rate": RATE}, n=n, seed=seed)["rate"].to_json()
