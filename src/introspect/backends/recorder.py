"""Activations on their way off the device while the model goes on.

What a hook sees belongs to the model, which may overwrite it in place. So it is copied at once: on a processor straight
to where it is kept; on an accelerator to memory of its own, which a second stream carries to pinned host memory while
the next layers run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .protocol import Read, SiteLayer


class Recorder:
    """One step's activations of every lane: slabs [pair, lane, width] on the host, dropped when nobody needs them."""

    def __init__(self, pairs: Sequence[SiteLayer], width: int, dtype: torch.dtype) -> None:
        self.pairs = list(pairs)
        self.width, self.dtype = width, dtype
        self.slabs: dict[int, torch.Tensor] = {}
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def reads(self, step: int, n_lanes: int) -> dict[SiteLayer, Read]:
        """Reads that keep the last token of every lane as this step's slab."""
        if not self.pairs:
            return {}
        pinned = torch.cuda.is_available()
        slab = torch.empty(len(self.pairs), n_lanes, self.width, dtype=self.dtype, pin_memory=pinned)
        self.slabs[step] = slab

        def keep(target: torch.Tensor) -> Read:
            return lambda values: self._move(values[:, -1], target)

        return {pair: keep(slab[index]) for index, pair in enumerate(self.pairs)}

    def row(self, begun: int, lanes: Sequence[int]) -> torch.Tensor:
        """One sequence's activations, [token, pair, width], given the lane it was in at every step since `begun`."""
        for stream in self._streams.values():
            stream.synchronize()
        if not lanes or not self.pairs:
            return torch.empty(len(lanes), len(self.pairs), self.width, dtype=self.dtype)
        return torch.stack([self.slabs[begun + i][:, lane] for i, lane in enumerate(lanes)])

    def forget(self, before: int) -> None:
        """Drop the slabs of earlier steps."""
        for step in [step for step in self.slabs if step < before]:
            del self.slabs[step]

    def _move(self, values: torch.Tensor, target: torch.Tensor) -> None:
        if values.device.type != "cuda":
            target.copy_(values)
            return
        stream = self._streams.setdefault(values.device, torch.cuda.Stream(values.device))
        own = values.clone()
        stream.wait_stream(torch.cuda.current_stream(values.device))
        own.record_stream(stream)
        with torch.cuda.stream(stream):
            target.copy_(own, non_blocking=True)
