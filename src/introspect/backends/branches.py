"""Branches: one beginning, which is run once, and what stands after it, run once for every row.

Teacher-forced, with logits at tokens of the branches. What is steered, and how, is each row's own. Where all rows are
equal, so is everything below the lowest site that is steered: it is run once, too. So a chain that is held fixed goes
through dozens of directions and doses for the price of its own tokens in the blocks above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from transformers import DynamicCache

from ..models.placement import input_device
from .fitting import fewer, is_out_of_memory
from .protocol import Engine, Read, SiteLayer, Steer, Write
from .steering import Steering


def branches(
    engine: Engine,
    beginning: Sequence[int],
    rows: Sequence[Sequence[int]],
    *,
    at: Sequence[int] | None,
    steer: Sequence[Steer],
    tokens: int,
    wide: bool = False,
) -> Iterator[tuple[range, torch.Tensor]]:
    """See `ModelBackend.branches`. `tokens`: at most so many in one forward pass, those of the beginning included, and
    half as many rows as long as memory runs out.
    """
    steering, start = Steering(steer), len(beginning)
    for row, ids in enumerate(rows):
        steering.see(row, [*beginning, *ids])
        if steering.steered(row, start):
            raise ValueError(f"row {row} is steered before it branches off, in what all rows share")
    device = input_device(engine.model)
    cache = DynamicCache()
    beginnings = torch.tensor([list(beginning)], device=device)
    with torch.inference_mode():
        last = torch.tensor([start - 1], device=device)
        engine.forward({"input_ids": beginnings, "past_key_values": cache}, reads={}, writes={}, logits_at=last)

    def run(
        here: range, *, wanted: Sequence[int], reads: dict[SiteLayer, Read], writes: dict[SiteLayer, Write]
    ) -> torch.Tensor:
        width = max(len(rows[row]) for row in here)
        ids = torch.zeros(len(here), width, dtype=torch.long)
        for place, row in enumerate(here):
            ids[place, : len(rows[row])] = torch.tensor(rows[row])
        positions = torch.arange(start, start + width, device=device).expand(len(here), -1)
        inputs = {
            "input_ids": ids.to(device),
            "position_ids": positions,
            "past_key_values": _repeated(cache, len(here)),
        }
        columns = torch.tensor(list(wanted), device=device).expand(len(here), -1)
        logits = engine.forward(inputs, reads=reads, writes=writes, logits_at=columns)
        assert logits is not None  # noqa: S101 - for the type checker: logits were asked for
        return logits

    def one_pass(here: range, wanted: Sequence[int]) -> torch.Tensor:
        over = engine.passing_over(below, known[0].expand(len(here), -1, -1)) if known else nullcontext()
        with over, engine.widened() if wide else nullcontext():
            positions = torch.arange(start, start + longest, device=device)[None]
            writes = steering.writes(here, positions[:, : max(len(rows[row]) for row in here)])
            logits = run(here, wanted=wanted, reads={}, writes=writes)
        return logits.float() if wide else logits

    same = all(each == rows[0] for each in rows)
    below = min((each.layer - (each.site != "resid_post") for each in steer), default=-1) if same else -1
    known: list[torch.Tensor] = []
    longest = max(map(len, rows))
    with torch.inference_mode():
        if below >= 0:
            reads: dict[SiteLayer, Read] = {("resid_post", below): lambda values: known.append(values.clone())}
            run(range(1), wanted=[0], reads=reads, writes={})
        many = max(1, tokens // (start + longest))
        first = 0
        while first < len(rows):
            here = range(first, min(first + many, len(rows)))
            wanted = range(max(len(rows[row]) for row in here)) if at is None else at
            try:
                logits = one_pass(here, wanted)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(here) == 1:
                    raise
                logits = None
            if logits is None:
                many = fewer(len(here), "rows side by side")
                continue
            yield here, logits
            first = here.stop


def _repeated(cache: DynamicCache, times: int) -> DynamicCache:
    """The cache of one row for several, each with room of its own."""
    out = DynamicCache()
    for layer, held in enumerate(cache.layers):
        out.update(held.keys.expand(times, -1, -1, -1), held.values.expand(times, -1, -1, -1), layer)
    return out
