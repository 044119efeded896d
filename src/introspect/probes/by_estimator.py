"""The grid, its null and its control task with an estimator of one's choice.

Logistic regression is fitted at all places side by side (`grid`, `null`). The other estimators are fitted one after the
other, by the very classes that are kept and loaded, on the same rows, folds and draws of chance; that takes longer,
most of it for shuffled labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from ..errors import EstimateError
from .estimators import LogisticProbe, RidgeProbe
from .grid import Cell, Direction, by_position, fit_grid
from .linear import LinearProbe
from .means import DifferenceOfMeans, WhitenedDifferenceOfMeans
from .null import Measure, column_aurocs, logistic_aurocs
from .splits import Split, inner_auroc
from .stream import Activations, each_site

LOGISTIC = "logistic"
RIDGE_PENALTIES = (10.0, 100.0, 1000.0, 10000.0)


class Estimator(NamedTuple):
    """One that a spec can name."""

    what: str
    make: Callable[[Any, Any], LinearProbe]
    """Penalties (one, or several to choose from) and a splitter of inner folds -> the estimator."""
    penalties: tuple[float, ...] | None
    """To choose from; empty: it has none. None: those of the spec."""


ESTIMATORS = {
    LOGISTIC: Estimator(
        "logistic regression, L2, standardised features", lambda penalty, cv: LogisticProbe(penalty, cv=cv), None
    ),
    "ridge": Estimator(
        "ridge regression to -1 and 1, standardised features",
        lambda penalty, cv: RidgeProbe(penalty, cv=cv),
        RIDGE_PENALTIES,
    ),
    "difference-of-means": Estimator("difference of means", lambda penalty, cv: DifferenceOfMeans(), ()),
    "whitened-difference-of-means": Estimator(
        "difference of means, whitened by the shrunk covariance within classes, standardised features",
        lambda penalty, cv: WhitenedDifferenceOfMeans(),
        (),
    ),
}


def fit_cells(
    name: str,
    activations: Activations,
    layers: Sequence[int],
    labels: np.ndarray,
    split: Split,
    penalties: Sequence[float],
    *,
    rollouts: Sequence[int] | None = None,
) -> list[Cell]:
    """`fit_grid`, which says what is given and raised, by the estimator of that name.

    Args:
        penalties: of logistic regression; the others have their own.

    Returns:
        Cells by position, then by layer; the penalty of an estimator that has none is NaN.
    """
    if name == LOGISTIC:
        return fit_grid(activations, layers, labels, split, penalties, rollouts=rollouts)
    kind, cells = ESTIMATORS[name], []
    for position, layer, x in each_site(activations, layers, rollouts):
        values = x.cpu().numpy()
        wanted = kind.make(kind.penalties, PredefinedSplit(split.fold))
        fitted, scores = fit_scored(wanted, values, labels, split)
        direction = Direction(position, layer, fitted.coef_[0], float(fitted.intercept_[0]))
        inner = inner_auroc(scores, labels, split)
        cells.append(Cell(position, layer, getattr(fitted, "penalty_", float("nan")), inner, scores, direction))
    return by_position(cells, activations)


def fit_scored(
    estimator: LinearProbe, values: np.ndarray, labels: np.ndarray, split: Split
) -> tuple[LinearProbe, np.ndarray]:
    """Fit to the development rows of activations [row, width].

    Returns:
        The estimator, and its scores [row]: on development rows out of fold, with the penalty that was chosen.

    Raises:
        EstimateError: nothing can be fitted to them.
    """
    rows, truth = values[split.dev], labels[split.dev]
    try:
        scores = estimator.fit(rows, truth).decision_function(values)
        decided, folds = _decided(estimator), PredefinedSplit(split.fold)
        scores[split.dev] = cross_val_predict(decided, rows, truth, cv=folds, method="decision_function")
    except ValueError as error:
        raise EstimateError(str(error)) from None
    return estimator, scores


def measure_of(name: str) -> Measure:
    """What fits many columns of labels by the estimator of that name, for `shuffled_null` and `control_task`: of all
    but logistic regression, one after the other.
    """
    if name == LOGISTIC:
        return logistic_aurocs

    def one_by_one(
        x: torch.Tensor, y: np.ndarray, held_y: np.ndarray, fitted: np.ndarray, held: np.ndarray, penalty: float
    ) -> np.ndarray:
        estimator, values = ESTIMATORS[name].make(penalty, None), x.cpu().numpy()
        scores = np.zeros((y.shape[1], len(held)))
        for k in np.flatnonzero(y.any(axis=0) & ~y.all(axis=0)):
            scores[k] = estimator.fit(values[fitted], y[:, k]).decision_function(values[held])
        return column_aurocs(scores, held_y)

    return one_by_one


def _decided(estimator: LinearProbe) -> LinearProbe:
    """The same estimator, unfitted, with the penalty that was chosen."""
    fresh: LinearProbe = clone(estimator)
    if isinstance(estimator, LogisticProbe):
        fresh.set_params(C=estimator.penalty_)
    elif isinstance(estimator, RidgeProbe):
        fresh.set_params(alpha=estimator.penalty_)
    return fresh
