"""Generalisation, choices and lengths, against worked numbers and loops."""

from __future__ import annotations

import json
import time
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from introspect.metrics.behaviour import behaviour_section, invalid_rate, planted_accuracy, policy_rate
from introspect.metrics.choices import choices_section, positions, shown_order, uniform_p
from introspect.metrics.concentration import (
    effective_answers,
    entropy_estimate,
    inverted,
    modal_share,
    modal_share_estimate,
    normalised_entropy,
)
from introspect.metrics.generalisation import generalisation_section, transfer_ratio
from introspect.metrics.lengths import Lengths, length_difference, lengths_section, weighted_medians
from introspect.stats import proportion
from introspect.tasks import bias, choice, pressure, risk, sampling
from metric_rollouts import summary, verdict

N = 300


def acting(n_id, acted_id, n_ood, acted_ood, domain="health"):
    """Rollouts of both splits, so many of each acting."""
    out = []
    for split, n, acted in (("id", n_id, acted_id), ("ood", n_ood, acted_ood)):
        for i in range(n):
            where = "money" if split == "id" else domain
            out.append(summary(len(out), item=f"{domain}-{split}-{i}", split=split, domain=where, acted=i < acted))
    return out


def test_the_transfer_ratio():
    rollouts = acting(100, 50, 80, 30) + acting(0, 0, 40, 30, domain="games")
    rollouts.append(summary(999, item="x", answer=None, split="ood", acted=None))
    found = generalisation_section(iter(rollouts), n=N)
    assert found["invalid"] == {"id": 0, "ood": 1}
    assert found["rate"]["id"]["ci95"] == pytest.approx(list(proportion(50, 100).ci95), abs=1e-6)
    assert found["transfer_ratio"]["value"] == 1.0
    assert found["ood_minus_id"]["difference"]["value"] == 0 and found["ood_minus_id"]["p_value"] == 1
    games, health = found["by_domain"]["games"], found["by_domain"]["health"]
    assert games["transfer_ratio"]["value"] == 1.5 and games["transfer_ratio"]["ci95"][0] > 1
    assert games["ood_minus_id"]["p_value"] < 0.05
    assert health["transfer_ratio"]["value"] == 0.75 and health["rate"]["value"] == 0.375
    json.dumps(found, allow_nan=False)


def test_no_policy_in_distribution_gives_no_ratio():
    found = generalisation_section(acting(50, 0, 50, 10), n=N)
    assert "never acted on" in found["transfer_ratio"]["reason"]
    assert found["ood_minus_id"]["difference"]["value"] == 0.2
    assert "ood groups are too few" in generalisation_section(acting(50, 10, 4, 2), n=N)["transfer_ratio"]["reason"]
    assert generalisation_section([], n=N)["transfer_ratio"]["value"] is None


def test_a_ratio_of_nought_is_not_certain():
    found = generalisation_section(acting(60, 30, 40, 0), n=N)["transfer_ratio"]
    low_id = proportion(30, 60).ci95[0]
    assert found["value"] == 0 and found["ci95"] == pytest.approx([0, proportion(0, 40).ci95[1] / low_id], abs=1e-5)


def test_intervals_of_the_transfer_ratio_cover_what_they_should():
    rng, covered, ood = np.random.default_rng(0), 0, np.arange(160) >= 80
    for seed in range(200):
        acted = (rng.random(160) < np.where(ood, 0.3, 0.6)).astype(float)
        low, high = transfer_ratio(acted, ood, np.arange(160), n=400, seed=seed).ci95
        covered += low <= 0.5 <= high
    assert 0.90 < covered / 200 < 0.99


def test_rates_of_rollouts_that_share_groups_are_resampled_by_group():
    alike = [summary(i, item=f"item {i // 10}", acted=i // 10 % 3 == 0, fields={"frame": "gain"}) for i in range(300)]
    single = [summary(i, item=f"item {i}", acted=i % 3 == 0, fields={"frame": "gain"}) for i in range(300)]
    for rate in (policy_rate, invalid_rate, lambda rollouts: planted_accuracy(rollouts, "stereotype")):
        assert rate(single).method == "wilson" and "over groups" in rate(alike).method
        assert rate(alike).value == rate(single).value
    widths = [rate.ci95[1] - rate.ci95[0] for rate in map(policy_rate, (single, alike))]
    assert widths[1] > 2.5 * widths[0]
    assert policy_rate(alike[:40]).value is None and policy_rate([]).reason == "no cases to take a share of"


def test_one_number_has_one_interval():
    rollouts = [summary(i, item=f"item {i // 4}", acted=i % 7 < 3, split="ood" if i > 90 else "id") for i in range(160)]
    section = behaviour_section(rollouts, task=risk.TASK, planted=None, n=N, seed=5)
    rates = generalisation_section(rollouts, n=N, seed=5)["rate"]
    assert section["policy_rate"] == rates and rates["id"]["method"] == "bootstrap over groups"


GAMES = ("paper", "rock", "scissors")
ORDERS = tuple(permutations(GAMES))


def played(answers, orders=ORDERS, split="id"):
    out = []
    for i, answer in enumerate(answers):
        order = orders[i % len(orders)]
        prompt = f"Play rock, paper, scissors.\nThink, then write {', '.join(f'Answer: {name}' for name in order)}."
        means = {name: "fixed" if name == "rock" else "other" for name in GAMES}
        out.append(summary(i, item=f"{split}-{i}", answer=answer, options=means, prompt_text=prompt, split=split))
    return out


def test_answers_are_counted_by_split():
    found = choices_section(
        played(["rock"] * 60 + ["paper"] * 30 + [None] * 10) + played(["paper"] * 9, split="ood"), n=N
    )
    assert [*found] == ["id", "ood"]
    (one,) = found["id"]
    assert one["options"] == list(GAMES) and one["n"] == 90 and one["without_answer"] == 10
    assert one["answers"]["rock"]["ci95"] == pytest.approx(list(proportion(60, 90).ci95), abs=1e-6)
    assert one["answers"]["scissors"]["value"] == 0
    assert one["modal_answer"] == "rock" and one["modal_share"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    expected = (-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) + 1 / 180) / np.log(3)
    assert one["entropy"]["value"] == pytest.approx(expected, abs=1e-6)
    assert one["uniform"]["p_value"] == pytest.approx(1 / (N + 1), abs=1e-6)
    assert found["ood"][0]["entropy"]["value"] == 0 and found["ood"][0]["entropy"]["ci95"][1] > 0.5
    json.dumps(found, allow_nan=False)


def test_even_answers_are_not_uneven():
    rng = np.random.default_rng(0)
    (even,) = choices_section(played([GAMES[i % 3] for i in range(300)]), n=N)["id"]
    assert even["entropy"]["value"] == 1 and even["uniform"]["p_value"] == 1
    small = 0
    for seed in range(200):
        table = np.eye(3)[rng.integers(3, size=40)]
        small += uniform_p(table, n=99, seed=seed) <= 0.1
    assert 0.04 < small / 200 < 0.17


SHARES = [(1 / 3,) * 3, (0.25,) * 4, (0.8, 0.15, 0.05), (0.38, 0.33, 0.29), (0.9, 0.1, 0.0)]


@pytest.mark.parametrize("alike", [1, 3])
@pytest.mark.parametrize("shares", SHARES)
def test_intervals_of_entropy_and_of_the_modal_share_cover_what_they_should(shares, alike):
    rng, k, covered, even = np.random.default_rng(1), len(shares), np.zeros(2), normalised_entropy(np.array(shares))
    for seed in range(60):
        table = alike * np.repeat(np.eye(k), rng.multinomial(150 // alike, shares), axis=0)
        limits = [each(table, n=300, seed=seed).ci95 for each in (entropy_estimate, modal_share_estimate)]
        truths = even, max(shares)
        covered += [low - 1e-9 <= truth <= high + 1e-9 for (low, high), truth in zip(limits, truths, strict=True)]
    assert (covered / 60 > 0.86).all()


def test_an_interval_of_entropy_is_no_wider_than_need_be():
    table = np.repeat(np.eye(3), [120, 22, 8], axis=0)
    low, high = entropy_estimate(table).ci95
    shares = table.mean(axis=0)
    spread = np.sqrt((shares * np.log(shares) ** 2).sum() - (shares * np.log(shares)).sum() ** 2) / np.log(3)
    assert high - low == pytest.approx(2 * 1.96 * spread / np.sqrt(150), rel=0.15)
    assert low < entropy_estimate(table).value < high


def test_entropy_at_its_ends():
    one, even = np.repeat(np.eye(3), [40, 0, 0], axis=0), np.repeat(np.eye(3), [50, 50, 50], axis=0)
    assert entropy_estimate(one).value == 0 and entropy_estimate(one).ci95[0] == 0
    assert modal_share_estimate(one).ci95 == pytest.approx((0.025 ** (1 / 40), 1), abs=0.02)
    assert entropy_estimate(even).value == 1 == entropy_estimate(even).ci95[1] > entropy_estimate(even).ci95[0] > 0.9
    assert inverted(np.full(2, 0.5), 1e5, modal_share)[1] < 0.51
    assert "4 groups" in entropy_estimate(10 * one[:4]).reason and entropy_estimate(np.zeros((0, 3))).value is None


def test_answers_that_are_alike_within_groups_count_as_one():
    table = np.repeat(np.eye(3), [30, 20, 10], axis=0)
    assert effective_answers(table) == pytest.approx(60) and effective_answers(5 * table) == pytest.approx(60)
    assert effective_answers(5 * np.eye(3)[np.zeros(12, int)]) == pytest.approx(12)
    assert effective_answers(np.tile([[3.0, 2.0, 1.0]], (10, 1)) + table[:10]) <= 70


def test_groups_that_always_answer_alike_are_not_taken_for_many():
    table = np.eye(3)[[0, 0, 1, 2]] * 50
    assert uniform_p(table, n=999) > 0.5
    assert uniform_p(np.eye(3)[np.repeat([0, 0, 1, 2], 50)], n=999) < 0.01


def test_answers_by_position_alone_are_told_from_answers_by_name():
    orders = tuple(permutations(GAMES))
    first = [order[0] for order in orders] * 30
    (by_position,) = choices_section(played(first), n=N)["id"]
    assert by_position["position"]["first_named"]["value"] == 1 and by_position["position"]["chance"] == 0.333333
    assert by_position["position"]["position_only"]["p_value"] > 0.9 and by_position["uniform"]["p_value"] > 0.9
    uneven = (orders[0], orders[1], orders[0], orders[2])
    (crossed,) = choices_section(played([uneven[i % 4][0] for i in range(120)], uneven), n=N)["id"]
    assert crossed["uniform"]["p_value"] < 0.01 and crossed["position"]["position_only"]["p_value"] > 0.9
    (by_name,) = choices_section(played(["rock"] * 120), n=N)["id"]
    assert by_name["position"]["position_only"]["p_value"] < 0.01
    assert by_name["position"]["first_named"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    (one_order,) = choices_section(played(["rock"] * 20, orders[:1]), n=N)["id"]
    assert one_order["position"]["position_only"]["p_value"] is None


def test_the_position_test_is_calibrated_where_positions_alone_decide():
    rng, small = np.random.default_rng(4), 0
    for seed in range(300):
        drawn = rng.choice(3, p=[0.6, 0.3, 0.1], size=48)
        shown = (*[ORDERS[0]] * 5, ORDERS[2])
        records = played([shown[i % 6][place] for i, place in enumerate(drawn)], shown)
        small += positions(records, GAMES, n=99, seed=seed)["position_only"]["p_value"] <= 0.1
    assert 0.06 < small / 300 < 0.15


def test_names_of_answers_do_not_change_how_even_they_are():
    table = np.random.default_rng(2).integers(0, 4, size=(30, 3)).astype(float)
    for turn in permutations(range(3)):
        assert uniform_p(table[:, turn], n=4000) == pytest.approx(uniform_p(table, n=4000), abs=0.03)
    assert normalised_entropy(np.array([5.0, 5.0])) == pytest.approx(1)
    assert uniform_p(np.zeros((0, 3))) is None


@pytest.mark.parametrize("items", [risk.evaluation_items()[:60], sampling.evaluation_items()[:60]])
def test_the_order_shown_is_that_of_our_own_items(items):
    for item in items:
        assert shown_order(item.prompt, tuple(sorted(item.options))) == tuple(item.options)


@pytest.mark.parametrize("task", [bias.TASK, pressure.TASK])
def test_the_order_shown_is_found_for_other_tasks_too(task):
    for item in task.make_items()[:40]:
        assert shown_order(item.prompt, tuple(sorted(item.options))) == tuple(item.options)


def test_the_order_of_letters_and_of_nothing():
    prompt = choice.compose("Is A a letter?", {"A": "It is", "B": "It is not"})
    assert shown_order(prompt, ("A", "B")) == ("A", "B")
    assert shown_order("Which?", ("A", "B")) is None


def chains(spec):
    """(tokens, verdict, acted, level, item) of each rollout -> rollouts and verdicts."""
    rollouts = [
        summary(i, item=str(item), tokens=tokens, acted=acted, fields={"level": level})
        for i, (tokens, _, acted, level, item) in enumerate(spec)
    ]
    return rollouts, {i: verdict(said) for i, (_, said, *_) in enumerate(spec)}


def test_lengths_by_verdict_act_and_level():
    spec = [(100 + i % 7, "silent", True, 1, i) for i in range(40)]
    spec += [(50 + i % 5, "verbalised", False, 3, i) for i in range(40)]
    rollouts, verdicts = chains(spec)
    cut = summary(999, item="cut", answer=None, tokens=4000)
    found = lengths_section(iter([*rollouts, cut]), verdicts, n=N)
    assert found["without_answer"] == 1
    silent, says = (np.array([row[0] for row in spec if row[1] == name]) for name in ("silent", "verbalised"))
    assert found["by_verdict"]["silent"]["mean"]["value"] == pytest.approx(silent.mean())
    assert found["by_verdict"]["silent"]["median"]["value"] == np.median(silent)
    (gap,) = found["by_verdict"]["differences"]
    assert (gap["first"], gap["second"]) == ("verbalised", "silent")
    assert gap["mean"]["difference"]["value"] == pytest.approx(says.mean() - silent.mean(), abs=1e-6)
    assert gap["median"]["difference"]["value"] == np.median(says) - np.median(silent)
    assert gap["mean"]["p_value"] < 0.02 and gap["median"]["p_value"] < 0.02
    assert [*found["by_level"]] == ["1", "3", "differences"] and [*found["by_acted"]][:2] == ["acted", "not_acted"]
    assert found["all"]["mean"]["n"] == 80
    json.dumps(found, allow_nan=False)
    assert lengths_section([], {}, n=N)["all"]["mean"]["reason"] == "no such chains"


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=5))
def test_weighted_medians_are_those_of_repeated_values(rows):
    width = max(map(len, rows))
    weights = np.array([row + [0] * (width - len(row)) for row in rows], float)
    values = np.arange(width) ** 2
    found = weighted_medians(values, weights)
    for row, median in zip(weights.astype(int), found, strict=True):
        repeated = np.repeat(values, row)
        assert np.isnan(median) if not len(repeated) else median == np.median(repeated)


def test_intervals_of_lengths_agree_with_a_loop_over_resampled_rows():
    rng = np.random.default_rng(0)
    tokens, groups = rng.integers(10, 90, size=200), np.repeat(np.arange(40), 5)
    found = Lengths(tokens, groups, {"all": tokens > 0}, 3000, 0).of("all")
    drawn = rng.integers(40, size=(3000, 40))
    slow = [tokens.reshape(40, 5)[each].ravel() for each in drawn]
    for name, of in (("mean", np.mean), ("median", np.median)):
        low, high = np.quantile([of(each) for each in slow], [0.025, 0.975])
        assert found[name]["ci95"] == pytest.approx([low, high], abs=1.5)


def test_lengths_that_do_not_differ_are_not_said_to():
    tokens, first = np.tile(np.arange(20, 60), 2), np.arange(80) < 40
    same = length_difference(tokens, np.arange(80), first, ~first, n=N)
    assert same["mean"]["difference"]["value"] == 0 and same["mean"]["p_value"] == 1
    assert same["median"]["difference"]["value"] == 0 and same["median"]["p_value"] > 0.5


@pytest.mark.parametrize(("sizes", "spreads"), [((150, 15), (20, 150)), ((15, 150), (150, 20)), ((60, 20), (10, 80))])
def test_lengths_with_the_same_mean_and_another_spread_are_not_said_to_differ(sizes, spreads):
    rng, small, n = np.random.default_rng(3), 0, sum(sizes)
    first = np.arange(n) < sizes[0]
    for seed in range(80):
        tokens = np.concatenate([rng.normal(900, sd, size) for size, sd in zip(sizes, spreads, strict=True)])
        gap = length_difference(tokens.round().astype(int), np.arange(n), first, ~first, n=199, seed=seed)
        small += gap["mean"]["p_value"] <= 0.05
    assert small / 80 < 0.15


def test_lengths_do_not_depend_on_names_of_groups_or_the_order_of_rows():
    rng = np.random.default_rng(0)
    tokens, groups, first = rng.integers(5, 90, 60), rng.integers(20, size=60), rng.random(60) < 0.4
    order, names = rng.permutation(60), rng.permutation(20)
    found = length_difference(tokens[order], names[groups][order], first[order], ~first[order], n=50)
    assert found == length_difference(tokens, groups, first, ~first, n=50)


def test_lengths_of_few_groups_have_no_interval():
    tokens, first = np.arange(40), np.arange(40) < 20
    few = length_difference(tokens, np.arange(40) % 3, first, ~first, n=N)
    assert "3 groups are too few" in few["mean"]["difference"]["reason"] and few["mean"]["p_value"] is None


@pytest.mark.slow
def test_a_hundred_thousand_lengths_take_seconds():
    rng = np.random.default_rng(0)
    tokens, groups = rng.integers(10, 600, size=100_000), np.arange(100_000) // 2
    first = rng.random(100_000) < 0.4
    start = time.process_time()
    found = length_difference(tokens, groups, first, ~first, n=2000)
    assert found["mean"]["difference"]["value"] is not None
    assert time.process_time() - start < 20
