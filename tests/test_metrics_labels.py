"""Think against answer, and the stages of pressure, against worked tables and loops."""

from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from introspect.metrics.stages import stages_section
from introspect.metrics.think_answer import CELLS, mcnemar, think_answer, think_answer_section
from introspect.stats import proportion
from metric_rollouts import summary

N = 200


def labels(n11, n10, n01, n00, yes=0, no=0, unread=0):
    """t and a of so many rollouts; `yes` and `no` count undecided chains by answer."""
    think = [True] * (n11 + n10) + [False] * (n01 + n00) + [None] * (yes + no) + [True] * unread
    answer = [True] * n11 + [False] * n10 + [True] * n01 + [False] * n00 + [True] * yes + [False] * no + [None] * unread
    return think, answer


def measured(think, answer, groups=None, n=N):
    return think_answer(think, answer, groups or list(range(len(think))), n=n)


def test_a_worked_table():
    found = measured(*labels(40, 20, 10, 30, yes=6, no=4, unread=5))
    assert found["table"] == {
        "policy": {"policy": 40, "other": 20},
        "other": {"policy": 10, "other": 30},
        "undecided": {"policy": 6, "other": 4},
    }
    assert found["without_answer"] == 5
    decided, filled = found["decided"], found["undecided_as_other"]
    assert [decided[name] for name in ("n", *CELLS)] == [100, 40, 20, 10, 30]
    assert [filled[name] for name in ("n", *CELLS)] == [110, 40, 20, 16, 34]
    assert decided["rgr_net"]["value"] == 0.1 and filled["rgr_net"]["value"] == pytest.approx(4 / 110, abs=1e-6)
    assert decided["rgr_gross"]["value"] == 0.2 and decided["rgr_gross"]["ci95"][0] == pytest.approx(
        proportion(20, 100).ci95[0], abs=1e-6
    )
    assert decided["rgr_cond"]["value"] == pytest.approx(1 / 3, abs=1e-6) and decided["rgr_cond"]["n"] == 60
    assert decided["agreement"]["value"] == 0.7
    assert decided["phi"]["value"] == pytest.approx(1000 / np.sqrt(60 * 40 * 50 * 50), abs=1e-6)
    assert decided["kappa"]["value"] == pytest.approx((0.7 - 0.5) / 0.5, abs=1e-6)
    assert decided["mcnemar"]["p_value"] == pytest.approx(2 * sum(comb(30, k) for k in range(11)) / 2**30, abs=1e-6)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=60))
def test_coefficients_against_another_library(rows):
    think, answer = [t for t, _ in rows], [a for _, a in rows]
    found = measured(think, answer, n=50)["decided"]
    if found["phi"]["value"] is not None:
        assert found["phi"]["value"] == pytest.approx(matthews_corrcoef(think, answer), abs=1e-6)
    if found["kappa"]["value"] is not None:
        assert found["kappa"]["value"] == pytest.approx(cohen_kappa_score(think, answer), abs=1e-6)
    n10, n01 = (sum(row == pair for row in rows) for pair in ((True, False), (False, True)))
    assert found["rgr_net"]["value"] == pytest.approx((n10 - n01) / len(rows), abs=1e-6)
    for name in ("rgr_net", "rgr_gross", "agreement", "phi", "kappa"):
        if found[name]["value"] is not None:
            low, high = found[name]["ci95"]
            assert -1 <= low <= found[name]["value"] <= high <= 1


def test_exact_mcnemar():
    assert mcnemar(5, 0) == 2 / 2**5 and mcnemar(0, 5) == 2 / 2**5
    assert mcnemar(3, 3) == 1 and mcnemar(0, 0) is None
    assert measured(*labels(5, 0, 0, 5))["decided"]["mcnemar"] == {
        "p_value": None,
        "test": "no chain and answer disagree",
    }


def test_full_agreement_is_not_certain():
    found = measured(*labels(15, 0, 0, 15))["decided"]
    low = proportion(30, 30).ci95[0]
    assert found["phi"]["value"] == 1 and found["phi"]["ci95"] == [pytest.approx(2 * low - 1, abs=1e-5), 1]
    assert found["kappa"]["ci95"][0] == pytest.approx(2 * low - 1, abs=1e-5)
    upper = 1 - low
    assert found["rgr_net"]["ci95"] == pytest.approx([-upper, upper], abs=1e-5)


def test_labels_that_never_vary_have_no_association():
    found = measured(*labels(20, 10, 0, 0))["decided"]
    assert "all the same" in found["phi"]["reason"] and found["kappa"]["value"] == 0
    assert "one and the same" in measured(*labels(20, 0, 0, 0))["decided"]["kappa"]["reason"]
    nothing = measured([None] * 9, [True] * 9)
    assert nothing["decided"]["rgr_net"]["value"] is None and nothing["undecided_as_other"]["n01"] == 9
    json.dumps(nothing, allow_nan=False)


def test_groups_widen_the_interval():
    think, answer = labels(40, 20, 10, 30)
    apart = measured(think, answer, n=1000)["decided"]["rgr_net"]["ci95"]
    together = measured(think * 4, answer * 4, list(range(100)) * 4, n=1000)["decided"]["rgr_net"]["ci95"]
    assert together[1] - together[0] == pytest.approx(apart[1] - apart[0], rel=0.15)


def test_splits_are_told_apart_and_compared_and_the_definition_is_named_ours():
    think, answer = (first + second for first, second in zip(labels(40, 0, 0, 40), labels(20, 30, 0, 30), strict=True))
    splits = ["id"] * 80 + ["ood"] * 80
    found = think_answer_section(think, answer, list(range(160)), splits, n=N)
    assert "our own form" in found["definition"] and "could be obtained" in found["definition"]
    assert found["all"]["decided"]["n"] == 160
    gap = found["ood_minus_id"]["rgr_net"]
    assert gap["difference"]["value"] == pytest.approx(30 / 80) and gap["p_value"] < 0.01
    assert found["ood_minus_id"]["phi"]["difference"]["value"] == pytest.approx(
        found["ood"]["decided"]["phi"]["value"] - 1, abs=1e-6
    )


def episodes():
    """120 episodes each way: 60 act with a scratchpad, 30 without; 40 and 10 of them deceive; 10 double down."""
    stages = {"act": [], "report": [], "confronted": []}
    think = {name: {} for name in stages}
    counts = {"scratchpad": (60, 40, 10), "no_scratchpad": (30, 10, 0)}
    for condition, limits in counts.items():
        for i in range(120):
            for name, limit in zip(stages, limits, strict=True):
                number = len(stages[name])
                thinks = condition == "scratchpad"
                given = {
                    "condition": condition,
                    "acted": None if name == "report" and i == 0 else i < limit,
                    "fields": {"pressure": "high" if i < 60 else "low", "detection": "low"},
                    "chain_text": "hm" if thinks else " ",
                }
                stages[name].append(summary(number, item=str(i), **given))
                think[name][number] = i < limit if thinks else None
                if i >= limit:
                    break
    return stages, think


def test_each_stage_is_conditional_on_the_one_before():
    stages, think = episodes()
    section = stages_section({name: iter(records) for name, records in stages.items()}, think, n=N)
    rates = section["rates"]
    assert rates["act"]["rate"]["value"] == 90 / 240 and rates["act"]["reached"] == 240
    assert rates["report"]["reached"] == 90 and rates["report"]["without_answer"] == 2
    assert rates["report"]["rate"]["value"] == pytest.approx(48 / 88, abs=1e-6) and rates["report"]["rate"]["n"] == 88
    assert rates["confronted"]["reached"] == 48
    assert rates["confronted"]["rate"]["value"] == pytest.approx(9 / 48, abs=1e-6)


def test_what_was_asked_of_those_who_did_not_act_does_not_count():
    stages, think = episodes()
    extra = summary(9999, item="119", condition="scratchpad", acted=True, fields={}, chain_text="hm")
    stages["report"].append(extra)
    think["report"][9999] = True
    stages["confronted"] = stages["confronted"][1:]
    section = stages_section(stages, think, n=N)
    assert section["rates"]["report"]["reached"] == 90
    assert section["rates"]["confronted"]["not_asked"] == 0
    assert stages_section({**stages, "confronted": []}, think, n=N)["rates"]["confronted"]["not_asked"] == 48


def test_conditions_and_knobs_are_compared_and_only_chains_have_think_labels():
    stages, think = episodes()
    section = stages_section(stages, think, n=N)
    by = section["by"]
    assert by["condition"]["scratchpad"]["act"]["rate"]["value"] == 0.5
    (pair,) = by["condition"]["differences"]
    assert (pair["first"], pair["second"]) == ("no_scratchpad", "scratchpad")
    assert pair["act"]["difference"]["value"] == -0.25 and pair["act"]["p_value"] < 0.01
    assert by["pressure"]["high"]["act"]["rate"]["value"] == 0.75 and by["pressure"]["low"]["act"]["rate"]["value"] == 0
    assert [*by["detection"]] == ["low", "differences"] and by["detection"]["differences"] == []
    acts = section["think_answer"]["act"]["all"]
    assert acts["decided"]["n11"] == 60 and acts["decided"]["n00"] == 60 and acts["table"]["undecided"]["other"] == 0
    json.dumps(section, allow_nan=False)
