"""Texts as vectors, for the strictest of the text baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial

import numpy as np

from ..features import token_position
from ..models import load_encoder
from ..rollout import Rollout
from .stage import Embedding

INPUT = "input"
"""The model's own input embeddings, rather than a model of their own."""
NOT_ASKED = "not asked for: set probe.embedding to input, or to a sentence-embedding model"


def check_encoder(name: str | None, *, offline: bool) -> None:
    """Load the sentence-embedding model that `probe.embedding` names, if it names one, and have it read a word: before
    anything is recorded or fitted.

    Raises:
        ModelError: it cannot be loaded, or reads no text.
    """
    if name not in (None, INPUT):
        load_encoder(str(name), offline=offline).encode(["word"])


def own_embedding(table: np.ndarray, rollouts: Sequence[Rollout], tokens: Mapping[str, np.ndarray]) -> Embedding:
    """The mean of the model's own input embeddings over the tokens that have been read.

    Args:
        table: float32 [token id, width].
        tokens: position -> absolute token index of each rollout.
    """

    def vectors(position: str, whole: bool) -> np.ndarray:
        ends = [_end(each) for each in rollouts] if whole else tokens[position].tolist()
        return np.stack(
            [table[each.token_ids[: end + 1]].mean(axis=0) for each, end in zip(rollouts, ends, strict=True)]
        )

    return Embedding("the mean of the model's own input embeddings", vectors)


def text_embedding(
    name: str,
    rollouts: Sequence[Rollout],
    chains: Mapping[str, Sequence[str]],
    whole_chains: Sequence[str],
    *,
    offline: bool,
) -> Embedding:
    """What a sentence-embedding model makes of the text that has been read; it is loaded when it is first asked.

    Args:
        name: hub id or local folder.
        chains: position -> what each rollout has said by then.
    """
    loaded = cache(partial(load_encoder, name, offline=offline))

    def vectors(position: str, whole: bool) -> np.ndarray:
        said = whole_chains if whole else chains[position]
        return loaded().encode([f"{each.prompt_text}\n{chain}" for each, chain in zip(rollouts, said, strict=True)])

    def encoder() -> dict[str, str | None]:
        return {"name": name, "revision": loaded().revision, "weight_digest": loaded().weight_digest}

    return Embedding(f"mean-pooled by {name}", vectors, encoder)


def _end(rollout: Rollout) -> int:
    """The last token before the answer, or of all where none can be read."""
    end = token_position(rollout, "before_answer")
    return len(rollout.token_ids) - 1 if end is None else end
