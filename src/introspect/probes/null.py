"""What the same procedure finds where there is nothing: shuffled labels, random labels of groups, random directions.

Shuffled labels keep rows, groups, folds and penalty, and permute the labels over the rows of the development part and
over those of the test part, so that class balance stays. If activations said nothing of the labels, every such
permutation would be as likely as the data (labels are exchangeable over items because the plan crosses and balances
them). The statistic is the largest test AUROC over all positions and layers, which is more than the headline was
allowed (it was chosen inside), so the p-value is conservative.

A control task (Hewitt & Liang 2019) gives every group a random label that a probe could memorise but not generalise:
test groups are new, so its AUROC should be one half, and selectivity is the probe's AUROC minus it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata

from ..stats import auroc, group_codes
from .logistic import Standardiser, fit_labels, kernel
from .splits import Split


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
    activations: dict[str, np.ndarray], labels: np.ndarray, split: Split, *, penalty: float, n: int, seed: int
) -> Null:
    """Fit every position and layer to `n` permutations of the labels, at one penalty."""
    rng = np.random.default_rng(seed)
    dev = np.stack([rng.permutation(labels[split.dev]) for _ in range(n)], axis=1)
    test = np.stack([rng.permutation(labels[split.test]) for _ in range(n)], axis=1)
    return Null({name: _test_aurocs(x, dev, test, split, penalty) for name, x in activations.items()})


def control_task(
    activations: np.ndarray, groups: np.ndarray, split: Split, *, penalty: float, n: int, seed: int
) -> np.ndarray:
    """Test AUROCs of `n` control tasks at one cell: a fair coin for every group. Activations [row, width]."""
    codes, n_groups = group_codes(groups)
    rng = np.random.default_rng(seed)
    columns: list[np.ndarray] = []
    while len(columns) < n:
        drawn = (rng.permutation(n_groups) < n_groups // 2)[codes]
        if len(set(drawn[split.dev])) == 2 and len(set(drawn[split.test])) == 2:
            columns.append(drawn)
    drawn = np.stack(columns, axis=1)
    return _test_aurocs(activations[None], drawn[split.dev], drawn[split.test], split, penalty)[0]


def random_directions(activations: np.ndarray, labels: np.ndarray, split: Split, *, n: int, seed: int) -> np.ndarray:
    """Test AUROCs of `n` Gaussian directions in standardised space, each turned to its better side on dev."""
    x = torch.from_numpy(activations[None])
    z = Standardiser.fit(x[:, torch.from_numpy(split.dev)])(x)[0].numpy()
    scores = z @ np.random.default_rng(seed).standard_normal((z.shape[1], n))
    signs = [1 if auroc(scores[split.dev, i], labels[split.dev]) >= 0.5 else -1 for i in range(n)]
    return np.array([auroc(sign * scores[split.test, i], labels[split.test]) for i, sign in enumerate(signs)])


def _test_aurocs(x: np.ndarray, dev: np.ndarray, test: np.ndarray, split: Split, penalty: float) -> np.ndarray:
    """AUROC [layer, column] on the test rows. `x` [layer, row, width]; labels `dev`, `test` [row, column]."""
    values = torch.from_numpy(x)
    rows, held = torch.from_numpy(split.dev), torch.from_numpy(split.test)
    standardise = Standardiser.fit(values[:, rows])
    z, new = standardise(values[:, rows]), standardise(values[:, held])
    solution = fit_labels(kernel(z), torch.from_numpy(dev.astype(float)), penalty)
    cross = (new @ z.transpose(1, 2)).double()
    scores = (penalty * cross @ solution.a + solution.b[:, None]).numpy()
    ranks = rankdata(scores, axis=1)
    n_positive = test.sum(axis=0)
    n_negative = len(test) - n_positive
    sums = (ranks * test[None]).sum(axis=1)
    return (sums - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
