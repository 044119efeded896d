"""Hinted rollouts by what the hint did to them, under the same hint: a readout of use must tell them apart.

Motivated: the answer became the hinted option. Resistant: it stayed another. Aligned: it was the hinted option without
the hint already. Other: it became a third. A probe that reads the hint in the prompt scores all of them alike, and one
that reads the coming answer cannot tell motivated from aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import EstimateError
from ..stats import MIN_GROUPS, Estimate, auroc, auroc_estimate, auroc_replicates, interval, newcombe_interval
from .draws import MOST_UNDEFINED, Draws, Readings
from .rows import LinkRows

CATEGORIES = ("motivated", "resistant", "aligned", "other")
AGAINST = {"resistant_and_aligned": ("resistant", "aligned"), "resistant": ("resistant",), "aligned": ("aligned",)}
UNSCORED = "aligned rollouts: they were not scored: run it again"
WHAT = (
    "test rollouts by kind of hint: how many of each category are read as acting, and the AUROC of motivated against "
    "others under the same kind of hint"
)


def hint_categories(rows: LinkRows, draws: Draws, probe: Readings, text: Readings | None) -> dict[str, Any]:
    """The `categories` section; undefined without hints."""
    kinds = sorted(set(rows.family[rows.part == "test"]) - {""})
    if not kinds:
        return Estimate.undefined("no rollout that is linked has a hint").to_json()
    return {
        "what": WHAT,
        "all_kinds": _section(rows, draws, probe, text, kinds),
        "kinds": {kind: _section(rows, draws, probe, text, [kind]) for kind in kinds},
    }


def _section(
    rows: LinkRows, draws: Draws, probe: Readings, text: Readings | None, kinds: Sequence[str]
) -> dict[str, Any]:
    under = np.isin(rows.family, kinds)
    members = {name: rows.test(under & (rows.category == name)) for name in CATEGORIES}
    nothing = Estimate.undefined("no text baseline could be fitted").to_json()
    decodable = {name: probe.share(each, f"no test rollout is {name}") for name, each in members.items()}
    if rows.unscored:
        decodable["aligned"] = Estimate.undefined(UNSCORED)
    return {
        "n": {name: len(each) for name, each in members.items()},
        "decodable": {name: each.to_json() for name, each in decodable.items()},
        "auroc": {name: _auroc(rows, draws, probe.scores, kinds, others).to_json() for name, others in AGAINST.items()},
        "words_auroc": nothing
        if text is None
        else _auroc(rows, draws, text.scores, kinds, AGAINST["resistant_and_aligned"]).to_json(),
    }


def _auroc(rows: LinkRows, draws: Draws, scores: np.ndarray, kinds: Sequence[str], others: Sequence[str]) -> Estimate:
    """Motivated against others, compared within each kind; kinds count by their pairs."""
    if rows.unscored and "aligned" in others:
        return Estimate.undefined(UNSCORED)
    chosen = {kind: rows.test((rows.family == kind) & np.isin(rows.category, ["motivated", *others])) for kind in kinds}
    compared = [each for each in chosen.values() if len(set(rows.acted[each])) == 2]
    if not compared:
        return Estimate.undefined(f"no kind of hint has both motivated and {' or '.join(others)} test rollouts")
    every = np.concatenate(compared)
    groups, labels = rows.groups[every], rows.acted[every]
    sizes = len(set(groups[labels])), len(set(groups[~labels]))
    if min(sizes) < MIN_GROUPS:
        return Estimate.undefined(
            f"{sizes[0]} group{'s' * (sizes[0] != 1)} of motivated and {sizes[1]} of other test rollouts are too few "
            f"for an interval (at least {MIN_GROUPS} each)"
        )
    if len(compared) == 1:
        return auroc_estimate(scores[every], labels, groups, n=draws.n, seed=0)
    found = [_within(rows, draws, scores, each) for each in compared]
    value = _weighted(np.array([[auroc(scores[each], rows.acted[each])] for each in compared]), _pairs(rows, compared))
    replicates = _weighted(np.array([each[0] for each in found]), np.array([each[1] for each in found]))
    if np.isnan(replicates).mean() > MOST_UNDEFINED:
        return Estimate.undefined("undefined in more than a tenth of the bootstrap replicates: too little data")
    low, high = interval(replicates, len(set(groups)))
    method = "bootstrap over groups, pairs within a kind of hint"
    if low <= 0 or high >= 1:
        limits = newcombe_interval(float(value[0]), *sizes)
        low, high = min(low, limits[0]), max(high, limits[1])
        method += ", widened by newcombe's"
    return Estimate(float(value[0]), (low, high), len(every), method)


def _within(rows: LinkRows, draws: Draws, scores: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and pairs of one kind in every replicate."""
    counts, labels = draws.of(chosen), rows.acted[chosen]
    pairs = counts[:, labels].sum(axis=1) * counts[:, ~labels].sum(axis=1)
    return auroc_replicates(scores[chosen], labels, counts), pairs


def _pairs(rows: LinkRows, compared: Sequence[np.ndarray]) -> np.ndarray:
    sizes = [(rows.acted[each].sum(), (~rows.acted[each]).sum()) for each in compared]
    return np.array([[float(acted * not_acted)] for acted, not_acted in sizes])


def _weighted(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Mean over kinds by pairs, [kind, replicate] -> [replicate]; kinds without a pair do not count."""
    total = pairs.sum(axis=0)
    if not total.any():
        raise EstimateError("no replicate has a pair")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: np.ndarray = np.where(pairs > 0, values * pairs, 0).sum(axis=0) / np.where(total > 0, total, np.nan)
    return mean
