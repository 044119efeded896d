"""The direction that is tested, and the control directions of its norm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from ..backends import Capture
from ..errors import EstimateError, SpecError
from ..experiment import LayerSelection, resolve_layers
from ..saved_probes.source import Source, check_place, check_reproduced, make_estimator
from ..steering import (
    Direction,
    Intervention,
    ModelMark,
    difference_of_means,
    make_steers,
    paired_differences,
    read_given,
)
from .settings import Recipe, SteerSettings
from .subject import Subject, median_norm

MAP_CONTROLS = 4
"""Random directions beside each layer's in the map: a scale for its colours, not a test."""


@dataclass(frozen=True)
class Tested:
    """A direction, its controls, and the unit of its doses.

    Added, a control is of the direction's norm. Projected out, its own component would be another, and in a trained
    model mostly a smaller one: so at every token as much is moved as projecting the direction out removes there, but
    along the control. What removing its own component does is measured beside that, with stored chains held fixed.
    """

    direction: Direction
    vectors: np.ndarray
    """float32 [direction, width]: the one that is tested, then random ones, then orthogonal ones; all of its norm."""
    kinds: tuple[str, ...]
    """Of each: `tested`, `random` or `orthogonal`."""
    typical: float
    """Norm of a typical activation at its place."""
    position: str | None
    """Where it was fitted; None: it was given."""

    @property
    def unit(self) -> float:
        """Strength that adds one typical activation's norm."""
        return self.typical / self.direction.norm

    @property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) of all vectors."""
        return hashlib.sha256(np.ascontiguousarray(self.vectors).tobytes()).hexdigest()


def make_tested(subject: Subject, settings: SteerSettings) -> Tested:
    """The direction that the settings ask for, with its controls.

    Raises:
        EstimateError: nothing can be fitted, or the direction is zero.
        SpecError, ModelError, StoreError: there is no such direction, or it is of another model, width or site.
    """
    position = None
    if settings.direction is not None:
        direction = read_given(settings.direction, layer=settings.layer, site=settings.site, tensor=settings.tensor)
    else:
        layer, position = place(subject, settings)
        check_reproduced(subject.source, subject.source.results["probe"]["headline"])
        direction = fitted(subject, settings.recipe or "probe", layer, position)
    if not direction.norm:
        raise EstimateError(f"the direction ({direction.made}) is zero, and points nowhere: give another")
    subject.backend.check_steer(make_steers([Intervention(direction)], [], subject.loaded))
    typical = typical_norms(subject, direction.site, (direction.layer,))[direction.layer]
    vectors, kinds = _with_controls(direction, settings.controls, settings.seed)
    return Tested(direction, vectors, kinds, typical, position)


def place(subject: Subject, settings: SteerSettings) -> tuple[int, str]:
    """Layer and position at which the run's direction is made; what the run has not recorded is a RunError."""
    head = subject.source.results["probe"]["headline"]
    n_layers = subject.loaded.info.n_layers
    layer = head["layer"] if settings.layer is None else settings.layer
    layer = layer + n_layers if layer < 0 else layer
    position = head["position"] if settings.position is None else settings.position
    check_place(subject.source, layer, position)
    return layer, position


def fitted(subject: Subject, recipe: Recipe, layer: int, position: str) -> Direction:
    """A direction of the run's development groups; towards acting on the policy.

    Raises:
        EstimateError: nothing can be fitted.
    """
    source = subject.source
    values, dev = source.activations(layer, position), source.split.dev
    acted = source.recorded.acted[dev]
    made = f"{subject.run.resolve().name}: acts on the policy or not, {position}, {len(dev)} development rollouts"
    mark = ModelMark.of(subject.loaded.info)
    if recipe == "pairs":
        return _paired(source, values, layer, mark, made)
    if recipe == "difference":
        return difference_of_means(
            values[dev][acted], values[dev][~acted], site=source.site, layer=layer, made=made, model=mark
        )
    head = source.results["probe"]["headline"]
    penalty = head["penalty"] if (layer, position) == (head["layer"], head["position"]) else None
    weight = source.fit(make_estimator(source.recorded.spec.probe.estimator, source, penalty), values)
    return Direction(weight.estimator.coef_[0], source.site, layer, "probe", made, {"n_rows": len(dev)}, mark)


def _paired(source: Source, values: np.ndarray, layer: int, mark: ModelMark, made: str) -> Direction:
    """Of each group with both kinds, the mean of rollouts that act and that of those that do not are a pair."""
    dev = source.split.dev
    groups, acted = source.recorded.groups[dev], source.recorded.acted[dev]
    both = [group for group in dict.fromkeys(groups) if len(set(acted[groups == group])) > 1]
    if len(both) < 2:
        raise EstimateError(
            f"{len(both)} groups have rollouts that act on the policy and rollouts that do not, and paired differences "
            "take two or more: choose another --recipe"
        )
    sides = [
        np.stack([values[dev][(groups == group) & (acted == side)].mean(axis=0) for group in both])
        for side in (True, False)
    ]
    return paired_differences(sides[0], sides[1], site=source.site, layer=layer, made=made, model=mark)


def map_directions(subject: Subject, settings: SteerSettings) -> list[Direction]:
    """The direction as it is fitted at each layer of the map; none where it was given.

    Raises:
        SpecError: the model has no such layer, the run has not recorded one that is named, or none of a slice.
    """
    if settings.direction is not None or settings.layers is None:
        return []
    _, position = place(subject, settings)
    recipe = settings.recipe or "probe"
    return [fitted(subject, recipe, layer, position) for layer in _of_map(subject, settings.layers)]


def map_controls(settings: SteerSettings, direction: Direction) -> np.ndarray:
    """Random directions of the norm of a layer's, float32 [control, width]."""
    n = min(MAP_CONTROLS, settings.controls)
    drawn = np.random.default_rng([settings.seed, 20, 21, direction.layer]).standard_normal((n, direction.width))
    return (drawn * (direction.norm / np.linalg.norm(drawn, axis=1, keepdims=True))).astype(np.float32)


def _of_map(subject: Subject, wanted: LayerSelection) -> list[int]:
    recorded = subject.source.recorded.layers
    try:
        layers = resolve_layers(wanted, subject.loaded.info.n_layers)
    except SpecError as error:
        raise SpecError(str(error).replace("capture.layers", "--layers")) from None
    missing = [each for each in layers if each not in recorded]
    if missing and (isinstance(wanted, tuple) or len(missing) == len(layers)):
        raise SpecError(
            f"--layers {wanted if isinstance(wanted, str) else ','.join(map(str, wanted))}: {subject.run} has not "
            f"recorded layer {', '.join(map(str, missing))}; choose of {', '.join(map(str, recorded))}, or none"
        )
    return [each for each in layers if each in recorded]


def typical_norms(subject: Subject, site: str, layers: tuple[int, ...]) -> dict[int, float]:
    """Layer -> norm of a typical activation there, over what the steered items' rollouts said, without steering."""
    chosen = subject.cases[:16]
    ids = [case.rollout.token_ids for case in chosen]
    spans = [range(len(case.rollout.prompt_ids) - 1, len(case.rollout.token_ids) - 1) for case in chosen]
    found = subject.backend.replay(ids, spans, capture=Capture((site,), layers))
    return {layer: median_norm(torch.cat([row[site, layer] for row in found]).float().numpy()) for layer in layers}


def _with_controls(direction: Direction, n: int, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    drawn = np.random.default_rng([seed, 20, 20]).standard_normal((2, n, direction.width))
    drawn[1] -= (drawn[1] @ direction.unit)[:, None] * direction.unit
    controls = drawn.reshape(2 * n, direction.width)
    controls *= direction.norm / np.linalg.norm(controls, axis=1, keepdims=True)
    vectors = np.concatenate([direction.vector[None], controls]).astype(np.float32)
    return vectors, ("tested", *["random"] * n, *["orthogonal"] * n)
