"""How far two classifiers agree on the same cases, beyond what chance would give.

Cohen's kappa (1960) takes each classifier's own marginals for chance, and falls towards 0 where one category is rare
however much the two agree; Gwet's AC1 (2008) does not, and its weighted form AC2 (2014) gives credit for a near miss
between ordered categories. McNemar's exact test asks whether one of them says the category of interest more often.

Cases of one group (an item) are not independent, so intervals resample groups. Where the agreement is perfect or nil in
(almost) every replicate, an interval has no width; it is then widened to Wilson's for the share of agreement, with
groups for cases and chance agreement held. McNemar's p takes cases as independent; the difference beside it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from ..errors import EstimateError
from ..stats import MIN_GROUPS, Estimate, bootstrap_counts, group_codes, interval, proportion

ORDERED = ("denied", "silent", "verbalised")
"""Verdicts from one end to the other."""

Coefficient = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Tables of counts [..., first, second] -> agreement and chance agreement, [...]."""


def linear_weights(k: int) -> np.ndarray:
    """Credit for saying one of k ordered categories when the other says another: 1 for the same, 0 for both ends."""
    return 1 - np.abs(np.subtract.outer(np.arange(k), np.arange(k))) / (k - 1)


def kappa_parts(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Agreement and chance agreement of Cohen's kappa: the product of the marginals."""
    shares = _shares(tables)
    first, second = shares.sum(axis=-1), shares.sum(axis=-2)
    return np.trace(shares, axis1=-2, axis2=-1), (first * second).sum(axis=-1)


def gwet_parts(tables: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Agreement and chance agreement of Gwet's AC2; of AC1 with weights that are the identity.

    Chance: sum(weights) / (k (k - 1)) * sum of m (1 - m), m being a category's mean share in the two marginals.
    """
    k = len(weights)
    shares = _shares(tables)
    mean = (shares.sum(axis=-1) + shares.sum(axis=-2)) / 2
    chance = weights.sum() / (k * (k - 1)) * (mean * (1 - mean)).sum(axis=-1)
    return (shares * weights).sum(axis=(-2, -1)), chance


def coefficient(parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(agreement - chance) / (1 - chance); NaN where chance alone would agree always."""
    agreement, chance = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1, (agreement - chance) / (1 - chance), np.nan)


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test: whether a fair coin would part the discordant cases so unevenly.

    Raises:
        EstimateError: no case is discordant.
    """
    if only_first + only_second == 0:
        raise EstimateError("no case is discordant: there is nothing to test")
    return float(binomtest(only_first, only_first + only_second).pvalue)


def agreement(
    first: Sequence[str],
    second: Sequence[str],
    groups: Sequence[Hashable],
    *,
    categories: Sequence[str] = ORDERED,
    positive: str = "verbalised",
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Agreement of two classifiers, as a section of results.json.

    Args:
        first, second: what each says of each case.
        groups: the unit that is resampled, of each case.
        categories: all that may be said, in order; AC2 weights by the distance between them.
        positive: the category that McNemar's test is about.
        n: bootstrap replicates.

    Raises:
        ValueError: the sequences differ in length, hold something that is no category, or there are fewer than two
            categories.
    """
    k, index = len(categories), {name: i for i, name in enumerate(categories)}
    if k < 2 or len(index) < k or positive not in index or not len(first) == len(second) == len(groups):
        raise ValueError("agreement needs two or more categories, and as many labels as labels and groups")
    if unknown := (set(first) | set(second)) - index.keys():
        raise ValueError(f"not among the categories: {', '.join(sorted(map(str, unknown)))}")
    codes, n_groups = group_codes(groups)
    by_group = np.zeros((n_groups, k, k))
    pairs = np.array([[index[name] for name in labels] for labels in (first, second)], dtype=np.int64)
    np.add.at(by_group, (codes, pairs[0], pairs[1]), 1)
    table = by_group.sum(axis=0)
    drawn = np.empty((0, k, k))
    if n_groups >= MIN_GROUPS:
        drawn = np.tensordot(bootstrap_counts(n_groups, n, seed), by_group, axes=1)

    def estimate(parts: Coefficient, why_not: str | None = None) -> dict[str, Any]:
        return _estimate(parts, table, drawn, n_groups, why_not).to_json()

    at = index[positive]
    return {
        "n": len(first),
        "n_groups": n_groups,
        "table": {
            row: {column: int(table[i, j]) for j, column in enumerate(categories)} for i, row in enumerate(categories)
        },
        "table_is": "[first classifier][second classifier]",
        "raw_agreement": estimate(lambda tables: (kappa_parts(tables)[0], np.zeros(tables.shape[:-2]))),
        "kappa": estimate(kappa_parts, _one_category(table)),
        "ac1": estimate(lambda tables: gwet_parts(tables, np.eye(k))),
        "ac2_linear": estimate(lambda tables: gwet_parts(tables, linear_weights(k))),
        "mcnemar": _mcnemar(table, drawn, at, n_groups) | {"category": positive},
    }


def _shares(tables: np.ndarray) -> np.ndarray:
    return tables / tables.sum(axis=(-2, -1), keepdims=True)


def _one_category(table: np.ndarray) -> str | None:
    """Why kappa says nothing: it is 0 (or 0/0) whatever the other classifier says."""
    used = [int((table.sum(axis=axis) > 0).sum()) for axis in (1, 0)]
    if used == [1, 1]:
        return "each classifier says one category only, so chance cannot be told from agreement"
    return "one of the classifiers says one category only: kappa is 0 whatever the other says" if 1 in used else None


def _estimate(parts: Coefficient, table: np.ndarray, drawn: np.ndarray, n_groups: int, why_not: str | None) -> Estimate:
    if not table.any():
        return Estimate.undefined("no case has a usable label of both classifiers")
    if why_not is not None:
        return Estimate.undefined(why_not)
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
    replicates = coefficient(parts(drawn))
    if np.isnan(replicates).mean() > 0.1:
        return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
    agreed, chance = (float(part) for part in parts(table))
    value, (low, high) = (agreed - chance) / (1 - chance), interval(replicates, n_groups)
    method = "bootstrap over groups"
    agreed_low, agreed_high = interval(parts(drawn)[0], n_groups)
    if agreed_low <= 0 or agreed_high >= 1:
        wilson = proportion(agreed * n_groups, n_groups).ci95 or (0.0, 1.0)
        ends = [(end - chance) / (1 - chance) for end in wilson]
        low, high = min(low, ends[0]), max(high, ends[1])
        method = "bootstrap and wilson over groups"
    return Estimate(value, (low, high), int(table.sum()), method)


def _mcnemar(table: np.ndarray, drawn: np.ndarray, at: int, n_groups: int) -> dict[str, Any]:
    """Cases that only one classifier gives the category, the exact p, and the difference of the two shares."""
    only_first = int(table[at].sum() - table[at, at])
    only_second = int(table[:, at].sum() - table[at, at])
    p: Any
    try:
        p = exact_mcnemar(only_first, only_second)
    except EstimateError as error:
        p = Estimate.undefined(str(error)).to_json()
    difference = Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
    if only_first + only_second == 0:
        difference = Estimate.undefined("no case is discordant: an interval would have no width")
    elif len(drawn):
        replicates = (drawn[:, at].sum(axis=-1) - drawn[:, :, at].sum(axis=-1)) / drawn.sum(axis=(-2, -1))
        value = (only_first - only_second) / table.sum()
        difference = Estimate(float(value), interval(replicates, n_groups), int(table.sum()), "bootstrap over groups")
    return {
        "only_first": only_first,
        "only_second": only_second,
        "p_exact": p,
        "difference_first_minus_second": difference.to_json(),
    }
