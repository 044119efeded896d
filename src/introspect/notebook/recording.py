"""What a model in memory recorded: rollouts and activations that were never on disk, read as those of a run are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..backends import Generation, SiteLayer
from ..rollout import Rollout
from ..spans import span_code
from ..store import StoreSpec
from .activations import Activations, Aligned, Reduce


class Recording:
    """Activations of rollouts, in memory. Made by `Model.record`."""

    def __init__(
        self, rollouts: Sequence[Rollout], made: Sequence[Generation], spec: StoreSpec, *, prompt: bool
    ) -> None:
        self.spec = spec
        self._n_layers = int(spec.meta["n_layers"])
        first = [0 if prompt else len(each.prompt_ids) - 1 for each in rollouts]
        counts = [len(each.activations[spec.pairs()[0]]) for each in made]
        held = [np.arange(begin, begin + count) for begin, count in zip(first, counts, strict=True)]
        self._columns = {
            "rollout": np.repeat([each.rollout for each in rollouts], counts),
            "position": np.concatenate(held),
            "token_id": np.concatenate([np.array(r.token_ids)[at] for r, at in zip(rollouts, held, strict=True)]),
            "span": np.concatenate([span_code(r.spans, at) for r, at in zip(rollouts, held, strict=True)]),
        }
        self._values: dict[SiteLayer, torch.Tensor] = {
            pair: torch.cat([each.activations[pair] for each in made]) for pair in spec.pairs()
        }
        self._aligned = Aligned(self, rollouts, "the recording")

    def __repr__(self) -> str:
        n = len(self._columns["position"])
        return f"<Recording: {n} tokens, layers {', '.join(map(str, self.spec.layers))}>"

    def columns(self) -> dict[str, np.ndarray]:
        """`rollout`, `position`, `token_id` and `span` of every row."""
        return self._columns

    def read(self, site: str, layer: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Activations, float32 [row, width]."""
        values = self._values[site, layer]
        return (values if rows is None else values[torch.from_numpy(rows)]).float().numpy()

    def activations(
        self,
        layer: int,
        *,
        span: str | None = None,
        reduce: Reduce = "mean",
        position: str | None = None,
        site: str | None = None,
    ) -> Activations:
        """As `Run.activations`."""
        layer = layer + self._n_layers if layer < 0 else layer
        return self._aligned.take(site=site, layer=layer, span=span, reduce=reduce, position=position)
