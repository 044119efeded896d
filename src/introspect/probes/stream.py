"""Activations by position and layer, held whole or read a few layers at a time.

What a fit holds is then bounded by `Streamed.budget` and one layer's working space, whatever the number of layers.
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
    read: Callable[[str, tuple[int, ...]], np.ndarray]
    """Position and layer numbers -> float32 [layer, row, width]."""
    budget: int = BUDGET
    """Bytes of activations to hold at once; one layer at the least."""


Activations = Mapping[str, np.ndarray] | Streamed
"""Position -> float32 [layer, row, width]; or where to read it."""


def each_site(
    activations: Activations, layers: Sequence[int], rollouts: Sequence[int] | None = None
) -> Iterator[tuple[str, int, torch.Tensor]]:
    """Position, layer number and activations [row, width], by position, then by layer.

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
    for position in activations.positions:
        at, size = 0, 1
        while at < len(layers):
            block = layers[at : at + size]
            values = activations.read(position, block)
            at += len(block)
            size = max(1, activations.budget // max(1, values.nbytes // len(block)))
            yield position, block, values
            del values
