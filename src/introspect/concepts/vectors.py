"""Concept vectors of many words at many layers, from one replay of their requests (Lindsey 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SpecError
from .prompts import fill

if TYPE_CHECKING:
    from ..backends import ModelBackend
    from ..models import LoadedModel
    from ..steering import Direction

SITE = "resid_post"


@dataclass(frozen=True)
class Told:
    """What a model's activations are just before it would tell about each of some words."""

    words: tuple[str, ...]
    layers: tuple[int, ...]
    values: np.ndarray
    """float32 [word, request, layer, width], of `resid_post` at the last token before the reply."""

    def of(self, word: str, layer: int) -> np.ndarray:
        """[request, width]."""
        found: np.ndarray = self.values[self.words.index(word), :, self.layers.index(layer)]
        return found


def tell(
    loaded: LoadedModel,
    backend: ModelBackend,
    words: Sequence[str],
    requests: Sequence[str],
    layers: Sequence[int],
) -> Told:
    """Replay every request about every word, and keep the last token before the reply.

    Args:
        requests: prompts with `{word}`: `PromptSet.vector`.
        layers: resolved ones.

    Raises:
        SpecError: there is no word, or one stands twice.
        ModelError: the model's chat template refuses a request.
    """
    from ..backends import Capture
    from ..models import render_prompt

    if not words or len(set(words)) < len(words):
        raise SpecError("concept vectors need words, each of them once")
    ids = [render_prompt(loaded, fill(request, word=word).text) for word in words for request in requests]
    captured = backend.replay(ids, [[len(each) - 1] for each in ids], capture=Capture((SITE,), tuple(layers)))
    rows = [np.stack([row[SITE, layer][0].float().numpy() for layer in layers]) for row in captured]
    shape = len(words), len(requests), len(layers), loaded.info.width
    return Told(tuple(words), tuple(layers), np.stack(rows).reshape(shape))


def concept_directions(
    loaded: LoadedModel, told: Told, baseline: Told, *, words: Sequence[str] | None = None
) -> dict[str, dict[int, Direction]]:
    """Word -> layer -> its concept vector: what `told` has of it minus the mean over the words of `baseline`.

    Args:
        words: those wanted; None: all of `told`.
    """
    from ..steering import ModelMark, concept_vector

    model = ModelMark.of(loaded.info)
    means = baseline.values.mean(1)
    return {
        word: {
            layer: concept_vector(
                told.of(word, layer),
                means[:, baseline.layers.index(layer)],
                site=SITE,
                layer=layer,
                word=word,
                model=model,
            )
            for layer in told.layers
        }
        for word in (told.words if words is None else words)
    }
