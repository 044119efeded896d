"""A backend: an engine with sampling and replay on top, that refuses by name what the engine cannot do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from ..errors import ModelError, SpecError
from ..models.in_place import each_in_place, in_place
from .branches import branches
from .fitting import while_it_fits
from .inflight import InFlight
from .protocol import (
    ABILITIES,
    OPERATORS,
    SITES,
    Ability,
    Capture,
    Engine,
    Generation,
    Sampling,
    SiteLayer,
    Steer,
    Supports,
)
from .replay import REPLAY_TOKENS, replay
from .trial import trial

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BRANCH_TOKENS = 4096
"""Tokens of branches, with their beginnings, that run together: their logits are in memory, too."""
BACKENDS = ("native", "nnsight", "transformer-lens")
"""Engines, the fastest first."""
SAMPLERS = ("vllm",)
"""Backends that have another program sample, and record by replay."""
REPLAYERS = ("interp-engine", "ndif")
"""Backends that only replay: inside vLLM, and elsewhere."""


class ModelBackend:
    """Sampling with capture, and replay, through one engine. See `Backend`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = engine.name

    def expect(self, longest: int) -> None:
        """Be told how many tokens a prompt and its completion may have together, for what has to be started with room
        for them.
        """

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        capture: Capture | None,
        watch: Sequence[int] = (),
        steer: Sequence[Steer] = (),
        lanes: int | None = None,
    ) -> list[Generation]:
        """See `Backend.generate`."""
        self._check(capture, steer)
        why = self.why_not_in_flight
        if why is not None:
            raise SpecError(f"the {self.name} backend does not generate with {type(self.engine.model).__name__}: {why}")
        check_ids(self.engine.model, prompts, room=sampling.max_new_tokens)
        if sampling.max_new_tokens < 1 or len(seeds) != len(prompts):
            raise SpecError(f"{len(prompts)} prompts need as many seeds and at least one new token")
        _check_sequences(steer, len(prompts))

        def run(many: int) -> list[Generation]:
            return InFlight(
                self.engine,
                prompts,
                seeds=seeds,
                sampling=sampling,
                capture=capture,
                watch=watch,
                steer=steer,
                lanes=many,
            ).run()

        wanted = len(prompts) if lanes is None else min(lanes, len(prompts))
        with in_place(self.engine.model):
            return while_it_fits(run, max(wanted, 1), "sequences side by side")

    def replay(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        capture: Capture,
        steer: Sequence[Steer] = (),
    ) -> list[dict[SiteLayer, torch.Tensor]]:
        """See `Backend.replay`."""
        self._check(capture, steer)
        check_able(self.engine, "replay")
        check_ids(self.engine.model, sequences)
        check_positions(sequences, positions)
        _check_sequences(steer, len(sequences))

        def run(tokens: int) -> list[dict[SiteLayer, torch.Tensor]]:
            return replay(self.engine, sequences, positions, capture=capture, steer=steer, tokens=tokens)

        longest = max((len(sequence) for sequence in sequences), default=1)
        with in_place(self.engine.model):
            return while_it_fits(run, REPLAY_TOKENS, "tokens in a forward pass", least=longest)

    def branches(
        self,
        beginning: Sequence[int],
        rows: Sequence[Sequence[int]],
        *,
        at: Sequence[int] | None = None,
        steer: Sequence[Steer] = (),
        wide: bool = False,
    ) -> Iterator[tuple[range, torch.Tensor]]:
        """Teacher-force several goings-on of one beginning, which is run once, unsteered.

        Args:
            beginning: one token or more, all before what is steered.
            rows: what follows it in each row, one token or more. Of equal rows, what lies below the lowest layer that
                is steered is run once, by engines that can.
            at: indices into every row at which logits are wanted; None: all of its tokens.
            steer: as in `replay`, a sequence being the beginning with a row; positions are absolute.
            wide: score the last wanted token (of all tokens, the longest row's last) in float32, where the engine can
                (`wide_head`), for 16-bit logits of a usual size come in steps of 1/16 or 1/8; all logits are then
                float32, and those of earlier tokens keep their steps.

        Yields:
            Numbers of some rows, in order, and their logits [row, wanted, vocabulary], in the model's own dtype; where
            all tokens are wanted, shorter rows end in what means nothing.
        """
        self._check(None, steer)
        check_ids(self.engine.model, [[*beginning, *row] for row in rows])
        _check_sequences(steer, len(rows))
        if not beginning or not all(map(len, rows)):
            raise SpecError("a beginning and each row after it have at least one token")
        found = branches(self.engine, beginning, rows, at=at, steer=steer, tokens=BRANCH_TOKENS, wide=wide)
        return each_in_place(self.engine.model, found)

    @property
    def wide_head(self) -> bool:
        """Whether the model's scores can be had in float32, whatever it computes in."""
        with self.engine.widened() as able:
            return able

    def check(self, capture: Capture) -> None:
        """Refuse what the engine does not record in this model.

        Raises:
            SpecError: names the site or layer, and those that there are.
        """
        self._check(capture, ())

    def check_steer(self, steer: Sequence[Steer]) -> None:
        """Refuse what the engine does not steer in this model; errors as `check`."""
        self._check(None, steer)

    def _check(self, capture: Capture | None, steer: Sequence[Steer]) -> None:
        with in_place(self.engine.model):
            supports = self.engine.supports()
        for site, layer in [] if capture is None else capture.pairs():
            _check_pair(self, supports, site, layer, "record")
        width = self.engine.model.config.get_text_config().hidden_size
        for each in steer:
            _check_pair(self, supports, each.site, each.layer, "steer")
            if each.vector.ndim not in (1, 2) or each.vector.shape[-1] != width:
                raise SpecError(f"a steering vector has shape {tuple(each.vector.shape)}, and the model ({width},)")
            if each.operator not in OPERATORS:
                raise SpecError(f"there is no operator {each.operator!r}; choose {', '.join(OPERATORS)}")
            if not torch.isfinite(each.vector).all():
                raise SpecError(f"a steering vector at {each.site}, layer {each.layer}, holds NaN or infinity")
            if each.along is not None and (each.operator != "project" or each.along.shape != (width,)):
                raise SpecError(f"`along` is a vector ({width},) of `project`, not {tuple(each.along.shape)}")
            if each.along is not None and not (torch.isfinite(each.along).all() and each.along.any()):
                raise SpecError("`along` is zero, NaN or infinite, and has no direction to measure along; give another")
            if each.operator != "add" and not each.vector.any(dim=-1).all():
                raise SpecError(f"a steering vector of zeros has no direction to {each.operator}; give another")

    @cached_property
    def why_not_in_flight(self) -> str | None:
        """Why nothing can be generated with this model; None when it can. Tried out once, on a few tokens."""
        supports = self.engine.supports()
        if "in_flight" not in supports.abilities:
            return supports.why_not["in_flight"]
        with in_place(self.engine.model):
            return trial(self.engine)


def check_able(engine: Engine, ability: Ability) -> None:
    """Refuse what the engine cannot do with its model.

    Raises:
        SpecError: names the engine, the ability and why.
    """
    supports = engine.supports()
    if ability not in supports.abilities:
        what = {"replay": "replay through"}.get(ability, f"take {ability}")
        raise SpecError(
            f"the {engine.name} backend does not {what} {type(engine.model).__name__}: {supports.why_not[ability]}; "
            "use --backend auto"
        )


def _check_pair(backend: ModelBackend, supports: Supports, site: str, layer: int, verb: str) -> None:
    if site not in SITES:
        near = get_close_matches(site, SITES, n=1)
        raise SpecError(
            f"there is no site {site!r}; {f'did you mean {near[0]}?' if near else 'choose'} {', '.join(SITES)}"
        )
    n_layers = backend.engine.model.config.get_text_config().num_hidden_layers
    if not 0 <= layer < n_layers:
        raise SpecError(f"layer {layer} is outside this model: it has layers 0 to {n_layers - 1}")
    able = supports.read if verb == "record" else supports.write
    if layer not in able.get(site, frozenset()):
        model = type(backend.engine.model).__name__
        whole = [name for name in SITES if len(able.get(name, ())) == n_layers]
        raise SpecError(
            f"the {backend.name} backend does not {verb} {site} at layer {layer} of {model}: "
            f"{supports.why_not.get(site, 'it is not there')}; it does {', '.join(whole)}"
        )


def check_positions(sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> None:
    """Refuse positions that a sequence does not have: beside a longer one, they would be padding.

    Raises:
        SpecError: names the sequence and the position.
    """
    if len(positions) != len(sequences):
        raise SpecError(f"{len(sequences)} sequences need as many lists of positions, not {len(positions)}")
    for index, (sequence, wanted) in enumerate(zip(sequences, positions, strict=True)):
        outside = next((position for position in wanted if not 0 <= position < len(sequence)), None)
        if outside is not None:
            raise SpecError(f"sequence {index} has positions 0 to {len(sequence) - 1}, not {outside}")


def _check_sequences(steer: Sequence[Steer], n_sequences: int) -> None:
    for each in steer:
        vectors = tuple(each.vector) if each.vector.ndim == 2 else None
        given = {"ranges": each.ranges, "strengths": each.strength, "values": each.value, "vectors": vectors}
        for name, per_sequence in given.items():
            if isinstance(per_sequence, tuple) and len(per_sequence) != n_sequences:
                raise SpecError(f"steering has {name} for {len(per_sequence)} sequences, and there are {n_sequences}")
        doses = [x for dose in (each.strength, each.value) for x in (dose if isinstance(dose, tuple) else (dose,))]
        if not all(map(math.isfinite, doses)):
            raise SpecError("strengths and values of steering are finite numbers")


def check_ids(model: PreTrainedModel, sequences: Sequence[Sequence[int]], room: int = 0) -> None:
    """Refuse token ids that the model has no embedding for, and sequences longer than its context.

    Args:
        room: tokens that will be added to each.

    Raises:
        SpecError: names the sequence, the number and the limit.
    """
    config = model.config.get_text_config()
    known, most = model.get_input_embeddings().num_embeddings, getattr(config, "max_position_embeddings", None)
    for index, sequence in enumerate(sequences):
        if not len(sequence):
            raise SpecError(f"sequence {index} is empty: give at least one token")
        low, high = min(sequence), max(sequence)
        if low < 0 or high >= known:
            raise SpecError(
                f"sequence {index} has token id {high if high >= known else low}, and the model has {known} tokens: "
                "its ids are of another tokenizer"
            )
        if most is not None and len(sequence) + room > most:
            raise SpecError(
                f"sequence {index} has {len(sequence)} tokens{f' and may grow by {room}' if room else ''}, over the "
                f"model's context of {most}: shorten it or lower generation.max_new_tokens"
            )


def make_engine(name: str, model: PreTrainedModel) -> Engine:
    """The engine of that name around a model.

    Raises:
        SpecError: no such engine.
        ModelError: it cannot run this model.
    """
    if name == "native":
        from .native import NativeEngine

        return NativeEngine(model)
    if name == "nnsight":
        from .nnsight import NnsightEngine

        return NnsightEngine(model)
    if name == "transformer-lens":
        from .transformer_lens import TransformerLensEngine

        return TransformerLensEngine(model)
    names = (*BACKENDS, *SAMPLERS, *REPLAYERS)
    near = get_close_matches(name, names, n=1)
    raise SpecError(
        f"unknown backend {name!r}: {f'did you mean {near[0]}? ' if near else ''}choose auto or one of "
        f"{', '.join(names)}"
    )


def make_backend(name: str, model: PreTrainedModel, capture: Capture | None = None) -> ModelBackend:
    """The backend of that name; for `auto`, the fastest that records what is asked for.

    Raises:
        SpecError: no such backend, or it does not record what is asked for; for `auto`, what the native one says.
        ModelError: the engine cannot run this model.
    """
    if name == "ndif":
        from .ndif import ndif_backend

        hosted = ndif_backend(model)
        if capture is not None:
            hosted.check(capture)
        return hosted
    if name == "interp-engine":
        from .interp_engine import interp_engine_backend

        inside = interp_engine_backend(model)
        if capture is not None:
            inside.check(capture)
        return inside
    if name == "vllm":
        from .vllm import vllm_backend

        sampled = vllm_backend(model)
        if capture is not None:
            sampled.check(capture)
        return sampled
    if name != "auto":
        backend = ModelBackend(make_engine(name, model))
        if getattr(model, "hf_quantizer", None) is not None:
            check_able(backend.engine, "quantised")
        if len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1:
            check_able(backend.engine, "sharded")
        if capture is not None:
            backend.check(capture)
        return backend
    refused: SpecError | ModelError | None = None
    for each in BACKENDS:
        try:
            return make_backend(each, model, capture)
        except (SpecError, ModelError) as error:
            refused = refused or error
    raise refused or SpecError("there is no backend")


def name_sites(model: PreTrainedModel) -> dict[str, dict[str, str]]:
    """Backend -> site -> what it calls the site, with `{i}` for a layer where all are called alike; why, where it lacks
    it. A backend that cannot run the model has the reason under its own name.
    """
    n_layers = model.config.get_text_config().num_hidden_layers
    found: dict[str, dict[str, str]] = {}
    for name in BACKENDS:
        try:
            engine = make_engine(name, model)
        except ModelError as error:
            found[name] = {name: str(error)}
            continue
        supports = engine.supports()
        found[name] = {}
        for site in SITES:
            layers = sorted(supports.read.get(site, ()))
            names = {_without_layer(engine.where((site, layer)), layer) for layer in layers}
            said = ", ".join(sorted(names)) if layers else f"refused: {supports.why_not[site]}"
            if layers and len(layers) < n_layers:
                said += f" (layers {', '.join(map(str, layers))})"
            if layers and not supports.write.get(site):
                said += " (recorded, not steered)"
            found[name][site] = said
        found[name] |= {
            each: f"refused: {supports.why_not[each]}" for each in ABILITIES if each not in supports.abilities
        }
    return found


def _without_layer(name: str, layer: int) -> str:
    """The name with `{i}` where the layer's number stands by itself."""
    return re.sub(rf"(?<![0-9]){layer}(?![0-9])", "{i}", name, count=1)
