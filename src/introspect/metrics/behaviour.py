"""What the rollouts of a run did: policy rates, validity, chain length, agreement with a planted policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..rollout import RolloutSummary
from ..stats import Estimate
from ..tasks.policies import PLANTED
from ..tasks.task import Task
from .lengths import MEAN as MEAN_LENGTH
from .resampling import DRAWS, ratio_estimates, share


def policy_rate(rollouts: Sequence[RolloutSummary], *, n: int = DRAWS, seed: int = 0) -> Estimate:
    """Share of valid answers that act on the policy."""
    valid = [rollout for rollout in rollouts if rollout.acted is not None]
    return _share([rollout.acted is True for rollout in valid], valid, n, seed)


def invalid_rate(rollouts: Sequence[RolloutSummary], *, n: int = DRAWS, seed: int = 0) -> Estimate:
    """Share of rollouts from which no single option can be read."""
    return _share([rollout.acted is None for rollout in rollouts], rollouts, n, seed)


def planted_accuracy(rollouts: Sequence[RolloutSummary], policy: str, *, n: int = DRAWS, seed: int = 0) -> Estimate:
    """Share of valid answers that are what the planted policy (a key of `PLANTED`) says."""
    if policy not in PLANTED:
        return Estimate.undefined(f"the planted policy {policy!r} does not follow from an item's fields alone")
    planted = PLANTED[policy]
    if planted is None:
        return Estimate.undefined("the planted policy is chance: no answer agrees or disagrees with it")
    valid = [rollout for rollout in rollouts if rollout.acted is not None]
    try:
        agreeing = [rollout.acted == planted(rollout.fields) for rollout in valid]
    except KeyError as error:
        return Estimate.undefined(f"the planted policy depends on a field that these items lack: {error}")
    return _share(agreeing, valid, n, seed)


def _share(cases: list[bool], rollouts: Sequence[RolloutSummary], n: int, seed: int) -> Estimate:
    """A share of rollouts, with an interval over groups; Wilson's where no two share a group."""
    columns = {"cases": np.array(cases, float), "rows": np.ones(len(rollouts))}
    groups = [rollout.group for rollout in rollouts]
    return ratio_estimates(columns, groups, {"rate": share("cases", "rows")}, n=n, seed=seed)["rate"]


def think_tokens(rollouts: Sequence[RolloutSummary]) -> Estimate:
    """Mean length of the think span, in tokens, over rollouts that have one."""
    spans = [(rollout.spans.think, rollout.group) for rollout in rollouts if rollout.think_status != "absent"]
    if not spans:
        return Estimate.undefined("no rollout has a think block")
    lengths = np.array([stop - start for (start, stop), _ in spans], dtype=float)
    columns = {"tokens": lengths, "rows": np.ones(len(lengths))}
    return ratio_estimates(columns, [group for _, group in spans], {"mean": MEAN_LENGTH}, n=1000)["mean"]


def behaviour_section(
    rollouts: Sequence[RolloutSummary], *, task: Task, planted: str | None, n: int = DRAWS, seed: int = 0
) -> dict:
    """The `behaviour` section of results.json: rates of those that could act on the policy, validity of all.

    Args:
        planted: the organism's planted policy, or None when its card names none.
        n, seed: of the bootstrap.
    """
    counted = task.counted(rollouts)
    by_split = {split: [r for r in counted if r.split == split] for split in ("id", "ood")}
    domains = list(dict.fromkeys(rollout.domain for rollout in counted))
    no_card = Estimate.undefined("no card states a planted policy for this model")
    status = Counter(rollout.think_status for rollout in rollouts)
    return {
        "policy": task.policy,
        "policy_rate": {split: policy_rate(chosen, n=n, seed=seed).to_json() for split, chosen in by_split.items()},
        "policy_rate_by_domain": {
            domain: policy_rate([r for r in counted if r.domain == domain], n=n, seed=seed).to_json()
            for domain in domains
        },
        "invalid_rate": invalid_rate(rollouts, n=n, seed=seed).to_json(),
        "think_status": {name: status[name] for name in ("closed", "empty", "truncated", "absent")},
        "think_tokens": think_tokens(rollouts).to_json(),
        "planted_policy_accuracy": {
            split: (planted_accuracy(chosen, planted, n=n, seed=seed) if planted else no_card).to_json()
            for split, chosen in by_split.items()
        },
    }
