"""Means over many rows of a store, a slice of them in memory at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SLICE_BYTES = 1 << 28
"""Of activations in float32 that are in memory at once while rows are averaged."""


def averages(
    read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, owner: np.ndarray, n: int, width: int
) -> np.ndarray:
    """The mean over the rows of each owner, summed in float64: float32 [owner, width].

    Args:
        read: row indices -> activations, float32 [row, width].
        rows: indices of rows, in any order; they are read in the store's.
        owner: of each row, from 0 to n - 1; every owner has one or more.
    """
    order = np.argsort(rows, kind="stable")
    rows, owner = rows[order], owner[order]
    sums = np.zeros((n, width))
    at = max(1, SLICE_BYTES // (4 * width))
    for start in range(0, len(rows), at):
        here = owner[start : start + at]
        order = np.argsort(here, kind="stable")
        firsts = np.flatnonzero(np.diff(here[order], prepend=-1))
        values = read(rows[start : start + at][order])
        sums[here[order][firsts]] += np.add.reduceat(values, firsts, dtype=float)
    return (sums / np.bincount(owner, minlength=n)[:, None]).astype(np.float32)
