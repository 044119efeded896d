"""Where a model's blocks keep the sites: found by what the modules compute, not by what they are called.

A short forward pass is watched. The module whose output `a` makes `x + a` the input of a later module of the same block
adds attention to the residual stream; the one whose output `m` makes `(x + a) + m` the block's output adds the MLP. The
sums must hold bit for bit. So a norm after attention (Gemma), experts, or names of a new family need no entry anywhere,
and where a block does something else (parallel attention and MLP, scaled residuals) the sites are not there, rather
than almost there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import ModelError
from ..models.placement import input_device
from .protocol import SiteLayer

PROBE_TOKENS = 5
"""Length of the sequence that is watched."""


@dataclass(frozen=True)
class Place:
    """One side of a module, by its path in the transformers model."""

    module: str
    side: Literal["input", "output"]


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer blocks, in order.

    Raises:
        ModelError: the model has no single list of `num_hidden_layers` blocks.
    """
    n_layers = model.config.get_text_config().num_hidden_layers
    decoder = model.get_decoder()
    found = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child) == n_layers]
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__}: looked in {type(decoder).__name__} for one list of {n_layers} blocks and found "
            f"{len(found)}; use a decoder-only language model"
        )
    return found[0]


def first_tensor(output: torch.Tensor | tuple) -> torch.Tensor:
    """A module's output, or the first of several."""
    return output if isinstance(output, torch.Tensor) else output[0]


def first_input(args: tuple, kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """The hidden states that a module was called with."""
    given = args[0] if args else kwargs.get("hidden_states")
    return given if isinstance(given, torch.Tensor) else None


def head_input(hidden: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The tokens [row, wanted, width] of hidden states [row, token, width] that the LM head is to see, in one piece:
    for a slice, PyTorch copies the head's weights once a row. `at`: see `Engine.forward`.
    """
    rows = torch.arange(len(hidden), device=hidden.device)[:, None]
    return hidden[rows, at.to(hidden.device).reshape(len(hidden), -1)]


def asked_logits(logits: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Logits [row, wanted, vocabulary] as `Engine.forward` gives them."""
    return logits if at.ndim == 2 else logits[:, -1]


def find_sites(model: PreTrainedModel) -> dict[SiteLayer, Place]:
    """Every site of every layer that this model has. One forward pass of a few tokens."""
    names = {module: name for name, module in model.named_modules()}
    blocks = find_blocks(model)
    seen: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(module: nn.Module, args: tuple, kwargs: dict, output: torch.Tensor | tuple) -> None:
        given, made = first_input(args, kwargs), first_tensor(output)
        if given is not None and isinstance(made, torch.Tensor):
            seen[module] = (given.to("cpu", copy=True), made.to("cpu", copy=True))

    watched = [module for block in blocks for module in (block, *block.children())]
    handles = [module.register_forward_hook(keep, with_kwargs=True) for module in watched]
    size = min(PROBE_TOKENS, model.get_input_embeddings().num_embeddings)
    ids = torch.arange(size, device=input_device(model))[None]
    try:
        with torch.inference_mode():
            model.get_decoder()(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    places: dict[SiteLayer, Place] = {}
    for layer, block in enumerate(blocks):
        if block not in seen or seen[block][1].shape != (1, size, model.config.get_text_config().hidden_size):
            continue
        places["resid_post", layer] = Place(names[block], "output")
        for site, (module, side) in _inside(block, seen).items():
            places[site, layer] = Place(names[module], side)
    return places


def _inside(
    block: nn.Module, seen: Mapping[nn.Module, tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, tuple[nn.Module, Literal["input", "output"]]]:
    """Sites within a block; empty when its output is no sum of two steps."""
    before, after = seen[block]
    if before.shape != after.shape:
        return {}
    children = [child for child in block.children() if child in seen and seen[child][1].shape == before.shape]
    adds = _last(children, lambda child: _reaches(child, children, before, seen) is not None)
    if adds is None:
        return {}
    reader = _reaches(adds, children, before, seen)
    middle = before + seen[adds][1]
    last = _last(children, lambda child: torch.equal(middle + seen[child][1], after))
    if reader is None or last is None:
        return {}
    return {"attn_out": (adds, "output"), "resid_mid": (reader, "input"), "mlp_out": (last, "output")}


def _reaches(
    adds: nn.Module,
    children: list[nn.Module],
    before: torch.Tensor,
    seen: Mapping[nn.Module, tuple[torch.Tensor, torch.Tensor]],
) -> nn.Module | None:
    """The module that reads the sum of the block's input and what `adds` gives."""
    middle = before + seen[adds][1]
    if torch.equal(middle, before):
        return None
    return next((child for child in children if torch.equal(seen[child][0], middle)), None)


def _last(children: list[nn.Module], fits: Callable[[nn.Module], bool]) -> nn.Module | None:
    """The last of those that fit: after a dropout or norm of its own, what a step adds is what comes out last."""
    return next((child for child in reversed(children) if fits(child)), None)
