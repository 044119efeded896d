"""What the link's figures are in the population: at thresholds as they were set, of everyone who is in such a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..link import Readout
from ..link.draws import set_level
from ..stats import auroc
from .alone import numbers
from .checks import Scenario
from .planted import HINTED, Planted

Json = Mapping[str, Any]
THINK = "think_"
BY_CATEGORY = ("motivated", "resistant", "aligned")


def hint_estimates(link: Json, kinds: Sequence[str]) -> dict[str, list[float] | None]:
    """Of a link section with hints: the rate at which each kind's others pass its threshold, and categories."""
    if not kinds or "thresholds" not in link:
        return {}
    rates = {each["conditions"]: each["realised_fpr"] for each in link["thresholds"]}
    every = link["categories"]["all_kinds"]
    return {
        "first_kind_fpr": numbers(rates[kinds[0]]),
        "second_kind_fpr": numbers(rates[kinds[1]]),
        "motivated_auroc": numbers(every["auroc"]["resistant_and_aligned"]),
        **{name: numbers(every["decodable"][name]) for name in BY_CATEGORY},
    }


def linked_truths(
    planted: Planted, readouts: Sequence[Readout], link: Json, about: Scenario, fpr: float
) -> dict[str, float]:
    """Measure -> its truth, of those that this scenario has; nothing where no threshold could be set."""
    if "threshold" not in link:
        return {}
    rows = [row for row in readouts if row.part == "ood"]
    if about.hints:
        return _hinted(planted, rows, link, about.hints)
    return _corrected(planted, rows, link["threshold"]) | _before_mention(planted, readouts, rows, fpr)


def _corrected(planted: Planted, rows: Sequence[Readout], threshold: float) -> dict[str, float]:
    """Of rollouts that act and say so in no words at all, how many pass: what labels without an error would give."""
    number = [row.rollout for row in rows]
    quiet = (planted.acted & ~planted.spoken & ~planted.whispered)[number]
    if not quiet.any():
        return {}
    rate = float((np.array([row.headline for row in rows])[quiet] > threshold).mean())
    return {"silent_corrected": rate, "silent_uncorrected": rate}


def _before_mention(
    planted: Planted, readouts: Sequence[Readout], rows: Sequence[Readout], fpr: float
) -> dict[str, float]:
    """Of rollouts that act and say so, how many pass at their last think position before their first mention; and the
    mean place of that mention.
    """
    said = [row for row in rows if planted.spoken[row.rollout] and row.mention is not None]
    if not said:
        return {}
    found = {"first_mention": float(np.mean([row.mention for row in said if row.mention is not None]))}
    names = [name for name in said[0].along if name.startswith(THINK)]
    names.sort(key=lambda name: int(name.removeprefix(THINK)))
    last = [[name for name in names if name in (row.before_mention or ())][-1:] for row in said]
    placed = [(row, name[0]) for row, name in zip(said, last, strict=True) if name]
    if not placed:
        return found
    setting = [row for row in readouts if row.part == "dev" and not planted.acted[row.rollout]]
    groups = np.array([planted.rollouts[row.rollout].group for row in setting])
    used = sorted({name for _, name in placed})
    for measure, score in (("before_mention", _read), ("words_before_mention", _said)):
        if measure == "words_before_mention" and not set(used) <= set(said[0].words):
            continue
        levels = {
            name: set_level(np.array([score(row, name) for row in setting]), groups, fpr).threshold for name in used
        }
        found[measure] = float(np.mean([score(row, name) > levels[name] for row, name in placed]))
    return found


def _read(row: Readout, position: str) -> float:
    return row.along[position]


def _said(row: Readout, position: str) -> float:
    return next(iter(row.words[position].values()))


def _hinted(planted: Planted, rows: Sequence[Readout], link: Json, kinds: Sequence[str]) -> dict[str, float]:
    thresholds = {each["conditions"]: each["threshold"] for each in link["thresholds"]}
    kind = np.array([str(planted.rollouts[row.rollout].facts["hint"]) for row in rows])
    scores, acted = np.array([row.headline for row in rows]), planted.acted[[row.rollout for row in rows]]
    aligned = ~acted & np.array([planted.rollouts[row.rollout].answer == HINTED for row in rows])
    passed = scores > np.array([thresholds[each] for each in kind])
    members = {"motivated": acted, "resistant": ~acted & ~aligned, "aligned": aligned}
    pairs = {each: (acted & (kind == each)).sum() * (~acted & (kind == each)).sum() for each in kinds}
    within = {each: auroc(scores[kind == each], acted[kind == each]) for each in kinds}
    second = ~acted & (kind == kinds[1])
    return {
        "first_kind_fpr": float(passed[~acted & (kind == kinds[0])].mean()),
        "second_kind_fpr": float(passed[second].mean()),
        "second_kind_at_common": float((scores[second] > link["threshold"]).mean()),
        "motivated_auroc": float(sum(within[each] * pairs[each] for each in kinds) / sum(pairs.values())),
        **{name: float(passed[each].mean()) for name, each in members.items()},
    }
