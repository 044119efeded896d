"""Directions along a training: of what each step did, and of labels that stay the same at every step.

What a step does changes along the training, and its labels with it: a direction may turn because other items are acted
on. Where the policy is a function of the item, the same labels (what the policy says of each item) are therefore set
beside those of what was done. A cosine of two noisy directions cannot reach 1: beside it stands what it could reach if
they were one, the root of the product of their reliabilities (Spearman 1904).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EstimateError
from ..stats import Estimate
from ..transfer.cosines import Labelled, cosine_estimate, cosine_matrix, reliability
from ..transfer.recorded import Recorded, read_recorded

STEP, UNTRAINED = "step", "untrained"
ITSELF = "the last step itself"
NO_BASE = "the runs have no untrained model beside them"
Found = dict[int, dict[str, Any]]
"""Step -> estimate."""


@dataclass(frozen=True)
class Directions:
    """Measures by step, and nulls of the cosines with the untrained model."""

    measures: dict[str, Found]
    nulls: Found


def nothing_along(steps: Mapping[int, Path], reason: str) -> Directions:
    """What there is without a common place."""
    missing = Estimate.undefined(reason).to_json()
    return Directions({name: dict.fromkeys(steps, missing) for name in NAMES}, {})


NAMES = (
    *("cosine_untrained", "cosine_final_planted", "cosine_untrained_planted"),
    *("direction_reliability", "attainable_cosine", "direction_reliability_planted", "attainable_cosine_planted"),
)


def directions_along(
    folders: Mapping[int, Path], site: str, layer: int, position: str, policy: str, *, seed: int
) -> Directions:
    """Measures of each step's direction at one place.

    Args:
        folders: step -> its finished run, the last one the greatest.
        policy: planted in the end, whose labels are the same at every step.

    Returns:
        `measures`: `NAMES`, step -> estimate; `_planted`: with what the policy says of the items for labels;
        `nulls`: step -> `unrelated` and `random_labels` of `cosine_untrained` (see `cosines.cosine_matrix`).
    """
    last = max(folders)
    runs = {step: _read(folder) for step, folder in folders.items()}

    def at(run: Recorded | str, base: bool = False) -> np.ndarray | str:
        if isinstance(run, str):
            return run
        try:
            return run.at(site, layer, position, base=base)
        except EstimateError as error:
            return str(error)

    values = {step: at(run) for step, run in runs.items()}
    final = runs[last]
    base = NO_BASE if isinstance(final, Recorded) and not final.has_base else at(final, base=True)

    def rows(step: int, planted: bool, *, untrained: bool = False) -> Labelled | str:
        run, there = runs[step], base if untrained else values[step]
        if isinstance(run, str) or isinstance(there, str):
            return run if isinstance(run, str) else str(there)
        try:
            return run.labelled(there, run.planted(policy) if planted else run.acted)
        except EstimateError as error:
            return str(error)

    measures: dict[str, Found] = {}
    for planted, ending in ((False, ""), (True, "_planted")):
        of_step = {step: rows(step, planted) for step in folders}
        before = rows(last, planted, untrained=True)
        reliable = {step: _reliability(each, seed) for step, each in of_step.items()}
        measures[f"cosine_untrained{ending}"] = {step: _cosine(each, before) for step, each in of_step.items()}
        measures[f"direction_reliability{ending}"] = {step: each.to_json() for step, each in reliable.items()}
        measures[f"attainable_cosine{ending}"] = {
            step: Estimate.undefined(ITSELF).to_json() if step == last else _attainable(each, reliable[last])
            for step, each in reliable.items()
        }
        if planted:
            measures["cosine_final_planted"] = {
                step: Estimate.undefined(ITSELF).to_json() if step == last else _cosine(each, of_step[last])
                for step, each in of_step.items()
            }
    untrained = rows(last, False, untrained=True)
    return Directions(measures, {step: _nulls(rows(step, False), untrained, seed) for step in folders})


def _read(folder: Path) -> Recorded | str:
    try:
        return read_recorded(folder)
    except EstimateError as error:
        return str(error)


def _cosine(one: Labelled | str, other: Labelled | str) -> dict[str, Any]:
    if isinstance(one, str) or isinstance(other, str):
        return Estimate.undefined(one if isinstance(one, str) else str(other)).to_json()
    return cosine_estimate(one, other).to_json()


def _reliability(rows: Labelled | str, seed: int) -> Estimate:
    return Estimate.undefined(rows) if isinstance(rows, str) else reliability(rows, seed=seed)


def _attainable(one: Estimate, other: Estimate) -> dict[str, Any]:
    """The cosine that two directions would have if they differed by noise alone."""
    for each in (one, other):
        if each.value is None or each.ci95 is None:
            return Estimate.undefined(each.reason or "not estimated").to_json()
    value, low, high = (
        math.sqrt(max(a, 0.0) * max(b, 0.0))
        for a, b in zip((one.value, *(one.ci95 or ())), (other.value, *(other.ci95 or ())), strict=True)
    )
    method = "root of the product of both reliabilities; from both lower to both upper limits"
    return Estimate(value, (low, high), one.n, method).to_json()


def _nulls(one: Labelled | str, other: Labelled | str, seed: int) -> dict[str, Any]:
    if isinstance(one, str) or isinstance(other, str):
        return {"reason": one if isinstance(one, str) else str(other)}
    cell = cosine_matrix({STEP: one, UNTRAINED: other}, seed=seed)[STEP][UNTRAINED]
    return {name: cell[name] for name in ("unrelated", "random_labels")}
