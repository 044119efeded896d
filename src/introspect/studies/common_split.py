"""One split of the groups for several organisms that answer the same items.

A probe that has seen a group in one organism has in effect seen it in all, so a group is in the development part of
every organism or in the test part of every organism, and in one inner fold of all. Classes of all organisms are
balanced over parts and folds as well as whole groups allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ..errors import EstimateError
from ..probes import Split
from ..probes.splits import MIN_PER_CLASS, OUTER_PARTS
from ..stats import MIN_GROUPS
from .recorded import Recorded


@dataclass(frozen=True)
class Organism:
    """A run, and its rows in the parts of the common split."""

    recorded: Recorded
    split: Split
    ood: np.ndarray
    """Out-of-distribution rows whose group is in distribution nowhere."""
    reason: str | None
    """Why no probe is fitted on it; None where one is."""

    def groups_of(self, rows: np.ndarray) -> set[str]:
        """The groups of some rows."""
        return {str(group) for group in self.recorded.groups[rows]}


def split_together(
    recorded: Mapping[str, Recorded], *, test_fraction: float, inner_folds: int, seed: int
) -> dict[str, Organism]:
    """The same organisms with their rows split.

    Raises:
        EstimateError: there are too few groups for a test part and inner folds.
    """
    rows = {name: np.flatnonzero(~each.ood) for name, each in recorded.items()}
    groups = np.concatenate([each.groups[rows[name]] for name, each in recorded.items()])
    kinds = np.concatenate([2 * i + each.acted[rows[name]] for i, (name, each) in enumerate(recorded.items())])
    n_groups = len(set(groups))
    if n_groups < 2 * max(inner_folds + 1, MIN_GROUPS):
        raise EstimateError(f"{n_groups} groups are too few for a test part and {inner_folds} inner folds")
    part = _fold_of_groups(groups, kinds, min(OUTER_PARTS, n_groups), seed)
    n_held = max(1, round(test_fraction * (max(part.values()) + 1)))
    held = {group for group, number in part.items() if number < n_held}
    n_test = len(held)
    if min(n_test, n_groups - n_test) < max(MIN_GROUPS, inner_folds):
        raise EstimateError(f"{n_test} groups to test on and {n_groups - n_test} to fit on are too few")
    dev = np.array([str(group) not in held for group in groups])
    fold = _fold_of_groups(groups[dev], kinds[dev], inner_folds, seed + 1)
    return {name: _organism(each, rows[name], held, fold, set(groups)) for name, each in recorded.items()}


def _fold_of_groups(groups: np.ndarray, kinds: np.ndarray, n_folds: int, seed: int) -> dict[str, int]:
    """Group -> fold. Kinds with fewer rows than folds cannot be spread and count as the commonest."""
    names, codes, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    known = np.where(counts[codes] < n_folds, names[counts.argmax()], kinds)
    folds = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    dealt = enumerate(folds.split(groups, known, groups))
    return {str(group): number for number, (_, held) in dealt for group in groups[held]}


def _organism(
    recorded: Recorded, rows: np.ndarray, held: set[str], fold: Mapping[str, int], in_distribution: set[str]
) -> Organism:
    names = recorded.groups[rows]
    in_test = np.array([str(group) in held for group in names], dtype=bool)
    dev, test = rows[~in_test], rows[in_test]
    folds = np.array([fold[str(group)] for group in names[~in_test]], dtype=np.int64)
    ood = np.array(
        [row for row in np.flatnonzero(recorded.ood) if recorded.groups[row] not in in_distribution], dtype=np.int64
    )
    return Organism(recorded, Split(dev, test, folds), ood, _too_few(recorded.acted[dev], folds, recorded.acted[test]))


def _too_few(dev: np.ndarray, folds: np.ndarray, test: np.ndarray) -> str | None:
    """Why no probe can be fitted on these labels and tested on those."""
    for name, labels in (("development", dev), ("test", test)):
        n_acted = int(labels.sum())
        if min(n_acted, len(labels) - n_acted) < MIN_PER_CLASS:
            return (
                f"its {name} part has {n_acted} rollouts that acted on the policy and {len(labels) - n_acted} that "
                f"did not; a probe needs {MIN_PER_CLASS} of each"
            )
    if any(len(set(dev[folds != number])) < 2 for number in set(folds)):
        return "one class is in one inner fold only"
    return None
