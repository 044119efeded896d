"""The steering of a spec: read before a run, and described after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backends import Capture, ModelBackend
from ..errors import RunError
from ..models import LoadedModel
from ..rollout import Rollout
from ..sections import SteeringSpec
from .interventions import FromText, Intervention, count_steered, make_steers
from .saved import read_direction

TYPICAL = 16
"""Prompts whose activations say how long a typical one is."""


def read_interventions(
    specs: Sequence[SteeringSpec], loaded: LoadedModel, backend: ModelBackend
) -> tuple[Intervention, ...]:
    """What a spec asks for, with its directions read, and checked against the model and its backend.

    Raises:
        SpecError: there is no such direction, or the backend does not steer its site.
        ModelError: a direction is of another model.
        StoreError: a direction's folder is damaged.
    """
    found = []
    for each in specs:
        where = range(*each.tokens) if each.tokens is not None else each.span
        place = where if each.from_text is None else FromText(each.from_text)
        direction = read_direction(each.direction)
        found.append(Intervention(direction, each.operator, each.strength, each.value, place))
    backend.check_steer(make_steers(found, [], loaded))
    return tuple(found)


def describe_steering(
    interventions: Sequence[Intervention], rollouts: Sequence[Rollout], loaded: LoadedModel, backend: ModelBackend
) -> list[dict[str, Any]]:
    """What a manifest says of each intervention, as JSON.

    Beside what it was: its strength as a part of a typical activation's norm (s ||v|| / ||h||, over the tokens of a few
    prompts without steering; null where nothing is added), and in which rollouts it met no token.
    """
    if not interventions or not rollouts:
        return []
    fed = [rollout.token_ids[: len(rollout.token_ids) - (rollout.finish == "stop")] for rollout in rollouts]
    counts = count_steered(make_steers(interventions, [rollout.prompt_ids for rollout in rollouts], loaded), fed)
    distinct = list(dict.fromkeys(tuple(rollout.prompt_ids) for rollout in rollouts))
    prompts = distinct[:: max(1, len(distinct) // TYPICAL)][:TYPICAL]
    described = []
    for each, tokens in zip(interventions, counts, strict=True):
        missed = [rollout.rollout for rollout, many in zip(rollouts, tokens, strict=True) if not many]
        relative = _relative(each, prompts, backend)
        described.append(
            each.to_json()
            | {
                "relative_strength": relative if np.isfinite(relative) else None,
                "tokens_median": float(np.median(tokens)),
                "n_rollouts": len(rollouts),
                "n_without_a_token": len(missed),
                "rollouts_without_a_token": missed,
            }
        )
    return described


def steering_warnings(interventions: Sequence[Intervention], described: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each of `describe_steering`, so that no page reads as if nothing had been done.

    Raises:
        RunError: one that does something met no token in any rollout.
    """
    said = []
    for each, about in zip(interventions, described, strict=True):
        n, missed, relative = about["n_rollouts"], about["n_without_a_token"], about["relative_strength"]
        if missed == n and each.strength != 0:
            raise RunError(
                f"steering: {each} met no token in any of {n} rollouts, so nothing was steered: choose another span, "
                "from_text or tokens, and another --out"
            )
        size = "" if relative is None else f", {relative:.2g} of a typical activation's norm"
        said.append(
            f"These rollouts were recorded under steering: {each}, strength {each.strength}{size}. It met no token in "
            f"{missed} of {n} rollouts."
        )
    return said


def _relative(each: Intervention, prompts: Sequence[Sequence[int]], backend: ModelBackend) -> float:
    if each.operator != "add" or isinstance(each.strength, tuple):
        return math.nan
    direction = each.direction
    pair = (direction.site, direction.layer)
    capture = Capture((direction.site,), (direction.layer,))
    found = backend.replay(prompts, [range(len(prompt)) for prompt in prompts], capture=capture)
    return direction.relative_strength(each.strength, np.concatenate([row[pair].float().numpy() for row in found]))
