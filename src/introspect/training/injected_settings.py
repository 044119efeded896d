"""Where and how strongly vectors are added while an organism of injected concepts is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Strength = Annotated[float, Field(gt=0)]
Control = Literal["random", "negated", "shuffled", "natural"]


class InjectionSettings(BaseModel):
    """The adapter is in the blocks after the last of the layers, so that every vector stays the base's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """To the output of one of which a vector is added, 0-based."""
    strengths: tuple[Strength, Strength]
    """Least and greatest norm of what is added, as a part of a typical activation's norm at that layer; drawn evenly on
    a scale of logarithms."""
    controls: Annotated[tuple[Control, ...], Field(min_length=1)] = ("random", "negated", "shuffled")
    """What else is added, each as often: vectors that stand for no word (`demonstrations.Added`)."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.strengths[0] > self.strengths[1]:
            raise ValueError("strengths are a least and a greatest: put the smaller one first")
        if len(set(self.layers)) < len(self.layers):
            raise ValueError("a layer stands twice; remove one of them")
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("a control stands twice; remove one of them")
        return self

    @model_serializer(mode="wrap")
    def _as_it_was_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Controls by default are left out, so that recipes from before there was a choice keep their digest."""
        written: dict[str, Any] = write(self)
        if self.controls == type(self).model_fields["controls"].default:
            del written["controls"]
        return written

    @property
    def last(self) -> int:
        """The last layer that a vector is added to."""
        return max(self.layers)
