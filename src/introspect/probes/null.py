"""What the same procedure finds where there is nothing: shuffled labels, random labels of groups, random directions.

Shuffled labels keep rows, groups, folds and penalty. Rows of a group tend to have like labels, so labels are not dealt
out row by row: they are listed group by group, groups in random order and rows in random order within each, and dealt
to the rows listed group by group, in the development part and in the test part apart. Class balance stays, and labels
stay as clustered as they are. The statistic is the largest test AUROC over all positions and layers, which is more than
the headline was allowed (it was chosen inside). Permutations share their rows, so each cell is decomposed once and all
its permutations are fitted side by side.

A control task (Hewitt & Liang 2019) gives every group a random label. On rows that were not fitted, of groups that
were, it says how much of the probe's success memorising groups could give; that is why the probe's own figures are on
groups that no fit has seen. Selectivity is the AUROC of the labels themselves on those same rows, minus the control's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from ..errors import EstimateError
from ..stats import CHANCE, auroc, aurocs, group_codes
from .device import on_device
from .site import Site
from .splits import Split
from .stream import Activations, Streamed, each_site, positions_of

TOLERANCE = 1e-2
"""Of fits to shuffled labels (see `newton`): it moves an AUROC by far less than a permutation does."""


class Measure(Protocol):
    """What fits one kind of probe to many columns of labels, and tests each."""

    def __call__(
        self, x: torch.Tensor, y: np.ndarray, held_y: np.ndarray, fitted: np.ndarray, held: np.ndarray, penalty: float
    ) -> np.ndarray:
        """AUROC [column] on held-out rows, .5 where one class is missing. `x` [row, width]; labels [row, column]."""


def logistic_aurocs(
    x: torch.Tensor, y: np.ndarray, held_y: np.ndarray, fitted: np.ndarray, held: np.ndarray, penalty: float
) -> np.ndarray:
    """`Measure` of logistic regression: all columns at once."""
    return on_device(lambda rows: _logistic_aurocs(rows, y, held_y, fitted, held, penalty), x)


def _logistic_aurocs(
    x: torch.Tensor, y: np.ndarray, held_y: np.ndarray, fitted: np.ndarray, held: np.ndarray, penalty: float
) -> np.ndarray:
    rows = x[torch.from_numpy(fitted)]
    site = Site.of(rows, torch.ones(1, len(rows), dtype=torch.bool, device=x.device))
    turned, axes = site.turned(y.shape[1])
    fits = turned.path(torch.from_numpy(y.T).to(x.device), [penalty], TOLERANCE)[penalty]
    new = site.standardised(x[torch.from_numpy(held)]) @ axes
    return column_aurocs((fits.w.double() @ new.T + fits.b).cpu().numpy(), held_y)


def column_aurocs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUROC [column] of scores [column, row] for labels [row, column]; .5 where one class is missing."""
    return np.nan_to_num(aurocs(scores, labels.T), nan=CHANCE)


@dataclass(frozen=True)
class Null:
    """Test AUROCs under shuffled labels: [position][layer, permutation]."""

    auroc: dict[str, np.ndarray]

    def maxima(self) -> np.ndarray:
        """The largest over positions and layers, [permutation]."""
        return np.max(np.concatenate(list(self.auroc.values())), axis=0)

    def position_maxima(self, position: str) -> np.ndarray:
        """The largest over layers at one position, [permutation]."""
        return self.auroc[position].max(axis=0)


def shuffled_null(
    activations: Activations,
    labels: np.ndarray,
    groups: np.ndarray,
    split: Split,
    *,
    penalty: float,
    n: int,
    seed: int,
    layers: Sequence[int] | None = None,
    measure: Measure = logistic_aurocs,
) -> Null:
    """Fit every position and layer to `n` permutations of the labels, at one penalty.

    Args:
        layers: their numbers; must be given where `activations` are streamed.

    Raises:
        EstimateError: rows are not finite, or labels of one class.
        NotConverged: a fit stopped short of its tolerance.
    """
    dev, test = _drawn_labels(labels, groups, split, n=n, seed=seed)
    if layers is None:
        if isinstance(activations, Streamed):
            raise EstimateError("give the layers to read: activations are streamed")
        layers = range(len(next(iter(activations.values()))))
    found: dict[str, list[np.ndarray]] = {name: [] for name in positions_of(activations)}
    for position, _, x in each_site(activations, layers):
        found[position].append(measure(x, dev, test, split.dev, split.test, penalty))
    return Null({name: np.stack(rows) for name, rows in found.items()})


def _drawn_labels(
    labels: np.ndarray, groups: np.ndarray, split: Split, *, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """`n` permutations of the labels of each part: [development row, permutation] and [test row, permutation]."""
    rng = np.random.default_rng(seed)
    dev, test = (
        np.stack([shuffled_by_group(labels[rows], groups[rows], rng) for _ in range(n)], axis=1)
        for rows in (split.dev, split.test)
    )
    return dev, test


def shuffled_by_group(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels [row] dealt out again with groups' labels kept together, as the module says."""
    codes, n_groups = group_codes(groups)
    dealt = np.argsort(rng.permutation(n_groups)[codes] + rng.random(len(codes)))
    to = np.argsort(rng.permutation(n_groups)[codes] + rng.random(len(codes)))
    out = np.empty_like(labels)
    out[to] = labels[dealt]
    return out


@dataclass(frozen=True)
class ControlTask:
    """AUROC on held-out rows of fitted groups."""

    control: np.ndarray
    """Of random labels of groups, [labelling]."""
    probe: float
    """Of the labels themselves."""


def control_task(
    activations: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    split: Split,
    *,
    penalty: float,
    n: int,
    seed: int,
    measure: Measure = logistic_aurocs,
) -> ControlTask:
    """`n` control tasks at one cell, within the development part: half of each group's rows are fitted.

    Args:
        activations: [row, width].

    Raises:
        EstimateError: no group has two rows, or one class only is left.
    """
    tasks = drawn_tasks(labels, groups, split, n=n, seed=seed)
    x = torch.from_numpy(activations)
    found = measure(x, tasks.fitted_labels, tasks.held_labels, tasks.fitted, tasks.held, penalty)
    return ControlTask(found[1:], float(found[0]))


class Tasks(NamedTuple):
    """Control tasks as they were drawn: which rows are fitted and held out, and their labels."""

    fitted: np.ndarray
    held: np.ndarray
    """Row indices."""
    fitted_labels: np.ndarray
    held_labels: np.ndarray
    """bool [row, column]: the labels themselves, then every labelling of the groups."""


def drawn_tasks(labels: np.ndarray, groups: np.ndarray, split: Split, *, n: int, seed: int) -> Tasks:
    """The draws of `control_task`.

    Raises:
        EstimateError: no group has two rows, or one class only is left.
    """
    rng = np.random.default_rng(seed)
    codes, n_groups = group_codes(groups[split.dev])
    order = np.lexsort((rng.random(len(codes)), codes))
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.searchsorted(codes[order], codes[order])
    fitted, held = split.dev[rank % 2 == 0], split.dev[rank % 2 == 1]
    drawn = np.stack([(rng.permutation(n_groups) < n_groups // 2)[codes] for _ in range(n)], axis=1)
    columns = np.concatenate([labels[split.dev][:, None], drawn], axis=1)
    there, absent = columns[rank % 2 == 0], columns[rank % 2 == 1]
    if not len(held) or min(len(set(part[:, 0])) for part in (there, absent)) < 2:
        raise EstimateError("groups have too few rows for a control task")
    return Tasks(fitted, held, there, absent)


def random_directions(activations: np.ndarray, labels: np.ndarray, split: Split, *, n: int, seed: int) -> np.ndarray:
    """Test AUROCs of `n` Gaussian directions in standardised space, each turned to its better side on dev."""
    x = torch.from_numpy(activations)
    dev = x[torch.from_numpy(split.dev)]
    z = Site.of(dev, torch.ones(1, len(dev), dtype=torch.bool)).standardised(x).numpy()
    scores = z @ np.random.default_rng(seed).standard_normal((z.shape[1], n))
    signs = [1 if auroc(scores[split.dev, i], labels[split.dev]) >= 0.5 else -1 for i in range(n)]
    return np.array([auroc(sign * scores[split.test, i], labels[split.test]) for i, sign in enumerate(signs)])
