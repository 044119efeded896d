"""Everything that the probes of a run are fitted on, in one order of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..experiment import ProbeSpec
from ..probes import Split
from ..probes.stream import Activations, positions_of, site_of
from ..rollout import Rollout
from ..stats import Estimate, auroc_estimate, increment_estimate, increment_over_largest

Scores = np.ndarray | str
"""Scores [row], or the reason why there are none."""


@dataclass(frozen=True)
class Embedding:
    """Texts as vectors, by a model that reads them."""

    what: str
    vectors: Callable[[str, bool], np.ndarray]
    """Position, and whether the whole chain is read rather than the chain up to there -> float32 [row, width]."""
    encoder: Callable[[], dict[str, str | None]] | None = None
    """Name, revision and weight digest of a model that was loaded for it; None: it is the run's own."""


@dataclass(frozen=True)
class SecondLabels:
    """What another classifier says of the label."""

    classifier: str
    labels: np.ndarray
    """bool [row]"""
    read: np.ndarray
    """Whether it has a usable verdict: bool [row]."""


@dataclass(frozen=True)
class ProbeStage:
    """Everything the probes are fitted on; rows are rollouts, in one order."""

    rollouts: Sequence[Rollout]
    labels: np.ndarray
    """What is predicted, bool [row]; `settings.label` is its name."""
    groups: np.ndarray
    split: Split
    ood: np.ndarray
    layers: tuple[int, ...]
    activations: Activations
    base: Activations | None
    chains: dict[str, list[str]]
    """Position -> what each rollout has said by then."""
    whole_chains: list[str]
    """What each rollout says before its answer."""
    margins: dict[str, np.ndarray]
    prior: np.ndarray | None
    """Probability of the acting option where the condition is absent, [rollout]; None where every item has it."""
    lengths: dict[str, np.ndarray]
    settings: ProbeSpec
    seed: int
    embedding: Embedding | str
    """Or why there is none."""
    second: SecondLabels | str
    """Or why there is none."""

    @property
    def positions(self) -> tuple[str, ...]:
        """Where probes are fitted."""
        return positions_of(self.activations)

    def at(self, position: str, layer: int) -> np.ndarray:
        """Activations at one place, float32 [row, width]."""
        return site_of(self.activations, self.layers, position, layer)

    def auroc(self, scores: np.ndarray, rows: np.ndarray) -> Estimate:
        """AUROC of scores [row] on some rows."""
        n, seed = self.settings.bootstrap, self.seed
        return auroc_estimate(scores[rows], self.labels[rows], self.groups[rows], n=n, seed=seed)

    def increment(self, scores: np.ndarray, baseline: np.ndarray) -> Estimate:
        """AUROC of scores beyond a baseline's on the test rows."""
        rows = self.split.test
        n, seed = self.settings.bootstrap, self.seed
        return increment_estimate(scores[rows], baseline[rows], self.labels[rows], self.groups[rows], n=n, seed=seed)

    def increment_over_largest(self, scores: np.ndarray, baselines: Sequence[np.ndarray]) -> Estimate:
        """AUROC of scores beyond the largest of the baselines' on the test rows."""
        rows = self.split.test
        n, seed = self.settings.bootstrap, self.seed
        found = [each[rows] for each in baselines]
        return increment_over_largest(scores[rows], found, self.labels[rows], self.groups[rows], n=n, seed=seed)
