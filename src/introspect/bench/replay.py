"""Replay of stored token ids, against the plain forward pass with `output_hidden_states=True`.

Both get the same sequences, `a_call` at a time as they come, and drop what they found before the next call. The plain
pass is the causal language model's own: padded on the right, all positions, all layers, logits. It is spared the cache
of keys and values. Time is measured here in turns, memory in a process of its own for each side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..backends import Capture, ModelBackend, make_backend
from ..experiment import resolve_layers
from ..models import LoadedModel, load_model
from .memory import in_child
from .peers import padded
from .rows import Row, make_row
from .setting import Sizes

if TYPE_CHECKING:
    from .setting import Setting

SPREAD = 0.5
"""Of the logarithm of lengths."""
SELECTIONS = ("all", "4:20:4")
MOST_CHILDREN = 3
"""Memory hardly varies, and every child loads the model."""


def measure_replay(setting: Setting) -> Iterator[Row]:
    """Time and memory, for every layer and for a selection in the middle."""
    loaded, sizes = setting.loaded, setting.sizes
    sequences = make_sequences(sizes, loaded.model.config.get_text_config().vocab_size)
    tokens = sum(map(len, sequences))
    what = (
        f"replay {len(sequences)} sequences ({tokens} tokens), {{}} at every token / plain forward with hidden states"
    )
    note = f"calls of {sizes.a_call} sequences of {sizes.shortest} to {sizes.longest} tokens as they come"
    for selection in SELECTIONS:
        layers = _layers(selection, loaded)
        capture = Capture(("resid_post",), layers)
        name = "all layers" if selection == "all" else f"layers {', '.join(map(str, layers))}"
        row = setting.compare(
            what.format(name),
            replaying(setting.backend, sequences, sizes.a_call, capture),
            plain_forward(loaded, sequences, sizes.a_call),
            of="ours / peer",
            goal="<= 0.8",
            note=note,
        )
        yield row
        yield _memory(setting, what.format(name), selection, note)


def _memory(setting: Setting, what: str, selection: str, note: str) -> Row:
    arguments = {"model": setting.model, "sizes": asdict(setting.sizes), "selection": selection}
    stage, children = f"memory: {what.partition(' / ')[0]}", min(setting.repeats, MOST_CHILDREN)
    found = []
    setting.progress(stage, 0, children)
    for child in range(children):
        found.append([in_child(f"{__name__}:{side}", arguments) for side in ("prepare_replay", "prepare_plain")])
        setting.progress(stage, child + 1, children)
    ours, peer = ([memory.growth / 1e6 for memory in side] for side in zip(*found, strict=True))
    total = " and ".join(f"{memory.peak / 1e6:.0f}" for memory in found[-1])
    return make_row(
        f"peak memory: {what}",
        ours,
        peer,
        unit="MB",
        of="ours / peer",
        goal="<= 0.5",
        note=f"{note}; beyond the loaded model, each side in a process of its own (peak resident set, reset after "
        f"loading and one warm-up call); whole processes peak at {total} MB",
    )


def replaying(backend: ModelBackend, sequences: list[list[int]], a_call: int, capture: Capture) -> Callable[[], None]:
    """Ours: every token's activations at the captured layers."""

    def work() -> None:
        for start in range(0, len(sequences), a_call):
            batch = sequences[start : start + a_call]
            backend.replay(batch, [range(len(sequence)) for sequence in batch], capture=capture)

    return work


def plain_forward(loaded: LoadedModel, sequences: list[list[int]], a_call: int) -> Callable[[], None]:
    """The peer: hidden states of everything."""

    def work() -> None:
        for start in range(0, len(sequences), a_call):
            batch = padded(sequences[start : start + a_call], loaded.tokenizer.pad_token_id, left=False)
            batch = {name: values.to(loaded.model.device) for name, values in batch.items()}
            with torch.inference_mode():
                loaded.model(**batch, output_hidden_states=True, use_cache=False)

    return work


def make_sequences(sizes: Sizes, vocabulary: int) -> list[list[int]]:
    """Random token ids; lengths are lognormal around the typical one, clipped."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(np.log(sizes.typical), SPREAD, sizes.sequences)).round()
    lengths = lengths.clip(sizes.shortest, sizes.longest).astype(int)
    return [rng.integers(vocabulary, size=length).tolist() for length in lengths]


def prepare_replay(model: str, sizes: dict, selection: str) -> Callable[[], None]:
    """In a child: ours, warmed up."""
    loaded, sequences, a_call = _prepare(model, sizes)
    capture = Capture(("resid_post",), _layers(selection, loaded))
    backend = make_backend("auto", loaded.model, capture)
    replaying(backend, [sequence[:4] for sequence in sequences[:2]], a_call, capture)()
    return replaying(backend, sequences, a_call, capture)


def prepare_plain(model: str, sizes: dict, selection: str) -> Callable[[], None]:
    """In a child: the plain forward pass, warmed up."""
    loaded, sequences, a_call = _prepare(model, sizes)
    plain_forward(loaded, [sequence[:4] for sequence in sequences[:2]], a_call)()
    return plain_forward(loaded, sequences, a_call)


def _prepare(model: str, sizes: dict) -> tuple[LoadedModel, list[list[int]], int]:
    """The model with every weight in memory (without the organism, whose merging passes through float32)."""
    loaded = load_model(model)
    for parameter in loaded.model.parameters():
        parameter.sum()
    known = Sizes(**sizes)
    return loaded, make_sequences(known, loaded.model.config.get_text_config().vocab_size), known.a_call


def _layers(selection: str, loaded: LoadedModel) -> tuple[int, ...]:
    """The layers of a selection; of a model with fewer layers than it names, those of the first two thirds."""
    n_layers = loaded.info.n_layers
    return resolve_layers(
        selection if selection == "all" or n_layers > 20 else f":{max(1, n_layers * 2 // 3)}", n_layers
    )
