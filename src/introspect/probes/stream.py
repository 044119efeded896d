"""Activations by position and layer, held whole or read a few layers at a time.

What a fit holds is then bounded by `Streamed.budget` and one layer's working space, whatever the number of layers. A
layer is read once for all positions, or once for as many as there is room for: that is what a store reads fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import EstimateError

BUDGET = 256 * 1024 * 1024
N_NAMED = 5
"""Rows that an error names before it counts the others."""


@dataclass(frozen=True)
class Streamed:
    """Activations that are read as they are needed."""

    positions: tuple[str, ...]
    read: Callable[[tuple[str, ...], tuple[int, ...]], Mapping[str, np.ndarray]]
    """Positions and layer numbers -> position -> float32 [layer, row, width]."""
    site_bytes: int
    """Bytes of one layer at one position."""
    budget: int = BUDGET
    """Bytes of activations to hold at once: half for what is worked on, and half for what is read meanwhile; one layer
    at one position of each at the least."""

    def block(self, n_layers: int) -> tuple[int, int]:
        """Positions and layers that are read at once."""
        sites = max(1, self.budget // 2 // max(1, self.site_bytes))
        positions = min(len(self.positions), sites)
        return positions, min(n_layers, sites // positions)


Activations = Mapping[str, np.ndarray] | Streamed
"""Position -> float32 [layer, row, width]; or where to read it."""


def each_site(
    activations: Activations, layers: Sequence[int], rollouts: Sequence[int] | None = None
) -> Iterator[tuple[str, int, torch.Tensor]]:
    """Position, layer number and activations [row, width]; the layers of a position come in their order.

    Args:
        rollouts: the number of each row's rollout, by which errors name it; None: rows are named by their own.

    Raises:
        EstimateError: a row holds NaN or infinity, or there are not as many layers as named.
    """
    for position, block, values in _blocks(activations, tuple(layers)):
        if values.ndim != 3 or len(values) != len(block):
            raise EstimateError(
                f"activations at {position} have the shape {list(values.shape)}: [{len(block)} layers, row, width] is "
                "needed"
            )
        for layer, x in zip(block, values, strict=True):
            check_finite(x, f"at {position}, layer {layer}", rollouts)
            yield position, layer, torch.from_numpy(np.require(x, requirements=["C", "W"]))


def site_of(activations: Activations, layers: Sequence[int], position: str, layer: int) -> np.ndarray:
    """Activations [row, width] at one position and layer; `layers` are the numbers of those that are held."""
    if isinstance(activations, Streamed):
        return activations.read((position,), (layer,))[position][0]
    return activations[position][list(layers).index(layer)]


def site_bytes(activations: Activations) -> int:
    """Bytes of one layer at one position."""
    if isinstance(activations, Streamed):
        return activations.site_bytes
    return max((values[:1].nbytes for values in activations.values()), default=0)


def positions_of(activations: Activations) -> tuple[str, ...]:
    """The names of the positions."""
    return activations.positions if isinstance(activations, Streamed) else tuple(activations)


def check_finite(x: np.ndarray, where: str, rollouts: Sequence[int] | None = None) -> None:
    """Refuse activations [row, width] with NaN or infinity.

    Args:
        rollouts: the number of each row's rollout.

    Raises:
        EstimateError: there are; names the rows' rollouts, or the rows where no rollouts are given.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(x.sum(axis=1, dtype=np.float64)).all():
            return
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    called = [int(row if rollouts is None else rollouts[row]) for row in bad[:N_NAMED]]
    named = ", ".join(map(str, called)) + (f" and {len(bad) - N_NAMED} more" if len(bad) > N_NAMED else "")
    kind = "rows" if rollouts is None else "rollouts"
    raise EstimateError(
        f"activations {where} hold NaN or infinity in {kind} {named}: record them again, or leave them out"
    )


def _blocks(activations: Activations, layers: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    if not isinstance(activations, Streamed):
        for position, values in activations.items():
            yield position, layers, values
        return
    some, deep = activations.block(len(layers))
    for first in range(0, len(layers), max(1, deep)):
        block = layers[first : first + deep]
        for place in range(0, len(activations.positions), some):
            read = activations.read(activations.positions[place : place + some], block)
            for position in list(read):
                yield position, block, read[position]
            del read
