"""Generating with every layer and token captured to disk: ours, and what it costs beside generating alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..backends import Generation, Sampling
from ..record import store_spec
from ..selection import Selection
from ..store import EncodedPart, OneBehind, StoreSpec, StoreWriter, encode_part
from .rows import Row

if TYPE_CHECKING:
    from .setting import Setting


def measure_capture(setting: Setting) -> Iterator[Row]:
    """Ours with capture / ours without."""
    batches, sizes = setting.sizes.batches, setting.sizes
    sampling = fixed_length(setting)

    def plain() -> None:
        for _ in range(batches):
            setting.backend.generate(
                setting.prompts, seeds=range(len(setting.prompts)), sampling=sampling, capture=None
            )

    yield setting.compare(
        f"generate {batches} x {sizes.prompts} rollouts of {sizes.new_tokens} tokens, every layer and token to disk / "
        "the same without capture",
        generate_and_store(setting, batches),
        plain,
        of="ours / peer",
        goal="<= 1.05",
        note="with capture the last token is fed too, for its activations: one forward pass more; parts are fsynced, "
        "one behind the model",
    )


def generate_and_store(setting: Setting, batches: int) -> Callable[[], None]:
    """Ours: batches of all prompts, each written as a part while the next is generated."""
    capture, sampling = setting.capture, fixed_length(setting)
    spec = store_spec(capture, setting.loaded, plan="bench", selection=Selection())
    prompts = setting.prompts

    def work() -> None:
        with StoreWriter(setting.fresh(), spec) as store, OneBehind() as behind:
            for index in range(batches):
                made = setting.backend.generate(prompts, seeds=range(len(prompts)), sampling=sampling, capture=capture)
                part = encode(spec, made)
                behind.submit(partial(store.commit_part, index, part))

    return work


def fixed_length(setting: Setting) -> Sampling:
    """No token stops a rollout, so that every side makes as many."""
    return Sampling(setting.sizes.new_tokens, 1.0, frozenset())


def encode(spec: StoreSpec, made: Sequence[Generation]) -> EncodedPart:
    """The rows of these generations as a part."""
    values: dict[tuple[str, int], torch.Tensor | np.ndarray] = {
        pair: torch.cat([each.activations[pair] for each in made]) for pair in spec.pairs()
    }
    rows = np.arange(len(values[spec.pairs()[0]]))
    return encode_part(spec, values, {"rollout": rows, "position": rows, "token_id": rows, "span": rows * 0})
