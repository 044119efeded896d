"""How far one AUROC lies below another, whether they are of the same rollouts or only of the same groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import EstimateError
from ..stats import (
    MIN_GROUPS,
    Estimate,
    auroc,
    auroc_replicates,
    bootstrap_counts,
    group_codes,
    interval,
    newcombe_interval,
)

MOST_UNDEFINED = 0.1
"""Of the replicates."""


@dataclass(frozen=True)
class Scored:
    """Rows with the scores of one probe."""

    scores: np.ndarray
    """[row]"""
    labels: np.ndarray
    """bool [row]"""
    groups: np.ndarray
    """str [row]"""


def auroc_difference(first: Scored, second: Scored, *, n: int = 1000, seed: int = 0) -> Estimate:
    """AUROC of `first` minus that of `second`, with a bootstrap interval over the groups of both.

    Each replicate draws groups once for both, so what they share of groups (or of rows) is paired. Unlike an increment,
    an AUROC below chance is taken as it is: a probe that predicts the contrary has lost more than one that predicts
    nothing. Where an AUROC's own interval touches 0 or 1, Newcombe's is put in its place and the two are combined as
    independent (Newcombe 2006; Zou & Donner 2008).
    """
    codes, n_groups = group_codes([*first.groups, *second.groups])
    own = codes[: len(first.groups)], codes[len(first.groups) :]
    for each in own:
        if len(set(each)) < MIN_GROUPS:
            return Estimate.undefined(f"{len(set(each))} groups are too few for an interval (at least {MIN_GROUPS})")
    try:
        values = [auroc(each.scores, each.labels) for each in (first, second)]
    except EstimateError as error:
        return Estimate.undefined(str(error))
    counts = bootstrap_counts(n_groups, n, seed)
    drawn = [
        auroc_replicates(each.scores, each.labels, counts[:, rows])
        for each, rows in zip((first, second), own, strict=True)
    ]
    differences = drawn[0] - drawn[1]
    if np.isnan(differences).mean() > MOST_UNDEFINED:
        return Estimate.undefined("one class only in more than a tenth of the bootstrap replicates: too little data")
    value, (low, high) = values[0] - values[1], interval(differences, n_groups)
    method = "paired bootstrap over groups"
    limits = [
        _limits(each, rows, replicates) for each, rows, replicates in zip((first, second), own, drawn, strict=True)
    ]
    if any(widened for _, widened in limits):
        (low_1, high_1), (low_2, high_2) = (bounds for bounds, _ in limits)
        low = min(low, value - float(np.hypot(values[0] - low_1, high_2 - values[1])))
        high = max(high, value + float(np.hypot(high_1 - values[0], values[1] - low_2)))
        method += ", widened by newcombe's"
    return Estimate(value, (low, high), len(second.scores), method)


def _limits(each: Scored, codes: np.ndarray, replicates: np.ndarray) -> tuple[tuple[float, float], bool]:
    """An AUROC's own interval, and whether it is Newcombe's because the bootstrap's touches 0 or 1."""
    low, high = interval(replicates, len(set(codes)))
    if low > 0 and high < 1:
        return (low, high), False
    sizes = len(set(codes[each.labels])), len(set(codes[~each.labels]))
    wide = newcombe_interval(auroc(each.scores, each.labels), *sizes)
    return (min(low, wide[0]), max(high, wide[1])), True
