"""The bootstrap over groups and the permutation test, against plain loops, enumeration and simulation."""

from __future__ import annotations

import time
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspect.metrics.contrasts import difference_estimates, permutation_p
from introspect.metrics.resampling import (
    Ratio,
    difference_of_shares,
    make_cells,
    quotient_interval,
    ratio_estimates,
    resample,
    share,
)
from introspect.stats import EstimateError, bootstrap, proportion

RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(30), 4)
PART = (RNG.random(120) < 0.4).astype(float)
WHOLE = np.ones(120)
RATE = share("part", "whole")


def rate(part, whole, groups, **more):
    return ratio_estimates({"part": part, "whole": whole}, groups, {"rate": RATE}, **more)["rate"]


def test_a_share_of_rows_that_share_groups_agrees_with_a_loop_over_resampled_rows():
    fast = rate(PART, WHOLE, GROUPS, n=4000, seed=1)
    slow = bootstrap(lambda rows: float(PART[rows].mean()), GROUPS, n=4000, seed=2)
    assert fast.value == pytest.approx(slow.value)
    assert fast.ci95 == pytest.approx(slow.ci95, abs=0.012)
    assert fast.n == 120


def test_a_share_whose_cases_come_from_groups_of_their_own_has_wilsons_interval():
    assert rate(PART, WHOLE, np.arange(120)) == proportion(int(PART.sum()), 120)
    lonely = np.array([f"g{i}" for i in range(3)], object)
    assert rate(np.array([1.0, 0, 1]), np.ones(3), lonely) == proportion(2, 3)


def test_replicates_hold_as_many_groups_as_there_are_whether_or_not_cells_are_merged():
    few, many = make_cells(np.ones((400, 1))), make_cells(np.arange(400.0)[:, None])
    assert few.merged and not many.merged
    for cells in (few, many):
        counted = cells.draws(np.random.default_rng(0), 50)
        assert (counted.sum(axis=1) == 400).all()


def test_merged_groups_are_drawn_like_single_ones():
    sums = np.repeat([[0.0, 1.0], [1.0, 1.0], [3.0, 4.0]], [300, 60, 40], axis=0)
    merged = resample([make_cells(sums)], 4000, np.random.default_rng(0))
    nudged = sums + np.c_[np.zeros(400), np.arange(400) * 1e-7]
    single = resample([make_cells(nudged)], 4000, np.random.default_rng(1))
    assert merged.mean(axis=0) == pytest.approx(single.mean(axis=0), rel=0.02)
    assert merged.std(axis=0) == pytest.approx(single.std(axis=0), rel=0.06)


def test_groups_are_drawn_within_their_strata():
    strata = np.r_[np.zeros(40, int), np.ones(8, int)]
    columns = {"first": strata == 0, "second": strata == 1}
    bare = {"first": lambda sums: sums["first"], "second": lambda sums: sums["second"]}
    drawn = ratio_estimates(columns, np.arange(48), bare, strata=strata)
    assert drawn["first"].ci95 == (40, 40) and drawn["second"].ci95 == (8, 8)
    assert ratio_estimates(columns, np.arange(48), bare)["second"].ci95 != (8, 8)


def test_what_is_undefined_says_why():
    assert "share of" in rate(np.zeros(30), np.zeros(30), np.arange(30)).reason
    assert "4 groups are too few" in rate(PART[:16], WHOLE[:16], GROUPS[:16]).reason
    columns = {"x": np.r_[1.0, np.zeros(19)], "y": np.ones(20)}
    rare = {"mean": Ratio(lambda sums: sums["y"] / sums["x"])}
    assert "more than a tenth" in ratio_estimates(columns, np.arange(20), rare)["mean"].reason


def test_no_rows_at_all_are_no_estimate():
    empty = np.zeros(0)
    assert rate(empty, empty, empty.astype(int)).value is None
    difference = difference_estimates({"part": empty, "whole": empty}, empty.astype(int), empty, {"rate": RATE})["rate"]
    assert difference.estimate.value is None and difference.p_value is None


def test_a_share_that_touches_an_end_has_wilsons_width_over_groups():
    none = rate(np.zeros(120), WHOLE, GROUPS)
    assert none.value == 0 and none.ci95 == pytest.approx(proportion(0, 30).ci95)
    one = rate(np.r_[1.0, np.zeros(119)], WHOLE, GROUPS)
    assert one.ci95[0] == 0 and one.ci95[1] >= 0.1
    assert rate(WHOLE, WHOLE, GROUPS).ci95 == pytest.approx(proportion(30, 30).ci95)


def test_a_difference_of_two_shares_none_of_which_was_seen_is_not_certain_to_be_nothing():
    columns = {"a": np.zeros(40), "b": np.zeros(40), "n": np.ones(40)}
    net = ratio_estimates(columns, np.arange(40), {"net": difference_of_shares("a", "b", "n")})["net"]
    upper = proportion(0, 40).ci95[1]
    assert net.value == 0 and net.ci95 == pytest.approx((-upper, upper))


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=12, max_size=60), st.randoms())
def test_order_of_rows_and_names_of_groups_do_not_matter(rows, random):
    def estimate(rows):
        groups = [group for group, _ in rows]
        return rate(np.array([said for _, said in rows], float), np.ones(len(rows)), groups, n=50)

    names = [f"name {i}" for i in range(9)]
    random.shuffle(names)
    shuffled = [(names[group], said) for group, said in rows]
    random.shuffle(shuffled)
    assert estimate(shuffled) == estimate(rows)


def studentised_gap(xs, ys, alone_xs, alone_ys):
    """Difference of two means over its standard error, by loops over groups; xs and ys are paired."""
    all_x, all_y = [*xs, *alone_xs], [*ys, *alone_ys]
    gap, together = np.mean(all_x) - np.mean(all_y), np.mean(all_x + all_y)
    n, m = len(all_x), len(all_y)
    jack_x, jack_y = n / (n - 1), m / (m - 1)
    own_x = sum((x - np.mean(all_x)) ** 2 for x in all_x) / n**2 + (np.mean(all_x) - together) ** 2 / n
    own_y = sum((y - np.mean(all_y)) ** 2 for y in all_y) / m**2 + (np.mean(all_y) - together) ** 2 / m
    shared = sum((x - np.mean(all_x)) * (y - np.mean(all_y)) for x, y in zip(xs, ys, strict=True)) / (n * m)
    shared += (np.mean(all_x) - together) * (np.mean(all_y) - together) * len(xs) / (n * m)
    return gap / np.sqrt(own_x * jack_x**2 + own_y * jack_y**2 - 2 * shared * jack_x * jack_y)


def enumerated_p(a, b, only_a, only_b):
    """Share of all swaps of pairs, and of all deals of the unpaired, at least as far from 0 as what was observed."""
    observed = abs(studentised_gap(a, b, only_a, only_b))
    alone, hits, n = [*only_a, *only_b], 0, 0
    for swap in product([0, 1], repeat=len(a)):
        for chosen in combinations(range(len(alone)), len(only_a)):
            xs = [(b if s else a)[i] for i, s in enumerate(swap)]
            ys = [(a if s else b)[i] for i, s in enumerate(swap)]
            in_x, in_y = [alone[i] for i in chosen], [alone[i] for i in range(len(alone)) if i not in chosen]
            hits += abs(studentised_gap(xs, ys, in_x, in_y)) >= observed - 1e-6
            n += 1
    return hits / n


@pytest.mark.parametrize("unit", [1.0, 1.37])
def test_the_permutation_test_agrees_with_enumerating_every_permutation(unit):
    a, b, only_a, only_b = [3, 1, 4, 1, 5], [2, 1, 2, 0, 3], [6, 2, 5, 7], [1, 2, 0]
    values = unit * np.array([*a, *b, *only_a, *only_b], float)
    groups = np.r_[np.arange(5), np.arange(5), 10 + np.arange(4), 20 + np.arange(3)]
    first = np.r_[np.ones(5, bool), np.zeros(5, bool), np.ones(4, bool), np.zeros(3, bool)]
    mean = Ratio(lambda sums: sums["x"] / sums["n"], "n")
    columns = {"x": values, "n": np.ones(len(values))}
    p_value = permutation_p(columns, groups, first, mean, n=20000)
    assert p_value == pytest.approx(enumerated_p(a, b, only_a, only_b), abs=0.01)


def test_the_merged_permutation_agrees_with_the_single_one():
    rng = np.random.default_rng(3)
    part, first = (rng.random(600) < 0.5).astype(float), np.arange(600) < 350
    part[first] = (rng.random(350) < 0.57).astype(float)
    columns = {"part": part, "whole": np.ones(600)}
    merged = permutation_p(columns, np.arange(600), first, RATE, n=8000)
    odd = columns | {"odd": np.arange(600.0)}
    assert permutation_p(odd, np.arange(600), first, RATE, n=8000) == pytest.approx(merged, abs=0.02)
    pairs = np.r_[np.arange(350), np.arange(250)]
    paired = permutation_p(columns, pairs, first, RATE, n=8000)
    assert permutation_p(odd, pairs, first, RATE, n=8000) == pytest.approx(paired, abs=0.02)


def test_a_difference_is_paired_over_groups_in_both():
    hard = np.random.default_rng(1).random(200)
    draws = np.random.default_rng(2).random((2, 200))
    part = np.concatenate([draws[0] < 0.9 * hard, draws[0] < 0.9 * hard + 0.05]).astype(float)
    columns = {"part": part, "whole": np.ones(400)}
    first = np.arange(400) < 200
    paired = difference_estimates(columns, np.tile(np.arange(200), 2), first, {"rate": RATE})["rate"]
    apart = difference_estimates(columns, np.arange(400), first, {"rate": RATE})["rate"]
    assert paired.estimate.value == pytest.approx(apart.estimate.value)
    width = [each.estimate.ci95[1] - each.estimate.ci95[0] for each in (paired, apart)]
    assert width[0] < 0.5 * width[1]
    assert paired.p_value < 0.05 < apart.p_value


def test_a_difference_has_the_tests_name_and_swapping_the_sets_turns_its_sign():
    columns, first = {"part": PART, "whole": WHOLE}, np.arange(120) % 4 < 2
    one = difference_estimates(columns, GROUPS, first, {"rate": RATE})["rate"]
    other = difference_estimates(columns, GROUPS, ~first, {"rate": RATE})["rate"]
    assert one.estimate.value == -other.estimate.value == PART[first].mean() - PART[~first].mean()
    assert one.to_json().keys() == {"difference", "p_value", "test"}


def test_a_difference_of_two_shares_of_nothing_is_not_certain():
    columns = {"part": np.zeros(80), "whole": np.ones(80)}
    none = difference_estimates(columns, np.arange(80), np.arange(80) < 40, {"rate": RATE})["rate"]
    upper = proportion(0, 40).ci95[1]
    assert none.estimate.ci95 == pytest.approx((-upper, upper)) and none.p_value == 1


def test_permutation_p_values_are_uniform_when_nothing_differs():
    rng, small = np.random.default_rng(5), 0
    for seed in range(300):
        part, groups = (rng.random(80) < 0.4).astype(float), np.repeat(np.arange(20), 4)
        columns = {"part": part, "whole": np.ones(80)}
        small += permutation_p(columns, groups, rng.random(20)[groups] < 0.5, RATE, n=99, seed=seed) <= 0.1
    assert 0.05 < small / 300 < 0.15


@pytest.mark.parametrize("rates", [(0.7, 0.05), (0.5, 0.1), (0.3, 0.3), (0.7, 0.01), (0.05, 0.7)])
@pytest.mark.parametrize("part", [0.4, 0.1, 0.9])
def test_shares_of_unequally_many_cases_are_not_said_to_differ(rates, part):
    rng, small = np.random.default_rng(7), 0
    for seed in range(80):
        whole = (rng.random(600) < np.repeat(rates, 300)).astype(float)
        columns = {"part": whole * (rng.random(600) < part), "whole": whole}
        first = np.arange(600) < 300
        small += (permutation_p(columns, np.tile(np.arange(300), 2), first, RATE, n=199, seed=seed) or 1) <= 0.05
    assert small / 80 < 0.15


@pytest.mark.parametrize("per_group", [2, 5])
def test_nor_are_shares_where_cases_are_alike_within_groups(per_group):
    rng, small, groups = np.random.default_rng(8), 0, np.repeat(np.arange(200), per_group)
    first = groups < 150
    for seed in range(80):
        whole = (rng.random(len(groups)) < np.where(first, 0.9, 0.4)).astype(float)
        part = whole * (rng.beta(1, 1.5, 200)[groups] > rng.random(len(groups)))
        small += permutation_p({"part": part, "whole": whole}, groups, first, RATE, n=199, seed=seed) <= 0.05
    assert small / 80 < 0.15


@pytest.mark.parametrize(
    ("rates", "parts"), [((0.7, 0.2), (0.2, 0.6)), ((0.3, 0.3), (0.3, 0.6)), ((0.7, 0.1), (0.9, 0.4))]
)
def test_shares_that_differ_are_found(rates, parts):
    rng, small = np.random.default_rng(9), 0
    for seed in range(40):
        whole = (rng.random(600) < np.repeat(rates, 300)).astype(float)
        columns = {"part": whole * (rng.random(600) < np.repeat(parts, 300)), "whole": whole}
        small += permutation_p(columns, np.tile(np.arange(300), 2), np.arange(600) < 300, RATE, n=199, seed=seed) < 0.05
    assert small / 40 > 0.8


def test_a_set_all_of_whose_cases_agree_has_a_standard_error():
    part, first = np.r_[np.zeros(100), np.ones(30), np.zeros(3)], np.arange(133) < 130
    few = permutation_p({"part": part, "whole": np.ones(133)}, np.arange(133), first, RATE, n=500)
    assert few > 0.2
    first = np.arange(133) < 60
    apart = permutation_p({"part": first * 1.0, "whole": np.ones(133)}, np.arange(133), first, RATE)
    assert apart == pytest.approx(1 / 2001, abs=0.01)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"), [((0.2, 0.1, 0.3), (0.5, 0.4, 0.6), 0.19, 0.65), ((0, 0, 0.1), (1, 0.9, 1), 0, 0.11)]
)
def test_an_interval_of_a_quotient_is_where_the_difference_may_be_nought(a, b, low, high):
    found = quotient_interval(a[0], a[1:], b[0], b[1:])
    assert low <= found[0] <= a[0] / b[0] <= found[1] <= high
    for end, (own, other) in zip(found, ((1, 2), (2, 1)), strict=True):
        assert abs(a[0] - end * b[0]) == pytest.approx(np.hypot(a[own] - a[0], end * (b[other] - b[0])), abs=1e-9)
    assert quotient_interval(0.1, (0, 0.2), 0.1, (0, 0.2)) == (0, np.inf)


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_compared_in_seconds():
    rng = np.random.default_rng(0)
    columns = {"part": rng.random(100_000), "whole": 1 + rng.random(100_000)}
    first, start = np.arange(100_000) < 50_000, time.process_time()
    mean = Ratio(lambda sums: sums["part"] / sums["whole"], "whole")
    assert permutation_p(columns, np.tile(np.arange(50_000), 2), first, mean, n=2000) is not None
    assert time.process_time() - start < 20


def test_intervals_of_a_ratio_over_groups_cover_what_they_should():
    rng, covered = np.random.default_rng(6), 0
    for seed in range(250):
        base = np.repeat(rng.beta(2, 3, size=60), 5)
        whole = (rng.random(300) < 0.7).astype(float)
        part = whole * (rng.random(300) < base)
        low, high = rate(part, whole, np.repeat(np.arange(60), 5), n=400, seed=seed).ci95
        covered += low <= 0.4 <= high
    assert 0.91 < covered / 250 < 0.985


def test_a_bootstrap_that_raises_is_not_swallowed():
    def broken(sums):
        raise EstimateError("no")

    with pytest.raises(EstimateError):
        ratio_estimates({"x": np.ones(9)}, np.arange(9), {"x": broken})


def test_groups_with_the_same_fractions_in_another_order_are_the_same():
    part = np.array([0.1, 0.2, 0.3, 0.3, 0.2, 0.1] * 20)
    groups = np.repeat(np.arange(40), 3)
    assert part[:3].sum() != part[3:6].sum()
    parts = {"part": part, "whole": np.ones(120)}
    assert ratio_estimates(parts, groups, {"mean": share("part", "whole", single=False)})["mean"].ci95 == (0.2, 0.2)
    sums = np.bincount(groups, part)[:, None]
    assert len(make_cells(sums).counts) == 1


def test_a_difference_of_nought_has_no_sign_that_the_order_of_rows_decides():
    part, groups, signs = np.array([1 / 3] * 30 + [2 / 3] * 30 + [1.0] * 3), np.arange(63), set()
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(63)
        columns = {"a": part[order], "b": np.full(63, part.sum() / 63), "n": np.ones(63)}
        found = ratio_estimates(columns, groups, {"net": difference_of_shares("a", "b", "n")}, n=20)["net"]
        signs.add(str(found.to_json()["value"]))
    assert signs == {"0.0"}
