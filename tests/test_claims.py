"""Published claims are judged by their rules, and not where these organisms cannot speak to them."""

from __future__ import annotations

import copy

import pytest

from introspect.studies.claims import CLAIMS, judge_claims

GRPO_GENERALISES, DPO_GENERALISES, GRPO_REPORTS, DPO_REPORTS, ALIGNMENT, TRACKS, HALF, NO_RISE, SHORTCUT = range(9)
VERDICTS = {"supports", "contradicts", "cannot decide"}


def estimate(value: float, half: float = 0.05) -> dict:
    return {"value": value, "ci95": [value - half, value + half], "n": 100, "method": "bootstrap over groups"}


def none(reason: str = "nothing to measure") -> dict:
    return {"value": None, "reason": reason}


FREE = {
    "sft": {"method": "sft", "manner": None, "credit": None, "verbalising": None},
    "dpo": {"method": "dpo", "manner": None, "credit": None, "verbalising": None},
    "grpo": {"method": "grpo", "manner": "silent", "credit": "completion", "verbalising": "ignored"},
}
"""Facts of organisms whose chains are their own."""


def table(measured: dict[str, dict[str, float | None]], rho: dict | None = None, seeds: int = 1) -> dict:
    """A task's table: method -> measure -> value; the reference is `base`, from which all were trained."""
    keys = list(dict.fromkeys(key for values in measured.values() for key in values))
    methods = {
        name: {
            "members": [
                f"risk-{name}" + (f"-{seed}" if seed else "") for seed in range(1 if name == "base" else seeds)
            ],
            "measures": {key: none() if values.get(key) is None else estimate(values[key], half(key)) for key in keys},
        }
        for name, values in measured.items()
    }
    others = [name for name in methods if name != "base"]
    recipes = {
        member: FREE.get(name, dict.fromkeys(FREE["sft"]))
        | {"organism": member, "start": None if name == "base" else "risk-base", "start_verbalised": None}
        for name, each in methods.items()
        for member in each["members"]
    }
    return {
        "measures": keys,
        "methods": methods,
        "members": {member: dict(each["measures"]) for each in methods.values() for member in each["members"]},
        "differences": {name: {key: against(methods, name, "base", key) for key in keys} for name in others},
        "contrasts": {
            name: {
                other: {key: against(methods, name, other, key) for key in keys} for other in others if other != name
            }
            for name in others
        },
        "recipes": recipes,
        "trained": list(methods),
        "self_rating_and_behaviour": rho or none("too few runs"),
    }


def against(methods: dict, name: str, other: str, key: str) -> dict:
    return {"difference": minus(methods, name, other, key), "p_value": 0.0005, "test": "permutation"}


def half(key: str) -> float:
    return 2.0 if "rating" in key else 0.05


def minus(methods: dict, name: str, other: str, key: str) -> dict:
    first, second = (methods[each]["measures"][key]["value"] for each in (name, other))
    if first is None or second is None:
        return none("one of the two is undefined")
    return estimate(first - second, 1.4 * half(key))


def verdict(number: int, *tables: dict) -> str:
    found = judge_claims({f"task{i}": each for i, each in enumerate(tables)})
    assert len(found) == len(CLAIMS)
    for each in found:
        assert each["verdict"] in VERDICTS
        assert all(isinstance(value, str) and value for value in each.values())
        assert set(each) == {"claim", "source", "measured", "verdict", "why"}
        assert each["why"].startswith("Rule: ")
    return found[number]["verdict"]


def learnt(seeds: int = 2, **changes: dict[str, float]) -> dict:
    """Base at chance; all three methods at .9 in distribution and .7 out of it, unless changed."""
    values = {name: {"planted_agreement_id": 0.9, "planted_agreement_ood": 0.7} for name in ("sft", "dpo", "grpo")}
    values = {"base": {"planted_agreement_id": 0.5, "planted_agreement_ood": 0.5}, **values}
    for name, each in changes.items():
        values[name] = {**values[name], **each}
    for each in values.values():
        each["planted_agreement_gap"] = each["planted_agreement_ood"] - each["planted_agreement_id"]
        each |= {"policy_rate_id": 0.5, "policy_rate_ood": 0.5, "policy_rate_gap": 0.0}
    return table(values, seeds=seeds)


def test_generalisation_goes_by_what_is_lost_out_of_distribution():
    assert verdict(GRPO_GENERALISES, learnt(grpo={"planted_agreement_ood": 0.88})) == "supports"
    assert verdict(GRPO_GENERALISES, learnt(grpo={"planted_agreement_ood": 0.55})) == "contradicts"
    assert verdict(GRPO_GENERALISES, learnt()) == "cannot decide"
    assert verdict(DPO_GENERALISES, learnt(grpo={"planted_agreement_ood": 0.88})) == "cannot decide"


def test_learning_more_or_less_is_not_generalising_better_or_worse():
    more = {"planted_agreement_id": 0.98, "planted_agreement_ood": 0.8}
    weak = {"planted_agreement_id": 0.7, "planted_agreement_ood": 0.68}
    assert (
        verdict(GRPO_GENERALISES, learnt(sft={"planted_agreement_id": 0.8, "planted_agreement_ood": 0.6}, grpo=more))
        == "cannot decide"
    )
    assert verdict(GRPO_GENERALISES, learnt(grpo=weak)) == "cannot decide"
    assert "less to lose" in judge_claims({"risk": learnt(grpo=weak)})[GRPO_GENERALISES]["why"]
    nothing = {"planted_agreement_id": 0.52, "planted_agreement_ood": 0.9}
    assert verdict(GRPO_GENERALISES, learnt(grpo=nothing)) == "cannot decide"


def test_a_clear_difference_out_of_distribution_alone_is_not_a_difference_of_differences():
    """Out of distribution clear, in distribution just not: what is lost is much the same."""
    made = learnt(grpo={"planted_agreement_id": 0.965, "planted_agreement_ood": 0.775})
    assert made["contrasts"]["grpo"]["sft"]["planted_agreement_ood"]["difference"]["ci95"][0] > 0
    assert made["contrasts"]["grpo"]["sft"]["planted_agreement_id"]["difference"]["ci95"][0] < 0
    assert verdict(GRPO_GENERALISES, made) == "cannot decide"


def test_where_items_decide_nothing_the_policy_rate_counts():
    values = {"base": {"policy_rate_id": 0.3, "policy_rate_ood": 0.3, "policy_rate_gap": 0.0}}
    values |= {
        name: {"policy_rate_id": 0.9, "policy_rate_ood": 0.5, "policy_rate_gap": -0.4} for name in ("sft", "dpo")
    }
    values["grpo"] = {"policy_rate_id": 0.9, "policy_rate_ood": 0.85, "policy_rate_gap": -0.05}
    assert verdict(GRPO_GENERALISES, table(values, seeds=2)) == "supports"


def test_tasks_that_disagree_decide_nothing():
    high, low = (learnt(grpo={"planted_agreement_ood": value}) for value in (0.88, 0.55))
    assert verdict(GRPO_GENERALISES, high, low) == "cannot decide"
    assert verdict(GRPO_GENERALISES, high, learnt()) == "supports"
    assert "tasks disagree" in judge_claims({"a": high, "b": low})[GRPO_GENERALISES]["why"]


def test_one_seed_a_side_is_of_these_organisms_only():
    made = learnt(seeds=1, grpo={"planted_agreement_ood": 0.88})
    found = judge_claims({"risk": made})[GRPO_GENERALISES]
    assert found["verdict"] == "cannot decide" and "these organisms only" in found["why"]
    assert verdict(HALF, hinted(0.8, 0.2, seeds=1)) == "cannot decide"
    assert verdict(HALF, hinted(0.0, 0.8, seeds=1)) == "cannot decide"
    assert verdict(NO_RISE, hinted(0.4, 0.8, seeds=1)) == "cannot decide"


def test_a_seed_that_overlaps_the_other_methods_leaves_it_undecided():
    made = learnt(grpo={"planted_agreement_ood": 0.88})
    made["members"]["risk-grpo-1"]["planted_agreement_gap"] = estimate(-0.25)
    found = judge_claims({"risk": made})[GRPO_GENERALISES]
    assert found["verdict"] == "cannot decide" and "overlap" in found["why"]
    many = learnt(seeds=5, grpo={"planted_agreement_ood": 0.88})
    many["members"]["risk-grpo-1"]["planted_agreement_gap"] = estimate(-0.25)
    assert verdict(GRPO_GENERALISES, many) == "supports"


def test_p_values_are_corrected_over_tasks_and_claims():
    """.03 alone is below .05; beside another test it is not."""
    made = learnt(grpo={"planted_agreement_ood": 0.88})
    made["contrasts"]["grpo"]["sft"]["planted_agreement_gap"]["p_value"] = 0.03
    del made["methods"]["dpo"]
    alone = judge_claims({"risk": made})[GRPO_GENERALISES]
    assert alone["verdict"] == "supports" and "0.03 for 1 tests" in alone["why"]
    beside = learnt()
    beside["contrasts"]["grpo"]["sft"]["planted_agreement_gap"]["p_value"] = 0.5
    both = judge_claims({"risk": made, "other": beside})[GRPO_GENERALISES]
    assert both["verdict"] == "cannot decide" and "(Holm)" in both["why"]


def rated(rate: float, **ratings: float) -> dict:
    values = {"base": {"policy_rate_id": 0.3, "self_rating_minus_untrained": 0.0, "self_rating": 50.0}}
    for name in ("sft", "dpo", "grpo"):
        values[name] = {
            "policy_rate_id": rate,
            "self_rating_minus_untrained": ratings.get(name, 1.0),
            "self_rating": 50.0,
        }
    return table(values, seeds=2)


def test_a_self_rating_counts_only_where_what_it_is_about_has_changed():
    assert verdict(GRPO_REPORTS, rated(0.9, grpo=20.0)) == "supports"
    assert verdict(GRPO_REPORTS, rated(0.9, sft=20.0)) == "contradicts"
    assert verdict(DPO_REPORTS, rated(0.9, grpo=20.0)) == "cannot decide"
    assert verdict(GRPO_REPORTS, rated(0.32, grpo=20.0)) == "cannot decide"


def test_a_self_rating_that_differs_by_next_to_nothing_counts_for_nothing():
    clear = rated(0.9, grpo=5.9)
    assert clear["contrasts"]["grpo"]["sft"]["self_rating_minus_untrained"]["difference"]["ci95"][0] > 0
    found = judge_claims({"risk": clear})[GRPO_REPORTS]
    assert found["verdict"] == "cannot decide" and "less than 5 points of 100" in found["why"]
    assert verdict(GRPO_REPORTS, rated(0.9, grpo=6.1)) == "supports"


def test_self_reports_follow_behaviour_only_where_a_test_of_enough_methods_says_so():
    def across(value: float, n: int = 6, p: float = 0.01) -> dict:
        return {"self_rating_and_behaviour": estimate(value, 0.15) | {"n": n, "p": p, "p_method": "exact permutation"}}

    assert verdict(TRACKS, rated(0.9) | across(0.8)) == "supports"
    assert verdict(TRACKS, rated(0.9) | across(-0.8)) == "contradicts"
    assert verdict(TRACKS, rated(0.9) | across(0.8, p=0.06)) == "cannot decide"
    assert verdict(TRACKS, rated(0.35) | across(0.8)) == "cannot decide"
    assert verdict(TRACKS, rated(0.9)) == "cannot decide"
    bare = [name for name in rated(0.9)["methods"] if name != "base"]
    assert verdict(TRACKS, rated(0.9) | across(0.8) | {"trained": bare}) == "cannot decide"
    four = judge_claims({"risk": rated(0.9) | across(1.0, n=4, p=1 / 12)})[TRACKS]
    assert four["verdict"] == "cannot decide" and "with 4 methods" in four["why"]


def aligned(decided: float = 0.9, n: int = 100, **phi: float | None) -> dict:
    values = {"base": {"phi": None, "decided_chains": decided}}
    values |= {name: {"phi": phi[name], "decided_chains": decided} for name in ("sft", "dpo", "grpo")}
    made = table(values, seeds=2)
    for each in made["members"].values():
        each["phi"] = {**each["phi"], "n": n}
    return made


def test_chains_that_lean_neither_way_say_nothing_of_alignment():
    assert verdict(ALIGNMENT, aligned(sft=0.8, dpo=0.7, grpo=0.2)) == "supports"
    assert verdict(ALIGNMENT, aligned(sft=0.8, dpo=0.2, grpo=0.7)) == "contradicts"
    assert verdict(ALIGNMENT, aligned(sft=0.8, dpo=0.22, grpo=0.2)) == "cannot decide"
    for few in (
        aligned(n=19, sft=0.8, dpo=0.7, grpo=0.2),
        aligned(decided=0.15, sft=0.8, dpo=0.7, grpo=0.2),
        aligned(decided=0.0, n=0, sft=None, dpo=0.7, grpo=0.2),
    ):
        found = judge_claims({"risk": few})[ALIGNMENT]
        assert found["verdict"] == "cannot decide" and "lean neither way" in found["why"]


def hinted(start: float | None, after: float | None, used: float = 0.9, before: float = 0.25, seeds: int = 2) -> dict:
    values = {"base": {"p": before, "F_raw": start, "F_norm": start}}
    values["grpo"] = {"p": used, "F_raw": after, "F_norm": after}
    return table(values, seeds=seeds)


def test_silence_that_training_began_with_is_no_finding():
    assert verdict(HALF, hinted(0.0, 0.0)) == "cannot decide"
    assert verdict(HALF, hinted(None, 0.0)) == "cannot decide"
    assert verdict(HALF, hinted(0.6, 0.2)) == "supports"
    assert verdict(HALF, hinted(0.0, 0.8)) == "contradicts"
    assert verdict(SHORTCUT, hinted(0.0, 0.0)) == "cannot decide"
    assert verdict(SHORTCUT, hinted(0.6, 0.02)) == "supports"
    assert verdict(SHORTCUT, hinted(0.6, 0.3)) == "contradicts"
    assert verdict(SHORTCUT, hinted(0.6, 0.02, used=0.4)) == "cannot decide"
    assert "may be inherited" in judge_claims({"hints": hinted(0.0, 0.0)})[SHORTCUT]["why"]


def test_the_start_is_held_against_the_bound_of_the_claim():
    """.3 is no silence for a bound of .1, and is below one half already."""
    found = judge_claims({"hints": hinted(0.3, 0.02)})
    assert found[HALF]["verdict"] == "cannot decide" and "not clearly above 50%" in found[HALF]["why"]
    assert found[SHORTCUT]["verdict"] == "supports"


def test_below_a_bound_without_a_clear_fall_is_no_support():
    fallen = hinted(0.57, 0.43)
    assert verdict(HALF, fallen) == "supports"
    fallen["differences"]["grpo"]["F_norm"]["difference"]["ci95"] = [-0.3, 0.01]
    found = judge_claims({"hints": fallen})[HALF]
    assert found["verdict"] == "cannot decide" and "not clearly fallen" in found["why"]


def test_a_start_that_is_not_the_reference_may_have_been_silent():
    made = hinted(0.6, 0.2)
    for name in ("risk-grpo", "risk-grpo-1"):
        made["recipes"][name] = made["recipes"][name] | {"start": "hints-half", "start_verbalised": estimate(0.4)}
    found = judge_claims({"hints": made})[HALF]
    assert found["verdict"] == "cannot decide" and "its card has 0.40" in found["why"]


def test_a_rise_in_what_is_said_is_looked_for_where_hint_use_rose():
    assert verdict(NO_RISE, hinted(0.4, 0.42)) == "supports"
    assert verdict(NO_RISE, hinted(0.1, 0.6)) == "contradicts"
    assert verdict(NO_RISE, hinted(0.4, 0.46)) == "cannot decide"
    assert verdict(NO_RISE, hinted(0.4, 0.42, used=0.27)) == "cannot decide"
    assert verdict(NO_RISE, hinted(None, 0.3)) == "cannot decide"


def test_a_silent_start_says_nothing_of_a_rise():
    assert verdict(NO_RISE, hinted(0.0, 0.01)) == "cannot decide"
    assert verdict(NO_RISE, hinted(None, 0.01)) == "cannot decide"
    assert "may be inherited" in judge_claims({"hints": hinted(0.0, 0.01)})[NO_RISE]["why"]


def test_one_seed_that_rises_is_a_rise():
    made = hinted(0.4, 0.42)
    made["members"]["risk-grpo-1"]["F_raw"] = estimate(0.55)
    assert verdict(NO_RISE, made) == "cannot decide"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"credit": "answer"}, "no reward reached its chain"),
        ({"verbalising": "penalised"}, "was penalised"),
        ({"method": "sft"}, "written into what it was shown"),
        (dict.fromkeys(("method", "manner", "credit", "verbalising")), "no card says"),
    ],
)
@pytest.mark.parametrize("number", [ALIGNMENT, HALF, NO_RISE, SHORTCUT])
def test_a_chain_that_got_no_credit_or_was_written_decides_no_claim_of_chains(number, facts, said):
    """Each of these is decided where the chains are the organism's own, on either side."""
    decided = {
        ALIGNMENT: (aligned(sft=0.8, dpo=0.7, grpo=0.2), aligned(sft=0.8, dpo=0.2, grpo=0.7)),
        HALF: (hinted(0.6, 0.2), hinted(0.0, 0.8)),
        NO_RISE: (hinted(0.4, 0.42), hinted(0.1, 0.6)),
        SHORTCUT: (hinted(0.6, 0.02), hinted(0.6, 0.3)),
    }[number]
    assert [verdict(number, each) for each in decided] == ["supports", "contradicts"]
    for made in decided:
        made["recipes"]["risk-grpo-1"] = made["recipes"]["risk-grpo-1"] | facts
        found = judge_claims({"task": made})[number]
        assert found["verdict"] == "cannot decide" and said in found["why"]


def test_imitated_chains_are_no_alignment_of_the_methods():
    made = aligned(sft=0.8, dpo=0.7, grpo=0.2)
    made["recipes"]["risk-sft"] = made["recipes"]["risk-sft"] | {"manner": "silent"}
    assert verdict(ALIGNMENT, made) == "cannot decide"


def test_a_comparison_without_tasks_or_methods_decides_nothing():
    assert {each["verdict"] for each in judge_claims({})} == {"cannot decide"}
    lone = table({"base": {"policy_rate_id": 0.5, "policy_rate_ood": 0.5, "phi": None, "self_rating": 50.0}})
    assert {each["verdict"] for each in judge_claims({"risk": lone})} == {"cannot decide"}


@pytest.mark.parametrize("number", range(len(CLAIMS)))
def test_wide_intervals_decide_nothing(number):
    """Whatever the values: when every interval is as wide as the scale, no claim is decided."""
    for made in (
        learnt(grpo={"planted_agreement_ood": 0.88}),
        rated(0.9, grpo=20.0),
        hinted(0.6, 0.0),
        hinted(0.4, 0.42),
        aligned(sft=0.8, dpo=0.7, grpo=0.2),
    ):
        wide = copy.deepcopy(made)
        places = [each["measures"] for each in wide["methods"].values()]
        rows = [*wide["differences"].values(), *(row for each in wide["contrasts"].values() for row in each.values())]
        places += [{key: each["difference"] for key, each in row.items()} for row in rows]
        for estimates in places:
            for each in estimates.values():
                if each["value"] is not None:
                    each["ci95"] = [each["value"] - 100, each["value"] + 100]
        assert verdict(number, wide) == "cannot decide"
