"""The grid, the null and the control task by every estimator: found where it is planted, not where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from introspect.errors import EstimateError
from introspect.experiment import ProbeSpec
from introspect.probes import best_cell, control_task, fit_grid, shuffled_null, split_groups
from introspect.probes.by_estimator import ESTIMATORS, fit_cells, measure_of
from introspect.probes.estimators import RidgeProbe
from introspect.probes.means import DifferenceOfMeans
from introspect.probes.null import drawn_tasks
from introspect.stats import auroc, permutation_p

N_GROUPS, PER_GROUP, WIDTH = 24, 6, 12
N = N_GROUPS * PER_GROUP
GROUPS = np.repeat(np.arange(N_GROUPS), PER_GROUP)
OTHERS = [name for name in ESTIMATORS if name != "logistic"]
PENALTIES = (0.01, 0.1)


def planted(seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two positions, two layers; the second layer at `b` carries the label."""
    rng = np.random.default_rng(seed)
    labels = rng.random(N) < 0.5
    acts = {name: rng.normal(size=(2, N, WIDTH)).astype(np.float32) for name in ("a", "b")}
    acts["b"][1, :, 0] += 3 * labels
    return acts, labels


ACTS, LABELS = planted()
SPLIT = split_groups(GROUPS, LABELS, test_fraction=0.4, inner_folds=3, seed=0)


def test_the_spec_names_every_estimator_there_is():
    assert set(ProbeSpec.model_json_schema()["properties"]["estimator"]["enum"]) == set(ESTIMATORS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_planted_is_found_where_it_is(name):
    cells = fit_cells(name, ACTS, (3, 7), LABELS, SPLIT, PENALTIES)
    assert [(cell.position, cell.layer) for cell in cells] == [("a", 3), ("a", 7), ("b", 3), ("b", 7)]
    best = best_cell(cells)
    assert (best.position, best.layer) == ("b", 7)
    test = SPLIT.test
    assert auroc(best.scores[test], LABELS[test]) > 0.9
    assert np.allclose(best.direction.score(ACTS["b"][1])[test], best.scores[test])
    assert all(abs(auroc(cell.scores[test], LABELS[test]) - 0.5) < 0.2 for cell in cells[:3])


@pytest.mark.parametrize("name", OTHERS)
def test_development_rows_are_scored_by_fits_without_their_fold(name):
    cell = fit_cells(name, ACTS, (3, 7), LABELS, SPLIT, PENALTIES)[3]
    held = SPLIT.dev[SPLIT.fold == 1]
    kept = SPLIT.dev[SPLIT.fold != 1]
    alone = ESTIMATORS[name].make(cell.penalty, None).fit(ACTS["b"][1, kept], LABELS[kept])
    assert np.allclose(alone.decision_function(ACTS["b"][1, held]), cell.scores[held])
    whole = ESTIMATORS[name].make(cell.penalty, None).fit(ACTS["b"][1, SPLIT.dev], LABELS[SPLIT.dev])
    assert np.allclose(whole.coef_[0], cell.direction.weight)


def test_an_estimator_without_a_penalty_has_none_and_ridge_chooses_its_own():
    ridge, means = (fit_cells(name, ACTS, (3, 7), LABELS, SPLIT, PENALTIES)[3] for name in OTHERS[:2])
    assert ridge.penalty in ESTIMATORS["ridge"].penalties and math.isnan(means.penalty)
    assert isinstance(ESTIMATORS["ridge"].make(1.0, None), RidgeProbe)
    assert isinstance(ESTIMATORS["difference-of-means"].make(None, None), DifferenceOfMeans)


def test_logistic_regression_is_the_grids_own():
    ours = fit_cells("logistic", ACTS, (3, 7), LABELS, SPLIT, PENALTIES)
    theirs = fit_grid(ACTS, (3, 7), LABELS, SPLIT, PENALTIES)
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_shuffled_labels_and_random_labels_of_groups_are_by_the_same_estimator(name):
    penalty = {"ridge": 100.0}.get(name, 0.1)
    null = shuffled_null(
        ACTS, LABELS, GROUPS, SPLIT, penalty=penalty, n=19, seed=1, layers=(3, 7), measure=measure_of(name)
    )
    assert {position: rows.shape for position, rows in null.auroc.items()} == {"a": (2, 19), "b": (2, 19)}
    cell = fit_cells(name, ACTS, (3, 7), LABELS, SPLIT, PENALTIES)[3]
    observed = auroc(cell.scores[SPLIT.test], LABELS[SPLIT.test])
    assert permutation_p(observed, null.maxima()) == 1 / 20
    assert 0.4 < np.mean(null.auroc["a"]) < 0.6
    tasks = control_task(ACTS["b"][1], LABELS, GROUPS, SPLIT, penalty=penalty, n=5, seed=2, measure=measure_of(name))
    assert tasks.probe > tasks.control.max() + 0.1


@pytest.mark.parametrize("name", OTHERS)
def test_memorised_groups_show_in_the_control_task(name):
    named = np.repeat(np.random.default_rng(0).normal(size=(N_GROUPS, 40)), PER_GROUP, axis=0).astype(np.float32)
    named += 0.01 * np.random.default_rng(1).normal(size=named.shape).astype(np.float32)
    tasks = control_task(named, LABELS, GROUPS, SPLIT, penalty=10.0, n=5, seed=2, measure=measure_of(name))
    assert tasks.control.mean() > 0.9
    with pytest.raises(EstimateError, match="too few rows for a control task"):
        control_task(named, LABELS, np.arange(N), SPLIT, penalty=10.0, n=5, seed=2, measure=measure_of(name))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_control_tasks_are_the_same_labellings_for_every_estimator(name):
    values, penalty = ACTS["b"][1], {"ridge": 100.0}.get(name, 0.1)
    drawn = drawn_tasks(LABELS, GROUPS, SPLIT, n=3, seed=4)
    assert not set(drawn.fitted) & set(drawn.held) and set(GROUPS[drawn.held]) <= set(GROUPS[drawn.fitted])
    assert (drawn.fitted_labels[:, 0] == LABELS[drawn.fitted]).all()
    for rows, labels in ((drawn.fitted, drawn.fitted_labels), (drawn.held, drawn.held_labels)):
        assert all(len(set(labels[GROUPS[rows] == group, 1])) == 1 for group in set(GROUPS[rows]))
    found = control_task(values, LABELS, GROUPS, SPLIT, penalty=penalty, n=3, seed=4, measure=measure_of(name))
    for column, value in enumerate([found.probe, *found.control]):
        alone = ESTIMATORS[name].make(penalty, None).fit(values[drawn.fitted], drawn.fitted_labels[:, column])
        scores = alone.decision_function(values[drawn.held])
        assert value == pytest.approx(auroc(scores, drawn.held_labels[:, column]), abs=0.005)


@pytest.mark.parametrize("name", OTHERS)
def test_rows_that_are_not_finite_are_named(name):
    bad = {key: value.copy() for key, value in ACTS.items()}
    bad["b"][0, 5, 2] = np.nan
    with pytest.raises(EstimateError, match="at b, layer 3 hold NaN or infinity in rows 5"):
        fit_cells(name, bad, (3, 7), LABELS, SPLIT, PENALTIES)
