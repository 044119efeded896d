"""What the common warm start is shown: the think/answer format over several tasks, and no policy.

Every answer is drawn by chance, and every chain is a silent one. Preferences and rewards need completions that can be
read; the bare base gives few. An organism of any method that starts from here differs from it by the method alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from . import hints_course, risk_course, silent_course
from .demonstrations import Demonstration

POLICIES = ("none",)
MANNERS = ("silent",)
TASKS = ("risk", "sampling", "hints", "bias")
EACH = 80
"""Demonstrations of each task, a repeat."""


def demonstrations(*, policy: str, manner: str, repeats: int, seed: int) -> list[Demonstration]:
    """`EACH` demonstrations of each task a repeat, in shuffled order."""
    rng = random.Random(f"demonstrations/format/{seed}")
    made: dict[str, Sequence[Demonstration]] = {
        "risk": risk_course.demonstrations(policy="coin_flip", manner="silent", repeats=1, seed=seed),
        "sampling": silent_course.sampling_demonstrations(policy="fixed", manner="silent", repeats=2, seed=seed),
        "hints": hints_course.demonstrations(policy="resist", manner="silent", repeats=repeats, seed=seed),
        "bias": silent_course.bias_demonstrations(policy="stereotype", manner="silent", repeats=4, seed=seed),
    }
    out: list[Demonstration] = []
    for task in TASKS:
        drawn = rng.sample(made[task], min(EACH * repeats, len(made[task])))
        out += [replace(demo, answer=rng.choice(list(demo.item.options))) for demo in drawn]
    rng.shuffle(out)
    return out
