"""Agreement of two classifiers: worked examples of the literature, oracles, and what has to hold of any table."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from introspect.errors import EstimateError
from introspect.metrics.agreement import (
    ORDERED,
    agreement,
    coefficient,
    exact_mcnemar,
    gwet_parts,
    kappa_parts,
    linear_weights,
)

COEFFICIENTS = ("raw_agreement", "kappa", "ac1", "ac2_linear")


def labels(table, categories=ORDERED):
    """Two sequences with that table of counts."""
    pairs = [
        (first, second)
        for i, first in enumerate(categories)
        for j, second in enumerate(categories)
        for _ in range(table[i][j])
    ]
    return [first for first, _ in pairs], [second for _, second in pairs]


def section(table, categories=ORDERED, **options):
    first, second = labels(table, categories)
    return agreement(first, second, range(len(first)), categories=categories, **{"positive": categories[-1]} | options)


def test_cohens_own_example():
    """Cohen (1960), A coefficient of agreement for nominal scales, table 1: kappa = (.70 - .41) / (1 - .41) = .492."""
    got = section([[88, 10, 2], [14, 40, 6], [18, 10, 12]])
    assert got["n"] == 200
    assert got["raw_agreement"]["value"] == pytest.approx(0.70)
    assert got["kappa"]["value"] == pytest.approx(0.29 / 0.59, abs=1e-6)


def test_gwets_example_of_two_abstractors():
    """Gwet (2014), Handbook of Inter-Rater Reliability; the table and its AC1 = .84933 and kappa = .79641 are those of
    `cont3x3abstractors` in his R package irrCAC. By hand, mean shares .13, .255 and .615:
    AC1: chance = .53985 / 2; AC2, linear weights, whose sum is 5: agreement .945, chance = 5/6 * .53985.
    """
    got = section([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
    assert got["kappa"]["value"] == pytest.approx(0.7964094, abs=1e-6)
    assert got["ac1"]["value"] == pytest.approx(0.8493305, abs=1e-6)
    chance = 5 / 6 * 0.53985
    assert got["ac2_linear"]["value"] == pytest.approx((0.945 - chance) / (1 - chance), abs=1e-6)


def test_the_paradox_that_ac1_is_for():
    """Gwet (2002), Kappa statistic is not satisfactory: 118, 5, 2, 0 of 125 give kappa -.0234 and AC1 .9408."""
    got = section([[118, 5], [2, 0]], ("+", "-"))
    assert got["raw_agreement"]["value"] == pytest.approx(0.944)
    assert got["kappa"]["value"] == pytest.approx(-0.0234, abs=5e-5)
    assert got["ac1"]["value"] == pytest.approx(0.9408, abs=5e-5)


@pytest.mark.parametrize(("b", "c"), [(5, 1), (0, 6), (1, 0), (4, 4), (10, 2), (59, 121)])
def test_mcnemar_is_the_binomial_tail_twice(b, c):
    """(5, 1): 2 * (1 + 6) / 64 = .21875. (59, 121): the table of the Wikipedia article on McNemar's test."""
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert exact_mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert exact_mcnemar(5, 1) == pytest.approx(0.21875)


def test_mcnemar_counts_the_verdict_of_interest():
    got = section([[3, 1, 2], [0, 9, 6], [1, 0, 8]])
    test = got["mcnemar"]
    assert (test["category"], test["only_first"], test["only_second"]) == ("verbalised", 1, 8)
    assert test["p_exact"] == pytest.approx(2 * (1 + 9) / 512)
    difference = test["difference_first_minus_second"]
    assert difference["value"] == pytest.approx(-7 / 30, abs=1e-6) and difference["n"] == 30
    assert difference["ci95"][0] < -7 / 30 < difference["ci95"][1] < 0


def test_the_table_is_first_by_second():
    got = section([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert got["table"]["denied"] == {"denied": 1, "silent": 2, "verbalised": 3}
    assert got["table"]["verbalised"] == {"denied": 7, "silent": 8, "verbalised": 9}
    assert got["n"] == got["n_groups"] == 45


tables = st.lists(st.lists(st.integers(0, 12), min_size=3, max_size=3), min_size=3, max_size=3).filter(
    lambda table: sum(map(sum, table)) >= 6
)


def values(got):
    return {name: got[name]["value"] for name in COEFFICIENTS}


@given(tables)
def test_kappa_is_sklearns(table):
    first, second = labels(table)
    got = section(table, n=200)["kappa"]
    if got["value"] is None:
        assert "category only" in got["reason"] or "replicates" in got["reason"]
    else:
        assert got["value"] == pytest.approx(cohen_kappa_score(first, second), abs=1e-6)


@given(tables)
def test_gwet_by_loops(table):
    """AC1 and AC2 as sums over cells, without arrays."""
    n = sum(map(sum, table))
    weight = [[1 - abs(i - j) / 2 for j in range(3)] for i in range(3)]
    agreed = sum(weight[i][j] * table[i][j] / n for i in range(3) for j in range(3))
    mean = [(sum(table[k]) + sum(row[k] for row in table)) / (2 * n) for k in range(3)]
    spread = sum(m * (1 - m) for m in mean)
    chance = {"ac1": spread / 2, "ac2_linear": 5 / 6 * spread}
    exact = sum(table[k][k] for k in range(3)) / n
    got = section(table, n=50)
    assert got["ac1"]["value"] == pytest.approx((exact - chance["ac1"]) / (1 - chance["ac1"]), abs=1e-6)
    expected = (agreed - chance["ac2_linear"]) / (1 - chance["ac2_linear"])
    assert got["ac2_linear"]["value"] == pytest.approx(expected, abs=1e-6)


@given(tables)
def test_it_does_not_matter_who_is_first(table):
    one, other = section(table, n=50), section(np.transpose(table).tolist(), n=50)
    assert values(one) == pytest.approx(values(other), nan_ok=True) if None not in values(one).values() else True
    assert (one["mcnemar"]["only_first"], one["mcnemar"]["p_exact"]) == (
        other["mcnemar"]["only_second"],
        other["mcnemar"]["p_exact"],
    )


@given(tables, st.permutations(range(3)))
def test_names_do_not_matter_and_order_only_to_ac2(table, order):
    mixed = np.array(table)[np.ix_(order, order)]
    for parts in (kappa_parts, lambda t: gwet_parts(t, np.eye(3))):
        one, other = coefficient(parts(np.array(table))), coefficient(parts(mixed))
        np.testing.assert_allclose(one, other, atol=1e-12)
    turned = np.array(table)[::-1, ::-1]
    weights = linear_weights(3)
    np.testing.assert_allclose(
        coefficient(gwet_parts(turned, weights)), coefficient(gwet_parts(np.array(table), weights)), atol=1e-12
    )


def test_ac2_of_two_categories_is_ac1():
    np.testing.assert_array_equal(linear_weights(2), np.eye(2))
    np.testing.assert_array_equal(linear_weights(3), [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])


def test_a_near_miss_counts_for_more_than_a_far_one():
    near, far = section([[5, 4, 0], [0, 5, 0], [0, 0, 5]]), section([[5, 0, 4], [0, 5, 0], [0, 0, 5]])
    assert near["ac2_linear"]["value"] > far["ac2_linear"]["value"]


def test_perfect_agreement_is_one_with_an_interval_that_has_a_width():
    got = section([[4, 0, 0], [0, 9, 0], [0, 0, 7]])
    for name in COEFFICIENTS:
        assert got[name]["value"] == 1 and got[name]["ci95"][1] == 1
        assert 0.5 < got[name]["ci95"][0] < 0.95 and "wilson" in got[name]["method"]
    assert "discordant" in got["mcnemar"]["p_exact"]["reason"]
    assert "discordant" in got["mcnemar"]["difference_first_minus_second"]["reason"]
    with pytest.raises(EstimateError, match="discordant"):
        exact_mcnemar(0, 0)


def test_raw_agreement_of_single_cases_that_all_agree_is_wilsons():
    """Wilson (1927) for 20 of 20: 20 / (20 + 1.96 squared) to 1."""
    low, high = section([[4, 0, 0], [0, 9, 0], [0, 0, 7]])["raw_agreement"]["ci95"]
    assert low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-5) and high == 1


def test_kappa_is_refused_where_it_says_nothing():
    one = section([[0, 3, 0], [0, 20, 0], [0, 7, 0]])["kappa"]
    assert one["value"] is None and "kappa is 0 whatever" in one["reason"]
    both = section([[0, 0, 0], [0, 20, 0], [0, 0, 0]])
    assert "each classifier says one category only" in both["kappa"]["reason"]
    assert both["ac1"]["value"] == 1 and both["ac2_linear"]["value"] == 1


def test_too_little_is_refused_with_a_reason():
    nothing = agreement([], [], [])
    assert all(nothing[name]["value"] is None for name in COEFFICIENTS) and nothing["n"] == 0
    assert "no case" in nothing["kappa"]["reason"]
    few = agreement(["silent", "verbalised"] * 4, ["silent"] * 8, [1, 2] * 4)
    assert "2 groups are too few" in few["ac1"]["reason"]
    assert few["mcnemar"]["p_exact"] == pytest.approx(2 / 16)


def test_groups_are_what_is_resampled():
    first, second = labels([[10, 6, 0], [2, 30, 4], [3, 0, 45]])
    alone = agreement(first, second, range(100))
    doubled = agreement(first * 2, second * 2, [*range(100), *range(100)])
    for name in COEFFICIENTS:
        assert doubled[name]["value"] == alone[name]["value"] and doubled[name]["ci95"] == alone[name]["ci95"]
        assert (alone[name]["n"], doubled[name]["n"], doubled["n_groups"]) == (100, 200, 100)


def test_the_interval_is_that_of_resampled_rows():
    """Against a bootstrap that draws rows one by one."""
    first, second = labels([[10, 6, 0], [2, 30, 4], [3, 0, 45]])
    rng = np.random.default_rng(3)
    draws = rng.integers(0, 100, (2000, 100))
    kappas = [cohen_kappa_score(np.array(first)[rows], np.array(second)[rows]) for rows in draws[:400]]
    low, high = agreement(first, second, range(100), n=4000)["kappa"]["ci95"]
    assert low == pytest.approx(np.quantile(kappas, 0.025), abs=0.04)
    assert high == pytest.approx(np.quantile(kappas, 0.975), abs=0.04)


def test_the_seed_decides():
    table = [[10, 6, 0], [2, 30, 4], [3, 0, 45]]
    assert section(table, seed=1) == section(table, seed=1) != section(table, seed=2)


@pytest.mark.parametrize(
    ("first", "second", "groups", "options"),
    [
        (["silent"], ["silent", "denied"], [1], {}),
        (["silent"], ["quiet"], [1], {}),
        (["silent"], ["silent"], [1], {"categories": ("silent",), "positive": "silent"}),
        (["silent"], ["silent"], [1], {"positive": "loud"}),
    ],
)
def test_what_is_no_comparison_is_an_error(first, second, groups, options):
    with pytest.raises(ValueError, match="categories"):
        agreement(first, second, groups, **options)
