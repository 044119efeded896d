"""Probes at every position and layer, with layer, position and penalty chosen inside the development groups.

Every cell (position, layer) is fitted on each inner fold's training groups and scored on its held-out ones; a cell's
penalty is the one with the best mean AUROC over folds. The headline is the best cell by that inner AUROC; cells within
`TIE` of the best count as equal, and the earliest position, then the lowest layer, is taken. The test groups are
looked at once, after everything has been chosen. Means and scales of features are fitted on training rows only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import EstimateError
from ..stats import auroc
from .logistic import Solution, Standardiser, fit, kernel
from .splits import Split

TIE = 0.005


@dataclass(frozen=True)
class Direction:
    """A probe in raw activation space: score (log-odds) = activation . weight + bias."""

    position: str
    layer: int
    weight: np.ndarray
    """[width]"""
    bias: float

    def score(self, activations: np.ndarray) -> np.ndarray:
        """Log-odds [row] of activations [row, width]."""
        return activations.astype(np.float64) @ self.weight + self.bias


@dataclass(frozen=True)
class Cell:
    """One position's probe at one layer: what was chosen for it, and its scores (log-odds) on every row."""

    position: str
    layer: int
    penalty: float
    inner_auroc: float
    scores: np.ndarray
    """[row]: out-of-fold on development rows, by the probe fitted on all of them elsewhere."""
    direction: Direction


def fit_grid(
    activations: dict[str, np.ndarray],
    layers: Sequence[int],
    labels: np.ndarray,
    split: Split,
    penalties: Sequence[float],
) -> list[Cell]:
    """Fit every position and layer.

    Args:
        activations: position -> float32 [layer, row, width].
        layers: the layer numbers of the first axis.
        labels: bool [row]; only those of `split.dev` are used.

    Returns:
        Cells by position, then by layer.
    """
    cells = []
    for position, values in activations.items():
        x = torch.from_numpy(values)
        y = torch.from_numpy(np.asarray(labels, dtype=np.float64))
        held_out = _out_of_fold(x, y, split, penalties)
        inner = np.array(
            [
                [_mean_fold_auroc(held_out[c][i], labels, split) for i in range(len(layers))]
                for c in range(len(penalties))
            ]
        )
        dev = torch.from_numpy(split.dev)
        standardise = Standardiser.fit(x[:, dev])
        z = standardise(x[:, dev])
        solutions = _path(kernel(z), y[dev], penalties)
        for i, layer in enumerate(layers):
            best = int(inner[:, i].argmax())
            direction = _direction(position, layer, solutions[best], z[i], standardise, i)
            scores = direction.score(values[i])
            scores[split.dev] = held_out[best, i]
            cells.append(Cell(position, layer, penalties[best], float(inner[best, i]), scores, direction))
    return cells


def best_cell(cells: Sequence[Cell]) -> Cell:
    """The cell with the best inner AUROC; ties go to the earliest position, then the lowest layer."""
    top = max(cell.inner_auroc for cell in cells)
    return next(cell for cell in cells if cell.inner_auroc >= top - TIE)


def _path(gram: torch.Tensor, y: torch.Tensor, penalties: Sequence[float]) -> list[Solution]:
    """Solutions in the order of `penalties`, each started from the next stronger penalty's."""
    found: dict[float, Solution] = {}
    start = None
    for c in sorted(penalties):
        start = found[c] = fit(gram, y, c, start)
    return [found[c] for c in penalties]


def _out_of_fold(x: torch.Tensor, y: torch.Tensor, split: Split, penalties: Sequence[float]) -> np.ndarray:
    """Scores [penalty, layer, development row], each row by a probe that was not fitted on its fold."""
    out = np.empty((len(penalties), len(x), len(split.dev)))
    for fold in range(split.n_folds):
        train = torch.from_numpy(split.dev[split.fold != fold])
        held = split.fold == fold
        standardise = Standardiser.fit(x[:, train])
        z, new = standardise(x[:, train]), standardise(x[:, torch.from_numpy(split.dev[held])])
        for i, solution in enumerate(_path(kernel(z), y[train], penalties)):
            out[i][:, held] = solution.scores(z.double(), new.double())[..., 0].numpy()
    return out


def _mean_fold_auroc(scores: np.ndarray, labels: np.ndarray, split: Split) -> float:
    """Mean over inner folds of the held-out AUROC; folds with one class only are left out."""
    values = []
    for fold in range(split.n_folds):
        held = split.fold == fold
        try:
            values.append(auroc(scores[held], labels[split.dev[held]]))
        except EstimateError:
            continue
    if not values:
        raise EstimateError("no inner fold holds both classes: there are too few groups")
    return float(np.mean(values))


def _direction(
    position: str, layer: int, solution: Solution, z: torch.Tensor, standardise: Standardiser, i: int
) -> Direction:
    """Undo the standardisation of problem `i`: `z` [row, feature] are its training rows."""
    weight = solution.c * (z.double().T @ solution.a[i, :, 0]) / standardise.scale[i].double()
    bias = solution.b[i, 0] - weight @ standardise.mean[i].double()
    return Direction(position, layer, weight.numpy(), float(bias))
