"""The TransformerLens engine: its bridge around a second module tree over the same weights.

The bridge replaces modules and, for most families, computes attention with its own code. So two things are found out
before it is believed, on a sequence of a few tokens: that it computes what the model computes, and which of its hooks
are the sites. A name is no proof (a hook may be before or after a norm, or beside the stream): hooks are taken for
sites only where the sums that define the sites hold, bit for bit, while something is written at them.

Known trade-offs: attention in eager arithmetic, and some Python per module and step. Where the model keeps queries,
keys and values in one matrix (GPT-2), the bridge makes itself a copy of part of it; all other weights are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import ModelError
from ..models.boundary import one_line, quiet
from ..models.placement import input_device
from .native import NARROW, NOT_A_SUM, READ_ONLY, NativeEngine, abilities
from .protocol import SITES, Read, SiteLayer, Supports, Write
from .sharing import sharing_copy
from .sites import PROBE_TOKENS, asked_logits, head_input

SITE_HOOKS = {
    "resid_post": "hook_resid_post",
    "resid_mid": "hook_resid_mid",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
}
"""The hook of a block that is expected to be the site."""

REARRANGES = "it takes weights apart for some families, and for weights in 4 or 8 bits nobody has checked how"
NO_HOOK = "no hook of TransformerLens carries it"

AGREES = {torch.float64: 1e-5, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest relative difference of a block's output from the model's own that rounding explains, by dtype. Eager
attention takes its softmax in float32, in a float64 model too."""

Hook = Callable[..., torch.Tensor | None]
"""Called by TransformerLens with a tensor and `hook=`."""


class _Enough(Exception):
    """Ends a forward pass once everything that was asked for has been read."""


class TransformerLensEngine:
    """A TransformerLens bridge around a transformers causal language model.

    Raises:
        ModelError: TransformerLens does not run this model, or does not compute what it computes.
    """

    name = "transformer-lens"
    attention = "eager"
    """Its own attention code takes the masks of this implementation."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.n_layers = model.config.get_text_config().num_hidden_layers
        self._native = NativeEngine(model)
        remedy = "use --backend native"
        # Booting logs and warns about tokenizers and settings that are not used here.
        with quiet(), one_line(f"{type(model).__name__} in TransformerLens", remedy):
            from transformer_lens.model_bridge.sources import build_bridge_from_module

            copy = sharing_copy(model)
            bridge = build_bridge_from_module(copy, type(copy).__name__, hf_config=copy.config)
            copy.set_attn_implementation("eager")
            self._bridged, self._points = copy, bridge.hook_dict
            size = min(PROBE_TOKENS, model.get_input_embeddings().num_embeddings)
            ids = torch.arange(size, device=input_device(model))[None]
            difference = self._difference(ids)
            self._names = self._find(ids)
        # Not `>`: a NaN is a difference too.
        if not difference <= AGREES.get(model.dtype, max(AGREES.values())):
            raise ModelError(
                f"TransformerLens does not compute what {type(model).__name__} computes (outputs differ by "
                f"{difference:.1g} of their size); {remedy}"
            )

    def supports(self) -> Supports:
        """See `Engine.supports`."""
        read = {site: frozenset(layer for name, layer in self._names if name == site) for site in SITES}
        write = {site: layers for site, layers in read.items() if site != "resid_mid"}
        there = {site for site, _ in self._native.places}
        why_not = {site: NO_HOOK if site in there else NOT_A_SUM for site in SITES if len(read[site]) < self.n_layers}
        if read["resid_mid"]:
            why_not.setdefault("resid_mid", READ_ONLY)
        able, unable = abilities(self.model)
        return Supports(read, write, able - {"quantised"}, {"quantised": REARRANGES} | why_not | unable)

    def where(self, pair: SiteLayer) -> str:
        """The name of the hook."""
        return self._names[pair]

    def passing_over(self, layer: int, values: torch.Tensor) -> AbstractContextManager[None]:
        """See `Engine.passing_over`; every block is run."""
        return nullcontext()

    def widened(self) -> AbstractContextManager[bool]:
        """See `Engine.widened`; a model of 16 bits is scored in them."""
        return nullcontext(self.model.dtype not in NARROW)

    def forward(
        self,
        inputs: Mapping[str, Any],
        *,
        reads: Mapping[SiteLayer, Read],
        writes: Mapping[SiteLayer, Write],
        logits_at: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """See `Engine.forward`."""
        hooks = [(self._names[pair], _writing(write)) for pair, write in writes.items()]
        hooks += [(self._names[pair], _reading(read)) for pair, read in reads.items()]
        if logits_at is None:
            last = max((layer for _, layer in (*reads, *writes)), default=self.n_layers - 1)
            with self._hooked([*hooks, (_post(last), _stop)]), torch.inference_mode(), suppress(_Enough):
                self._bridged.get_decoder()(**inputs, use_cache=False)
            return None
        with self._hooked([*hooks, ("unembed.hook_in", _those(logits_at))]), torch.inference_mode():
            return asked_logits(self._bridged(**inputs, use_cache=True).logits, logits_at)

    @contextmanager
    def _hooked(self, hooks: Sequence[tuple[str, Hook]]) -> Iterator[None]:
        """What `bridge.hooks` does, which lists all hooks of the model anew each time: 7 ms where this takes 0.7."""
        points = [self._points[name] for name, _ in hooks]
        try:
            for point, (_, hook) in zip(points, hooks, strict=True):
                point.add_hook(hook)
            yield
        finally:
            for point in points:
                point.remove_hooks("fwd")

    def _difference(self, ids: torch.Tensor) -> float:
        """How far the last block's output is from the model's own, as a part of its size."""
        outputs: list[torch.Tensor] = []

        def keep(values: torch.Tensor) -> None:
            outputs.append(values.double())

        last = ("resid_post", self.n_layers - 1)
        self._native.forward({"input_ids": ids}, reads={last: keep}, writes={}, logits_at=None)
        with self._hooked([(_post(self.n_layers - 1), _reading(keep))]), torch.inference_mode():
            self._bridged.get_decoder()(input_ids=ids, use_cache=False)
        own, bridged = outputs
        return float((bridged.to(own.device) - own).norm() / own.norm())

    def _find(self, ids: torch.Tensor) -> dict[SiteLayer, str]:
        """The hook of every site. One forward pass, with 1 added at what should be attn_out and mlp_out."""
        seen: dict[str, torch.Tensor] = {}

        def keep(name: str, step: int) -> Hook:
            def act(values: torch.Tensor, *, hook: Any) -> torch.Tensor | None:
                seen[name] = values + step
                return seen[name].clone() if step else None

            return act

        steps = {"hook_resid_pre": 0, "hook_attn_out": 1, "hook_resid_mid": 0, "hook_mlp_out": 1, "hook_resid_post": 0}
        wanted = {f"blocks.{layer}.{name}": step for layer in range(self.n_layers) for name, step in steps.items()}
        here = [(name, keep(name, step)) for name, step in wanted.items() if name in self._points]
        with self._hooked(here), torch.inference_mode():
            self._bridged.get_decoder()(input_ids=ids, use_cache=False)
        return {
            (site, layer): f"blocks.{layer}.{SITE_HOOKS[site]}"
            for layer in range(self.n_layers)
            for site in (SITES if _adds_up(f"blocks.{layer}.", seen) else ("resid_post",))
        }


def _adds_up(block: str, seen: Mapping[str, torch.Tensor]) -> bool:
    """Whether `resid_pre + attn_out = resid_mid` and `resid_mid + mlp_out = resid_post`, bit for bit."""
    names = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
    if any(block + name not in seen for name in names):
        return False
    before, attn_out, middle, mlp_out, after = (seen[block + name] for name in names)
    return torch.equal(before + attn_out, middle) and torch.equal(middle + mlp_out, after)


def _post(layer: int) -> str:
    return f"blocks.{layer}.{SITE_HOOKS['resid_post']}"


def _reading(read: Read) -> Hook:
    def act(values: torch.Tensor, *, hook: Any) -> None:
        read(values)

    return act


def _writing(write: Write) -> Hook:
    def act(values: torch.Tensor, *, hook: Any) -> torch.Tensor:
        return write(values)

    return act


def _stop(values: torch.Tensor, *, hook: Any) -> None:
    raise _Enough


def _those(at: torch.Tensor) -> Hook:
    """Hand the LM head those tokens only."""

    def act(values: torch.Tensor, *, hook: Any) -> torch.Tensor:
        return head_input(values, at)

    return act
