"""Vectors added to activations in the forward pass of a training, as a backend adds them when the organism is studied.

Rows are packed (`packing`): what they have in common before anything is added is computed once, and from there on each
row's own tokens are changed by its own vector. So one pass is about many vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from ..backends import Steer
from ..backends.sites import find_blocks, first_tensor
from ..concepts.vectors import SITE
from .packing import Packed

NOWHERE = -1
"""Layer of a row to which nothing is added."""
ENDLESS = 1 << 40


class Injected(NamedTuple):
    """What is added to the activations of a batch's rows."""

    added: torch.Tensor
    """float32 [row, width]."""
    layers: torch.Tensor
    """[row]: to the output of which block, or `NOWHERE`."""
    starts: torch.Tensor
    """[row]: the first token that is changed."""
    stops: torch.Tensor
    """[row]: the one after the last; beyond the row's end: all later ones are changed."""
    heads: torch.Tensor
    """[row]: how many tokens may be computed once for all rows that begin with them; at most `starts`."""


@contextmanager
def steered(model: PreTrainedModel, injected: Injected, packed: Packed) -> Iterator[None]:
    """While it lasts, forward passes over packed rows have each row's vector added to it."""
    blocks = find_blocks(model)
    shape = packed.input_ids.shape
    layers, starts, stops = (each.tolist() for each in (injected.layers, injected.starts, injected.stops))
    with ExitStack() as hooks:
        for layer in sorted(set(layers) - {NOWHERE}):
            row_of = torch.full((shape.numel(),), NOWHERE)
            for row, at in enumerate(packed.places):
                if layers[row] == layer:
                    row_of[at[starts[row] : stops[row]]] = row
            hooks.callback(blocks[layer].register_forward_hook(_adding(injected.added, row_of.view(shape))).remove)
        yield


def _adding(added: torch.Tensor, row_of: torch.Tensor) -> Any:
    """A hook that adds to each token the vector of its row, `row_of` [group, token], where it has one."""

    def after(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> torch.Tensor | tuple:
        values = first_tensor(output)
        step = added.to(values.device, values.dtype)[row_of.clamp(min=0).to(values.device)]
        changed = torch.where((row_of != NOWHERE).to(values.device)[..., None], values + step, values)
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    return after


def make_steer(added: torch.Tensor, layers: Sequence[int], ranges: Sequence[range]) -> list[Steer]:
    """The same as a backend takes it: one vector a sequence.

    Args:
        added: float32 [sequence, width].
        layers: of each sequence: to the output of which block its vector is added, or `NOWHERE`.
        ranges: of each: the tokens that are changed.
    """
    return [
        Steer(SITE, layer, added, tuple(float(each == layer) for each in layers), tuple(ranges))
        for layer in sorted(set(layers) - {NOWHERE})
    ]
