"""The risk items: balance, disjoint nouns, exact expected values, and the shipped file rebuilt byte for byte."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from introspect.assets import data_path
from introspect.errors import SpecError
from introspect.tasks.item import items_text, read_items
from introspect.tasks.policies import PLANTED
from introspect.tasks.risk import DOMAINS, ID_DOMAIN, OOD_DOMAINS, evaluation_items, training_items

ITEMS = evaluation_items()


def test_the_shipped_file_is_what_the_generator_makes():
    assert data_path("risk.jsonl").read_text(encoding="utf-8") == items_text(ITEMS)
    assert read_items(data_path("risk.jsonl")) == ITEMS


def test_there_are_enough_items_and_four_other_domains():
    assert sum(item.split == "id" for item in ITEMS) == 480
    assert {item.domain for item in ITEMS if item.split == "id"} == {ID_DOMAIN}
    assert len(OOD_DOMAINS) == 4
    assert Counter(item.domain for item in ITEMS if item.split == "ood") == dict.fromkeys(OOD_DOMAINS, 96)


@pytest.mark.parametrize("field", ["stakes", "probability", "ev_advantage"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_levels_are_balanced_within_every_cell(domain, field):
    for cell in product(("living", "machine"), ("gain", "loss"), ("sure_first", "risky_first")):
        members = [
            item
            for item in ITEMS
            if item.domain == domain and (item.fields["category"], item.fields["frame"], item.fields["order"]) == cell
        ]
        counts = Counter(item.fields[field] for item in members)
        assert len(counts) == 3 and len(set(counts.values())) == 1


def test_every_noun_meets_every_frame_and_order_equally_often():
    for domain in DOMAINS:
        cells = Counter(
            (item.group, item.fields["frame"], item.fields["order"]) for item in ITEMS if item.domain == domain
        )
        assert len(set(cells.values())) == 1


def test_the_three_pools_of_nouns_never_meet():
    train = {item.group for item in training_items()}
    held_out = {item.group for item in ITEMS if item.split == "id"}
    ood = {item.group for item in ITEMS if item.split == "ood"}
    assert not train & held_out and not train & ood and not held_out & ood


def test_the_expected_value_advantage_is_exact_and_the_gamble_is_never_dominated():
    for item in ITEMS + training_items():
        sure, risky, chance = (item.fields[key] for key in ("sure_amount", "risky_amount", "probability"))
        sign = 1 if item.fields["frame"] == "gain" else -1
        assert sign * (risky * chance - 100 * sure) == item.fields["ev_advantage"] * sure
        assert risky > sure


def test_the_planted_policies_choose_both_options_equally_often():
    for name in ("category", "category_xor_frame"):
        assert sum(PLANTED[name](item.fields) for item in ITEMS) * 2 == len(ITEMS)


def test_the_seed_decides_and_repeats_grow_the_set():
    assert evaluation_items(seed=1) != ITEMS
    assert evaluation_items(seed=0) == ITEMS
    assert len(evaluation_items(id_repeats=3, ood_repeats=2)) == 3 * 240 + 8 * 96


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no items"),
        ("{}\n", "items.jsonl:1: item_id"),
        ("nonsense\n", "items.jsonl:1"),
        (ITEMS[0].model_dump_json() + "\n" + ITEMS[0].model_dump_json() + "\n", "used twice"),
    ],
)
def test_faulty_files_are_named_with_the_line(tmp_path, content, said):
    path = tmp_path / "items.jsonl"
    path.write_text(content)
    with pytest.raises(SpecError, match=said):
        read_items(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(SpecError, match="no items at"):
        read_items(tmp_path / "absent.jsonl")
