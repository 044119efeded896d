"""A second module tree over the same weights, for libraries that rewire the model that they are given."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

HOLD_WEIGHTS = ("weights_map", "tied_params_map")


def sharing_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model's modules and config that shares every parameter and buffer: no memory, and whatever is done to
    the copy's modules, hooks, config or attention, the model stays as it was.
    """
    shared = [*model.parameters(), *model.buffers(), *(each for module in model.modules() for each in _held(module))]
    return copy.deepcopy(model, memo={id(each): each for each in shared})


def _held(module: nn.Module) -> Iterator[object]:
    """What holds weights beside parameters: accelerate's store of those that wait elsewhere, and bitsandbytes."""
    hook = getattr(module, "_hf_hook", None)
    for each in getattr(hook, "hooks", (hook,)):
        yield from (kept for name, kept in vars(each).items() if name in HOLD_WEIGHTS) if each is not None else ()
    state = vars(module).get("state")
    if state is not None:
        yield from (kept for kept in vars(state).values() if isinstance(kept, torch.Tensor))
