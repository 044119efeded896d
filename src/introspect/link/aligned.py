"""Aligned rollouts: they give the hinted option as they did without the hint, so that nothing shows that it was used.

They are no part of any fit. What the headline probe and the words score of them is needed all the same, since a
threshold is set on all rollouts that did not act: of a development group by fits that leave out the group's fold, of
any other by the fit on all of them, as for the rollouts that are probed. A group of which nothing was probed is dealt
to either part, and never left out, since it was never fitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..features import Probed, token_position
from ..metrics.hint_rows import hint_rows
from ..probes import Cell, Split, fit_grid, text_scores
from ..probes.text import text_fit
from ..rollout import Rollout


def aligned_rollouts(everything: Sequence[Rollout], probed: Probed) -> Probed:
    """Aligned rollouts under the conditions of those that are probed, with the same positions.

    Args:
        everything: all rollouts of the run.
    """
    hinted = hint_rows(everything, {})
    numbers = set(hinted.rollout[hinted.category == "aligned"].tolist()) - {each.rollout for each in probed.rollouts}
    conditions = {rollout.condition for rollout in probed.rollouts}
    kept = [
        rollout
        for rollout in everything
        if rollout.rollout in numbers
        and rollout.condition in conditions
        and all(token_position(rollout, name) is not None for name in probed.positions)
    ]
    tokens = {name: np.array([token_position(r, name) for r in kept], dtype=np.int64) for name in probed.positions}
    return Probed(kept, probed.positions, tokens, [])


class Aside:
    """Scores of rollouts that were not fitted, beside those of the rollouts that were."""

    def __init__(
        self,
        groups: np.ndarray,
        labels: np.ndarray,
        split: Split,
        new_groups: np.ndarray,
        *,
        test_fraction: float,
        seed: int,
    ) -> None:
        """Groups and labels [row] of what was fitted, and the groups [new row] of what was not.

        Args:
            test_fraction: of the groups of which nothing was probed, the share that is dealt to the test part.
        """
        self.labels, self.split = labels, split
        fold_of = dict(zip(groups[split.dev].tolist(), split.fold.tolist(), strict=True))
        self.fold = np.array([fold_of.get(group, -1) for group in new_groups.tolist()], dtype=np.int64)
        """[new row]: the inner fold of its group; -1 where the group was not fitted."""
        probed = set(groups.tolist())
        dealt = {each: each not in probed and _place(each, seed) >= test_fraction for each in new_groups.tolist()}
        self.in_dev = (self.fold >= 0) | np.array([dealt[each] for each in new_groups.tolist()], dtype=bool)
        """Whether its group is a development group: bool [new row]."""

    def activations(self, cell: Cell, fitted: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Log-odds [new row] by the probe of a cell.

        Args:
            fitted: activations at the cell's position and layer, [row, width]; new: [new row, width].
        """
        scores = cell.direction.score(new)
        for fold, split in self._without():
            held_out = fit_grid({cell.position: fitted[None]}, (cell.layer,), self.labels, split, (cell.penalty,))[0]
            scores[self.fold == fold] = held_out.direction.score(new[self.fold == fold])
        return scores

    def text(self, fitted: Sequence[str], new: Sequence[str]) -> np.ndarray:
        """Log-odds [new row] from words, each fit with the penalty that was chosen on the whole development part."""
        texts = [*fitted, *new]
        labels = np.concatenate([self.labels, np.zeros(len(new), dtype=bool)])
        found = text_fit(texts, labels, self.split)
        scores = found.scores[len(fitted) :]
        for fold, split in self._without():
            held_out = text_scores(texts, labels, split, (found.penalty,))[len(fitted) :]
            scores[self.fold == fold] = held_out[self.fold == fold]
        return scores

    def _without(self) -> list[tuple[int, Split]]:
        """Each fold that is needed, and the split whose development part lacks it, in two inner folds."""
        out = []
        for fold in np.unique(self.fold[self.fold >= 0]).tolist():
            kept = self.split.fold != fold
            folds = np.unique(self.split.fold[kept], return_inverse=True)[1]
            halves = folds % 2 if folds.max() > 0 else np.arange(len(folds)) % 2
            out.append((fold, Split(self.split.dev[kept], self.split.test, halves)))
        return out


def _place(group: str, seed: int) -> float:
    """A number from 0 to 1 that follows from the group's name and the seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{group}".encode()).digest()[:8]) / 2**64
