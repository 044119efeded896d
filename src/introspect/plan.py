"""From a spec's items to ordered work: which rollouts are made and committed together, and with which seeds. Pure.

Parts hold prompts of about one length, so that padding is rare, longest first, so that a run that does not fit in
memory fails at once. The plan depends on the items, the seed and the part size only: an interrupted run finds its
place again by the index of a part.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from .tasks.item import Item
from .tasks.task import PLAIN, Trial

MOST_LEVELS = 8
"""A field with more levels than this (a noun, an amount) is not balanced over."""


@dataclass(frozen=True)
class Job:
    """One rollout to be made."""

    rollout: int
    item: Item
    trial: Trial
    sample: int
    seed: int
    prompt_ids: tuple[int, ...]


def rollout_seed(seed: int, item_id: str, condition: str, sample: int) -> int:
    """A 63-bit seed of its own for every rollout, the same on every machine."""
    name = item_id if condition == PLAIN else f"{item_id}/{condition}"
    return int.from_bytes(_digest(f"{seed}/{name}/{sample}")[:8], "big") >> 1


def select_items(items: Sequence[Item], limits: dict[str, int | None]) -> list[Item]:
    """At most `limits[split]` items of each split, in file order, as balanced as can be.

    Groups take turns, in an order fixed by their names' digests; each gives the item whose pairs of levels (of domain
    and of every field with few levels) have been taken least often so far. So a small limit still crosses what the
    whole set crosses, and a smaller limit's items are among a larger one's.
    """
    kept: set[str] = set()
    for split, limit in limits.items():
        members = [item for item in items if item.split == split]
        kept |= {item.item_id for item in (members if limit is None else _balanced(members)[:limit])}
    return [item for item in items if item.item_id in kept]


def _balanced(items: Sequence[Item]) -> list[Item]:
    levels: dict[str, set] = {}
    for item in items:
        for name, value in item.fields.items():
            levels.setdefault(name, set()).add(value)
    few = [name for name, values in levels.items() if len(values) <= MOST_LEVELS]
    pairs = {
        item.item_id: list(combinations([("domain", item.domain), *((name, item.fields.get(name)) for name in few)], 2))
        for item in items
    }
    groups: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: _digest(item.item_id)):
        groups.setdefault(item.group, []).append(item)
    turns = sorted(groups, key=_digest)
    taken: Counter = Counter()
    order: list[Item] = []
    while len(order) < len(items):
        for group in turns:
            if groups[group]:
                best = min(groups[group], key=lambda item: sum(taken[pair] for pair in pairs[item.item_id]))
                groups[group].remove(best)
                taken.update(pairs[best.item_id])
                order.append(best)
    return order


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def make_parts(
    asked: Sequence[tuple[Item, Trial]], prompts: Sequence[Sequence[int]], *, samples: int, seed: int, part_size: int
) -> list[list[Job]]:
    """Jobs in parts of at most `part_size`, longest prompts first; samples of one prompt stay side by side.

    Args:
        asked: items and the conditions that they are asked under.
        prompts: token ids of each prompt, in the order of `asked`.
        samples: rollouts of a trial that does not say itself.
    """
    jobs: list[Job] = []
    for (item, trial), prompt in zip(asked, prompts, strict=True):
        for sample in range(trial.samples or samples):
            own_seed = rollout_seed(seed, item.item_id, trial.condition, sample)
            jobs.append(Job(len(jobs), item, trial, sample, own_seed, tuple(prompt)))
    return in_parts(jobs, part_size)


def in_parts(jobs: Sequence[Job], part_size: int) -> list[list[Job]]:
    """Jobs in parts of at most `part_size`, longest prompts first."""
    ordered = sorted(jobs, key=lambda job: (-len(job.prompt_ids), job.rollout))
    return [ordered[start : start + part_size] for start in range(0, len(ordered), part_size)]
