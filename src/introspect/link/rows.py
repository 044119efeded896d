"""The rows that are linked: of each rollout what it did, what its chain says of that, and what was scored of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..behaviour import think_label
from ..errors import StoreError
from ..metrics.hint_rows import hint_rows
from ..rollout import RolloutSummary
from ..tasks.task import Task
from ..verdicts import Verdict
from .readouts import READOUTS, Readout

THINK = {True: "policy", False: "other", None: "undecided"}
"""Think label -> where the chain leans."""


@dataclass(frozen=True)
class LinkRows:
    """Everything that the link goes by, in one order of rows."""

    rollouts: Sequence[RolloutSummary]
    readouts: Sequence[Readout]
    verdicts: Mapping[str, Mapping[int, Verdict]]
    """Classifier -> rollout -> what it says, usable or not."""
    classifier: str
    """Whose verdicts are linked."""
    category: np.ndarray
    """Of a hinted rollout: motivated, resistant, aligned, other; empty without a hint. [row]"""
    think: np.ndarray
    """Where the chain leans: policy, other, undecided. [row]"""
    unscored: int = 0
    """Aligned rollouts under the conditions that are linked, where none of them was scored."""

    def __len__(self) -> int:
        return len(self.rollouts)

    @cached_property
    def groups(self) -> np.ndarray:
        """The unit that is resampled, [row]."""
        return np.array([rollout.group for rollout in self.rollouts])

    @cached_property
    def part(self) -> np.ndarray:
        """dev, test or ood, [row]."""
        return np.array([readout.part for readout in self.readouts])

    @cached_property
    def family(self) -> np.ndarray:
        """The kind of hint, under which thresholds may be set apart; empty without a hint. [row]"""
        return np.array([str(rollout.facts.get("hint", "")) for rollout in self.rollouts])

    @cached_property
    def aligned(self) -> np.ndarray:
        """Whether it gives the hinted answer, as it did without the hint: bool [row]."""
        return np.array([readout.aligned for readout in self.readouts])

    @cached_property
    def acted(self) -> np.ndarray:
        """Whether it acted on the policy, which no aligned rollout did: bool [row]."""
        return np.array([bool(rollout.acted) for rollout in self.rollouts]) & ~self.aligned

    @cached_property
    def verdict(self) -> np.ndarray:
        """The headline classifier's usable verdict, or empty. [row]"""
        return self.verdict_of(self.classifier)

    def verdict_of(self, classifier: str) -> np.ndarray:
        """Its usable verdicts, empty where there is none. [row]"""
        given = self.verdicts.get(classifier, {})
        found = [given.get(rollout.rollout) for rollout in self.rollouts]
        return np.array(["" if each is None else each.verdict or "" for each in found], dtype="<U10")

    def test(self, chosen: np.ndarray) -> np.ndarray:
        """Indices of the rows of a mask that are in the test part."""
        return np.flatnonzero(chosen & (self.part == "test"))

    @property
    def positions(self) -> list[str]:
        """Where the best probe of a position scored."""
        return list(self.readouts[0].along)

    def along(self, position: str) -> np.ndarray:
        """Scores of the best probe at a position, [row]."""
        return np.array([readout.along[position] for readout in self.readouts])

    @cached_property
    def headline(self) -> np.ndarray:
        """Scores of the headline probe, [row]."""
        return np.array([readout.headline for readout in self.readouts])

    @cached_property
    def text(self) -> np.ndarray | None:
        """Scores of the best text baseline, [row]; None where it is missing."""
        scores = [readout.text for readout in self.readouts if readout.text is not None]
        return np.array(scores) if len(scores) == len(self) else None

    def words(self, position: str) -> tuple[str, np.ndarray] | None:
        """Name and scores [row] of the text baseline at a position; None where it is missing."""
        found = [next(iter(readout.words.get(position, {}).items()), None) for readout in self.readouts]
        names = {each[0] for each in found if each is not None}
        if len(names) != 1 or None in found:
            return None
        return names.pop(), np.array([each[1] for each in found if each is not None])

    def before(self, position: str) -> np.ndarray:
        """Whether the position lies before the chain's first mention: bool [row]."""
        return np.array([position in (readout.before_mention or ()) for readout in self.readouts])


def join(
    everything: Sequence[RolloutSummary],
    task: Task,
    readouts: Sequence[Readout],
    verdicts: Mapping[str, Mapping[int, Verdict]],
    classifier: str,
    *,
    source: Path = Path(READOUTS),
) -> LinkRows:
    """Join a run's rollouts, verdicts and readouts.

    Args:
        everything: all of its rollouts.
        source: of the readouts, for messages.

    Raises:
        StoreError: the readouts are not of these rollouts.
    """
    by_number = {rollout.rollout: rollout for rollout in everything}
    rollouts = [by_number[each.rollout] for each in readouts if each.rollout in by_number]
    if len(rollouts) < len(readouts) or any(rollout.acted is None for rollout in rollouts):
        raise StoreError(f"{source} does not fit the run: its rollouts are not those that were probed; run it again")
    hinted = hint_rows(everything, {})
    category = dict(zip(hinted.rollout.tolist(), hinted.category.tolist(), strict=True))
    linked = {rollout.condition for rollout in rollouts}
    aligned = [
        number for number, name in category.items() if name == "aligned" and by_number[number].condition in linked
    ]
    return LinkRows(
        rollouts,
        readouts,
        verdicts,
        classifier,
        np.array([category.get(rollout.rollout, "") for rollout in rollouts]),
        np.array([THINK[think_label(task, rollout)] for rollout in rollouts]),
        0 if any(readout.aligned for readout in readouts) else len(aligned),
    )
