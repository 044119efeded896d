"""Replay through interp-engine, which captures inside vLLM where there is a GPU, and through transformers elsewhere.

It has the weights a second time, from the model's own folder. Its points are taken for sites only where they agree, on
a few tokens, with what the model itself computes there. It steers by recipes of its own, which are not ours, and
samples without our stop tokens: so it only replays.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError, SpecError
from ..models.boundary import one_line, quiet
from ..models.load import Origin, origin_of
from .backend import ModelBackend, check_ids, check_positions
from .native import NativeEngine
from .protocol import SITES, Ability, Capture, SiteLayer, Steer, Supports
from .sites import PROBE_TOKENS
from .transformer_lens import AGREES
from .vllm import ENVIRONMENT

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "interp-engine"
POINTS = {"resid_post": "resid_post", "resid_mid": "resid_mid", "attn_out": "attn_out_post", "mlp_out": "mlp_out_post"}
"""Sites as interp-engine calls them: `_post` is what is added, after a norm of its own where there is one."""
REMEDY = "use --backend native"
ONLY_REPLAYS = "it samples without our stop tokens; use --backend vllm, or native"
NO_STEERING = "it steers by recipes of its own"
OTHERWISE = "what interp-engine gives there is not what the model computes"


class _Reading:
    """The native engine, with what interp-engine can be asked for."""

    name = NAME

    def __init__(self, engine: NativeEngine, found: dict[str, frozenset[int]]) -> None:
        self._engine, self._found = engine, found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def supports(self) -> Supports:
        """See `Engine.supports`."""
        native = self._engine.supports()
        why = {site: OTHERWISE for site in SITES if native.read[site] - self._found[site]}
        why |= {site: NO_STEERING for site in SITES if site not in why and native.read[site]}
        why |= {"in_flight": ONLY_REPLAYS, "quantised": REMEDY, "sharded": REMEDY}
        abilities: frozenset[Ability] = frozenset({"replay"})
        return replace(native, read=self._found, write={}, abilities=abilities, why_not={**native.why_not, **why})

    def where(self, pair: SiteLayer) -> str:
        """The name of the point."""
        return f"{POINTS[pair[0]]}.{pair[1]}"


class InterpEngineBackend(ModelBackend):
    """Replay through interp-engine.

    Raises:
        ModelError: it cannot load or run this model.
    """

    def __init__(self, model: PreTrainedModel, origin: Origin) -> None:
        native = NativeEngine(model)
        super().__init__(native)
        self._loop = asyncio.new_event_loop()
        weakref.finalize(self, self._loop.close)
        with quiet(), one_line(f"{type(model).__name__} in interp-engine", REMEDY):
            from interp_engine import load_model

            self._hosted = load_model(
                str(origin.path),
                backend="vllm" if torch.cuda.is_available() else "eager",
                dtype=str(model.dtype).removeprefix("torch."),
                trust_remote_code=False,
            )
            found = self._agreeing(native)
        self.engine = _Reading(native, found)
        self.name = NAME

    def replay(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        capture: Capture,
        steer: Sequence[Steer] = (),
    ) -> list[dict[SiteLayer, torch.Tensor]]:
        """See `Backend.replay`.

        Raises:
            SpecError: a site is none that is recorded so, or something is steered.
            ModelError: it fails, or gives other rows than were asked for.
        """
        self._check(capture, steer)
        check_ids(self.engine.model, sequences)
        check_positions(sequences, positions)
        with one_line("the replay in interp-engine", REMEDY):
            found = self._captured(sequences, positions, capture.pairs())
        width = self.engine.model.config.get_text_config().hidden_size
        for number, (wanted, each) in enumerate(zip(positions, found, strict=True)):
            for pair, values in each.items():
                if tuple(values.shape) != (len(wanted), width):
                    raise ModelError(
                        f"interp-engine gave {list(values.shape)} numbers at {self.engine.where(pair)} of sequence "
                        f"{number}, where [{len(wanted)}, {width}] were asked for: {REMEDY}"
                    )
        return found

    def _captured(
        self, sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], pairs: Sequence[SiteLayer]
    ) -> list[dict[SiteLayer, torch.Tensor]]:
        points = [f"{POINTS[site]}.{layer}" for site, layer in pairs]

        async def together() -> list[dict[Any, torch.Tensor]]:
            asked = (
                self._hosted.capture(list(ids), points, rows=list(wanted))
                for ids, wanted in zip(sequences, positions, strict=True)
            )
            return await asyncio.gather(*asked)

        made = [
            {str(point): values for point, values in each.items()} for each in self._loop.run_until_complete(together())
        ]
        dtype = self.engine.model.dtype
        return [
            {pair: each[point].to("cpu", dtype) for pair, point in zip(pairs, points, strict=True)} for each in made
        ]

    def _agreeing(self, native: NativeEngine) -> dict[str, frozenset[int]]:
        """Site -> layers at which both give the same, but for rounding."""
        ids = list(range(min(PROBE_TOKENS, native.model.get_input_embeddings().num_embeddings)))
        limit = AGREES.get(native.model.dtype, max(AGREES.values()))
        own, found = ModelBackend(native), {}
        for site in SITES:
            layers = tuple(sorted(native.supports().read[site]))
            pairs = [(site, layer) for layer in layers]
            mine = own.replay([ids], [range(len(ids))], capture=Capture((site,), layers))[0] if layers else {}
            theirs = self._captured([ids], [range(len(ids))], pairs)[0] if layers else {}
            found[site] = frozenset(pair[1] for pair in pairs if _close(theirs[pair], mine[pair], limit))
        return found


def _close(one: torch.Tensor, other: torch.Tensor, limit: float) -> bool:
    if one.shape != other.shape:
        return False
    return float((one.double() - other.double()).norm() / other.double().norm()) <= limit


def interp_engine_backend(model: PreTrainedModel) -> InterpEngineBackend:
    """A model's own folder in interp-engine.

    Raises:
        SpecError: the package is not here, or its weights are not those of this model.
        ModelError: it cannot load or run this model.
    """
    if importlib.util.find_spec("interp_engine") is None:
        raise SpecError(
            "the interp-engine backend needs interp-engine: get it with `pip install '.[interp-engine]'` in the folder "
            "of introspect's source, in an environment of its own"
        )
    origin = origin_of(model)
    if origin is None or not origin.as_stored or getattr(model, "hf_quantizer", None) is not None:
        raise SpecError(
            "the interp-engine backend loads the model's own folder: leave organism and quantization out, or use "
            "--backend native"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return InterpEngineBackend(model, origin)
