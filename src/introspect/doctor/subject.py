"""What the doctor examines: a model, an engine, and a few sequences of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from ..backends import Capture, Generation, ModelBackend, Sampling
from ..models import LoadedModel
from ..models.placement import input_device
from .check import ALLOWANCE, TOLERANCE, difference

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEXTS = (
    "The lighthouse keeper counted nine ships before noon, and wrote each name down.",
    "Rain.",
    "Seven engineers argued about a bridge, then agreed to measure it again on Tuesday.",
    "Choose the sure amount or the coin toss?",
    "A recipe: flour, water, salt, and patience, in that order of importance or perhaps not.",
)
NEW_TOKENS = 12
LONG = 140
"""Tokens of the longest sequence, where the context has room for it: more than one block of cached columns."""
SEED = 17


@dataclass(frozen=True)
class Fingerprint:
    """What a capture must leave as it was."""

    hooks: int
    attention: str
    modules: int
    """A hash over the types of all modules."""


def fingerprint(model: PreTrainedModel) -> Fingerprint:
    """Of a model as it is now."""
    modules = list(model.modules())
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
    return Fingerprint(hooks, model.config._attn_implementation, hash(tuple(map(type, modules))))


def sample_sequences(loaded: LoadedModel) -> list[list[int]]:
    """Token ids of a few sentences of different lengths, one of them long; numbers, where a tokenizer makes too little
    of sentences to tell them apart.
    """
    known = loaded.model.get_input_embeddings().num_embeddings
    room = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or LONG + NEW_TOKENS
    texts = [*TEXTS, " ".join(TEXTS * 4)]
    made = [loaded.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    if any(max(ids, default=known) >= known for ids in made) or len({ids[-1] for ids in made[:-1]}) < len(TEXTS) - 1:
        made = [[(index + 5 * i * i + 3 * i) % known for i in range(3 + 4 * index)] for index in range(len(texts) - 1)]
        made.append([(7 * i * i + i) % known for i in range(LONG)])
    return [ids[: min(LONG, room - NEW_TOKENS)] for ids in made]


def plain_hidden_states(model: PreTrainedModel, ids: Sequence[int]) -> list[torch.Tensor]:
    """Every block's output for one sequence, [token, width] each, with nothing of ours: transformers' own hidden
    states; since the last of those is after the final norm, what that norm is given stands in its place.

    transformers leaves hooks of its own on a model that was asked for hidden states.
    """
    decoder, given = model.get_decoder(), []

    def keep(module: nn.Module, args: tuple, kwargs: dict) -> None:
        states = args[0] if args else kwargs.get("hidden_states")
        if isinstance(states, torch.Tensor) and states.dim() == 3:
            given.append(states[0].cpu().clone())

    handles = [
        child.register_forward_pre_hook(keep, with_kwargs=True)
        for child in decoder.children()
        if not isinstance(child, nn.ModuleList)
    ]
    try:
        with torch.inference_mode():
            hidden = decoder(
                input_ids=torch.tensor([list(ids)], device=input_device(model)),
                output_hidden_states=True,
                use_cache=False,
            ).hidden_states
    finally:
        for handle in handles:
            handle.remove()
    return [*(layer[0].cpu() for layer in hidden[1:-1]), given[-1]]


@dataclass(frozen=True)
class Subject:
    """A model under examination."""

    loaded: LoadedModel
    backend: ModelBackend
    sequences: list[list[int]]
    expected: list[torch.Tensor]
    """The first sequence's hidden states, without us."""
    found: Fingerprint
    """Of the model before we did anything to it."""

    @classmethod
    def of(cls, loaded: LoadedModel, backend: ModelBackend) -> Self:
        """A model with what it is to be compared with."""
        sequences = sample_sequences(loaded)
        expected = plain_hidden_states(loaded.model, sequences[0])
        return cls(loaded, backend, sequences, expected, fingerprint(loaded.model))

    @cached_property
    def capture(self) -> Capture:
        """Every layer's output."""
        return Capture(("resid_post",), tuple(range(self.loaded.info.n_layers)))

    @cached_property
    def why_not_in_flight(self) -> str | None:
        """Why the backend declares that it does not generate with this model; None when it does not."""
        return self.backend.engine.supports().why_not.get("in_flight")

    @cached_property
    def allowance(self) -> float:
        """What rounding may do to a single token, beyond the tolerance."""
        if self.loaded.model.dtype.itemsize > 2:
            return 0.0
        config = self.loaded.model.config.get_text_config()
        experts = ("num_experts", "num_local_experts", "n_routed_experts")
        return float("inf") if any(getattr(config, name, None) for name in experts) else ALLOWANCE

    def difference(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """As `check.difference`, with what rounding may do in this model."""
        return difference(one, other, self.allowance)

    @property
    def tolerance(self) -> float:
        """For the model's number format; weights in 8 or 4 bits are multiplied in 16, whatever comes out."""
        own = TOLERANCE.get(str(self.loaded.model.dtype).removeprefix("torch."), max(TOLERANCE.values()))
        quantised = getattr(self.loaded.model, "hf_quantizer", None) is not None
        return max(own, TOLERANCE["float16"]) if quantised else own

    @cached_property
    def alone(self) -> list[torch.Tensor]:
        """Every sequence replayed by itself, [layer, token, width] each."""
        return [self.replay([sequence])[0] for sequence in self.sequences]

    def replay(self, sequences: Sequence[Sequence[int]], backend: ModelBackend | None = None) -> list[torch.Tensor]:
        """Every token of every layer, [layer, token, width] a sequence."""
        positions = [range(len(sequence)) for sequence in sequences]
        found = (backend or self.backend).replay(sequences, positions, capture=self.capture)
        return [torch.stack([each[pair] for pair in self.capture.pairs()]) for each in found]

    def generate(self, capture: Capture | None, **options: object) -> list[Generation]:
        """Completions of the sequences, of a fixed length."""
        return self.backend.generate(
            self.sequences,
            seeds=range(SEED, SEED + len(self.sequences)),
            sampling=Sampling(NEW_TOKENS, 1.0, frozenset()),
            capture=capture,
            **options,  # type: ignore[arg-type]
        )

    @cached_property
    def generated(self) -> list[Generation]:
        """Completions with every layer captured in flight, in two lanes, which are filled again and then compacted."""
        return self.generate(self.capture, lanes=2)
