"""Passing rollouts on as they are, until `behaviour` no longer asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..rollout import RolloutSummary


def records_of(rollouts: Iterable[RolloutSummary]) -> Iterator[RolloutSummary]:
    """The rollouts, one by one."""
    return iter(rollouts)
