"""Estimates against worked numbers and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from introspect.errors import EstimateError
from introspect.stats import (
    Estimate,
    auroc,
    auroc_estimate,
    auroc_replicates,
    aurocs,
    bootstrap,
    increment_estimate,
    interval,
    newcombe_interval,
    permutation_p,
    proportion,
)

RNG = np.random.default_rng(0)
SCORES = np.round(RNG.normal(size=60), 1)
LABELS = RNG.random(60) < 0.4
GROUPS = np.repeat(np.arange(15), 4)


def slow_auroc(scores, labels):
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    return sum(pairs) / len(pairs)


def test_wilson_worked_numbers():
    assert proportion(10, 40).ci95 == pytest.approx((0.142, 0.402), abs=5e-4)
    assert proportion(0, 50).ci95 == pytest.approx((0.0, 0.0713), abs=5e-4)
    assert proportion(50, 50).ci95[1] == 1.0
    assert proportion(0, 0).to_json() == {"value": None, "reason": "no cases to take a share of"}


def test_auroc_counts_pairs_and_half_ties():
    assert auroc(SCORES, LABELS) == pytest.approx(slow_auroc(SCORES, LABELS))
    with pytest.raises(EstimateError, match="both classes"):
        auroc(SCORES, np.ones(60, bool))


def test_aurocs_of_many_lines_are_those_of_each_and_nan_where_a_class_is_missing():
    lines = np.stack([SCORES, -SCORES, np.zeros(60)])
    labels = np.stack([LABELS, ~LABELS, LABELS])
    assert aurocs(lines, labels) == pytest.approx([slow_auroc(*each) for each in zip(lines, labels, strict=True)])
    assert aurocs(lines, LABELS[None]) == pytest.approx([slow_auroc(line, LABELS) for line in lines])
    labels[1] = True
    assert np.isnan(aurocs(lines, labels)).tolist() == [False, True, False]


def test_bootstrap_replicates_equal_resampled_rows():
    counts = RNG.integers(0, 3, size=(20, 60))
    fast = auroc_replicates(SCORES, LABELS, counts)
    for row, value in zip(counts, fast, strict=True):
        drawn = np.repeat(np.arange(60), row)
        assert value == pytest.approx(slow_auroc(SCORES[drawn], LABELS[drawn]))


def test_standard_error_of_an_auroc_of_seventy():
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(0.742, 1, 100), rng.normal(0, 1, 100)])
    estimate = auroc_estimate(scores, np.arange(200) < 100, np.arange(200))
    low, high = estimate.ci95
    assert (high - low) / 3.92 == pytest.approx(0.037, abs=0.006)


def test_groups_widen_intervals_when_rows_repeat():
    rng = np.random.default_rng(2)
    scores, labels = rng.normal(size=30), np.arange(30) % 2 == 0
    repeated, groups = np.repeat(np.arange(30), 10), np.repeat(np.arange(30), 10)
    honest = auroc_estimate(scores[repeated], labels[repeated], groups).ci95
    naive = auroc_estimate(scores[repeated], labels[repeated], np.arange(300)).ci95
    assert honest[1] - honest[0] > 2 * (naive[1] - naive[0])


def test_few_groups_expand_a_percentile_interval_to_what_students_t_would_give():
    replicates = np.random.default_rng(0).normal(scale=np.sqrt(7 / 8), size=400_000)
    assert interval(replicates, 8)[1] == pytest.approx(2.365, abs=0.02)
    assert interval(replicates)[1] == pytest.approx(1.96 * np.sqrt(7 / 8), abs=0.02)
    assert interval(replicates, 10**6) == pytest.approx(interval(replicates), abs=1e-4)
    assert interval(replicates, 1) == (replicates.min(), replicates.max())


def test_intervals_of_an_auroc_from_few_groups_hold_it():
    """150 samples of 8 groups of 4: expanded percentiles hold .5 oftener than plain ones, in 91% or more."""
    rng, groups, held = np.random.default_rng(5), np.repeat(np.arange(8), 4), np.zeros(2)
    for _ in range(150):
        scores, labels = rng.normal(size=32), rng.random(32) < 0.5
        found = auroc_estimate(scores, labels, groups, n=300).ci95
        counts = rng.multinomial(8, np.full(8, 1 / 8), size=300)[:, groups]
        plain = interval(auroc_replicates(scores, labels, counts))
        held += [low <= 0.5 <= high for low, high in (found, plain)]
    assert held[0] / 150 > 0.9 and held[0] - held[1] >= 5


def test_an_increment_is_paired():
    scores = SCORES + 1.5 * LABELS
    estimate = increment_estimate(scores, scores, LABELS, GROUPS)
    assert estimate.value == 0 and estimate.ci95 == (0, 0)


def test_too_little_data_is_said_and_not_numbered():
    assert auroc_estimate(SCORES[:8], LABELS[:8], GROUPS[:8]).value is None
    assert "too few" in bootstrap(lambda rows: 1.0, [1, 2]).to_json()["reason"]
    assert Estimate.undefined("why").to_json() == {"value": None, "reason": "why"}


def test_a_permutation_p_counts_the_observation():
    assert permutation_p(2.0, np.arange(9) / 10) == 0.1


def test_a_perfect_auroc_has_an_interval_with_a_width():
    labels = np.tile([True, False], 12)
    groups = np.repeat(np.arange(12), 2)
    perfect = auroc_estimate(labels.astype(float), labels, groups)
    assert perfect.value == 1
    low, high = perfect.ci95
    assert 0.7 < low < 0.95 and high == 1
    nearly = np.where(np.arange(24) == 1, 1.5, labels.astype(float))
    almost = auroc_estimate(nearly, labels, groups)
    assert almost.value < 1 and almost.ci95[0] < low


def test_a_share_of_nearly_all_has_no_shorter_interval_than_one_of_all():
    every, most = np.ones(40), np.ones(40)
    most[3] = 0
    bounds = [
        bootstrap(lambda rows, x=x: float(x[rows].mean()), np.repeat(np.arange(20), 2), share_of=20).ci95[0]
        for x in (every, most)
    ]
    assert bounds[1] <= bounds[0] < 0.9


def test_a_baseline_below_chance_counts_as_chance():
    labels = np.tile([True, False], 20)
    worse = -labels.astype(float)
    beyond = increment_estimate(labels.astype(float), worse, labels, np.repeat(np.arange(10), 4))
    assert beyond.value == 0.5
    assert 0.2 < beyond.ci95[0] < 0.45 and beyond.ci95[1] == 0.5


def test_the_newcombe_interval_covers_what_it_should():
    rng = np.random.default_rng(0)
    shift, n, covered = 2.0, 20, 0
    truth = float(norm.cdf(shift / np.sqrt(2)))
    for _ in range(400):
        scores = np.concatenate([rng.normal(shift, size=n), rng.normal(size=n)])
        low, high = newcombe_interval(auroc(scores, np.arange(2 * n) < n), n, n)
        covered += low <= truth <= high
    assert 0.92 < covered / 400 < 0.99
    assert newcombe_interval(0.0, 9, 7)[0] == 0
    assert newcombe_interval(0.3, 9, 7) == pytest.approx(tuple(1 - x for x in newcombe_interval(0.7, 9, 7)[::-1]))
