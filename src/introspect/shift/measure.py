"""How far a shifted rollout is from its source: tokens that differ, and how likely the model finds the chain.

A chain's likelihood is the mean log-probability (nats) of its tokens under the model, each after all tokens before it.
One pass with the LM head over each sequence; logits are in memory for a few sequences at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..backends.replay import packed
from ..models import LoadedModel
from ..models.placement import input_device
from ..progress import Progress

LOGIT_BYTES = 1 << 28
"""Of logits in float32 that are in memory at once, unless one sequence has more."""


class Scores(NamedTuple):
    """What the model finds of one completion."""

    logprobs: np.ndarray
    """[completion token]: log-probability of each token, nats."""
    watched: np.ndarray
    """[completion token, watched]: of the watched tokens, where that token stands."""


def score_completions(
    loaded: LoadedModel,
    sequences: Sequence[Sequence[int]],
    starts: Sequence[int],
    watch: Sequence[Sequence[int]],
    progress: Progress,
    stage: str,
) -> list[Scores]:
    """Teacher-forced log-probabilities of completions.

    Args:
        sequences: token ids of prompt and completion.
        starts: where each completion begins; 1 or more.
        watch: tokens whose log-probabilities are kept besides, of each sequence.
    """
    model = loaded.model
    device = input_device(model)
    vocabulary = model.get_input_embeddings().num_embeddings
    out: list[Scores | None] = [None] * len(sequences)
    done = 0
    for pack in packed([len(each) for each in sequences], max(1, LOGIT_BYTES // (4 * vocabulary))):
        width = len(sequences[pack[0]])
        ids = torch.zeros(len(pack), width, dtype=torch.long)
        for row, index in enumerate(pack):
            ids[row, : len(sequences[index])] = torch.tensor(sequences[index])
        with torch.inference_mode():
            logits = model(input_ids=ids.to(device), use_cache=False).logits
            for row, index in enumerate(pack):
                start, stop = starts[index], len(sequences[index])
                found = logits[row, start - 1 : stop - 1].float().log_softmax(-1)
                targets = ids[row, start:stop, None].to(found.device)
                watched = found[:, torch.tensor(list(watch[index]), dtype=torch.long, device=found.device)]
                out[index] = Scores(found.gather(1, targets)[:, 0].cpu().numpy(), watched.cpu().numpy())
        done += len(pack)
        progress(stage, done, len(sequences))
    return [each for each in out if each is not None]


def share_changed(before: Sequence[int], after: Sequence[int]) -> float:
    """Levenshtein distance over tokens by the length of the longer sequence: 0 for equal ones, 1 for all others.

    >>> share_changed([1, 2, 3, 4], [1, 5, 3])
    0.5
    """
    if not before or not after:
        return float(len(before) != len(after))
    other, places = np.asarray(after), np.arange(len(after) + 1)
    row = places
    for token in before:
        best = np.minimum(row[1:] + 1, row[:-1] + (other != token))
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], best]) - places) + places
    return float(row[-1]) / max(len(before), len(after))
