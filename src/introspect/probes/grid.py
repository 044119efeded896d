"""Probes at every position and layer, with layer, position and penalty chosen inside the development groups.

Every cell (position, layer) is fitted on each inner fold's training groups and scored on its held-out ones; a cell's
penalty is the one with the best mean AUROC over folds. The headline is the best cell by that inner AUROC; cells within
`TIE` of the best count as equal, and the earliest position, then the lowest layer, is taken. The test groups are
looked at once, after everything has been chosen. Means and scales of features are fitted on training rows only.

Fits that only choose are solved to `CHOOSING`; at the chosen penalty those of inner folds, whose scores are given, are
taken on to `SCORED`, and the one that is kept to `KEPT` (see `newton` for what these bound).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import EstimateError
from ..stats import auroc
from .logistic import NotConverged
from .newton import Fits
from .site import Site
from .splits import Split
from .stream import Activations, each_site

TIE = 0.005
CHOOSING = 2e-2
SCORED = 1e-3
KEPT = 1e-4


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


@dataclass(frozen=True)
class CrossValidated:
    """Every row scored by a probe that saw nothing of its group when it was chosen and fitted."""

    scores: np.ndarray
    """Log-odds [row]."""
    chosen: list[Cell]
    """Of each outer fold; `Cell.scores` are on all rows."""


def fit_grid(
    activations: Activations,
    layers: Sequence[int],
    labels: np.ndarray,
    split: Split,
    penalties: Sequence[float],
) -> list[Cell]:
    """Fit every position and layer.

    Args:
        activations: position -> float32 [layer, row, width], or a `Streamed`, of which a few layers are held at a time.
        layers: the layer numbers of the first axis.
        labels: bool [row]; only those of `split.dev` are used.
        penalties: scikit-learn's C, to choose from.

    Returns:
        Cells by position, then by layer.

    Raises:
        EstimateError: rows are not finite, or training rows of a fold are of one class, or no fold holds both.
        NotConverged: a fit stopped short of its tolerance; names the cell.
    """
    return fit_splits(activations, layers, labels, [split], penalties)[0]


def fit_splits(
    activations: Activations,
    layers: Sequence[int],
    labels: np.ndarray,
    splits: Sequence[Split],
    penalties: Sequence[float],
) -> list[list[Cell]]:
    """`fit_grid` for several splits of the same rows, side by side: the cells of each split."""
    found: list[list[Cell]] = [[] for _ in splits]
    truth = np.asarray(labels, dtype=bool)
    for position, layer, x in each_site(activations, layers):
        if len(x) != len(truth):
            raise EstimateError(f"{len(truth)} labels for {len(x)} rows of activations at {position}, layer {layer}")
        try:
            cells = _fit_site(position, layer, x, truth, splits, penalties)
        except NotConverged as error:
            raise NotConverged(f"at {position}, layer {layer}: {error}") from error
        for kept, cell in zip(found, cells, strict=True):
            kept.append(cell)
    return found


def cross_validated(
    activations: Activations,
    layers: Sequence[int],
    labels: np.ndarray,
    splits: Sequence[Split],
    penalties: Sequence[float],
) -> CrossValidated:
    """Nested cross-validation: position, layer and penalty are chosen inside each split, and its test rows scored once.

    Args:
        splits: one an outer fold; their test parts must share no row and be all rows.

    Raises:
        ValueError: a row is tested twice, or never.
        EstimateError: see `fit_grid`.
    """
    tested = np.concatenate([split.test for split in splits])
    if sorted(tested.tolist()) != list(range(len(labels))):
        raise ValueError("the test parts of the splits must be all rows, each once")
    scores = np.empty(len(labels))
    chosen = [best_cell(cells) for cells in fit_splits(activations, layers, labels, splits, penalties)]
    for split, cell in zip(splits, chosen, strict=True):
        scores[split.test] = cell.scores[split.test]
    return CrossValidated(scores, chosen)


def best_cell(cells: Sequence[Cell]) -> Cell:
    """The cell with the best inner AUROC; ties go to the earliest position, then the lowest layer."""
    top = max(cell.inner_auroc for cell in cells)
    return next(cell for cell in cells if cell.inner_auroc >= top - TIE)


def _fit_site(
    position: str,
    layer: int,
    x: torch.Tensor,
    labels: np.ndarray,
    splits: Sequence[Split],
    penalties: Sequence[float],
) -> list[Cell]:
    """A cell for each split."""
    used = np.unique(np.concatenate([split.dev for split in splits]))
    masks = np.stack([np.isin(used, rows) for split in splits for rows in _trained(split)])
    site = Site.of(x[torch.from_numpy(used)], torch.from_numpy(masks).to(x.device))
    n_inner = [split.n_folds for split in splits]
    ends = np.cumsum([n + 1 for n in n_inner])
    inner_folds = np.concatenate([np.arange(end - 1 - n, end - 1) for n, end in zip(n_inner, ends, strict=True)])
    y = torch.from_numpy(labels[used]).to(x.device)
    path = site.path(
        y, penalties, CHOOSING if len(penalties) > 1 else SCORED, torch.from_numpy(inner_folds).to(x.device)
    )
    scored = torch.stack([site.scores(path[c]) for c in penalties]).cpu().double().numpy()
    best, chosen = [], []
    for split, first in zip(splits, np.cumsum([0, *n_inner]), strict=False):
        out = scored[:, first + split.fold, np.searchsorted(used, split.dev)]
        best.append(int(_mean_fold_auroc(out, labels, split).argmax()))
        folds = torch.arange(first, first + split.n_folds, device=x.device)
        chosen.append(path[penalties[best[-1]]].pick(folds))
    parts = site.refined(Fits.joined(chosen), SCORED, torch.float32).split(n_inner)
    starts = [site.averaged(part, int(end) - 1) for part, end in zip(parts, ends, strict=True)]
    kept = site.refined(Fits.joined(starts), KEPT, torch.float64)
    found = site.directions(kept)
    values = x.cpu().numpy()
    cells = []
    for k, split in enumerate(splits):
        direction = Direction(position, layer, found.weight[k].cpu().numpy(), float(found.bias[k]))
        held_out = site.scores(parts[k]).cpu().double().numpy()[split.fold, np.searchsorted(used, split.dev)]
        inner = float(_mean_fold_auroc(held_out[None], labels, split)[0])
        scores = direction.score(values)
        scores[split.dev] = held_out
        cells.append(Cell(position, layer, penalties[best[k]], inner, scores, direction))
    return cells


def _trained(split: Split) -> list[np.ndarray]:
    """The training rows of each inner fold, then all development rows."""
    return [*(split.dev[split.fold != fold] for fold in range(split.n_folds)), split.dev]


def _mean_fold_auroc(scores: np.ndarray, labels: np.ndarray, split: Split) -> np.ndarray:
    """Mean over inner folds of the held-out AUROC [penalty] of scores [penalty, development row]; folds with one class
    only are left out.
    """
    values = []
    for fold in range(split.n_folds):
        held = split.fold == fold
        truth = labels[split.dev[held]]
        if truth.any() and not truth.all():
            values.append([auroc(row[held], truth) for row in scores])
    if not values:
        raise EstimateError("no inner fold holds both classes: there are too few groups")
    return np.mean(values, axis=0)
