"""The `controls` section: what the same procedure finds where there is nothing, and how many things were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import EstimateError
from ..probes import Cell, Null, control_task, random_directions
from ..probes.by_estimator import measure_of
from ..stats import Estimate, permutation_p
from .label_noise import label_noise
from .stage import ProbeStage

N_CONTROL_TASKS = 20
N_RANDOM_DIRECTIONS = 20
Found = dict[str, Any]


class Looked(NamedTuple):
    """All places that were looked at at one site: their probes, and what these find in shuffled labels."""

    cells: Sequence[Cell]
    null: Null


def controls_section(stage: ProbeStage, headline: Cell, looked: Sequence[Looked], n_increments: int) -> Found:
    """Shuffled labels, a control task, random directions, and what is said of many comparisons and noisy labels.

    Args:
        looked: at each site.
        n_increments: baselines that the probe is compared with.
    """
    values = stage.at(headline.position, headline.layer)
    observed = stage.auroc(headline.scores, stage.split.test)
    maxima = _maxima(looked)
    random = random_directions(values, stage.labels, stage.split, n=N_RANDOM_DIRECTIONS, seed=stage.seed)
    return {
        "shuffled_labels": {
            "statistic": f"the largest test AUROC over all {'sites, ' * (len(looked) > 1)}positions and layers",
            "n_permutations": len(maxima),
            "q95": round(float(np.quantile(maxima, 0.95)), 6),
            "p_value": None if observed.value is None else round(permutation_p(observed.value, maxima), 6),
            "observed": None if observed.value is None else round(observed.value, 6),
        },
        "control_task": _control_task(stage, values, headline.penalty),
        "random_direction": {"auroc": _spread(random, "mean and 95% range over random directions").to_json()},
        "multiple_comparisons": _multiple(stage, looked, n_increments),
        "label_noise": label_noise(stage, headline.scores),
    }


def _control_task(stage: ProbeStage, values: np.ndarray, penalty: float) -> Found:
    what = (
        "a random label for every group, and the labels themselves, both on rows that were not fitted of groups that "
        "were; selectivity is the difference"
    )
    try:
        tasks = control_task(
            values,
            stage.labels,
            stage.groups,
            stage.split,
            penalty=penalty,
            n=N_CONTROL_TASKS,
            seed=stage.seed,
            measure=measure_of(stage.settings.estimator),
        )
    except EstimateError as error:
        undefined = Estimate.undefined(str(error)).to_json()
        return {"what": what, "auroc": undefined, "probe_auroc": None, "selectivity": undefined}
    return {
        "what": what,
        "auroc": _spread(tasks.control, "mean and 95% range over random labellings of the groups").to_json(),
        "probe_auroc": round(tasks.probe, 6),
        "selectivity": _spread(tasks.probe - tasks.control, "mean and 95% range over labellings").to_json(),
    }


def _maxima(looked: Sequence[Looked]) -> np.ndarray:
    """The largest test AUROC over all places, [permutation]: shuffles are the same at every site."""
    return np.max([each.null.maxima() for each in looked], axis=0)


def _multiple(stage: ProbeStage, looked: Sequence[Looked], n_increments: int) -> Found:
    """How many places were looked at, and how many of them pass what the largest of as many reaches by chance."""
    family = float(np.quantile(_maxima(looked), 0.95))
    places = [
        (
            stage.auroc(cell.scores, stage.split.test).value,
            np.quantile(each.null.auroc[cell.position][stage.layers.index(cell.layer)], 0.95),
        )
        for each in looked
        for cell in each.cells
    ]
    return {
        "n_places": len(places),
        "above_own_null": int(sum(value is not None and value > own for value, own in places)),
        "above_largest_null": int(sum(value is not None and value > family for value, _ in places)),
        "n_increments": n_increments,
        "note": "The p-value of the shuffled labels holds for all places together: the headline's place was chosen "
        "inside the development groups, and is held against the largest of all places under shuffled labels. Every "
        "other interval is for one comparison. Of places where there is nothing, about 5% pass their own 95%; with 95% "
        "probability none passes that of the largest.",
    }


def _spread(values: np.ndarray, method: str) -> Estimate:
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(float(values.mean()), (float(low), float(high)), len(values), method)
