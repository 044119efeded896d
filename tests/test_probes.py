"""Probes: the solver against scikit-learn, and planted cases both ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from introspect.errors import EstimateError
from introspect.probes import (
    Split,
    best_cell,
    control_task,
    fit_grid,
    random_directions,
    shuffled_null,
    split_groups,
    text_scores,
)
from introspect.probes.logistic import Standardiser, fit, kernel
from introspect.probes.null import shuffled_by_group
from introspect.probes.splits import check_split
from introspect.stats import auroc, permutation_p

N_GROUPS, PER_GROUP, WIDTH = 40, 6, 50
GROUPS = np.repeat(np.arange(N_GROUPS), PER_GROUP)
PENALTIES = (0.001, 0.01, 0.1)


def data(seed: int, signal: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two positions x 3 layers; the label is in layer 1 of the second position, with a strength."""
    rng = np.random.default_rng(seed)
    labels = rng.random(len(GROUPS)) < 0.5
    acts = {name: rng.normal(size=(3, len(GROUPS), WIDTH)).astype(np.float32) for name in ("first", "second")}
    acts["second"][1, :, :5] += signal * (labels[:, None] - 0.5)
    return acts, labels


def split_of(labels: np.ndarray, seed: int = 0) -> Split:
    return split_groups(GROUPS, labels, test_fraction=0.4, inner_folds=4, seed=seed)


def test_the_solver_agrees_with_scikit_learn():
    torch.manual_seed(0)
    x = torch.randn(3, 80, 200)
    y = (x[1, :, 0] > 0).double()
    z = Standardiser.fit(x)(x).double()
    for c in (*PENALTIES, 1.0):
        ours = fit(kernel(z), y, c)
        weights = ours.coefficients(z)[..., 0].numpy()
        for i in range(3):
            theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(z[i].numpy(), y.numpy())
            assert np.abs(theirs.coef_[0] - weights[i]).max() < 1e-3
            assert abs(theirs.intercept_[0] - ours.b[i, 0]) < 1e-3


def test_a_planted_signal_is_found_where_it_is():
    acts, labels = data(0, signal=2.5)
    split = split_of(labels)
    cells = fit_grid(acts, (0, 1, 2), labels, split, PENALTIES)
    best = best_cell(cells)
    assert (best.position, best.layer) == ("second", 1)
    assert auroc(best.scores[split.test], labels[split.test]) > 0.9
    assert np.allclose(best.direction.score(acts["second"][1])[split.test], best.scores[split.test])
    null = shuffled_null(acts, labels, GROUPS, split, penalty=best.penalty, n=30, seed=0)
    assert permutation_p(auroc(best.scores[split.test], labels[split.test]), null.maxima()) < 0.05


def test_what_is_not_there_is_not_found():
    values = []
    for seed in range(12):
        acts, labels = data(seed, signal=0)
        split = split_of(labels, seed)
        best = best_cell(fit_grid(acts, (0, 1, 2), labels, split, PENALTIES[1:2]))
        null = shuffled_null(acts, labels, GROUPS, split, penalty=0.01, n=19, seed=seed)
        values.append(permutation_p(auroc(best.scores[split.test], labels[split.test]), null.maxima()))
    assert sum(p <= 0.05 for p in values) <= 2
    assert np.mean(values) > 0.3


def test_an_exclusive_or_is_not_linear():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, len(GROUPS))) < 0.5
    x = rng.normal(size=(1, len(GROUPS), WIDTH)).astype(np.float32)
    x[0, :, 0] += 6 * a
    x[0, :, 1] += 6 * b
    split = split_of(a ^ b)
    cell = fit_grid({"p": x}, (0,), a ^ b, split, PENALTIES)[0]
    assert abs(auroc(cell.scores[split.test], (a ^ b)[split.test]) - 0.5) < 0.15


def test_a_split_that_ignores_groups_would_be_fooled_and_ours_is_not():
    rng = np.random.default_rng(4)
    labels = (rng.permutation(N_GROUPS) < N_GROUPS // 2)[GROUPS]
    x = (rng.normal(size=(N_GROUPS, WIDTH))[GROUPS] + 0.05 * rng.normal(size=(len(GROUPS), WIDTH))).astype(np.float32)
    honest = split_of(labels)
    cell = fit_grid({"p": x[None]}, (0,), labels, honest, PENALTIES)[0]
    rows = rng.permutation(len(GROUPS))
    leaky = Split(rows[:144], rows[144:], np.arange(144) % 4)
    fooled = fit_grid({"p": x[None]}, (0,), labels, leaky, PENALTIES)[0]
    assert auroc(fooled.scores[leaky.test], labels[leaky.test]) > 0.95
    assert auroc(cell.scores[honest.test], labels[honest.test]) < 0.8
    with pytest.raises(ValueError, match="development part and in the test part"):
        check_split(leaky, GROUPS)
    torn = Split(honest.dev, honest.test, np.arange(len(honest.dev)) % 4)
    with pytest.raises(ValueError, match="a group is in two inner folds"):
        check_split(torn, GROUPS)
    check_split(honest, GROUPS)


def test_splits_keep_groups_whole_and_say_when_they_cannot():
    _, labels = data(0, 0)
    split = split_of(labels)
    assert not set(GROUPS[split.dev]) & set(GROUPS[split.test])
    assert sorted([*split.dev, *split.test]) == list(range(len(GROUPS)))
    assert abs(len(split.test) / len(GROUPS) - 0.4) < 0.05
    with pytest.raises(EstimateError, match="12 rows are labelled positive"):
        split_of(np.arange(len(GROUPS)) < 12)
    with pytest.raises(EstimateError, match=r"part has .* at least 10 of each"):
        split_of(np.isin(GROUPS, (3, 4, 5, 6)))
    few = GROUPS < 20
    with pytest.raises(EstimateError, match="an interval needs at least 5"):
        split_groups(GROUPS[few], labels[few], test_fraction=0.2, inner_folds=5, seed=0)
    with pytest.raises(EstimateError, match="too few"):
        split_groups(GROUPS[:12], labels[:12], test_fraction=0.4, inner_folds=5, seed=0)


def test_a_control_task_finds_what_memorising_groups_would_give():
    acts, labels = data(0, signal=2.5)
    split = split_of(labels)
    settings = {"penalty": 0.1, "n": 20, "seed": 0}
    nothing = control_task(acts["second"][1], labels, GROUPS, split, **settings)
    assert abs(nothing.control.mean() - 0.5) < 0.1
    assert nothing.probe > 0.85
    named = acts["second"][1] + 4 * np.random.default_rng(1).normal(size=(N_GROUPS, WIDTH))[GROUPS]
    assert control_task(named, labels, GROUPS, split, **settings).control.mean() > 0.9
    with pytest.raises(EstimateError, match="too few rows"):
        control_task(acts["second"][1], labels, np.arange(len(labels)), split, **settings)


def test_a_control_task_of_few_held_rows_stays_a_number():
    """Four groups of two rows: many labellings of the groups leave one class among the rows held out."""
    groups = np.array([*range(76), 0, 1, 2, 3])
    rows, labels = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32), np.arange(80) % 2 == 0
    labels[76:] = [True, False, True, False]
    everything = Split(np.arange(80), np.array([], dtype=int), np.zeros(80, dtype=int))
    found = control_task(rows, labels, groups, everything, penalty=0.1, n=30, seed=0)
    assert np.isfinite(found.control).all() and (found.control == 0.5).any()


def test_folds_that_the_development_groups_cannot_fill_are_refused():
    groups, labels = np.repeat(np.arange(30), 4), np.tile([True, False], 60)
    with pytest.raises(EstimateError, match="groups, fewer than 9 inner folds"):
        split_groups(groups, labels, test_fraction=0.8, inner_folds=9, seed=0)


def test_random_directions_find_nothing():
    acts, labels = data(0, signal=2.5)
    assert random_directions(acts["second"][0], labels, split_of(labels), n=20, seed=0).mean() < 0.6


def test_shuffled_labels_stay_as_clustered_as_they_are():
    labels = np.repeat(np.arange(N_GROUPS) < 15, PER_GROUP)
    rng = np.random.default_rng(0)
    for _ in range(20):
        shuffled = shuffled_by_group(labels, GROUPS, rng)
        assert shuffled.sum() == labels.sum()
        assert set(shuffled.reshape(N_GROUPS, PER_GROUP).sum(axis=1)) == {0, PER_GROUP}
    mixed = np.tile([True, False, False], N_GROUPS * PER_GROUP // 3)
    assert any(shuffled_by_group(mixed, GROUPS, rng)[i] != mixed[i] for i in range(len(mixed)))


def test_a_null_of_clustered_labels_is_as_wide_as_it_must_be():
    rng = np.random.default_rng(0)
    passed = 0
    for trial in range(40):
        labels = np.repeat(rng.permutation(N_GROUPS) < N_GROUPS // 2, PER_GROUP)
        acts = np.repeat(rng.normal(size=(1, N_GROUPS, 8)), PER_GROUP, axis=1).astype(np.float32)
        acts += 0.1 * rng.normal(size=acts.shape).astype(np.float32)
        split = split_of(labels, trial)
        null = shuffled_null({"x": acts}, labels, GROUPS, split, penalty=0.01, n=40, seed=trial)
        cell = fit_grid({"x": acts}, (0,), labels, split, (0.01,))[0]
        passed += auroc(cell.scores[split.test], labels[split.test]) > np.quantile(null.maxima(), 0.95)
    assert passed <= 6  # P(more | a rate of .05) is .003


def test_development_scores_are_out_of_fold_and_test_rows_touch_nothing():
    acts, labels = data(4, 0)
    split = split_of(labels)
    cell = fit_grid(acts, (0, 1, 2), labels, split, (0.1,))[0]
    assert abs(auroc(cell.scores[split.dev], labels[split.dev]) - 0.5) < 0.15
    moved = {name: x.copy() for name, x in acts.items()}
    moved["first"][:, split.test] = 7.0
    again = fit_grid(moved, (0, 1, 2), labels, split, (0.1,))[0]
    assert np.array_equal(again.direction.weight, cell.direction.weight)


def test_text_baselines_read_words_and_only_words():
    _, labels = data(5, 0)
    split = split_of(labels)
    spoken = [f"item {i} I {'take the risk' if label else 'play it safe'}" for i, label in enumerate(labels)]
    assert auroc(text_scores(spoken, labels, split)[split.test], labels[split.test]) == 1.0
    mute = ["there are two options" if i % 3 else "two options here" for i in range(len(labels))]
    assert abs(auroc(text_scores(mute, labels, split)[split.test], labels[split.test]) - 0.5) < 0.15
    chinese = ["我要冒险" if label else "我要安全" for label in labels]
    assert auroc(text_scores(chinese, labels, split)[split.test], labels[split.test]) == 1.0
    with pytest.raises(EstimateError, match="no text"):
        text_scores(["", "."] * (len(labels) // 2), labels, split)
