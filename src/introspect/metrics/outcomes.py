"""What reading the answers found out besides: shares of every outcome, such as which tests a program passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..rollout import RolloutSummary
from .resampling import DRAWS, ratio_estimates, share

MOST_LEVELS = 12
"""An outcome with more different values than this (a message, say) is not tabulated."""


def outcomes_section(rollouts: Sequence[RolloutSummary], *, n: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Split -> outcome -> value -> share of the rollouts that have that outcome, with intervals over groups."""
    out: dict[str, Any] = {}
    for split in ("id", "ood"):
        mine = [rollout for rollout in rollouts if rollout.split == split]
        names = dict.fromkeys(name for rollout in mine for name in rollout.outcome)
        found = {name: _shares([r for r in mine if name in r.outcome], name, n, seed) for name in names}
        out[split] = {name: shares for name, shares in found.items() if shares}
    return out


def _shares(rollouts: Sequence[RolloutSummary], name: str, n: int, seed: int) -> dict[str, Any]:
    values = [str(rollout.outcome[name]) for rollout in rollouts]
    levels = sorted(set(values))
    if len(levels) > MOST_LEVELS:
        return {}
    columns = {level: np.array([value == level for value in values], dtype=float) for level in levels}
    cases = {"cases": np.ones(len(values))}
    wanted = {level: share(level, "cases") for level in levels}
    groups = [rollout.group for rollout in rollouts]
    found = ratio_estimates(columns | cases, groups, wanted, n=n, seed=seed)
    return {level: estimate.to_json() for level, estimate in found.items()}
