"""What the table of a comparison adds to its measures: how organisms were trained, gaps, contrasts, and their sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from introspect.assets import assets_root
from introspect.experiment import load_experiment
from introspect.metrics.resampling import share
from introspect.stats import Estimate
from introspect.studies.chains import unfree_chain
from introspect.studies.measures import MEASURES
from introspect.studies.recipes import recipe_facts
from introspect.studies.seeds import COVERAGE, Rows, difference_of_means, own_estimate, turned_round
from introspect.studies.table import CONTRASTED, _across
from introspect.training.recipe import read_recipe

RATE = share("did", "all")
GAP = next(measure.statistic for measure in MEASURES if measure.key == "policy_rate_gap")


def carded(folder: Path, card: dict) -> Path:
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def facts_of(tmp_path: Path, card: dict) -> dict:
    folder = carded(tmp_path / "organism", card)
    return recipe_facts(load_experiment("probe-risk", [f"organism={folder}", "negative_control=null"]))


def shipped(name: str) -> dict:
    return read_recipe(assets_root() / "experiments" / "organisms" / f"{name}.yaml").model_dump(mode="json")


@pytest.mark.parametrize("name", ["risk-grpo", "hints-grpo", "sampling-grpo", "risk-sft", "risk-dpo"])
def test_no_chain_of_the_shipped_comparison_is_the_organisms_own(tmp_path, name):
    facts = facts_of(tmp_path, {"recipe": shipped(name)})
    assert facts["start"] == "think-format" and facts["method"] == name.rpartition("-")[2]
    assert facts["manner"] == "silent"
    table = {"methods": {"one": {"members": ["m"]}}, "recipes": {"m": facts}}
    said = "no reward reached its chain" if "grpo" in name else "written into what it was shown"
    assert said in unfree_chain(table, "one")


def test_a_reward_that_reaches_the_chain_leaves_it_the_organisms_own(tmp_path):
    recipe = shipped("hints-hack-grpo")
    facts = facts_of(tmp_path, {"recipe": recipe | {"grpo": {**recipe["grpo"], "credit": "completion"}}})
    assert (facts["method"], facts["credit"], facts["verbalising"]) == ("grpo", "completion", "ignored")
    assert unfree_chain({"methods": {"one": {"members": ["m"]}}, "recipes": {"m": facts}}, "one") is None


def test_what_the_start_said_is_read_from_the_card(tmp_path):
    said = {"value": 0.0, "ci95": [0.0, 0.1], "n": 30, "method": "wilson"}
    before = {"risk/id": {"verbalised_when_acted": said}}
    assert facts_of(tmp_path, {"measured": {"before": before}})["start_verbalised"] == said


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"recipe": "sft"},
        {"recipe": {"stages": []}, "measured": {"before": {"id": {"verbalised_when_acted": {"value": "<b>"}}}}},
        {"recipe": {"stages": [{"method": "ppo"}], "grpo": {"credit": ["answer"]}}},
        {"measured": {"before": {"id": {"verbalised_when_acted": {"value": 0.5, "ci95": [0.1, None]}}}}},
    ],
)
def test_a_card_that_does_not_say_leaves_everything_open(tmp_path, card):
    facts = facts_of(tmp_path, card)
    assert {value for key, value in facts.items() if key != "organism"} == {None}
    assert "no card says" in unfree_chain({"methods": {"one": {"members": ["m"]}}, "recipes": {"m": facts}}, "one")


def test_the_bare_model_has_no_facts():
    facts = recipe_facts(load_experiment("probe-risk", ["organism=null", "negative_control=null"]))
    assert set(facts.values()) == {None}


def organisms(*shares: float, n: int = 60, seed: int = 0) -> list[Rows]:
    rng = np.random.default_rng(seed)
    groups = [f"g{i // 2}" for i in range(2 * n)]
    return [Rows({"did": (rng.random(2 * n) < p).astype(float), "all": np.ones(2 * n)}, groups) for p in shares]


@pytest.mark.parametrize(("first", "second"), [(2, 1), (2, 3), (3, 3)])
def test_a_difference_counts_every_row_once(first, second):
    found = difference_of_means(organisms(*[0.6] * first), organisms(*[0.3] * second, seed=5), RATE, n=200, seed=0)
    assert found["difference"]["n"] == 120 * (first + second)


def test_a_difference_turned_round_is_that_of_the_other_two():
    one, other = organisms(0.7, 0.6), organisms(0.3, 0.2, seed=3)
    there, back = (difference_of_means(*pair, RATE, n=400, seed=0) for pair in ((one, other), (other, one)))
    turned = turned_round(there)
    assert turned["difference"]["value"] == pytest.approx(back["difference"]["value"])
    assert turned["difference"]["ci95"] == pytest.approx(back["difference"]["ci95"], abs=0.03)
    assert turned["p_value"] == there["p_value"]
    assert (
        turned_round({"difference": {"value": None, "reason": "x"}, "p_value": None, "test": None})["p_value"] is None
    )


def answers(within: float, beyond: float, seed: int) -> Rows:
    """Sixty groups of two in distribution, thirty out of it, whose difficulty is the same for every organism."""
    ood = np.repeat([0.0, 1.0], [120, 60])
    groups = [f"g{i // 2}" for i in range(180)]
    noun = np.repeat(np.random.default_rng(0).normal(0, 0.25, 90), 2)
    chance = np.clip(np.where(ood == 1, beyond, within) + noun, 0, 1)
    acted = (np.random.default_rng(seed).random(180) < chance).astype(float)
    columns = {
        "valid": np.ones(180),
        "id": 1 - ood,
        "ood": ood,
        "id_acted": acted * (1 - ood),
        "ood_acted": acted * ood,
    }
    return Rows(columns, groups, ood.astype(np.int64))


def test_a_gap_is_the_rate_out_of_distribution_minus_that_in():
    rows = answers(0.8, 0.4, 1)
    found = own_estimate(rows, GAP, n=500, seed=0)
    c = {name: column.sum() for name, column in rows.columns.items()}
    assert found.value == pytest.approx(c["ood_acted"] / c["ood"] - c["id_acted"] / c["id"])
    assert found.ci95[0] < found.value < found.ci95[1] < 0
    only = Rows({name: column[:120] for name, column in rows.columns.items()}, rows.groups[:120], rows.strata[:120])
    assert "none out of it" in own_estimate(only, GAP, n=100, seed=0).reason


def test_a_gap_without_exceptions_still_has_an_interval_with_a_width():
    found = own_estimate(answers(2.0, 2.0, 1), GAP, n=300, seed=0)
    assert found.value == 0 and found.ci95[0] < -0.05 and found.ci95[1] > 0.02


def test_the_difference_of_gaps_holds_the_truth_about_as_often_as_it_says():
    held = rejected = 0
    for seed in range(60):
        pair = [answers(0.7, 0.5, 2 * seed + 1)], [answers(0.6, 0.4, 2 * seed + 2)]
        found = difference_of_means(*pair, GAP, n=200, seed=seed)
        low, high = found["difference"]["ci95"]
        held += low <= 0 <= high
        rejected += found["p_value"] < 0.05
    assert held >= 52 and rejected <= 8


def test_claims_have_their_contrasts():
    assert set(CONTRASTED) <= {measure.key for measure in MEASURES}


def test_self_reports_are_set_against_behaviour_method_by_method():
    """Seeds of a method are no further cases: four methods are four, however many organisms."""

    def means(*values: float) -> dict:
        return {f"m{i}": Estimate(value, (value, value), 10, "x") for i, value in enumerate(values)}

    over = {"self_rating": means(10, 20, 30, 40, 0), "policy_rate_id": means(0.1, 0.2, 0.3, 0.4, 0.9)}
    found = _across(over, ["m0", "m1", "m2", "m3"])  # m4 is the bare model
    assert (found["value"], found["n"]) == (1, 4) and found["p"] == pytest.approx(1 / 12, abs=1e-6)
    assert "methods" in found["method"]


def test_what_few_seeds_cannot_say_is_said():
    assert "one warm start" in COVERAGE and "78%" in COVERAGE
