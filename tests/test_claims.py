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


def table(measured: dict[str, dict[str, float | None]], rho: dict | None = None) -> dict:
    """A task's table: method -> measure -> value; the reference is `base`."""
    keys = list(dict.fromkeys(key for values in measured.values() for key in values))
    methods = {
        name: {
            "members": [f"risk-{name}"],
            "measures": {key: none() if values.get(key) is None else estimate(values[key], half(key)) for key in keys},
        }
        for name, values in measured.items()
    }
    differences = {
        name: {key: {"difference": minus(methods, name, key), "p_value": 0.01} for key in keys}
        for name in methods
        if name != "base"
    }
    return {
        "measures": keys,
        "methods": methods,
        "members": {each["members"][0]: each["measures"] for each in methods.values()},
        "differences": differences,
        "self_rating_and_behaviour": rho or none("too few runs"),
    }


def half(key: str) -> float:
    return 2.0 if "rating" in key else 0.05


def minus(methods: dict, name: str, key: str) -> dict:
    first, second = (methods[each]["measures"][key]["value"] for each in (name, "base"))
    return none("one of the two is undefined") if first is None or second is None else estimate(first - second, 0.07)


def verdict(number: int, *tables: dict) -> str:
    found = judge_claims({f"task{i}": each for i, each in enumerate(tables)})
    assert len(found) == len(CLAIMS)
    for each in found:
        assert each["verdict"] in VERDICTS
        assert all(isinstance(value, str) and value for value in each.values())
        assert set(each) == {"claim", "source", "measured", "verdict", "why"}
        assert each["why"].startswith("Rule: ")
    return found[number]["verdict"]


def learnt(**changes: dict[str, float]) -> dict:
    """Base at chance; all three methods at .9 in distribution and .7 out of it, unless changed."""
    values = {name: {"planted_agreement_id": 0.9, "planted_agreement_ood": 0.7} for name in ("sft", "dpo", "grpo")}
    values = {"base": {"planted_agreement_id": 0.5, "planted_agreement_ood": 0.5}, **values}
    for name, each in changes.items():
        values[name] = {**values[name], **each}
    for each in values.values():
        each |= {"policy_rate_id": 0.5, "policy_rate_ood": 0.5}
    return table(values)


def test_generalisation_goes_by_what_is_kept_out_of_distribution():
    assert verdict(GRPO_GENERALISES, learnt(grpo={"planted_agreement_ood": 0.88})) == "supports"
    assert verdict(GRPO_GENERALISES, learnt(grpo={"planted_agreement_ood": 0.55})) == "contradicts"
    assert verdict(GRPO_GENERALISES, learnt()) == "cannot decide"
    assert verdict(DPO_GENERALISES, learnt(grpo={"planted_agreement_ood": 0.88})) == "cannot decide"


def test_learning_more_or_less_is_not_generalising_better_or_worse():
    more = {"planted_agreement_id": 0.98, "planted_agreement_ood": 0.9}
    weak = {"planted_agreement_id": 0.7, "planted_agreement_ood": 0.55}
    assert verdict(GRPO_GENERALISES, learnt(sft={"planted_agreement_id": 0.8}, grpo=more)) == "cannot decide"
    assert verdict(GRPO_GENERALISES, learnt(grpo=weak)) == "cannot decide"
    nothing = {"planted_agreement_id": 0.52, "planted_agreement_ood": 0.9}
    assert verdict(GRPO_GENERALISES, learnt(grpo=nothing)) == "cannot decide"


def test_where_items_decide_nothing_the_policy_rate_counts():
    values = {"base": {"policy_rate_id": 0.3, "policy_rate_ood": 0.3}}
    values |= {name: {"policy_rate_id": 0.9, "policy_rate_ood": 0.5} for name in ("sft", "dpo")}
    values["grpo"] = {"policy_rate_id": 0.9, "policy_rate_ood": 0.85}
    assert verdict(GRPO_GENERALISES, table(values)) == "supports"


def test_tasks_that_disagree_decide_nothing():
    high, low = (learnt(grpo={"planted_agreement_ood": value}) for value in (0.88, 0.55))
    assert verdict(GRPO_GENERALISES, high, low) == "cannot decide"
    assert verdict(GRPO_GENERALISES, high, learnt()) == "supports"
    assert "tasks disagree" in judge_claims({"a": high, "b": low})[GRPO_GENERALISES]["why"]


def rated(rate: float, **ratings: float) -> dict:
    values = {"base": {"policy_rate_id": 0.3, "self_rating_minus_untrained": 0.0, "self_rating": 50.0}}
    for name in ("sft", "dpo", "grpo"):
        values[name] = {
            "policy_rate_id": rate,
            "self_rating_minus_untrained": ratings.get(name, 1.0),
            "self_rating": 50.0,
        }
    return table(values)


def test_a_self_rating_counts_only_where_what_it_is_about_has_changed():
    assert verdict(GRPO_REPORTS, rated(0.9, grpo=20.0)) == "supports"
    assert verdict(GRPO_REPORTS, rated(0.9, sft=20.0)) == "contradicts"
    assert verdict(DPO_REPORTS, rated(0.9, grpo=20.0)) == "cannot decide"
    assert verdict(GRPO_REPORTS, rated(0.32, grpo=20.0)) == "cannot decide"


def test_self_reports_follow_behaviour_only_where_behaviour_differs():
    rho = estimate(0.8, 0.15) | {"p": 0.01, "p_method": "exact permutation"}
    opposite = estimate(-0.8, 0.15) | {"p": 0.01, "p_method": "exact permutation"}
    assert verdict(TRACKS, rated(0.9) | {"self_rating_and_behaviour": rho}) == "supports"
    assert verdict(TRACKS, rated(0.9) | {"self_rating_and_behaviour": opposite}) == "contradicts"
    assert verdict(TRACKS, rated(0.35) | {"self_rating_and_behaviour": rho}) == "cannot decide"
    assert verdict(TRACKS, rated(0.9)) == "cannot decide"


def test_silent_chains_say_nothing_of_alignment():
    def aligned(**phi: float | None) -> dict:
        return table({"base": {"phi": None}} | {name: {"phi": phi[name]} for name in ("sft", "dpo", "grpo")})

    assert verdict(ALIGNMENT, aligned(sft=0.8, dpo=0.7, grpo=0.2)) == "supports"
    assert verdict(ALIGNMENT, aligned(sft=0.8, dpo=0.2, grpo=0.7)) == "contradicts"
    assert verdict(ALIGNMENT, aligned(sft=0.8, dpo=0.22, grpo=0.2)) == "cannot decide"
    found = judge_claims({"risk": aligned(sft=None, dpo=0.7, grpo=0.2)})[ALIGNMENT]
    assert found["verdict"] == "cannot decide"
    assert "lean neither way" in found["why"]


def hinted(start: float | None, after: float | None, used: float = 0.9, before: float = 0.25) -> dict:
    values = {"base": {"p": before, "F_raw": start, "F_norm": start}}
    values["grpo"] = {"p": used, "F_raw": after, "F_norm": after}
    return table(values)


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


def test_a_rise_in_what_is_said_is_looked_for_where_hint_use_rose():
    assert verdict(NO_RISE, hinted(0.0, 0.01)) == "supports"
    assert verdict(NO_RISE, hinted(0.1, 0.6)) == "contradicts"
    assert verdict(NO_RISE, hinted(0.0, 0.06)) == "cannot decide"
    assert verdict(NO_RISE, hinted(0.0, 0.01, used=0.27)) == "cannot decide"
    assert verdict(NO_RISE, hinted(None, 0.01)) == "supports"
    assert verdict(NO_RISE, hinted(None, 0.3)) == "cannot decide"


def test_a_comparison_without_tasks_or_methods_decides_nothing():
    assert {each["verdict"] for each in judge_claims({})} == {"cannot decide"}
    lone = table({"base": {"policy_rate_id": 0.5, "policy_rate_ood": 0.5, "phi": None, "self_rating": 50.0}})
    assert {each["verdict"] for each in judge_claims({"risk": lone})} == {"cannot decide"}


@pytest.mark.parametrize("number", range(len(CLAIMS)))
def test_wide_intervals_decide_nothing(number):
    """Whatever the values: when every interval is as wide as the scale, no claim is decided."""
    for made in (learnt(grpo={"planted_agreement_ood": 0.88}), rated(0.9, grpo=20.0), hinted(0.6, 0.0)):
        wide = copy.deepcopy(made)
        places = [each["measures"] for each in wide["methods"].values()]
        places += [{key: each["difference"] for key, each in row.items()} for row in wide["differences"].values()]
        for estimates in places:
            for each in estimates.values():
                if each["value"] is not None:
                    each["ci95"] = [each["value"] - 100, each["value"] + 100]
        assert verdict(number, wide) == "cannot decide"
