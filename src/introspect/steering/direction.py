"""A direction: a vector at one site of one model, with what it was made of, and its algebra."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from ..errors import EstimateError, ModelError, SpecError

if TYPE_CHECKING:
    from ..models import ModelInfo

Recipe = Literal["difference of means", "probe", "paired differences", "concept", "combined", "imported", "given"]

MADE = 400
"""Longest account of what a direction was made of, in characters."""


@dataclass(frozen=True)
class ModelMark:
    """The model whose activations a direction is of, as far as that is known."""

    name: str
    weight_digest: str
    n_layers: int
    adapter: str | None = None
    adapter_digest: str | None = None

    @classmethod
    def of(cls, info: ModelInfo) -> Self:
        """Of a loaded model; folders of this machine by their last name only."""
        name = Path(info.name).name if info.kind in ("local", "gguf") else info.name
        adapter = None if info.adapter is None else Path(info.adapter).name
        return cls(name, info.weight_digest, info.n_layers, adapter, info.adapter_digest)


@dataclass(frozen=True, eq=False)
class Direction:
    """A vector in the activations of one site and layer.

    Directions add and scale as vectors do: `a + b`, `a - b`, `-a`, `2 * a`, `a / 2`. Those of different places or
    models do not.

    Raises:
        SpecError: the vector is none.
    """

    vector: np.ndarray
    """float32 [width], read-only; in raw activation space."""
    site: str
    layer: int
    recipe: Recipe = "given"
    made: str = "given as numbers"
    """What it was made of, in a line."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Sizes of what it was made of."""
    model: ModelMark | None = None
    """None: not known."""

    def __post_init__(self) -> None:
        vector = np.array(self.vector, dtype=np.float32)
        if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
            raise SpecError(f"a direction is a list of finite numbers, not an array {np.shape(self.vector)} of such")
        vector.setflags(write=False)
        object.__setattr__(self, "vector", vector)
        made = " ".join(self.made.split())
        object.__setattr__(self, "made", made if len(made) <= MADE else f"{made[: MADE - 3]}...")

    def __repr__(self) -> str:
        return f"<Direction {self.site} {self.layer} [{self.width}], norm {self.norm:.3g}: {self.recipe}, {self.made}>"

    @property
    def width(self) -> int:
        """Numbers of the vector."""
        return len(self.vector)

    @property
    def norm(self) -> float:
        """Euclidean, in the units of the activations."""
        return float(np.linalg.norm(self.vector.astype(np.float64)))

    @property
    def unit(self) -> np.ndarray:
        """float64 [width], of norm 1.

        Raises:
            EstimateError: the vector is zero.
        """
        if not self.norm:
            raise EstimateError(f"a direction of zeros ({self.made}) points nowhere")
        return self.vector.astype(np.float64) / self.norm

    def __add__(self, other: Direction) -> Direction:
        return self._combined(self._beside(other).vector + other.vector, f"({self.made}) + ({other.made})", other)

    def __sub__(self, other: Direction) -> Direction:
        return self._combined(self._beside(other).vector - other.vector, f"({self.made}) - ({other.made})", other)

    def __neg__(self) -> Direction:
        return self._combined(-self.vector, f"-({self.made})")

    def __mul__(self, factor: float) -> Direction:
        return self._combined(self.vector * np.float64(factor), f"{factor:g} ({self.made})")

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Direction:
        return self * (1 / divisor)

    def normalised(self, norm: float = 1.0) -> Direction:
        """The same way, of another norm.

        Raises:
            EstimateError: the vector is zero.
        """
        return self._combined(self.unit * norm, f"({self.made}) of norm {norm:g}")

    def onto(self, other: Direction) -> Direction:
        """The part of it that lies along the other."""
        along = float(self._beside(other).vector.astype(np.float64) @ other.unit)
        return self._combined(along * other.unit, f"({self.made}) along ({other.made})", other)

    def out_of(self, other: Direction) -> Direction:
        """What is left of it without the part along the other: orthogonal to it."""
        rest = self.vector.astype(np.float64) - self.onto(other).vector
        return self._combined(rest, f"({self.made}) without ({other.made})", other)

    def cosine(self, other: Direction) -> float:
        """Of the angle between the two, -1 to 1."""
        return float(np.clip(self._beside(other).unit @ other.unit, -1, 1))

    def relative_strength(self, strength: float, activations: np.ndarray) -> float:
        """How far adding `strength` times it moves a typical activation, as a part of that one's norm: s ||v|| / ||h||.

        Args:
            activations: [row, width] of its site, without steering; the median of their norms counts, since first
                tokens are often of another size.
        """
        norms = np.linalg.norm(np.asarray(activations, dtype=np.float64), axis=-1)
        typical = float(np.median(norms)) if norms.size else 0.0
        return strength * self.norm / typical if typical else math.nan

    def check_fits(self, info: ModelInfo) -> None:
        """Refuse a model that it is not a direction of. Another adapter over the same weights is no other model.

        Raises:
            ModelError: another width, fewer layers, or other weights.
        """
        if self.width != info.width or self.layer >= info.n_layers:
            raise ModelError(
                f"the direction ({self.made}) has a width of {self.width} and is of layer {self.layer}; {info.name} "
                f"has a width of {info.width} and layers 0 to {info.n_layers - 1}: give a direction of this model"
            )
        if self.model is not None and self.model.weight_digest != info.weight_digest:
            raise ModelError(
                f"the direction ({self.made}) is of {self.model.name}, weights {self.model.weight_digest[:12]}, "
                f"and {info.name} has {info.weight_digest[:12]}: give a direction of this model"
            )

    def _beside(self, other: Direction) -> Direction:
        mine, theirs = ((each.site, each.layer, each.width) for each in (self, other))
        if mine != theirs:
            raise SpecError(
                "directions of different places do not go together: {} of layer {} with a width of {}, and {} of layer "
                "{} with {}".format(*mine, *theirs)
            )
        if self.model and other.model and self.model.weight_digest != other.model.weight_digest:
            raise SpecError(f"directions of {self.model.name} and {other.model.name} do not go together")
        return self

    def _combined(self, vector: np.ndarray, made: str, other: Direction | None = None) -> Direction:
        """A direction made of this one, and another one."""
        model = self.model
        if other is not None and other.model != model:
            # Of one model with two adapters: the weights are what both share.
            shared = model if other.model is not None else None
            model = None if shared is None else replace(shared, adapter=None, adapter_digest=None)
        return Direction(vector, self.site, self.layer, "combined", made, {}, model)
