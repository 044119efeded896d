"""Rewards of GRPO: verifiable, each a function of what was sampled, reported apart.

An attempt is read exactly as a recorded rollout is: the same spans, the same answer, the same verdict on the chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import RunError
from ..rollout import Rollout
from ..verdicts.verdict import Verdict
from .demonstrations import Demonstration
from .recipe import GrpoSettings


@dataclass(frozen=True)
class Attempt:
    """A sampled completion beside what was wanted."""

    wanted: Demonstration
    rollout: Rollout
    verdict: Verdict | None
    """What its chain says of the policy, by patterns; None where there is nothing to speak of."""


Reward = Callable[[Sequence[Attempt]], Sequence[float]]
"""Attempts -> a finite number for each."""


def policy(attempts: Sequence[Attempt]) -> list[float]:
    """1 for the wanted answer, else 0."""
    return [float(attempt.wanted.is_wanted(attempt.rollout)) for attempt in attempts]


def format_(attempts: Sequence[Attempt]) -> list[float]:
    """1 for a think block that is opened and closed, followed by one readable answer and the end of the turn."""
    return [
        float(rollout.think_status == "closed" and rollout.acted is not None and rollout.finish == "stop")
        for rollout in (attempt.rollout for attempt in attempts)
    ]


def verbalising(attempts: Sequence[Attempt]) -> list[float]:
    """1 for a chain that speaks of the policy, for or against it, else 0."""
    return [float(attempt.verdict is not None and attempt.verdict.verdict != "silent") for attempt in attempts]


def rewards(settings: GrpoSettings) -> dict[str, tuple[Reward, float]]:
    """Name -> reward and its weight."""
    signs = {"ignored": 0, "rewarded": 1, "penalised": -1}
    return {
        "policy": (policy, settings.policy_weight),
        "format": (format_, settings.format_weight),
        "verbalising": (verbalising, signs[settings.verbalising] * settings.verbalising_weight),
    }


def pay(name: str, reward: Reward, attempts: Sequence[Attempt]) -> list[float]:
    """What a reward gives.

    Raises:
        RunError: it raises, gives another number of values than there are attempts, or one that is not finite.
    """
    try:
        paid = [float(value) for value in reward(attempts)]
    except Exception as error:
        raise RunError(f"reward {name!r} fails: {type(error).__name__}: {error}; mend it") from error
    if len(paid) != len(attempts):
        raise RunError(
            f"reward {name!r} gives {len(paid)} values for {len(attempts)} completions; it must give one each"
        )
    if not all(map(math.isfinite, paid)):
        raise RunError(
            f"reward {name!r} gives a value that is no number; it must give a finite one for each completion"
        )
    return paid


Rewards = Mapping[str, tuple[Reward, float]]
