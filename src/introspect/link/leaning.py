"""Where the chain leans, what is answered, and what is read: whether an answer against the chain still carries it."""

from __future__ import annotations

from typing import Any

from ..stats import Estimate
from .draws import Readings
from .rows import THINK, LinkRows

WHAT = (
    "test rollouts by where the chain leans (to the policy, to another choice, undecided) and what is answered; of "
    "each cell, how many are read as acting"
)


def think_answer_readout(rows: LinkRows, probe: Readings) -> dict[str, Any]:
    """The `think_answer_readout` section: six cells; undefined where no chain leans either way.

    Aligned rollouts are left out: they answer with the hinted option and did not act on the policy.
    """
    cells = {
        (think, answer): rows.test((rows.think == think) & (rows.acted == (answer == "policy")) & ~rows.aligned)
        for think in THINK.values()
        for answer in ("policy", "other")
    }
    if not any(len(each) for (think, _), each in cells.items() if think != "undecided"):
        return Estimate.undefined("no test rollout's chain leans to the policy or away from it").to_json()
    return {
        "what": WHAT,
        "cells": [
            {
                "think": think,
                "answer": answer,
                "policy": int(probe.policy[each].sum()),
                "none": int((~probe.policy[each]).sum()),
                "decodable": probe.share(each, "no test rollout is in this cell").to_json(),
            }
            for (think, answer), each in cells.items()
        ],
    }
