"""A second module tree over the same weights, for libraries that rewire the model that they are given."""

from __future__ import annotations

import copy

from transformers import PreTrainedModel


def sharing_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model's modules and config that shares every parameter and buffer: no memory, and whatever is done to
    the copy's modules, hooks, config or attention, the model stays as it was.
    """
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, memo={id(tensor): tensor for tensor in tensors})
