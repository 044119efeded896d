"""The direction that is tested, and the control directions of its norm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from ..backends import Capture
from ..errors import EstimateError, SpecError
from ..experiment import resolve_layers
from ..saved_probes.source import check_place, check_reproduced, make_estimator
from ..steering import Direction, Intervention, ModelMark, difference_of_means, make_steers, read_direction
from .settings import Recipe, SteerSettings
from .subject import Subject, median_norm


@dataclass(frozen=True)
class Tested:
    """A direction, its controls, and the unit of its doses."""

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
        if settings.layer is not None or settings.position is not None:
            raise SpecError("--direction has a layer of its own: leave --layer and --position out")
        direction = read_direction(settings.direction)
    else:
        layer, position = place(subject, settings)
        check_reproduced(subject.source, subject.source.results["probe"]["headline"])
        direction = fitted(subject, settings.recipe, layer, position)
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
    if recipe == "difference":
        return difference_of_means(
            values[dev][acted], values[dev][~acted], site=source.site, layer=layer, made=made, model=mark
        )
    head = source.results["probe"]["headline"]
    penalty = head["penalty"] if (layer, position) == (head["layer"], head["position"]) else None
    weight = source.fit(make_estimator(source.recorded.spec.probe.estimator, source, penalty), values)
    return Direction(weight.estimator.coef_[0], source.site, layer, "probe", made, {"n_rows": len(dev)}, mark)


def map_directions(subject: Subject, settings: SteerSettings) -> list[Direction]:
    """The direction as it is fitted at each layer of the map; none where it was given."""
    if settings.direction is not None or settings.layers is None:
        return []
    _, position = place(subject, settings)
    recorded = subject.source.recorded.layers
    layers = [each for each in resolve_layers(settings.layers, subject.loaded.info.n_layers) if each in recorded]
    return [fitted(subject, settings.recipe, layer, position) for layer in layers]


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
