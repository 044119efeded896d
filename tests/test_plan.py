"""The plan: same spec, same order, same seeds; limits that stay balanced."""

from __future__ import annotations

from collections import Counter

from introspect.plan import make_parts, rollout_seed, select_items
from introspect.tasks.risk import evaluation_items
from introspect.tasks.task import plain

ITEMS = evaluation_items()
ASKED = [(item, plain(item)) for item in ITEMS]
PROMPTS = [list(range(len(item.prompt) % 17 + 3)) for item in ITEMS]


def test_batches_hold_every_rollout_once_and_longest_prompts_first():
    batches = make_parts(ASKED, PROMPTS, samples=2, seed=0, part_size=50)
    jobs = [job for batch in batches for job in batch]
    assert sorted(job.rollout for job in jobs) == list(range(2 * len(ITEMS)))
    lengths = [len(job.prompt_ids) for job in jobs]
    assert lengths == sorted(lengths, reverse=True)
    assert {len(batch) for batch in batches[:-1]} == {50}
    assert all(ITEMS[job.rollout // 2] is job.item and job.rollout % 2 == job.sample for job in jobs)


def test_seeds_depend_on_run_item_and_sample_and_nothing_else():
    batches = make_parts(ASKED[::-1], PROMPTS[::-1], samples=1, seed=3, part_size=7)
    assert all(job.seed == rollout_seed(3, job.item.item_id, "plain", 0) for batch in batches for job in batch)
    seeds = {
        rollout_seed(run, item.item_id, condition, sample)
        for run in (0, 1)
        for item in ITEMS
        for sample in (0, 1)
        for condition in ("plain", "hinted")
    }
    assert len(seeds) == 8 * len(ITEMS)
    assert rollout_seed(0, "risk-1", "plain", 0) == 727515948279846549


def test_a_limit_takes_groups_evenly_and_keeps_file_order():
    chosen = select_items(ITEMS, {"id": 90, "ood": 24})
    assert [item for item in ITEMS if item in chosen] == chosen
    by_split = {split: Counter(item.group for item in chosen if item.split == split) for split in ("id", "ood")}
    assert sum(by_split["id"].values()) == 90 and set(by_split["id"].values()) == {1, 2}
    assert len(by_split["ood"]) == 24 and set(by_split["ood"].values()) == {1}


def test_a_limit_keeps_what_the_whole_set_crosses_balanced():
    chosen = select_items(ITEMS, {"id": 240, "ood": 96})
    crossed = Counter((i.split, i.fields["category"], i.fields["frame"]) for i in chosen)
    assert all(abs(n - (60 if split == "id" else 24)) <= 1 for (split, _, _), n in crossed.items())
    domains = Counter(item.domain for item in chosen if item.split == "ood")
    assert len(domains) == 4 and all(abs(n - 24) <= 1 for n in domains.values())


def test_a_smaller_limit_is_a_subset_and_none_means_all():
    large, small = (select_items(ITEMS, {"id": n, "ood": n}) for n in (60, 30))
    assert {item.item_id for item in small} < {item.item_id for item in large}
    assert select_items(ITEMS, {"id": None, "ood": None}) == ITEMS
