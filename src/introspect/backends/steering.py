"""Steering as writes: a vector added at a site, to some tokens of some rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .protocol import SiteLayer, Steer, Write


def steering_writes(
    steer: Sequence[Steer], sequences: Sequence[int], positions: torch.Tensor
) -> dict[SiteLayer, Write]:
    """Writes for one forward pass. A strength of 0 is no write at all, so it changes no bit.

    Args:
        sequences: which sequence each row belongs to.
        positions: absolute position of every token, [row, token].
    """
    writes: dict[SiteLayer, Write] = {}
    for each in steer:
        if each.strength:
            pair = (each.site, each.layer)
            writes[pair] = _after(writes.get(pair), _add(each, _where(each, sequences, positions)))
    return writes


def _where(steer: Steer, sequences: Sequence[int], positions: torch.Tensor) -> torch.Tensor | None:
    """Which tokens are steered, [row, token]; None: all."""
    if steer.ranges is None:
        return None
    ranges = [steer.ranges[sequence] for sequence in sequences]
    begin, stop, step = (
        torch.tensor(numbers, device=positions.device)[:, None]
        for numbers in zip(*((span.start, span.stop, span.step) for span in ranges), strict=True)
    )
    return (positions >= begin) & (positions < stop) & ((positions - begin) % step == 0)


def _add(steer: Steer, where: torch.Tensor | None) -> Write:
    def write(values: torch.Tensor) -> torch.Tensor:
        step = (steer.strength * steer.vector.float()).to(values.device, values.dtype)
        if where is None:
            return values + step
        return torch.where(where.to(values.device)[..., None], values + step, values)

    return write


def _after(first: Write | None, then: Write) -> Write:
    return then if first is None else lambda values: then(first(values))
