"""The nnsight engine: traces of a second module tree over the same weights.

A site is read and written inside the trace, as `module.output` or `module.input`, in the order in which the model comes
past. What a read is shown is the live tensor: it is not saved, so nothing later can change what the read kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedModel

from ..models.boundary import one_line, quiet
from .native import NARROW, NativeEngine
from .protocol import Read, SiteLayer, Supports, Write
from .sharing import sharing_copy
from .sites import asked_logits, first_tensor, head_input

ORDER = ("attn_out", "resid_mid", "mlp_out", "resid_post")
"""Sites as a forward pass comes past them."""


class NnsightEngine:
    """nnsight around a transformers causal language model. It has the sites of the native engine.

    Raises:
        ModelError: nnsight cannot wrap this model.
    """

    name = "nnsight"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.attention = model.config._attn_implementation
        self._native = NativeEngine(model)
        # nnsight warns of modules whose names it takes for itself; they are looked up by path here.
        with quiet(), one_line(f"{type(model).__name__} in nnsight", "use --backend native"):
            from nnsight import NNsight

            class Root(NNsight):
                """Moves no inputs: they are where the model takes them, and weights that wait on disk are nowhere."""

                device = None

            copy = sharing_copy(model)
            self._root = Root(copy)
            self._modules = dict(self._root.named_modules())
            self._head = self._envoy(_path(copy, copy.get_output_embeddings()))

    def supports(self) -> Supports:
        """See `Engine.supports`."""
        return self._native.supports()

    def where(self, pair: SiteLayer) -> str:
        """The path of the value, e.g. `model.layers[3].self_attn.output`."""
        place = self._native.places[pair]
        steps = [f"[{step}]" if step.isdigit() else f".{step}" for step in place.module.split(".")]
        return f"{''.join(steps).removeprefix('.')}.{place.side}"

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
        pairs = sorted({*reads, *writes}, key=lambda pair: (pair[1], ORDER.index(pair[0])))
        # nnsight runs the body of a trace when the model has come to what it asks for; a list of ours takes the result
        # out of it, as an exception does.
        logits: list[torch.Tensor] = []
        with torch.inference_mode():
            if logits_at is None:
                with self._root.trace(**inputs, use_cache=False) as tracer:
                    for pair in pairs:
                        self._visit(pair, reads.get(pair), writes.get(pair))
                    tracer.stop()
                return None
            with self._root.trace(**inputs, use_cache=True) as tracer:
                for pair in pairs:
                    self._visit(pair, reads.get(pair), writes.get(pair))
                self._head.input = head_input(self._head.input, logits_at)
                logits.append(asked_logits(tracer.result.logits, logits_at))
        return logits[0]

    def _visit(self, pair: SiteLayer, read: Read | None, write: Write | None) -> None:
        """Wait for the model to come to a site, and read or write there. Inside a trace only."""
        envoy, side = self._sites[pair]
        given = getattr(envoy, side)
        values = first_tensor(given)
        if write is not None:
            values = write(values)
            setattr(envoy, side, values if isinstance(given, torch.Tensor) else (values, *given[1:]))
        if read is not None:
            read(values)

    @cached_property
    def _sites(self) -> dict[SiteLayer, tuple[Any, str]]:
        """Module, in nnsight's wrapping, and side of every site."""
        return {pair: (self._envoy(place.module), place.side) for pair, place in self._native.places.items()}

    def _envoy(self, path: str) -> Any:
        """The wrapping of the module at that path; nnsight calls the model itself `model`."""
        return self._modules[f"model.{path}" if path else "model"]


def _path(model: PreTrainedModel, wanted: torch.nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)
