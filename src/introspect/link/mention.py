"""Before the first mention: in chains that say so, is the policy read before they begin to?

Where a chain first speaks of the policy or the hint is what the patterns find first, be it a mention, a claim or a
denial: a place that is rather too early than too late. Only think positions whose token, and all before it, end before
that place are counted, each with the best probe there, and no means; words are those that have been said by then, and
the prompt's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import EstimateError
from ..experiment import MEANS
from ..stats import Estimate, bootstrap
from .draws import Draws, Readings, share_estimate
from .rows import LinkRows

WHAT = (
    "of test rollouts that acted on the policy and say so, at think positions before the chain's first mention of it: "
    "how many are read as acting"
)
NOTHING = "no such rollout has a recorded think position before its first mention"
EARLIER = "the run was analysed by an earlier version, which did not look for the first mention: run it again"


def before_mention(rows: LinkRows, draws: Draws, fpr: float) -> dict[str, Any]:
    """The `before_mention` section: at each think position, and at each rollout's last one before its mention."""
    if any(readout.before_mention is None for readout in rows.readouts):
        return Estimate.undefined(EARLIER).to_json()
    saying = rows.test(rows.acted & (rows.verdict == "verbalised"))
    if not len(saying):
        return Estimate.undefined("no test rollout acted on the policy and says so").to_json()
    positions = [name for name in rows.positions if name.startswith("think_") and name not in MEANS]
    positions.sort(key=lambda name: int(name.removeprefix("think_")))
    if not positions:
        return Estimate.undefined("no position in the chain is probed").to_json()
    mentions = np.array([np.nan if each.mention is None else each.mention for each in rows.readouts])
    placed = saying[np.isfinite(mentions[saying])]
    last = _last_before(rows, placed, positions)
    found = [_Position(rows, draws, fpr, name) for name in positions]
    chosen = {each.name: placed[last[placed] == each.name] for each in found}
    return {
        "what": WHAT,
        "n_verbalised": len(saying),
        "n_placed": len(placed),
        "first_mention": _mean(mentions[placed], rows.groups[placed], draws).to_json(),
        "last_position": {
            "n": int(sum(len(each) for each in chosen.values())),
            "decodable": _together([(each.probe, chosen[each.name]) for each in found], rows).to_json(),
            "words": _together([(each.words, chosen[each.name]) for each in found], rows).to_json(),
        },
        "positions": [each.to_json(placed[rows.before(each.name)[placed]]) for each in found],
    }


def _last_before(rows: LinkRows, placed: np.ndarray, positions: list[str]) -> np.ndarray:
    """The last of the positions (earliest first) that lies before each placed row's first mention, or empty. [row]"""
    last = np.full(len(rows), "", dtype="<U16")
    for name in positions:
        last[placed[rows.before(name)[placed]]] = name
    return last


class _Position:
    """What is read at one think position, by the best probe there and by the words up to there."""

    def __init__(self, rows: LinkRows, draws: Draws, fpr: float, name: str) -> None:
        self.rows, self.name = rows, name
        self.probe = Readings(rows, rows.along(name), draws, fpr)
        words = rows.words(name)
        self.words_name = None if words is None else words[0]
        self.words = None if words is None else Readings(rows, words[1], draws, fpr)

    def to_json(self, chosen: np.ndarray) -> dict[str, Any]:
        not_acted = self.rows.test(~self.rows.acted)
        return {
            "position": self.name,
            "n": len(chosen),
            **_rates(self.probe, chosen, not_acted),
            "words": {"name": self.words_name, **_rates(self.words, chosen, not_acted)},
        }


def _rates(readings: Readings | None, chosen: np.ndarray, not_acted: np.ndarray) -> dict[str, Any]:
    if readings is None:
        nothing = Estimate.undefined("no words could be scored at this position").to_json()
        return {"decodable": nothing, "realised_fpr": nothing}
    return {
        "decodable": readings.share(chosen, NOTHING).to_json(),
        "realised_fpr": readings.share(not_acted, "every test rollout acted on the policy").to_json(),
    }


def _together(parts: list[tuple[Readings | None, np.ndarray]], rows: LinkRows) -> Estimate:
    """A share over rows that are each read at a position of their own."""
    used = [(readings, chosen) for readings, chosen in parts if len(chosen)]
    if any(readings is None for readings, _ in used):
        return Estimate.undefined("no words could be scored at one of the positions")
    known = [(readings, chosen) for readings, chosen in used if readings is not None]
    chosen = np.concatenate([np.zeros(0, dtype=np.int64), *(each for _, each in known)])
    read = np.concatenate([np.zeros(0, dtype=bool), *(readings.policy[each] for readings, each in known)])
    sums = [readings.sums(each) for readings, each in known]
    passed, drawn = (sum((each[i] for each in sums), np.zeros(1)) for i in (0, 1))
    return share_estimate(float(read.mean()) if len(read) else np.nan, (passed, drawn), chosen, rows.groups, NOTHING)


def _mean(values: np.ndarray, groups: np.ndarray, draws: Draws) -> Estimate:
    """Mean place of the first mention, as a share of the chain's characters."""
    if not len(values):
        return Estimate.undefined("the patterns find no mention in these chains")

    def mean(drawn: np.ndarray) -> float:
        if not len(drawn):
            raise EstimateError("nothing was drawn")
        return float(values[drawn].mean())

    return bootstrap(mean, groups, n=draws.n, seed=0)
