"""The model in training, as it will be when its adapter is merged: what samples for GRPO, and what snapshots are of.

Merging into the model in training and out again would leave a rounding error in 16-bit weights at every step. So there
is a second copy of the weights, written anew from base and adapter whenever they have changed: a copy costs what the
weights do, and sampling pays nothing for the adapter.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from ..errors import ModelError
from ..models import LoadedModel


class Merged:
    """A copy of a loaded model that can be brought up to date with the one in training."""

    def __init__(self, loaded: LoadedModel) -> None:
        """`loaded`: before an adapter is put around its model."""
        model = copy.deepcopy(loaded.model).eval().requires_grad_(False)
        self.loaded = replace(loaded, model=model)

    @torch.no_grad()
    def update(self, trained: torch.nn.Module) -> None:
        """Write the weights of the model in training, adapter merged in float32, into the copy."""
        if not isinstance(trained, PeftModel):
            for own, new in zip(self.loaded.model.parameters(), trained.parameters(), strict=True):
                own.copy_(new)
            return
        modules = dict(self.loaded.model.named_modules())
        for name, layer in trained.get_base_model().named_modules():
            if isinstance(layer, LoraLayer):
                weight = getattr(layer.get_base_layer(), "weight", None)
                if weight is None:
                    raise ModelError(f"the adapter of {name} has no weight that could be merged: train with full: true")
                modules[name].weight.copy_(weight.float() + layer.get_delta_weight("default").float())
