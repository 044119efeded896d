"""Rollouts of the same question in two runs: the same item, condition and sample."""

from __future__ import annotations

import numpy as np

from .index import ACTED, MISSING, READ, Columns

COMPARED = ("acted", "readout")


def twins(a: Columns, b: Columns) -> np.ndarray:
    """Rows of both runs that were asked the same, int [pair, 2], in the order of the first run's numbers."""
    _, left, right = np.intersect1d(a["twin"], b["twin"], return_indices=True)
    order = np.argsort(a["number"][left], kind="stable")
    return np.stack([left[order], right[order]], axis=1)


def crossed(a: Columns, b: Columns, pairs: np.ndarray) -> dict[str, list[tuple[str, list[int]]]]:
    """What is compared -> a row for each value in the first run, with counts for each value in the second."""
    out = {}
    for name, values in (("acted", ACTED), ("readout", READ)):
        left, right = a[name][pairs[:, 0]], b[name][pairs[:, 1]]
        known = (left != MISSING) & (right != MISSING)
        counts = np.zeros((len(values), len(values)), dtype=int)
        np.add.at(counts, (left[known], right[known]), 1)
        if counts.any():
            out[name] = [(value, counts[i].tolist()) for i, value in enumerate(values)]
    return out


def differing(a: Columns, b: Columns, pairs: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows that did not do the same, or in which not the same is read."""
    differ = np.zeros(len(pairs), dtype=bool)
    for name in COMPARED:
        left, right = a[name][pairs[:, 0]], b[name][pairs[:, 1]]
        differ |= (left != right) & (left != MISSING) & (right != MISSING)
    return [(int(x), int(y)) for x, y in pairs[differ]]
