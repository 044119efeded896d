"""The native engine: PyTorch forward hooks on the model's own modules. Hooks are there only while a forward pass is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..models.placement import input_device
from .lanes import other_kind
from .protocol import ABILITIES, SITES, Ability, Read, SiteLayer, Supports, Write
from .sites import Place, asked_logits, find_blocks, find_sites, first_input, first_tensor, head_input

NOT_ONE_STATE = "its blocks give something else than one hidden state a token"
NOT_A_SUM = "its blocks do not add attention, then MLP, to the residual stream"
READ_ONLY = "it is read by a norm beside the residual stream; steer attn_out, which moves resid_mid by as much"


def abilities(model: PreTrainedModel) -> tuple[frozenset[Ability], dict[str, str]]:
    """What an engine that runs the model's own modules can do with it, and why not the rest."""
    kind = other_kind(model.config)
    if kind is None:
        return frozenset(ABILITIES), {}
    why = f"layers of kind {kind} keep no keys and values; generate elsewhere, and use `introspect record --from`"
    return frozenset(ABILITIES) - {"in_flight"}, {"in_flight": why}


NARROW = (torch.bfloat16, torch.float16)
HEAD_ROWS = 8192
"""Of an LM head's weights, that are held in float32 at once."""


class _Enough(Exception):
    """Ends a forward pass once everything that was asked for has been read."""


class NativeEngine:
    """Forward hooks on a transformers causal language model."""

    name = "native"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.attention = model.config._attn_implementation
        self.blocks = find_blocks(model)

    @cached_property
    def places(self) -> dict[SiteLayer, Place]:
        """Module and side of every site."""
        return find_sites(self.model)

    def supports(self) -> Supports:
        """See `Engine.supports`."""
        read = {site: frozenset(layer for name, layer in self.places if name == site) for site in SITES}
        write = {site: layers for site, layers in read.items() if site != "resid_mid"}
        why = NOT_A_SUM if read["resid_post"] else NOT_ONE_STATE
        why_not = {site: why for site in SITES if not read[site]}
        able, unable = abilities(self.model)
        return Supports(read, write, able, {"resid_mid": READ_ONLY} | why_not | unable)

    def where(self, pair: SiteLayer) -> str:
        """Path of the module, and which side of it."""
        place = self.places[pair]
        return f"{place.module} ({place.side})"

    @contextmanager
    def passing_over(self, layer: int, values: torch.Tensor) -> Iterator[None]:
        """See `Engine.passing_over`."""
        gives = (values,) if self._gives_a_tuple else values

        def stand_in(*args: Any, **kwargs: Any) -> torch.Tensor | tuple:
            return gives

        passed = self.blocks[: layer + 1]
        # An instance may have a forward of its own, as accelerate gives to modules that it spreads over devices.
        before = [vars(block).get("forward") for block in passed]
        try:
            for block in passed:
                block.forward = stand_in
            yield
        finally:
            for block, own in zip(passed, before, strict=True):
                vars(block).pop("forward", None)
                if own is not None:
                    block.forward = own

    @contextmanager
    def widened(self) -> Iterator[bool]:
        """See `Engine.widened`. What the model does to its logits after the head, it does in float32, too."""
        head = self.model.get_output_embeddings()
        if self.model.dtype not in NARROW:
            yield True
        elif type(head) is not nn.Linear or head.weight.dtype not in NARROW or head.weight.is_meta:
            yield False
        else:
            with _held(head.register_forward_hook(_wide_last)):
                yield True

    @cached_property
    def _gives_a_tuple(self) -> bool:
        """Whether a block gives more than its hidden states."""
        seen: list[bool] = []

        def look(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> None:
            seen.append(isinstance(output, tuple))
            raise _Enough

        device = input_device(self.model)
        with _held(self.blocks[0].register_forward_hook(look)), torch.inference_mode(), suppress(_Enough):
            self.model.get_decoder()(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
        return seen[0]

    def forward(
        self,
        inputs: Mapping[str, Any],
        *,
        reads: Mapping[SiteLayer, Read],
        writes: Mapping[SiteLayer, Write],
        logits_at: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """See `Engine.forward`."""
        with ExitStack() as hooks, torch.inference_mode():
            for pair, write in writes.items():
                hooks.enter_context(self._hooked(pair, write))
            for pair, read in reads.items():
                hooks.enter_context(self._hooked(pair, _reading(read)))
            if logits_at is None:
                last = self.blocks[max((layer for _, layer in (*reads, *writes)), default=-1)]
                hooks.enter_context(_held(last.register_forward_hook(_stop)))
                with suppress(_Enough):
                    self.model.get_decoder()(**inputs, use_cache=False)
                return None
            hooks.enter_context(_head_reads(self.model, logits_at))
            return asked_logits(self.model(**inputs, use_cache=True).logits, logits_at)

    @contextmanager
    def _hooked(self, pair: SiteLayer, act: Callable[[torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
        place = self.places[pair]
        module = self.model.get_submodule(place.module)

        def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
            given = first_input(args, kwargs)
            if given is not None:
                act(given)

        def after(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> torch.Tensor | tuple | None:
            changed = act(first_tensor(output))
            if changed is None or isinstance(output, torch.Tensor):
                return changed
            return (changed, *output[1:])

        if place.side == "input":
            handle = module.register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = module.register_forward_hook(after)
        with _held(handle):
            yield


@contextmanager
def _held(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _reading(read: Read) -> Callable[[torch.Tensor], None]:
    def act(values: torch.Tensor) -> None:
        read(values)

    return act


def _stop(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> None:
    raise _Enough


def _wide_last(head: nn.Linear, args: tuple, output: torch.Tensor) -> torch.Tensor:
    """Scores [row, wanted, vocabulary] of the head, in float32; those of the last token are computed so."""
    last, scores = args[0][:, -1].to(head.weight.device).float(), output.float()
    bias = dict(head.named_parameters(recurse=False)).get("bias")
    for first in range(0, len(head.weight), HEAD_ROWS):
        here = slice(first, first + HEAD_ROWS)
        own = None if bias is None else bias[here].float()
        scores[:, -1, here] = nn.functional.linear(last, head.weight[here].float(), own)
    return scores


@contextmanager
def _head_reads(model: PreTrainedModel, at: torch.Tensor) -> Iterator[None]:
    """Hand the LM head those tokens only."""

    def those(head: nn.Module, args: tuple) -> tuple:
        return head_input(args[0], at), *args[1:]

    with _held(model.get_output_embeddings().register_forward_pre_hook(those)):
        yield
