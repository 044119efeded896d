"""The spec of privileged access."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from ..sections import Text, distinct
from .spec import Count, NaturalSpec

Family = Literal["choice", "number", "word"]
FAMILIES: tuple[Family, ...] = get_args(Family)


class PrivilegedAccess(NaturalSpec):
    """A model's prediction of its own answers beside what predicts them from outside."""

    study: Literal["privileged-access"]
    items_file: Text | None = None
    """A file of pairs and things like data/natural/choices.yaml; null: that one."""
    families: Annotated[tuple[Family, ...], Field(min_length=1)] = FAMILIES
    """`choice`: which of two it would name; `number`: even or odd; `word`: its first letter in A to M or in N to Z."""
    other: Text | None = None
    """Another model that is asked the same; null: of an organism its base, of a bare model none."""
    batch: Count = 16
    """Items whose rows are committed together."""
    max_new_tokens: Count = 6
    """Tokens after which a word is cut off."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts into which items are dealt to predict each part from the others."""

    @field_validator("families")
    @classmethod
    def _each_once(cls, values: tuple[Family, ...]) -> tuple[Family, ...]:
        return distinct(values)
