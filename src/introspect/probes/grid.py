"""Probes at every position and layer, with layer, position and penalty chosen inside the development groups.

Every cell (position, layer) is fitted on each inner fold's training groups and scored on its held-out ones; a cell's
penalty is the one with the best mean AUROC over folds. The headline is the best cell by that inner AUROC; cells within
`TIE` of the best count as equal, and the earliest position, then the lowest layer, is taken. The test groups are
looked at once, after everything has been chosen. Means and scales of features are fitted on training rows only.

Fits that only choose are solved to `CHOOSING`; at the chosen penalty those of inner folds, whose scores are given, are
taken on to `SCORED`, and the one that is kept to `KEPT`, all in float64 (see `newton` for what these bound).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import EstimateError
from .device import on_device, probe_device
from .logistic import NotConverged
from .newton import Fits
from .side_by_side import side_by_side
from .site import Site
from .splits import Split
from .stream import Activations, each_site, positions_of, site_bytes

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
    *,
    rollouts: Sequence[int] | None = None,
) -> list[Cell]:
    """Fit every position and layer.

    Args:
        activations: position -> float32 [layer, row, width], or a `Streamed`, of which a few layers are held at a time.
        layers: the layer numbers of the first axis.
        labels: bool [row]; only those of `split.dev` are used.
        penalties: scikit-learn's C, to choose from.
        rollouts: the number of each row's rollout, by which errors name rows.

    Returns:
        Cells by position, then by layer.

    Raises:
        EstimateError: rows are not finite, or training rows of a fold are of one class, or no fold holds both.
        NotConverged: a fit stopped short of its tolerance; names the cell.
    """
    return fit_splits(activations, layers, labels, [split], penalties, rollouts=rollouts)[0]


def fit_splits(
    activations: Activations,
    layers: Sequence[int],
    labels: np.ndarray,
    splits: Sequence[Split],
    penalties: Sequence[float],
    *,
    rollouts: Sequence[int] | None = None,
) -> list[list[Cell]]:
    """`fit_grid` for several splits of the same rows, side by side: the cells of each split."""
    found: list[list[Cell]] = [[] for _ in splits]
    truth = np.asarray(labels, dtype=bool)
    plan = _Plan.of(splits)

    def fit_one(at: tuple[str, int, torch.Tensor]) -> list[Cell]:
        position, layer, x = at
        if len(x) != len(truth):
            raise EstimateError(f"{len(truth)} labels for {len(x)} rows of activations at {position}, layer {layer}")
        try:
            return on_device(lambda rows: _fit_site(position, layer, rows, truth, plan, penalties), x)
        except NotConverged as error:
            raise NotConverged(f"at {position}, layer {layer}: {error}") from error

    sites = each_site(activations, layers, rollouts)
    alone = probe_device(site_bytes(activations)).type != "cpu"
    for cells in map(fit_one, sites) if alone else side_by_side(fit_one, sites):
        for kept, cell in zip(found, cells, strict=True):
            kept.append(cell)
    return [by_position(kept, activations) for kept in found]


def by_position(cells: Iterable[Cell], activations: Activations) -> list[Cell]:
    """Cells by position, in whatever order their sites were read; within a position in the order given."""
    names = positions_of(activations)
    return sorted(cells, key=lambda cell: names.index(cell.position))


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
    plan: _Plan,
    penalties: Sequence[float],
) -> list[Cell]:
    """A cell for each split."""
    site = Site.of(x[torch.from_numpy(plan.used)], torch.from_numpy(plan.masks).to(x.device))
    path = site.path(
        torch.from_numpy(labels[plan.used]).to(x.device), penalties, CHOOSING if len(penalties) > 1 else SCORED
    )
    scored = torch.stack([site.scores(path[c]) for c in penalties]).cpu().double().numpy()
    best = [
        int(_mean_fold_auroc(plan.held_out(scored, k), labels, split).argmax()) for k, split in enumerate(plan.splits)
    ]
    chosen = Fits.joined([path[penalties[b]].pick(plan.folds(k)) for k, b in enumerate(best)])
    tolerance = torch.full_like(chosen.b, SCORED, dtype=torch.float64)
    tolerance[plan.last] = KEPT
    fits = site.refined(chosen, tolerance)
    scored = site.scores(fits).cpu().numpy()[None]
    found = site.directions(fits.pick(plan.last))
    everywhere = x.double() @ found.weight.T + found.bias
    cells = []
    for k, split in enumerate(plan.splits):
        held_out = plan.held_out(scored, k)
        inner = float(_mean_fold_auroc(held_out, labels, split)[0])
        scores = everywhere[:, k].cpu().numpy().copy()
        scores[split.dev] = held_out[0]
        direction = Direction(position, layer, found.weight[k].cpu().numpy(), float(found.bias[k]))
        cells.append(Cell(position, layer, penalties[best[k]], inner, scores, direction))
    return cells


@dataclass(frozen=True)
class _Plan:
    """What is fitted at every site: for each split, a fit without each inner fold, then one to all development rows."""

    splits: Sequence[Split]
    used: np.ndarray
    """The rows that any fit is trained on."""
    masks: np.ndarray
    """bool [fit, used row]: the training rows of each fit."""
    ends: np.ndarray
    """Of each split: the number of fits up to its last."""

    @classmethod
    def of(cls, splits: Sequence[Split]) -> _Plan:
        used = np.unique(np.concatenate([split.dev for split in splits]))
        masks = np.stack([np.isin(used, rows) for split in splits for rows in _trained(split)])
        return cls(splits, used, masks, np.cumsum([split.n_folds + 1 for split in splits]))

    @property
    def last(self) -> torch.Tensor:
        """The fit of each split to all its development rows."""
        return torch.from_numpy(self.ends - 1)

    def folds(self, k: int) -> torch.Tensor:
        """All fits of a split."""
        return torch.arange(self.ends[k] - self.splits[k].n_folds - 1, self.ends[k])

    def held_out(self, scores: np.ndarray, k: int) -> np.ndarray:
        """Of scores [penalty, fit, used row]: those of a split's development rows [penalty, row], each by the fit that
        it was held out from.
        """
        split = self.splits[k]
        fit = self.ends[k] - split.n_folds - 1 + split.fold
        return scores[:, fit, np.searchsorted(self.used, split.dev)]


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
            values.append(_aurocs(scores[:, held], truth))
    if not values:
        raise EstimateError("no inner fold holds both classes: there are too few groups")
    return np.mean(values, axis=0)


def _aurocs(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """AUROC [penalty] of scores [penalty, row]."""
    above, below = scores[:, truth], np.sort(scores[:, ~truth], axis=1)
    won = [np.searchsorted(b, a) + np.searchsorted(b, a, side="right") for a, b in zip(above, below, strict=True)]
    return np.sum(won, axis=1) / (2 * above.shape[1] * below.shape[1])
