"""One split of the groups for several organisms that answer the same items, or for several kinds of a run's rollouts.

A probe that has seen a group in one organism has in effect seen it in all, so a group is in the development part of
every organism or in the test part of every organism, and in one inner fold of all. Classes of all organisms are
balanced over parts and folds as well as whole groups allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ..errors import EstimateError
from ..probes import Split
from ..probes.splits import MIN_PER_CLASS, OUTER_PARTS
from ..stats import MIN_GROUPS
from .recorded import Recorded

NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Organism:
    """A run, or some rollouts of one, with its rows in the parts of the common split."""

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
    recorded: Mapping[str, Recorded],
    *,
    test_fraction: float,
    inner_folds: int,
    seed: int,
    tested_only: Mapping[str, str] = NONE,
) -> dict[str, Organism]:
    """The same organisms with their rows split.

    Args:
        tested_only: organisms that no probe is fitted on, and why. They have no say in the split, and their groups
            that the others lack are test groups.
        seed: 0 to 2**32 - 1.

    Raises:
        EstimateError: there are too few groups for a test part and inner folds.
    """
    rows = {name: np.flatnonzero(~each.ood) for name, each in recorded.items()}
    dealt = {name: each for name, each in recorded.items() if name not in tested_only}
    groups = np.concatenate([each.groups[rows[name]] for name, each in dealt.items()])
    kinds = np.concatenate([2 * i + each.acted[rows[name]] for i, (name, each) in enumerate(dealt.items())])
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
    fold = _fold_of_groups(groups[dev], kinds[dev], inner_folds, (seed + 1) % 2**32)
    known = set(groups)
    return {
        name: _organism(each, rows[name], held, fold, known)
        if name in dealt
        else _tested_only(each, rows[name], held, known, tested_only[name])
        for name, each in recorded.items()
    }


def group_names(organisms: Mapping[str, Organism]) -> dict[str, list[str]]:
    """The groups of each part of the common split, of whichever organism."""
    parts: dict[str, set[str]] = {"train_groups": set(), "test_groups": set(), "ood_groups": set()}
    for each in organisms.values():
        for names, rows in zip(parts.values(), (each.split.dev, each.split.test, each.ood), strict=True):
            names |= each.groups_of(rows)
    return {part: sorted(names) for part, names in parts.items()}


def _fold_of_groups(groups: np.ndarray, kinds: np.ndarray, n_folds: int, seed: int) -> dict[str, int]:
    """Group -> fold. Kinds with fewer rows than folds cannot be spread and count as the commonest."""
    names, codes, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    known = np.where(counts[codes] < n_folds, names[counts.argmax()], kinds)
    folds = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    dealt = enumerate(folds.split(groups, known, groups))
    return {str(group): number for number, (_, held) in dealt for group in groups[held]}


def _tested_only(recorded: Recorded, rows: np.ndarray, held: set[str], dealt: set[str], reason: str) -> Organism:
    kept = np.array([row for row in rows if recorded.groups[row] not in dealt - held], dtype=np.int64)
    none = np.array([], dtype=np.int64)
    return Organism(recorded, Split(none, kept, none), _apart(recorded, dealt), reason)


def _apart(recorded: Recorded, in_distribution: set[str]) -> np.ndarray:
    """Out-of-distribution rows whose group is in distribution nowhere."""
    return np.array(
        [row for row in np.flatnonzero(recorded.ood) if recorded.groups[row] not in in_distribution], dtype=np.int64
    )


def _organism(
    recorded: Recorded, rows: np.ndarray, held: set[str], fold: Mapping[str, int], in_distribution: set[str]
) -> Organism:
    names = recorded.groups[rows]
    in_test = np.array([str(group) in held for group in names], dtype=bool)
    dev, test = rows[~in_test], rows[in_test]
    folds = np.array([fold[str(group)] for group in names[~in_test]], dtype=np.int64)
    reason = _too_few(recorded.acted[dev], folds, recorded.acted[test])
    return Organism(recorded, Split(dev, test, folds), _apart(recorded, in_distribution), reason)


def too_few_rows(recorded: Recorded) -> str | None:
    """Why its in-distribution rows cannot be fitted on and tested on, however they are split."""
    labels = recorded.acted[~recorded.ood]
    n_acted = int(labels.sum())
    if min(n_acted, len(labels) - n_acted) >= 2 * MIN_PER_CLASS:
        return None
    return (
        f"it has {n_acted} rollouts that acted on the policy and {len(labels) - n_acted} that did not; to fit a probe "
        f"and to test it takes {2 * MIN_PER_CLASS} of each"
    )


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
