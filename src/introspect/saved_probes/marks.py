"""Names of what was fitted that do not say it: a card marks the items that a direction has seen without their texts."""

from __future__ import annotations

import hashlib

from ..rollout import RolloutSummary


def group_mark(rollout: RolloutSummary) -> str:
    """Names a rollout's group, within its task, without saying it: 16 hex digits."""
    return hashlib.sha256(f"{rollout.task}\n{rollout.group}".encode()).hexdigest()[:16]


def prompt_mark(rollout: RolloutSummary) -> str:
    """Names what a rollout was asked without saying it: 16 hex digits."""
    return hashlib.sha256(rollout.prompt_text.encode()).hexdigest()[:16]
