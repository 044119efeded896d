"""Sufficient statistics of rows that do not fit in memory: counts, means and scatters of each class, from batches.

Differences of means, whitened differences, ridge regression and Fisher's discriminant need nothing else. Batches are
merged pairwise in float64 (Chan, Golub & LeVeque 1983, equation 2.1), so that means far from 0 cost no digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import EstimateError
from .stream import check_finite


@dataclass(frozen=True)
class Moments:
    """What is kept of the rows of two classes, the negative one first. Memory: two matrices [width, width]."""

    count: np.ndarray
    """Rows, int [class]."""
    mean: np.ndarray
    """float64 [class, width]"""
    scatter: np.ndarray
    """Sums of products of deviations from the class's mean, float64 [class, width, width]."""

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray) -> Moments:
        """Of one batch of activations [row, width] and labels, bool [row].

        Raises:
            EstimateError: labels of other rows, or rows that are not finite.
        """
        if rows.ndim != 2 or len(rows) != len(labels):
            raise EstimateError(f"{len(labels)} labels for activations of shape {list(rows.shape)}")
        check_finite(rows, "of a batch")
        truth = np.asarray(labels, dtype=bool)
        parts = [rows[truth == side].astype(np.float64) for side in (False, True)]
        means = [part.mean(axis=0) if len(part) else np.zeros(rows.shape[1]) for part in parts]
        apart = [part - mean for part, mean in zip(parts, means, strict=True)]
        return cls(
            np.array([len(part) for part in parts]), np.stack(means), np.stack([each.T @ each for each in apart])
        )

    @classmethod
    def of_batches(cls, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Moments:
        """Of all batches of rows and labels, one held at a time.

        Raises:
            EstimateError: there is no batch, or see `of`.
        """
        total: Moments | None = None
        for rows, labels in batches:
            found = cls.of(rows, labels)
            total = found if total is None else total.merged(found)
        if total is None:
            raise EstimateError("there are no rows")
        return total

    def merged(self, other: Moments) -> Moments:
        """Of the rows of both.

        Raises:
            EstimateError: their widths differ.
        """
        if self.mean.shape != other.mean.shape:
            raise EstimateError(f"batches have widths {self.mean.shape[1]} and {other.mean.shape[1]}")
        count = self.count + other.count
        share = (other.count / np.maximum(count, 1))[:, None]
        apart = other.mean - self.mean
        across = self.count[:, None, None] * share[..., None] * apart[:, :, None] * apart[:, None, :]
        return Moments(count, self.mean + share * apart, self.scatter + other.scatter + across)

    def pooled(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [width] and scatter [width, width] of all rows, whatever their class."""
        first, second = self.count
        total = first + second
        apart = self.mean[1] - self.mean[0]
        mean = self.mean[0] + second / total * apart
        return mean, self.scatter.sum(axis=0) + first * second / total * np.outer(apart, apart)
