"""The key-value cache of sequences that are generated side by side, each in a lane of its own.

Every sequence starts at column 0 of its lane, and a step writes each lane's next column in place. So nothing is copied
when the sequences grow, and a free lane takes a new sequence at any time. What a sequence attends to lies in the same
columns whoever is beside it, and widths are rounded up to a multiple, so that kernels add in the same order: what is
computed for a sequence then hardly depends on its neighbours, even in bfloat16.

Known trade-offs: PyTorch's attention kernel still rounds about one element in a million otherwise when the number of
lanes is another, so equal text for any number of lanes is the rule, not a certainty. Models whose layers keep anything
else than keys and values of all tokens (state spaces, chunked attention) are refused; sliding windows are masked, not
cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin

LANE_MULTIPLE, WIDTH_MULTIPLE = 4, 64
"""Lanes and columns come in multiples, so that products and attention have few shapes."""
GROWTH = 1.5
KINDS = ("full_attention", "sliding_attention")


def round_up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


@dataclass
class _Step:
    """What all layers share of the step that is being taken. Layers hold this rather than the cache, which holds them:
    a cycle would keep every cache until Python's collector comes by.
    """

    n_lanes: int
    width: int
    columns: torch.Tensor


class Lanes(Cache):
    """Keys and values [lane, head, column, width] of every layer."""

    def __init__(self, n_lanes: int) -> None:
        super().__init__(layers=[])
        self.now = _Step(n_lanes, 0, torch.zeros(n_lanes, dtype=torch.long))

    @property
    def n_lanes(self) -> int:
        """Lanes that there are."""
        return self.now.n_lanes

    @property
    def width(self) -> int:
        """Columns that the next token of any lane may attend to."""
        return self.now.width

    def admit(self, prompts: DynamicCache, rows: Sequence[int], lanes: Sequence[int]) -> None:
        """Give the prefilled prompts in `rows` to `lanes`; a row may be given to several."""
        for index, layer in enumerate(prompts.layers):
            if index == len(self.layers):
                self.layers.append(_LaneLayer(self.now))
            self.layers[index].admit(layer.keys, layer.values, rows, lanes)

    def step(self, columns: torch.Tensor) -> None:
        """Say where each lane's next token goes, [lane], before the forward pass that puts it there."""
        self.now.columns = columns
        self.now.width = round_up(int(columns.max()) + 1, WIDTH_MULTIPLE)

    def keep(self, lanes: Sequence[int]) -> None:
        """Drop all lanes but these, which move up to the front."""
        self.now.n_lanes = len(lanes)
        for layer in self.layers:
            layer.select(lanes)


class _LaneLayer(CacheLayerMixin):
    is_sliding = False
    is_initialized: bool
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, now: _Step) -> None:
        super().__init__()
        self.now = now

    def admit(self, keys: torch.Tensor, values: torch.Tensor, rows: Sequence[int], lanes: Sequence[int]) -> None:
        """What an earlier sequence left in a lane goes: masked columns count for nothing, but 0 times NaN is NaN."""
        self._reach(keys, values, keys.shape[2])
        for mine, theirs in ((self.keys, keys), (self.values, values)):
            for row, lane in zip(rows, lanes, strict=True):
                mine[lane, :, : theirs.shape[2]] = theirs[row]
                mine[lane, :, theirs.shape[2] :] = 0

    def select(self, lanes: Sequence[int]) -> None:
        index = torch.tensor(lanes, device=self.keys.device)
        self.keys, self.values = self.keys[index], self.values[index]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self._reach(key_states, value_states, self.now.width)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._reach(key_states, value_states, self.now.width)
        lanes = torch.arange(len(key_states), device=key_states.device)
        columns = self.now.columns.to(key_states.device)
        self.keys[lanes, :, columns] = key_states[:, :, 0]
        self.values[lanes, :, columns] = value_states[:, :, 0]
        return self.keys[:, :, : self.now.width], self.values[:, :, : self.now.width]

    def get_seq_length(self) -> int:
        return self.now.width

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.now.width, 0

    def get_max_length(self) -> int:
        return -1

    def _reach(self, keys: torch.Tensor, values: torch.Tensor, width: int) -> None:
        """Make room for `width` columns."""
        held = self.keys.shape[2] if self.is_initialized else 0
        if width <= held:
            return
        room = round_up(max(width, int(held * GROWTH)), WIDTH_MULTIPLE)
        for name, like in (("keys", keys), ("values", values)):
            new = like.new_zeros(self.now.n_lanes, like.shape[1], room, like.shape[3])
            if held:
                new[:, :, :held] = getattr(self, name)
            setattr(self, name, new)
        self.is_initialized = True


def step_mask(
    config: PreTrainedConfig, attention: str, positions: torch.Tensor, width: int, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor]:
    """What the next token of each lane may attend to: its own column and those before it, within the window if any.

    Args:
        attention: implementation that will read the mask.
        positions: [lane], of the token that is fed; its column.

    Returns:
        As transformers' models take it: one mask, or one a kind of layer.
    """
    text = config.get_text_config()
    columns = torch.arange(width, device=positions.device)
    seen = columns <= positions[:, None]
    window = getattr(text, "sliding_window", None)
    near = seen if window is None else seen & (columns > positions[:, None] - window)

    def mask(allowed: torch.Tensor) -> torch.Tensor:
        if attention.startswith("flash"):
            return allowed
        if attention == "sdpa":
            return allowed[:, None, None]
        added = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return added.masked_fill(~allowed, torch.finfo(dtype).min)[:, None, None]

    kinds = getattr(text, "layer_types", None)
    if not kinds:
        return mask(near)
    return {kind: mask(seen if kind == "full_attention" else near) for kind in sorted(set(kinds))}


def other_kind(config: PreTrainedConfig) -> str | None:
    """A kind of layer in the model that keeps anything else than keys and values; None when there is none."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ()) - set(KINDS)
    if getattr(text, "attention_chunk_size", None) is not None:
        kinds.add("chunked_attention")
    if getattr(text, "attention_types", None) is not None:
        kinds.add("local_attention")
    return min(kinds, default=None)
