"""The calibration error is what probabilities are off by, without what chance adds, and its interval holds it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from introspect.probing.calibration import calibration_error


def sample(rng: np.random.Generator, sharper: float, n_groups: int = 16, each: int = 4):
    """Probabilities whose log-odds are so many times as large as they should be, of groups that lean alike."""
    groups = np.repeat(np.arange(n_groups), each)
    truth = expit(rng.normal(size=len(groups)) + 0.7 * rng.normal(size=n_groups)[groups])
    return expit(sharper * logit(truth)), rng.random(len(groups)) < truth, groups


def off_by(sharper: float) -> float:
    """The mean difference to the true probabilities, on many rows."""
    chance, _, _ = sample(np.random.default_rng(0), sharper, 100_000, 1)
    return float(np.abs(chance - expit(logit(chance) / sharper)).mean())


@pytest.mark.parametrize("sharper", [1.0, 3.0])
def test_it_is_debiased_and_its_interval_holds_the_truth(sharper):
    """60 samples of 64 rows: the plug-in value of calibrated ones is .15, and no bootstrap of it comes near 0."""
    rng, truth = np.random.default_rng(1), off_by(sharper)
    found = [calibration_error(*sample(rng, sharper), n=150, seed=seed) for seed in range(60)]
    assert np.mean([each.ci95[0] <= truth <= each.ci95[1] for each in found]) >= 0.85
    assert np.mean([each.value for each in found]) == pytest.approx(truth, abs=0.06)
    assert all(0 <= each.ci95[0] <= each.value <= each.ci95[1] for each in found)
    assert (np.mean([each.value for each in found]) > 0.08) == (sharper > 1)


def test_on_many_rows_it_is_the_plug_in_value():
    chance, labels, groups = sample(np.random.default_rng(2), 3.0, 5000, 1)
    found = calibration_error(chance, labels, groups, n=100)
    assert found.value == pytest.approx(off_by(3.0), abs=0.02) and found.ci95[1] - found.ci95[0] < 0.06
    order = np.array_split(np.argsort(chance), 10)
    plug_in = sum(abs(chance[rows].sum() - labels[rows].sum()) for rows in order) / 5000
    assert found.value == pytest.approx(plug_in, abs=0.005) and found.n == 5000


def test_groups_that_err_together_widen_it():
    chance, labels, groups = sample(np.random.default_rng(3), 3.0, 200, 1)
    repeated = np.repeat(np.arange(200), 5)
    widths = [
        np.ptp(calibration_error(chance[repeated], labels[repeated], each, n=200).ci95)
        for each in (groups[repeated], np.arange(1000))
    ]
    assert widths[0] > 1.5 * widths[1]


def test_what_is_never_off_and_what_always_is():
    groups, labels = np.repeat(np.arange(10), 4), np.tile([True, False], 20)
    assert calibration_error(labels.astype(float), labels, groups).ci95 == (0, 0)
    wrong = calibration_error(1.0 - labels, labels, groups)
    assert wrong.value == pytest.approx(1, abs=0.05) and wrong.ci95[1] == pytest.approx(1)
    assert "too few" in calibration_error(np.full(4, 0.5), labels[:4], np.arange(4)).to_json()["reason"]
