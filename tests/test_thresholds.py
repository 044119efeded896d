"""Thresholds that hold their rate on new groups, and the rates at thresholds of one's own rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from introspect.errors import EstimateError
from introspect.stats import group_codes
from introspect.thresholds import allowed_above, carried_threshold, fewest_groups, share_above, threshold_at_fpr


def one_by_one(negatives: np.ndarray, groups: np.ndarray, fpr: float) -> int:
    """`allowed_above`, a group and a number at a time."""
    codes, n_groups = group_codes(groups)
    best = -1
    for allowed in range(len(negatives)):
        passing = 0.0
        for code in range(n_groups):
            others = np.sort(negatives[codes != code])
            threshold = others[-1 - allowed] if allowed < len(others) else -np.inf
            passing += float((negatives[codes == code] > threshold).mean())
        if passing > fpr * (n_groups + 1) + 1e-9:
            break
        best = allowed
    return best


def drawn(rng: np.random.Generator, n_groups: int, each: int, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal scores of groups of 1 to 2 `each` - 1 rows that share a part of their variance."""
    groups = np.repeat(np.arange(n_groups), rng.integers(1, 2 * each, n_groups))
    shared = np.sqrt(alike) * rng.normal(size=n_groups)[groups]
    return shared + np.sqrt(1 - alike) * rng.normal(size=len(groups)), groups


def test_the_threshold_lets_no_more_negatives_pass_than_allowed():
    negatives = np.arange(40.0)
    threshold = threshold_at_fpr(negatives, 0.05)
    assert (negatives > threshold).sum() == 2
    assert share_above(np.array([37.0, 38.5]), threshold) == 0.5 and threshold == 37
    with pytest.raises(EstimateError, match="no positives"):
        share_above(negatives[:0], threshold)


@pytest.mark.parametrize("n", [20, 25, 60])
def test_new_negatives_pass_a_carried_threshold_at_most_at_its_rate(n):
    """The mean over 1,000 thresholds of the rate that each really has; in-sample thresholds let more pass."""
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(1000, n))
    rates = norm.sf([[carried_threshold(each, range(n), 0.05), threshold_at_fpr(each, 0.05)] for each in rows])
    mean, error = rates.mean(axis=0), rates.std(axis=0) / np.sqrt(1000)
    assert mean[0] <= 0.05 + 3 * error[0] and mean[1] > 0.05 + 3 * error[1]
    assert mean[0] == pytest.approx((n + 1) * 5 // 100 / (n + 1), abs=4 * error[0])


@pytest.mark.parametrize("seed", range(4))
def test_each_group_is_held_against_the_threshold_of_the_others(seed):
    rng = np.random.default_rng(seed)
    for decimals in (8, 1):
        negatives, groups = drawn(rng, 25, 3, 0.3 * seed)
        negatives = negatives.round(decimals)
        for fpr in (0.05, 0.1, 0.5):
            assert allowed_above(negatives, groups, fpr) == one_by_one(negatives, groups, fpr)


def test_rows_of_one_score_a_group_count_as_one():
    groups = np.repeat(np.arange(39), 5)
    scores = np.arange(39.0)[groups]
    assert carried_threshold(scores, groups, 0.05) == carried_threshold(np.arange(39.0), range(39), 0.05) == 37


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_new_groups_pass_at_the_rate_however_alike_the_rows_of_a_group_are(alike):
    """300 thresholds on 24 groups: at most 5.5% of new rows pass, and no fewer than half as many as may."""
    rng = np.random.default_rng(3)
    samples = [drawn(rng, 24, 4, alike) for _ in range(300)]
    rate = float(np.mean(norm.sf([carried_threshold(*each, 0.05) for each in samples])))
    by_row = float(np.mean(norm.sf([carried_threshold(s, range(len(s)), 0.05) for s, _ in samples])))
    assert 0.025 < rate < 0.055 and (by_row > 0.06) == (alike == 1.0)


def test_a_carried_threshold_says_how_many_groups_it_needs():
    assert fewest_groups(0.05) == 19 and fewest_groups(0.01) == 99
    assert carried_threshold(np.arange(19.0), range(19), 0.05) == 18
    assert carried_threshold(np.arange(99.0), range(99), 0.29) == 99 - 29
    for n, groups, fpr, said in (
        (18, np.arange(18), 0.05, "needs 19 groups"),
        (72, np.arange(72) % 18, 0.05, "negatives of 18 groups"),
        (98, np.arange(98), 0.01, "needs 99 groups"),
    ):
        with pytest.raises(EstimateError, match=said):
            carried_threshold(np.arange(float(n)), groups, fpr)
