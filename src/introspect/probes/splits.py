"""Splits by group: a held-out test set, and inner folds of what is left. No group is ever on two sides."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ..errors import EstimateError
from ..stats import MIN_GROUPS, auroc, group_codes

MIN_PER_CLASS = 10
"""Fewest rows of either class in the development and in the test part."""
OUTER_PARTS = 10
"""The groups are dealt into this many balanced parts, some of which make the test part."""


@dataclass(frozen=True)
class Split:
    """Row indices of the parts, and for each development row its inner fold."""

    dev: np.ndarray
    test: np.ndarray
    fold: np.ndarray
    """[development row], 0 to n_folds - 1."""

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1

    def within(self, rows: np.ndarray) -> Split:
        """The same split in a larger table, of which `rows` are the rows that were split."""
        return Split(rows[self.dev], rows[self.test], self.fold)


def split_groups(
    groups: Sequence[Hashable] | np.ndarray,
    labels: np.ndarray,
    *,
    test_fraction: float,
    inner_folds: int,
    seed: int,
    label: str = "positive",
) -> Split:
    """Hold out whole groups for the test, and fold the other groups, with the classes balanced as well as groups allow.

    Args:
        groups: the group of each row; labels: bool [row].
        label: what the labels say, for messages.

    Raises:
        EstimateError: too few groups, or too few rows of a class, to say anything.
    """
    codes, n_groups = group_codes(groups)
    needed = max(inner_folds + 1, 2)
    if n_groups < 2 * needed:
        raise EstimateError(f"{n_groups} groups are too few for a test part and {inner_folds} inner folds")
    n_yes = int(np.sum(labels))
    if min(n_yes, len(labels) - n_yes) < 2 * MIN_PER_CLASS:
        raise EstimateError(
            f"{n_yes} rows are labelled {label} and {len(labels) - n_yes} are not; a probe needs at least "
            f"{MIN_PER_CLASS} of each in the development part and in the test part"
        )
    outer = _fold_of(codes, labels, min(OUTER_PARTS, n_groups), seed)
    n_held = max(1, round(test_fraction * (outer.max() + 1)))
    test = np.flatnonzero(outer < n_held)
    dev = np.flatnonzero(outer >= n_held)
    n_test_groups = len(set(codes[test]))
    if n_test_groups < MIN_GROUPS:
        raise EstimateError(
            f"the test part has {n_test_groups} groups; an interval needs at least {MIN_GROUPS}: give more items, or a "
            "larger probe.test_fraction"
        )
    n_dev_groups = len(set(codes[dev]))
    if n_dev_groups < inner_folds:
        raise EstimateError(
            f"the development part has {n_dev_groups} groups, fewer than {inner_folds} inner folds: make "
            "probe.inner_folds or probe.test_fraction smaller"
        )
    for name, rows in (("development", dev), ("test", test)):
        n_positive = int(labels[rows].sum())
        if min(n_positive, len(rows) - n_positive) < MIN_PER_CLASS:
            raise EstimateError(
                f"the {name} part has {n_positive} rows labelled {label} and {len(rows) - n_positive} that are not; a "
                f"probe needs at least {MIN_PER_CLASS} of each"
            )
    fold = _fold_of(codes[dev], labels[dev], inner_folds, (seed + 1) % 2**32)
    split = Split(dev, test, fold)
    check_split(split, codes)
    return split


def inner_auroc(scores: np.ndarray, labels: np.ndarray, split: Split) -> float:
    """Mean AUROC over inner folds of scores [row] that are out of fold on development rows; folds with one class only
    are left out.

    Raises:
        EstimateError: every fold has one class only.
    """
    values = []
    for fold in range(split.n_folds):
        rows = split.dev[split.fold == fold]
        if labels[rows].any() and not labels[rows].all():
            values.append(auroc(scores[rows], labels[rows]))
    if not values:
        raise EstimateError("no inner fold holds both classes: there are too few groups")
    return float(np.mean(values))


def check_split(split: Split, codes: np.ndarray) -> None:
    """Refuse a split in which a group is on two sides.

    Raises:
        ValueError: it is.
    """
    if set(codes[split.dev]) & set(codes[split.test]):
        raise ValueError("a group is in the development part and in the test part")
    for group in set(codes[split.dev]):
        if len(set(split.fold[codes[split.dev] == group])) > 1:
            raise ValueError("a group is in two inner folds")


def _fold_of(codes: np.ndarray, labels: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    folds = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    out = np.empty(len(codes), dtype=np.int64)
    for number, (_, rows) in enumerate(folds.split(codes, labels, codes)):
        out[rows] = number
    return out
