"""What every linear probe shares: the scikit-learn contract around a direction in raw activation space.

A probe learns one direction for two classes. Features are standardised on the rows that are fitted, inside, and that is
undone before the direction is kept: `coef_` and `intercept_` apply to activations as they are recorded. Input that no
direction can be learnt from is a ValueError, as scikit-learn's contract asks; rows that are not finite are named by the
index of a pandas table, and by their number otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .logistic import Standardiser, scale_of
from .moments import Moments

N_NAMED = 5
"""Rows that an error names before it counts the others."""


class Weights(NamedTuple):
    """A direction: score = activation . weight + bias."""

    weight: np.ndarray
    """float64 [width]"""
    bias: float


class Training(NamedTuple):
    """Rows to fit."""

    rows: np.ndarray
    """Activations [row, width]."""
    target: np.ndarray
    """Whether each is of the second class, bool [row]."""
    weight: np.ndarray | None
    """What each counts for, float64 [row]; None: as much as any other."""

    def part(self, chosen: np.ndarray) -> Training:
        """Those of the chosen rows (numbers, or a mask) that count for something."""
        if self.weight is None:
            return Training(self.rows[chosen], self.target[chosen], None)
        numbers = np.arange(len(self.target))[chosen]
        numbers = numbers[self.weight[numbers] > 0]
        return Training(self.rows[numbers], self.target[numbers], self.weight[numbers])


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Base of the estimators; fitting is theirs.

    Attributes:
        coef_: float64 [1, width], in raw activation space.
        intercept_: float64 [1].
        classes_: the two labels [2]; a score above 0 means the second.
        n_features_in_: the width.
    """

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores [row] of activations [row, width], in float64: `X @ coef_[0] + intercept_[0]`."""
        check_is_fitted(self)
        return _finite_rows(self, X, reset=False).astype(np.float64) @ self.coef_[0] + self.intercept_[0]

    def predict(self, X: Any) -> np.ndarray:
        """Labels [row]: the second class where the score is above 0."""
        above = self.decision_function(X) > 0
        return self.classes_[above.astype(int)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _training(self, X: Any, y: Any, sample_weight: Any) -> Training:
        """Every row, checked."""
        _check_aligned(X, y)
        rows, labels = _finite_rows(self, X, y=y, reset=True)
        kind = type_of_target(labels, input_name="y", raise_unknown=True)
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"Unknown label type: {kind}. A probe tells two classes apart.")
        weight, counted = None, labels
        if sample_weight is not None:
            _check_aligned(X, sample_weight, "sample_weight")
            weight = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
            counted = labels[weight > 0]
        self.classes_ = np.unique(counted)
        if len(self.classes_) > 2:
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only ({self.classes_[0]}): a probe needs rows of both")
        return Training(rows, labels == self.classes_[1], weight)

    def _batch(self, X: Any, y: Any, classes: Any) -> Moments:
        """What is kept of one batch of rows."""
        _check_aligned(X, y)
        first = not hasattr(self, "moments_")
        rows, labels = _finite_rows(self, X, y=y, reset=first)
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be given with the first batch")
        named = np.unique(self.classes_ if classes is None else classes)
        if len(named) != 2 or not np.isin(labels, named).all():
            given = np.unique(labels)
            raise ValueError(f"a probe tells two classes apart: {list(named)} were named, and {list(given)} given")
        if not first and not np.array_equal(named, self.classes_):
            raise ValueError(f"classes are {list(self.classes_)} since the first batch, and not {list(named)}")
        self.classes_ = named
        return Moments.of(rows, labels == named[1])

    def _keep(self, found: Weights) -> Self:
        self.coef_, self.intercept_ = found.weight[None], np.array([found.bias])
        return self


class Standardised(NamedTuple):
    """Training rows with mean 0 and variance 1 in every feature; a constant feature is 0."""

    z: torch.Tensor
    """float64 [row, width]"""
    mean: np.ndarray
    scale: np.ndarray

    def raw(self, weight: np.ndarray, bias: float) -> Weights:
        """A direction over `z`, in raw activation space."""
        undone = weight / self.scale
        return Weights(undone, float(bias - undone @ self.mean))


def standardised(rows: np.ndarray, weight: np.ndarray | None = None) -> Standardised:
    """Activations [row, width], standardised on themselves; a weight [row] of 2 is the same as the row twice."""
    x = torch.from_numpy(np.require(rows, requirements=["C", "W"]))[None]
    if weight is None:
        fitted = Standardiser.fit(x)
    else:
        mean = torch.from_numpy(np.average(rows, axis=0, weights=weight).astype(np.float64))[None]
        variance = torch.from_numpy(np.average((rows - mean.numpy()) ** 2, axis=0, weights=weight))[None]
        fitted = Standardiser(mean, scale_of(variance, mean, len(rows), x.dtype))
    return Standardised(fitted(x)[0], fitted.mean[0].numpy(), fitted.scale[0].numpy())


def not_finite(rows: np.ndarray, names: Any = None) -> str:
    """Which of the rows [row, width] hold NaN or infinity, in words; empty when none does.

    Args:
        names: what the rows are called, in their order; None: by their number.
    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    called = [str(row if names is None else names[row]) for row in bad[:N_NAMED]]
    return ", ".join(called) + (f" and {len(bad) - N_NAMED} more" if len(bad) > N_NAMED else "")


def _finite_rows(probe: LinearProbe, X: Any, *, reset: bool, **checked: Any) -> Any:
    """What scikit-learn's own validation gives, where every row is finite."""
    found = validate_data(probe, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False, **checked)
    bad = not_finite(found[0] if checked else found, getattr(X, "index", None))
    if bad:
        raise ValueError(f"X holds NaN or infinity in rows {bad}: record them again, or leave them out")
    return found


def _check_aligned(X: Any, y: Any, name: str = "y") -> None:
    """Refuse labels or weights whose pandas index is not that of the activations."""
    rows, given = getattr(X, "index", None), getattr(y, "index", None)
    if rows is None or given is None or callable(rows) or callable(given):
        return
    if not rows.equals(given):
        raise ValueError(f"{name} is not aligned to X: their indices differ; bring it into X's order with .loc")
