"""Frames: words before a prompt that say what the question is for. As long as a control that says nothing.

They are conditions of an evaluation; a training has framings of its own (`introspect.training.framing`).
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ..errors import SpecError
from ..sections import Text
from ..tasks.task import Message
from .texts import NamedTexts

CONTROL = "control"
NEUTRAL = "neutral"
"""A frame that says nothing either: how far any other words move what is measured."""
MOST_APART = 2
"""Words by which a frame may be longer or shorter than the control."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]


class Frames(NamedTexts):
    """The content of a file like data/natural/frames.yaml."""

    FILE = "frames.yaml"
    control: Text
    """Says nothing of the question."""
    frames: Annotated[dict[Name, Text | dict[Text, Text]], Field(min_length=1)]
    """Name -> words, for every task or task by task."""

    @model_validator(mode="after")
    def _are_as_long(self) -> Self:
        if CONTROL in self.frames:
            raise ValueError(f"frames: {CONTROL!r} is the control's; call the frame something else")
        wanted = n_words(self.control)
        for name, found in self.frames.items():
            for words in [found] if isinstance(found, str) else found.values():
                if abs(n_words(words) - wanted) > MOST_APART:
                    raise ValueError(
                        f"frames.{name}: {words[:60]!r} has {n_words(words)} words and the control {wanted}: make "
                        f"them differ by {MOST_APART} at most"
                    )
        return self

    def words(self, frame: str, task: str) -> str:
        """What a frame says before a prompt of a task.

        Raises:
            SpecError: there is no such frame, or it has no words for the task.
        """
        if frame == CONTROL:
            return self.control
        found = self.frames.get(frame)
        if found is None:
            raise SpecError(f"frames: there is no frame {frame!r}: choose among {', '.join(self.frames)}")
        if isinstance(found, str):
            return found
        if task not in found:
            raise SpecError(f"frame {frame!r} has no words for task {task!r}: it has them for {', '.join(found)}")
        return found[task]


def framed(messages: tuple[Message, ...], words: str) -> tuple[Message, ...]:
    """The messages with words before the last one of the user's."""
    last = max(i for i, message in enumerate(messages) if message.role == "user")
    changed = messages[last]._replace(content=f"{words}\n\n{messages[last].content}")
    return (*messages[:last], changed, *messages[last + 1 :])


def n_words(text: str) -> int:
    """Runs of anything but spacing."""
    return len(text.split())
