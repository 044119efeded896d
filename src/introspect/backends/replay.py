"""Teacher forcing: stored token ids through the model once, packed by length, without the LM head.

Sequences run beside others of about their length, padded on the right, where causal attention never looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..models.placement import input_device
from .protocol import Capture, Engine, Read, SiteLayer, Steer
from .steering import Steering

REPLAY_TOKENS = 4096
"""Tokens, padding included, that run together where memory allows."""


def replay(
    engine: Engine,
    sequences: Sequence[Sequence[int]],
    positions: Sequence[Sequence[int]],
    *,
    capture: Capture,
    steer: Sequence[Steer],
    tokens: int,
) -> list[dict[SiteLayer, torch.Tensor]]:
    """See `Backend.replay`. `tokens`: at most so many in one forward pass, padding included."""
    pairs = capture.pairs()
    device = input_device(engine.model)
    out: list[dict[SiteLayer, torch.Tensor]] = [{} for _ in sequences]
    steering = Steering(steer)
    for pack in packed([len(sequence) for sequence in sequences], tokens):
        width = len(sequences[pack[0]])
        ids = torch.zeros(len(pack), width, dtype=torch.long)
        for row, index in enumerate(pack):
            steering.see(index, sequences[index])
            ids[row, : len(sequences[index])] = torch.tensor(sequences[index])
        counts = [len(positions[index]) for index in pack]
        rows = torch.repeat_interleave(torch.arange(len(pack)), torch.tensor(counts))
        columns = torch.tensor([position for index in pack for position in positions[index]], dtype=torch.long)

        def keep(
            pair: SiteLayer, pack: list[int], rows: torch.Tensor, columns: torch.Tensor, counts: list[int]
        ) -> Read:
            def read(values: torch.Tensor) -> None:
                taken = values[rows.to(values.device), columns.to(values.device)].cpu()
                for index, part in zip(pack, taken.split(counts), strict=True):
                    out[index][pair] = part

            return read

        engine.forward(
            {"input_ids": ids.to(device)},
            reads={pair: keep(pair, pack, rows, columns, counts) for pair in pairs},
            writes=steering.writes(pack, torch.arange(width, device=device)[None]),
            logits_at=None,
        )
    return [{pair: found[pair] for pair in pairs} for found in out]


def packed(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of sequences that run together, longest first, as many as fit."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        many = max(1, tokens // lengths[order[0]])
        yield order[:many]
        order = order[many:]
