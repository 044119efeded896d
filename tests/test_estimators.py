"""The estimators: scikit-learn's own contract, scikit-learn's own optimum, closed forms, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from introspect.probes import fit_grid, split_groups
from introspect.probes.estimators import LogisticProbe, RidgeProbe
from introspect.probes.means import DifferenceOfMeans, WhitenedDifferenceOfMeans
from introspect.stats import auroc

ESTIMATORS = [LogisticProbe(), RidgeProbe(), DifferenceOfMeans(), WhitenedDifferenceOfMeans()]
WHITENED = WhitenedDifferenceOfMeans(shrinkage=0.0)
WIDTH = 40
N_GROUPS, PER_GROUP = 20, 4
GROUPS = np.repeat(np.arange(N_GROUPS), PER_GROUP)


def data(seed: int = 0, width: int = WIDTH, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Activations [row, width] on scales from .1 to 100, with an offset, and what they carry."""
    rng = np.random.default_rng(seed)
    labels = rng.random(len(GROUPS)) < 0.5
    rows = rng.normal(size=(len(GROUPS), width))
    rows[:, 0] += signal * labels
    return 5 + rows * np.logspace(-1, 2, width), labels


@parametrize_with_checks(ESTIMATORS)
def test_the_contract_of_scikit_learn(estimator, check):
    # check_array_api_input skips itself unless SCIPY_ARRAY_API is set: probes take NumPy arrays, and claim no others
    check(estimator)


@pytest.mark.parametrize("width", [WIDTH, 200], ids=["more rows", "more features"])
@pytest.mark.parametrize("c", [0.001, 0.1, 10.0])
def test_logistic_regression_is_scikit_learns_on_standardised_features(width, c):
    rows, labels = data(width=width)
    ours = LogisticProbe(c).fit(rows, labels)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-10, max_iter=10_000)).fit(rows, labels)
    scale = theirs[0].scale_
    assert np.allclose(ours.coef_ * scale, theirs[1].coef_, atol=1e-5)
    new, _ = data(seed=1, width=width)
    assert np.allclose(ours.decision_function(new), theirs.decision_function(new), atol=1e-4)
    assert np.allclose(ours.predict_proba(new), theirs.predict_proba(new), atol=1e-5)


@pytest.mark.parametrize("width", [WIDTH, 200], ids=["more rows", "more features"])
def test_ridge_solves_its_normal_equations(width):
    rows, labels = data(width=width)
    ours = RidgeProbe(7.0).fit(rows, labels)
    scale = rows.std(axis=0)
    z, sides = (rows - rows.mean(axis=0)) / scale, np.where(labels, 1.0, -1.0)
    expected = np.linalg.solve(z.T @ z + 7.0 * np.eye(width), z.T @ (sides - sides.mean()))
    assert np.allclose(ours.coef_[0] * scale, expected, atol=1e-8)
    theirs = make_pipeline(StandardScaler(), RidgeClassifier(alpha=7.0)).fit(rows, labels)
    assert np.allclose(ours.decision_function(rows), theirs.decision_function(rows), atol=1e-8)


def test_a_difference_of_means_is_that_and_nothing_else():
    rows, labels = data()
    found = DifferenceOfMeans().fit(rows, labels)
    first, second = rows[~labels].mean(axis=0), rows[labels].mean(axis=0)
    assert np.allclose(found.coef_[0], second - first, rtol=1e-12)
    assert found.decision_function((first + second)[None] / 2) == pytest.approx(0, abs=1e-6)
    turned = DifferenceOfMeans().fit(rows, ~labels)
    assert np.allclose(turned.coef_, -found.coef_)


def within_classes(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised features around their own class's mean, the difference of the means, and the scale."""
    scale = rows.std(axis=0)
    z = (rows - rows.mean(axis=0)) / scale
    first, second = z[~labels].mean(axis=0), z[labels].mean(axis=0)
    return z - np.where(labels[:, None], second, first), second - first, scale


@pytest.mark.parametrize("width", [WIDTH, 200], ids=["more rows", "more features"])
@pytest.mark.parametrize("shrinkage", ["auto", 0.3, 1.0])
def test_whitening_is_the_inverse_of_the_shrunk_covariance(width, shrinkage):
    rows, labels = data(width=width)
    found = WhitenedDifferenceOfMeans(shrinkage=shrinkage).fit(rows, labels)
    within, difference, scale = within_classes(rows, labels)
    reference = LedoitWolf(assume_centered=True).fit(within)
    if shrinkage == "auto":
        assert found.shrinkage_ == pytest.approx(reference.shrinkage_)
        covariance = reference.covariance_
    else:
        sample = within.T @ within / len(within)
        covariance = (1 - shrinkage) * sample + shrinkage * np.trace(sample) / width * np.eye(width)
    assert np.allclose(found.coef_[0] * scale, np.linalg.solve(covariance, difference), atol=1e-8)


def test_whitening_without_shrinkage_is_fishers_and_needs_more_rows_than_features():
    rows, labels = data(width=10)
    found = clone(WHITENED).fit(rows, labels)
    first, second = rows[~labels], rows[labels]
    pooled = (np.cov(first.T, bias=True) * len(first) + np.cov(second.T, bias=True) * len(second)) / len(rows)
    assert np.allclose(found.coef_[0], np.linalg.solve(pooled, second.mean(axis=0) - first.mean(axis=0)))
    wide, labels = data(width=200)
    with pytest.raises(ValueError, match="give more rows, or a shrinkage above 0"):
        clone(WHITENED).fit(wide, labels)


def test_whitening_finds_what_correlated_noise_hides_from_the_means():
    rng = np.random.default_rng(0)
    labels = rng.random(2000) < 0.5
    loud = rng.normal(size=2000) * 3
    rows = rng.normal(size=(2000, 20))
    rows[:, 0] += loud + 2 * labels
    rows[:, 1] += loud
    half = np.arange(2000) < 1000

    def held_out(estimator) -> float:
        return auroc(estimator.fit(rows[half], labels[half]).decision_function(rows[~half]), labels[~half])

    plain, shrunk, whole = map(held_out, (DifferenceOfMeans(), WhitenedDifferenceOfMeans(), WHITENED))
    assert plain < 0.7 < 0.77 < shrunk < whole


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_directions_are_in_raw_activation_space(estimator):
    rows, labels = data()
    found = clone(estimator).fit(rows, labels)
    assert found.coef_.shape == (1, WIDTH) and found.intercept_.shape == (1,)
    assert np.array_equal(found.decision_function(rows), rows @ found.coef_[0] + found.intercept_[0])
    assert np.array_equal(found.predict(rows), found.decision_function(rows) > 0)
    names = np.where(labels, "risky", "cautious")
    named = clone(estimator).fit(rows, names)
    assert named.classes_.tolist() == ["cautious", "risky"]
    assert np.array_equal(named.coef_, found.coef_)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_numbers_of_half_the_size_change_little(estimator):
    rows, labels = data()
    whole = clone(estimator).fit(rows, labels).decision_function(rows)
    single = clone(estimator).fit(rows.astype(np.float32), labels).decision_function(rows.astype(np.float32))
    assert np.allclose(whole, single, atol=1e-3 * np.abs(whole).max())


@pytest.mark.parametrize("estimator", ESTIMATORS[1:], ids=lambda each: type(each).__name__)
def test_only_log_odds_become_probabilities(estimator):
    assert hasattr(LogisticProbe(), "predict_proba") and not hasattr(estimator, "predict_proba")


def test_a_penalty_is_chosen_as_the_grid_chooses_it():
    rows, labels = data(signal=0.8, width=60)
    penalties = (0.0001, 0.01, 1.0)
    split = split_groups(GROUPS, labels, test_fraction=0.5, inner_folds=4, seed=3)
    single = rows.astype(np.float32)
    cell = fit_grid({"p": single[None]}, (0,), labels, split, penalties)[0]
    dev = split.dev
    probe = LogisticProbe(penalties, cv=PredefinedSplit(split.fold)).fit(single[dev], labels[dev], groups=GROUPS[dev])
    assert probe.penalty_ == cell.penalty
    assert probe.inner_auroc_.max() == pytest.approx(cell.inner_auroc, abs=0.002)
    off = np.linalg.norm(probe.coef_[0] - cell.direction.weight)
    assert off < 1e-3 * np.linalg.norm(cell.direction.weight)


@pytest.mark.parametrize(("kind", "name"), [(LogisticProbe, "C"), (RidgeProbe, "alpha")])
def test_a_penalty_is_chosen_on_rows_of_other_groups(kind, name):
    rng = np.random.default_rng(0)
    by_group = rng.permutation(N_GROUPS) < N_GROUPS // 2
    rows = rng.normal(size=(N_GROUPS, 60))[GROUPS] + 0.01 * rng.normal(size=(len(GROUPS), 60))
    inner = kind([0.01, 1.0]).fit(rows, by_group[GROUPS], groups=GROUPS).inner_auroc_
    leaky = kind([0.01, 1.0]).fit(rows, by_group[GROUPS], groups=np.arange(len(GROUPS))).inner_auroc_
    assert inner.max() < 0.8 and leaky.min() > 0.95
    again = kind([0.01, 1.0]).fit(rows, by_group[GROUPS], groups=GROUPS)
    assert np.array_equal(inner, again.inner_auroc_)
    best = again.get_params()[name][int(inner.argmax())]
    fixed = kind(best).fit(rows, by_group[GROUPS])
    assert again.penalty_ == best and np.array_equal(again.coef_, fixed.coef_)


@pytest.mark.parametrize("kind", [LogisticProbe, RidgeProbe])
def test_a_number_of_folds_may_be_numpys_own(kind):
    rows, labels = data()
    theirs = kind([0.01, 1.0], cv=np.int64(4)).fit(rows, labels, groups=GROUPS)
    ours = kind([0.01, 1.0], cv=4).fit(rows, labels, groups=GROUPS)
    assert np.array_equal(theirs.inner_auroc_, ours.inner_auroc_) and np.array_equal(theirs.coef_, ours.coef_)
    with pytest.raises(ValueError, match="give groups"):
        kind([0.01, 1.0], cv=np.int64(4)).fit(rows, labels)
    with pytest.raises(ValueError, match="20 groups are fewer than 21 folds"):
        kind([0.01, 1.0], cv=np.int64(21)).fit(rows, labels, groups=GROUPS)


def test_a_fit_without_a_choice_keeps_nothing_of_an_earlier_choice():
    rows, labels = data()
    probe = LogisticProbe([0.01, 1.0]).fit(rows, labels, groups=GROUPS)
    assert hasattr(probe, "inner_auroc_")
    assert not hasattr(probe.set_params(C=0.1).fit(rows, labels), "inner_auroc_")


@pytest.mark.parametrize("estimator", [*ESTIMATORS[:2], ESTIMATORS[3]], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize("level", [1000, -1000])
def test_a_feature_that_varies_by_rounding_only_is_constant(estimator, number, level):
    rows, labels = data()
    rows = rows.astype(number)
    rows[:, 3] = np.where(labels, np.nextafter(number(level), number(0)), number(level))
    assert len(set(rows[:, 3])) == 2
    found = clone(estimator).fit(rows, labels)
    assert abs(found.coef_[0, 3]) < 1e-2
    rows[:, 3] = level + 0.1 * labels
    assert abs(clone(estimator).fit(rows, labels).coef_[0, 3]) > 0.1


def chosen(**options: object) -> LogisticProbe:
    return LogisticProbe((0.01, 0.1), **options)


@pytest.mark.parametrize(
    ("probe", "groups", "said"),
    [
        (chosen(), None, "give groups, the item of each row, or one penalty"),
        (chosen(cv=21), GROUPS, "20 groups are fewer than 21 folds"),
        (chosen(cv=KFold(5, shuffle=True, random_state=0)), GROUPS, "a group on both sides of a fold"),
        (chosen(cv=2.5), GROUPS, "a scikit-learn splitter, not 2.5"),
        (chosen(), GROUPS[:-1], "inconsistent numbers of samples"),
        (LogisticProbe(0.0), None, "above 0, not 0.0"),
        (LogisticProbe((0.1, -1.0)), GROUPS, "above 0"),
        (LogisticProbe(()), GROUPS, "above 0"),
        (RidgeProbe(float("nan")), None, "above 0"),
        (WhitenedDifferenceOfMeans(shrinkage=1.5), None, "from 0 to 1, not 1.5"),
        (WhitenedDifferenceOfMeans(shrinkage="oas"), None, "'auto' or a number"),
    ],
)
def test_settings_that_cannot_be_fitted_are_refused(probe, groups, said):
    rows, labels = data()
    with pytest.raises(ValueError, match=said):
        probe.fit(rows, labels) if groups is None else probe.fit(rows, labels, groups=groups)


def test_folds_of_one_class_choose_nothing():
    rows, _ = data()
    with pytest.raises(ValueError, match="no inner fold holds both classes"):
        chosen(cv=GroupKFold(2)).fit(rows, GROUPS % 2 == 0, groups=GROUPS % 2)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
class TestBadRows:
    def test_one_class_only(self, estimator):
        rows, _ = data()
        with pytest.raises(ValueError, match=r"y holds one class only \(True\)"):
            clone(estimator).fit(rows, np.ones(len(rows), dtype=bool))

    def test_three_classes(self, estimator):
        rows, _ = data()
        with pytest.raises(ValueError, match="Only binary classification"):
            clone(estimator).fit(rows, np.arange(len(rows)) % 3)

    def test_rows_that_are_not_finite_are_named_by_rollout(self, estimator):
        rows, labels = data()
        rows[3, 1], rows[7, 0] = np.nan, np.inf
        numbered = pd.DataFrame(rows, index=[f"rollout {100 + i}" for i in range(len(rows))])
        with pytest.raises(ValueError, match="NaN or infinity in rows 3, 7: record"):
            clone(estimator).fit(rows, labels)
        with pytest.raises(ValueError, match="in rows rollout 103, rollout 107: record"):
            clone(estimator).fit(numbered, labels)
        rows[10:] = np.nan
        with pytest.raises(ValueError, match="in rows 3, 7, 10, 11, 12 and 67 more"):
            clone(estimator).fit(rows, labels)

    def test_labels_of_other_rows(self, estimator):
        rows, labels = data()
        table = pd.DataFrame(rows)
        with pytest.raises(ValueError, match="their indices differ"):
            clone(estimator).fit(table, pd.Series(labels[::-1], index=table.index[::-1]))
        clone(estimator).fit(table, pd.Series(labels, index=table.index))
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            clone(estimator).fit(rows, labels[:-1])

    def test_another_width(self, estimator):
        rows, labels = data()
        fitted = clone(estimator).fit(rows, labels)
        with pytest.raises(ValueError, match=f"{WIDTH - 1} features"):
            fitted.decision_function(rows[:, 1:])


def test_rows_alike_within_their_class_cannot_be_whitened():
    labels = np.arange(20) % 2 == 0
    with pytest.raises(ValueError, match="cannot be inverted"):
        WhitenedDifferenceOfMeans().fit(np.repeat(labels[:, None], 3, axis=1).astype(float), labels)


def twice_and_never() -> np.ndarray:
    """Weights [row] of which some are 0 and some 2."""
    return np.random.default_rng(5).integers(0, 3, size=len(GROUPS)).astype(float)


@pytest.mark.parametrize("width", [WIDTH, 200], ids=["more rows", "more features"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_a_weight_of_two_is_the_row_twice_and_of_none_its_absence(estimator, width):
    rows, labels = data(width=width)
    weight = twice_and_never()
    whole = weight.astype(int)
    weighted = clone(estimator).fit(rows, labels, sample_weight=weight)
    repeated = clone(estimator).fit(rows.repeat(whole, axis=0), labels.repeat(whole))
    assert np.allclose(weighted.decision_function(rows), repeated.decision_function(rows), rtol=1e-5, atol=1e-5)
    plain = clone(estimator).fit(rows, labels)
    assert not np.allclose(weighted.coef_, plain.coef_, rtol=1e-3)
    ones = clone(estimator).fit(rows, labels, sample_weight=np.ones(len(rows)))
    assert np.allclose(ones.decision_function(rows), plain.decision_function(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [LogisticProbe, RidgeProbe])
def test_a_penalty_is_chosen_on_weighted_rows(kind):
    rows, labels = data(signal=0.8)
    weight = twice_and_never()
    whole = weight.astype(int)
    folds = GROUPS % 4
    weighted = kind([0.01, 1.0], cv=PredefinedSplit(folds)).fit(rows, labels, sample_weight=weight, groups=GROUPS)
    repeated = kind([0.01, 1.0], cv=PredefinedSplit(folds.repeat(whole))).fit(
        rows.repeat(whole, axis=0), labels.repeat(whole), groups=GROUPS.repeat(whole)
    )
    assert np.allclose(weighted.inner_auroc_, repeated.inner_auroc_, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_weights_that_leave_one_class_or_are_of_other_rows_are_refused(estimator):
    rows, labels = data()
    with pytest.raises(ValueError, match=r"y holds one class only \(True\)"):
        clone(estimator).fit(rows, labels, sample_weight=labels.astype(float))
    with pytest.raises(ValueError, match="Negative values"):
        clone(estimator).fit(rows, labels, sample_weight=np.where(labels, 1.0, -1.0))
    table, weight = pd.DataFrame(rows), np.ones(len(rows))
    with pytest.raises(ValueError, match="sample_weight is not aligned to X"):
        clone(estimator).fit(table, labels, sample_weight=pd.Series(weight, index=table.index[::-1]))


def test_rows_that_are_all_alike_have_no_direction():
    rows, labels = np.ones((20, 4)), np.arange(20) % 2
    assert not WhitenedDifferenceOfMeans().fit(rows, labels).coef_.any()


def test_ridge_of_batches_is_that_of_all_rows():
    rows, labels = data(width=12)
    rows[:, 3] = 7.0
    order = np.argsort(labels, kind="stable")  # the first batches hold one class only
    batched = RidgeProbe(30.0)
    for begin in range(0, len(rows), 37):
        part = order[begin : begin + 37]
        batched.partial_fit(rows[part], labels[part], classes=[False, True])
    whole = RidgeProbe(30.0).fit(rows, labels)
    assert np.allclose(batched.coef_, whole.coef_, rtol=1e-6, atol=1e-9) and batched.penalty_ == 30.0
    assert np.allclose(batched.decision_function(rows), whole.decision_function(rows), atol=1e-6)
    assert np.array_equal(batched.fit(rows, labels).coef_, whole.coef_) and not hasattr(batched, "moments_")
    with pytest.raises(ValueError, match="classes must be given"):
        RidgeProbe(1.0).partial_fit(rows, labels)
    with pytest.raises(ValueError, match="chooses no penalty"):
        RidgeProbe((1.0, 2.0)).partial_fit(rows, labels, classes=[False, True])
    begun = RidgeProbe(1.0).partial_fit(rows, labels, classes=[False, True])
    with pytest.raises(ValueError, match="two classes apart"):
        begun.partial_fit(rows, np.where(labels, 2, 0))
    with pytest.raises(ValueError, match="since the first batch"):
        begun.partial_fit(rows, np.where(labels, 2, 0), classes=[0, 2])
    rows[5, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in rows 5"):
        begun.partial_fit(rows, labels)
