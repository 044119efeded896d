"""Swaps: a prompt's activations at a layer replaced by another prompt's, token by token.

Unlike a vector that is added, what stands there then is an activation that the model has made itself, of its own size,
and nothing is scaled: a swap has no strength. What it moves by is written down. As steering it is an addition a token:
the other activation minus the trial's own, which a clean pass gives; so every engine that adds can swap, and the
activation is the other's to within the rounding of one sum. Known trade-off: the reply's own tokens are not swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..backends import Capture, ModelBackend
from ..concepts.vectors import SITE
from ..forced import Ids
from .trials import Trial


def filled_in(backend: ModelBackend, layer: int, typical: float, trials: Sequence[Trial]) -> list[Trial]:
    """The trials, with what their swaps add; others as they are.

    The last token that is replaced gets the last one that is swapped in, and so on backwards; where there are fewer
    of these, the first tokens keep their own.

    Args:
        typical: norm of a typical activation at the layer, in which `moved` is given: mean norm over the tokens that
            are replaced.
    """
    wanted: dict[Ids, set[int]] = {}
    for each in trials:
        if each.swap is not None:
            wanted.setdefault(each.swap.prompt, set()).update(each.swap.at)
            wanted.setdefault(each.prompt, set()).update(each.where)
    prompts, places = list(wanted), [sorted(at) for at in wanted.values()]
    if not prompts:
        return list(trials)
    made = backend.replay(prompts, places, capture=Capture((SITE,), (layer,)))
    states = {
        prompt: dict(zip(at, row[SITE, layer].float().numpy(), strict=True))
        for prompt, at, row in zip(prompts, places, made, strict=True)
    }
    return [each if each.swap is None else _filled(each, states, typical) for each in trials]


def _filled(trial: Trial, states: dict[Ids, dict[int, np.ndarray]], typical: float) -> Trial:
    assert trial.swap is not None  # noqa: S101 - for the type checker: asked before
    many = min(len(trial.where), len(trial.swap.at))
    where, at = trial.where[len(trial.where) - many :], trial.swap.at[len(trial.swap.at) - many :]
    if not many:
        return replace(trial, where=where)
    own, other = states[trial.prompt], states[trial.swap.prompt]
    patch = np.stack([other[there] - own[here] for here, there in zip(where, at, strict=True)])
    moved = float(np.linalg.norm(patch.astype(np.float64), axis=1).mean() / typical)
    return replace(trial, where=where, patch=patch, about={**trial.about, "moved": round(moved, 6)})
