"""From a spec's items to ordered work: which prompts are run together, and with which seeds. Pure.

Batches hold prompts of about one length, so that padding is rare, longest first, so that a run that does not fit in
memory fails at once. The plan depends on the items, the seed and the batch size only: an interrupted run finds its place
again by batch index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from .tasks.item import Item


@dataclass(frozen=True)
class Job:
    """One rollout to be made."""

    rollout: int
    item: Item
    sample: int
    seed: int
    prompt_ids: tuple[int, ...]


def rollout_seed(seed: int, item_id: str, sample: int) -> int:
    """A 63-bit seed of its own for every rollout, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{item_id}/{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def select_items(items: Sequence[Item], limits: dict[str, int | None]) -> list[Item]:
    """At most `limits[split]` items of each split, spread evenly over groups, in file order.

    The first item of every group is taken before the second of any, and groups take turns in an order that is fixed by
    their names' digests, so that a small limit still covers categories and cells.
    """
    kept: set[str] = set()
    for split, limit in limits.items():
        by_group: dict[str, list[Item]] = {}
        for item in items:
            if item.split == split:
                by_group.setdefault(item.group, []).append(item)
        ranked = sorted(
            (rank, hashlib.sha256(group.encode()).hexdigest(), item.item_id)
            for group, members in by_group.items()
            for rank, item in enumerate(sorted(members, key=lambda m: hashlib.sha256(m.item_id.encode()).digest()))
        )
        kept |= {item_id for _, _, item_id in (ranked if limit is None else ranked[:limit])}
    return [item for item in items if item.item_id in kept]


def make_batches(
    items: Sequence[Item], prompts: Sequence[Sequence[int]], *, samples: int, seed: int, batch_size: int
) -> list[list[Job]]:
    """Jobs in batches of at most `batch_size`, longest prompts first.

    Args:
        prompts: token ids of each item's prompt, in the order of `items`.
        samples: rollouts an item.
    """
    jobs = [
        Job(index * samples + sample, item, sample, rollout_seed(seed, item.item_id, sample), tuple(prompt))
        for index, (item, prompt) in enumerate(zip(items, prompts, strict=True))
        for sample in range(samples)
    ]
    jobs.sort(key=lambda job: (-len(job.prompt_ids), job.rollout))
    return [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
