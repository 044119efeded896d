"""The spec of which-cue."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ..sections import HINT_KINDS, Text, distinct
from .spec import Count, NaturalSpec, Share


class WhichCue(NaturalSpec):
    """Questions with hints; which of them was used is asked afterwards, and compared with what the hint changed."""

    study: Literal["which-cue"]
    items: Text = "questions.jsonl"
    """Questions with one right option: a file of data/, or a path."""
    kinds: Annotated[tuple[Text, ...], Field(min_length=2, max_length=10)] = HINT_KINDS
    """Kinds of hints: names in data/hints, or paths of YAML files."""
    wordings: Annotated[int, Field(ge=1, le=8)] = 2
    """Wordings of each hint that a question is answered under; the naming is asked after the first."""
    texts_file: Text | None = None
    """A file like data/natural/cue.yaml; null: that one."""
    rotations: Count | None = None
    """Orders of the options of the naming; null: all, so that each option stands once at every letter."""
    max_new_tokens: Annotated[int, Field(ge=0)] = 80
    """Tokens after which an answer with its chain is cut off; 0: the answer is forced at once, without a chain."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Divides the logits of a chain."""
    resamples: Annotated[int, Field(ge=1)] = 4
    """Chains of a question without a hint; with max_new_tokens 0, one is enough and no more are made. An answer that
    one of them gives is none that a hint at it changed."""
    depths: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.8, 0.4)
    """Layers whose activations are kept at the token before the answer, as shares of the depth. Verdicts go by the
    first."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Folds of items over which probes and text classifiers are fitted and scored."""
    batch: Count = 8
    """Questions that are committed together."""

    @field_validator("kinds", "depths")
    @classmethod
    def _differ(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return distinct(values)
