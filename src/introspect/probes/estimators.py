"""Probes that have a penalty, as scikit-learn estimators: logistic regression and ridge.

A sequence of penalties is chosen from by inner folds of groups, inside `fit`: every candidate is fitted on each fold's
training groups and scored on its held-out ones, and the first with the best mean AUROC is fitted on all rows. Rows of a
group are never on two sides, so choosing needs `groups` (the items), and a splitter that parts a group is refused.
`means.py` has the estimators that have no penalty.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.validation import check_consistent_length

from ..stats import auroc, group_codes
from .linear import LinearProbe, Training, Weights, standardised
from .logistic import fit, kernel, scale_of
from .moments import Moments

Penalty = float | Sequence[float]
Folds = list[tuple[np.ndarray, np.ndarray]]
SPANNED = 1e-10
"""Axes with less than this part of the largest singular value are not spanned by the rows."""


class PenalisedProbe(LinearProbe):
    """Base of the two: how a penalty is chosen.

    Attributes:
        penalty_: the one that was used.
        inner_auroc_: mean AUROC over inner folds [candidate]; only where there was a choice.
    """

    cv: Any
    random_state: int

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit to activations [row, width] and two classes [row].

        Args:
            sample_weight: what each row counts for, [row]; 2 is the same as the row twice, 0 as its absence.
            groups: the item of each row, whose rows stay together in the inner folds; asked for only where a penalty is
                to be chosen. `np.arange(len(y))` says that every row is an item of its own.

        Raises:
            ValueError: one class only, rows that are not finite, labels of other rows, fewer groups than folds, a group
                in two folds, a penalty that is not above 0.
        """
        data = self._training(X, y, sample_weight)
        candidates, several = _candidates(self._penalty())
        best = 0
        for kept in ("inner_auroc_", "moments_"):
            self.__dict__.pop(kept, None)
        if several:
            self.inner_auroc_ = self._inner_auroc(data, candidates, groups)
            best = int(self.inner_auroc_.argmax())
        self.penalty_ = candidates[best]
        return self._keep(self._solve(data.part(np.arange(len(data.target))), candidates[best : best + 1])[0])

    @abstractmethod
    def _penalty(self) -> Penalty:
        """The penalty, or those to choose from."""

    @abstractmethod
    def _solve(self, data: Training, penalties: Sequence[float]) -> list[Weights]:
        """A direction for each penalty, in raw activation space."""

    def _inner_auroc(self, data: Training, candidates: Sequence[float], groups: Any) -> np.ndarray:
        """Mean AUROC over inner folds [candidate]; folds whose held-out rows are of one class are left out."""
        values = []
        for train, held in self._folds(data.rows, data.target, groups):
            fitted, new = data.part(train), data.part(held)
            if len(set(fitted.target)) < 2 or len(set(new.target)) < 2:
                continue
            found, rows = self._solve(fitted, candidates), new.rows.astype(np.float64)
            values.append([_weighted_auroc(rows @ each.weight + each.bias, new) for each in found])
        if not values:
            raise ValueError("no inner fold holds both classes: there are too few groups to choose a penalty")
        return np.mean(values, axis=0)

    def _folds(self, rows: np.ndarray, target: np.ndarray, groups: Any) -> Folds:
        counted = isinstance(self.cv, Integral)
        if not counted and not hasattr(self.cv, "split"):
            raise ValueError(f"cv must be a number of folds or a scikit-learn splitter, not {self.cv!r}")
        if groups is None and counted:
            raise ValueError(
                "a penalty is chosen over inner folds of groups: give groups, the item of each row, or one penalty"
            )
        codes = None
        if groups is not None:
            check_consistent_length(rows, groups)
            codes, n_groups = group_codes(np.asarray(groups))
            if counted and n_groups < self.cv:
                raise ValueError(f"{n_groups} groups are fewer than {self.cv} folds: give more items, or a smaller cv")
        splitter = self.cv
        if counted:
            splitter = StratifiedGroupKFold(int(self.cv), shuffle=True, random_state=self.random_state)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The groups parameter is ignored")  # they are checked below
            folds = list(splitter.split(rows, target, codes))
        for train, held in folds:
            if codes is not None and set(codes[train]) & set(codes[held]):
                raise ValueError("cv puts a group on both sides of a fold: split by group, such as with GroupKFold")
        return folds


class LogisticProbe(PenalisedProbe):
    """Logistic regression with an L2 penalty, on standardised features.

    Minimises `C * sum_i log(1 + exp(-t_i f(z_i))) + ||w||^2 / 2` over w and a free intercept, with z the standardised
    activations and t = -1 or 1: scikit-learn's own objective, solved to the same optimum by Newton's method in the
    space of rows (Rasmussen & Williams 2006, algorithm 3.1), which is the cheaper one where width exceeds rows.

    A score is log-odds. `predict_proba` is its logistic function: what the model itself says, shrunk towards the share
    of the classes by the penalty; no further calibration is fitted.

    Args:
        C: inverse strength of the penalty; of several, one is chosen by inner folds.
        cv: number of inner folds of groups, or a scikit-learn splitter.
        random_state: of the shuffle of groups into folds.
    """

    def __init__(self, C: Penalty = 0.01, *, cv: Any = 5, random_state: int = 0) -> None:
        self.C = C
        self.cv = cv
        self.random_state = random_state

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, [row, 2]."""
        of_second = expit(self.decision_function(X))
        return np.stack([1 - of_second, of_second], axis=1)

    def _penalty(self) -> Penalty:
        return self.C

    def _solve(self, data: Training, penalties: Sequence[float]) -> list[Weights]:
        return _logistic_path(data, penalties) if data.weight is None else _weighted_logistic(data, penalties)


class RidgeProbe(PenalisedProbe):
    """Least squares to labels of -1 and 1 with an L2 penalty, on standardised features.

    Minimises `sum_i (t_i - w . z_i - b)^2 + alpha * ||w||^2` over w and a free intercept, in closed form (Hoerl &
    Kennard 1970; solved by scikit-learn, in the space of rows where those are fewer). Scores are least-squares fits to
    the labels and no log-odds, so there is no `predict_proba`.

    Args:
        alpha: strength of the penalty; of several, one is chosen by inner folds. Activations are wide: useful values
            are of the order of the width.
        cv: number of inner folds of groups, or a scikit-learn splitter.
        random_state: of the shuffle of groups into folds.
    """

    def __init__(self, alpha: Penalty = 100.0, *, cv: Any = 5, random_state: int = 0) -> None:
        self.alpha = alpha
        self.cv = cv
        self.random_state = random_state

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Fit to one more batch of rows, as if all had been given at once: for rows that do not fit in memory. After
        `fit` it begins anew.

        Kept between batches are counts, means and scatters of each class, two matrices [width, width].

        Args:
            classes: the two labels; needed with the first batch, and may be repeated with others.

        Raises:
            ValueError: several penalties to choose from, rows that are not finite, labels of other rows, or other
                classes than two.
        """
        (alpha, *_), several = _candidates(self.alpha)
        if several:
            raise ValueError("partial_fit chooses no penalty: give one alpha")
        batch = self._batch(X, y, classes)
        seen = getattr(self, "moments_", None)
        self.moments_ = batch if seen is None else seen.merged(batch)
        if self.moments_.count.min():
            self.penalty_ = alpha
            self._keep(_ridge_of(self.moments_, alpha))
        return self

    def _penalty(self) -> Penalty:
        return self.alpha

    def _solve(self, data: Training, penalties: Sequence[float]) -> list[Weights]:
        space = standardised(data.rows, data.weight)
        z, sides = space.z.numpy(), np.where(data.target, 1.0, -1.0)
        fitted = [Ridge(alpha=alpha).fit(z, sides, sample_weight=data.weight) for alpha in penalties]
        return [space.raw(each.coef_, float(each.intercept_)) for each in fitted]


def _ridge_of(moments: Moments, alpha: float) -> Weights:
    """The ridge regression of rows of which only these are kept; a constant feature has weight 0."""
    n, (mean, scatter) = moments.count.sum(), moments.pooled()
    variance = torch.from_numpy(np.diag(scatter) / n)
    scale = scale_of(variance[None], torch.from_numpy(mean)[None], int(n), torch.float64)[0].numpy()
    towards = (moments.count * np.array([-1.0, 1.0])) @ (moments.mean - mean) / scale
    weight = np.linalg.solve(scatter / np.outer(scale, scale) + alpha * np.eye(len(mean)), towards) / scale
    return Weights(weight, float((moments.count[1] - moments.count[0]) / n - weight @ mean))


def _logistic_path(data: Training, penalties: Sequence[float]) -> list[Weights]:
    """Logistic regressions in the order of `penalties`, each started from the next stronger penalty's."""
    space = standardised(data.rows)
    gram, y = kernel(space.z[None]), torch.from_numpy(data.target.astype(np.float64))
    found, start = {}, None
    for c in sorted(penalties):
        start = fit(gram, y, c, start)
        weight = start.coefficients(space.z[None])[0, :, 0].numpy()
        found[c] = space.raw(weight, float(start.b[0, 0]))
    return [found[c] for c in penalties]


def _weighted_logistic(data: Training, penalties: Sequence[float]) -> list[Weights]:
    """The same where rows count differently: scikit-learn's Newton method, in the coordinates that rows span."""
    space = standardised(data.rows, data.weight)
    z = space.z.numpy()
    _, values, axes = np.linalg.svd(z, full_matrices=False)
    axes = axes[values > SPANNED * values.max(initial=0.0)]
    found = []
    for c in penalties:
        solver = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10, max_iter=200)
        solver.fit(z @ axes.T, data.target, sample_weight=data.weight)
        found.append(space.raw(solver.coef_[0] @ axes, float(solver.intercept_[0])))
    return found


def _weighted_auroc(scores: np.ndarray, held: Training) -> float:
    """AUROC of scores [row], each pair of rows counted by the product of its weights."""
    if held.weight is None:
        return auroc(scores, held.target)
    return float(roc_auc_score(held.target, scores, sample_weight=held.weight))


def _candidates(penalty: Penalty) -> tuple[list[float], bool]:
    """The penalties, and whether there is a choice."""
    several = not np.isscalar(penalty)
    found = [float(each) for each in penalty] if several else [float(penalty)]  # type: ignore[union-attr,arg-type]
    if not found or not all(np.isfinite(each) and each > 0 for each in found):
        raise ValueError(f"penalties must be numbers above 0, not {penalty!r}")
    return found, several
