"""Labels of sentences: the side on which a direction has them, and examples that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EstimateError, SpecError
from ..probes.estimators import LogisticProbe

FLAT = 1e-9
"""A spread of projections, relative to the activations, below which a direction separates nothing."""


@dataclass(frozen=True, eq=False)
class Labelling:
    """Directions that label sentences, and where each parts them."""

    names: tuple[str, ...]
    """`pc1`, `feature`, `random1`."""
    units: np.ndarray
    """float64 [direction, width], each of norm 1."""
    medians: np.ndarray
    """[direction]: of the projections of the sentences that label."""

    def projected(self, activations: np.ndarray) -> np.ndarray:
        """Projections beyond the median, [..., direction], of activations [..., width]."""
        found: np.ndarray = np.asarray(activations, dtype=np.float64) @ self.units.T - self.medians
        return found

    def labels(self, activations: np.ndarray) -> np.ndarray:
        """Whether each direction has an activation above its median: bool [..., direction]."""
        return self.projected(activations) > 0


def make_labelling(
    activations: np.ndarray,
    feature: Sequence[bool],
    *,
    components: Sequence[int],
    with_feature: bool,
    n_random: int,
    seed: int,
) -> Labelling:
    """Directions from the sentences that label.

    Args:
        activations: [sentence, width].
        feature: which of a pair each sentence is.
        components: principal components, from 1.

    Raises:
        SpecError: there are not so many components.
        EstimateError: a direction separates nothing.
    """
    values = np.asarray(activations, dtype=np.float64)
    names, found = [], []
    if components:
        axes = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[2]
        if max(components) >= len(axes):
            raise SpecError(f"component {max(components)} of {len(values)} sentences there is not: name smaller ones")
        for number in components:
            axis = axes[number - 1]
            names.append(f"pc{number}")
            found.append(axis if axis[np.abs(axis).argmax()] > 0 else -axis)
    if with_feature:
        names.append("feature")
        found.append(LogisticProbe(C=0.01).fit(values, np.asarray(feature)).coef_[0])
    rng = np.random.default_rng(seed)
    for number in range(n_random):
        names.append(f"random{number + 1}")
        found.append(rng.standard_normal(values.shape[1]))
    units = np.stack([each / np.linalg.norm(each) for each in found])
    projections = values @ units.T
    size = float(np.abs(values).max()) or 1.0
    for name, spread in zip(names, projections.std(axis=0), strict=True):
        if spread <= FLAT * size:
            raise EstimateError(f"all sentences are alike along {name}: choose another layer or direction")
    return Labelling(tuple(names), units, np.median(projections, axis=0))


def draw_examples(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Rows of examples, the labels taking turns, so that any even number of them has half of either.

    Which label is first is drawn for every two.

    Raises:
        SpecError: a label has too few rows.
    """
    rng = np.random.default_rng(seed)
    queues = [rng.permutation(np.flatnonzero(labels == side)) for side in (False, True)]
    if min(map(len, queues)) < k // 2:
        raise SpecError(f"{k} examples need {k // 2} sentences of either label, and there are {min(map(len, queues))}")
    out = []
    for turn in range(k // 2):
        sides = rng.permutation(2)
        out += [int(queues[side][turn]) for side in sides]
    return np.array(out)


def shuffled(labels: np.ndarray, seed: int) -> np.ndarray:
    """The labels dealt out again. Each two examples keep one of either, so that fewer examples are as balanced."""
    rng, dealt = np.random.default_rng(seed), np.array(labels)
    for start in range(0, len(dealt) - 1, 2):
        dealt[start : start + 2] = rng.permutation(dealt[start : start + 2])
    return dealt
