"""Probes from the means of two classes: their difference, and the same whitened by the covariance within classes.

After Marks & Tegmark 2023 (arXiv 2310.06824, section 5): a difference of means needs no optimiser and generalises well,
and whitening it turns it into the better classifier (it is then Fisher's linear discriminant). Scores of neither are
calibrated, so there is no `predict_proba`.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from .linear import LinearProbe, Training, Weights, standardised

SINGULAR = 1e-10
"""A variance this small, of the largest, counts as none."""
LEAST = 1e-6
"""Shrinkage that `auto` takes at least, so that a feature without variance within classes can be whitened."""


class DifferenceOfMeans(LinearProbe):
    """The mean of one class minus that of the other: `w = mean(X | second) - mean(X | first)`.

    The intercept puts 0 half way between the two means, `b = -w . (mean(X | second) + mean(X | first)) / 2`. Features
    are not scaled: this is the direction that steering adds, in the units of activations.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to activations [row, width] and two classes [row].

        Args:
            sample_weight: what each row counts for, [row]; 2 is the same as the row twice, 0 as its absence.

        Raises:
            ValueError: one class only, rows that are not finite, or labels of other rows.
        """
        data = self._training(X, y, sample_weight)
        first, second = _means(data._replace(rows=data.rows.astype(np.float64)))
        return self._keep(_half_way(second - first, first, second))


class WhitenedDifferenceOfMeans(LinearProbe):
    """The difference of means times the inverse covariance within classes: `w = S^-1 (mean(second) - mean(first))`.

    S is the covariance of standardised features around their own class's mean, shrunk towards the unit matrix times
    its mean variance: `(1 - d) S + d * (trace S / width) * I`. The intercept puts 0 half way between the means.

    Args:
        shrinkage: d, from 0 to 1; `auto` takes Ledoit & Wolf's (2004), which shrinks the more the fewer rows there are.
            0 is Marks & Tegmark's own form; it needs more rows than the width, and many more to be better.

    Attributes:
        shrinkage_: d as used.
    """

    def __init__(self, *, shrinkage: float | str = "auto") -> None:
        self.shrinkage = shrinkage

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to activations [row, width] and two classes [row].

        Args:
            sample_weight: what each row counts for, [row]; 2 is the same as the row twice, 0 as its absence.

        Raises:
            ValueError: one class only, rows that are not finite, labels of other rows, or a covariance that cannot be
                inverted at this shrinkage.
        """
        data = self._training(X, y, sample_weight)
        if self.shrinkage != "auto" and not (_is_number(self.shrinkage) and 0 <= float(self.shrinkage) <= 1):
            raise ValueError(f"shrinkage must be 'auto' or a number from 0 to 1, not {self.shrinkage!r}")
        data = data.part(np.arange(len(data.target)))
        space = standardised(data.rows, data.weight)
        z = space.z.numpy()
        first, second = _means(data._replace(rows=z))
        within = z - np.where(data.target[:, None], second, first)
        weight = np.ones(len(z)) if data.weight is None else data.weight
        self.shrinkage_ = _ledoit_wolf(within, weight) if self.shrinkage == "auto" else float(self.shrinkage)
        direction, bias = _half_way(_whitened(within, weight, second - first, self.shrinkage_), first, second)
        return self._keep(space.raw(direction, bias))


def _means(data: Training) -> tuple[np.ndarray, np.ndarray]:
    """Means [width] of the first and of the second class."""
    first, second = data.part(~data.target), data.part(data.target)
    return np.average(first.rows, axis=0, weights=first.weight), np.average(second.rows, axis=0, weights=second.weight)


def _half_way(weight: np.ndarray, first: np.ndarray, second: np.ndarray) -> Weights:
    return Weights(weight, float(-weight @ (first + second) / 2))


def _ledoit_wolf(within: np.ndarray, weight: np.ndarray) -> float:
    """Ledoit & Wolf's shrinkage (2004, equation 14) of rows around their mean, each counted by its weight."""
    n, width = weight.sum(), within.shape[1]
    square = (within**2).sum(axis=1)
    root = np.sqrt(weight)[:, None] * within
    gram = root @ root.T if len(root) < width else root.T @ root
    mean = weight @ square / (n * width)
    spread = (gram**2).sum() / n**2
    error = (weight @ square**2 / n - spread) / n
    distance = spread - width * mean**2
    return max(float(min(error, distance) / distance), LEAST) if distance > 0 else LEAST


def _whitened(within: np.ndarray, weight: np.ndarray, difference: np.ndarray, shrinkage: float) -> np.ndarray:
    """`((1 - d) S + d m I)^-1 difference` [width], S the covariance of the rows of `within` and m its mean variance.

    With the singular vectors of `within`, no matrix [width, width] is made.
    """
    if not difference.any():
        return np.zeros_like(difference)
    _, values, axes = np.linalg.svd(np.sqrt(weight)[:, None] * within, full_matrices=False)
    variances = values**2 / weight.sum()
    floor = shrinkage * variances.sum() / within.shape[1]
    inside = axes @ difference
    spread = (1 - shrinkage) * variances + floor
    if floor > 0:
        outside = difference - axes.T @ inside
        return axes.T @ (inside / spread) + outside / floor
    if len(variances) < within.shape[1] or spread.min() <= SINGULAR * spread.max():
        raise ValueError(
            f"the covariance of {len(within)} rows within classes cannot be inverted over {within.shape[1]} features: "
            "give more rows, or a shrinkage above 0"
        )
    return axes.T @ (inside / spread)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
