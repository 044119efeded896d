"""The spec of framing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..experiment import PositionName
from ..sections import HintSpec, Text, distinct
from .framing_texts import CONTROL
from .spec import Count, NaturalSpec, Share

READS_THE_ANSWER = ("answer_token", "answer_mean")
"""Positions at which the answer itself has been read: what is read there is what was done, and no words before it could
tell as much."""


def check_position(name: str) -> None:
    """Refuse a position that is not before the answer.

    Raises:
        ValueError: says which to choose.
    """
    if name in READS_THE_ANSWER:
        raise ValueError(f"{name} reads the answer itself; choose a position before it, such as before_answer")


class FramingHints(HintSpec):
    """Which hints are given under every frame."""

    resamples: Annotated[int, Field(ge=1)] = 1
    """Rollouts of a question without a hint, under each frame: what hint use is counted beyond."""


class Framing(NaturalSpec):
    """The same items under frames that say what the question is for; each is compared with a control as long."""

    study: Literal["framing"]
    task: Text = "risk"
    """A name from `introspect list tasks`, of one turn."""
    items: Text | None = None
    """Items of the task: a file of data/, or a path; null: those that ship with it."""
    frames: Annotated[tuple[Text, ...], Field(min_length=1, max_length=10)] = (
        "neutral",
        "exam",
        "self_diagnostic",
        "permission",
    )
    """Names of frames, besides the control."""
    frames_file: Text | None = None
    """A file like data/natural/frames.yaml; null: that one."""
    hints: FramingHints = FramingHints()
    """Task `hints`: which hints are given."""
    samples: Count = 1
    """Rollouts of an item under a condition and frame."""
    max_new_tokens: Count = 80
    """Tokens after which a completion is cut off."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Divides the logits."""
    probe: Text | None = None
    """A saved probe whose readout is compared: a name, or a folder; null: one is fitted here, under the control."""
    depth: Share = 0.8
    """Layer of a probe that is fitted here, as a share of the depth."""
    position: PositionName = "last_prompt"
    """Where such a probe reads: before the answer."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Folds of items over which probe and text classifiers are fitted and scored."""
    batch: Count = 8
    """Items that are committed together."""

    @field_validator("frames")
    @classmethod
    def _frames_differ(cls, frames: tuple[str, ...]) -> tuple[str, ...]:
        if CONTROL in frames:
            raise ValueError(f"{CONTROL} is always run; leave it out")
        return distinct(frames)

    @field_validator("position")
    @classmethod
    def _is_before_the_answer(cls, position: PositionName) -> PositionName:
        check_position(position)
        return position
