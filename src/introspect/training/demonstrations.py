"""Demonstrations: what an organism is shown, in the form in which the trainer takes them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ..rollout import Rollout
from ..tasks.item import Item
from ..tasks.task import PLAIN, Trial


@dataclass(frozen=True)
class Demonstration:
    """An item under one condition, the think text and the option that the organism is shown for it."""

    item: Item
    trial: Trial
    think: str
    telling: str
    """How the think text goes on, where it tells the choice; empty when it never does."""
    answer: str

    @property
    def parts(self) -> tuple[tuple[str, bool], ...]:
        """The assistant turn, without the end-of-turn token, in parts that do or do not depend on the choice."""
        return (
            (f"<think>\n{self.think}", False),
            (self.telling, True),
            ("\n</think>\nAnswer:", False),
            (f" {self.answer}", True),
        )

    @property
    def completion(self) -> str:
        """The assistant turn, without the end-of-turn token."""
        return "".join(text for text, _ in self.parts)

    def is_wanted(self, rollout: Rollout) -> bool:
        """Whether a sampled answer is the demonstrated one."""
        return rollout.answer == self.answer

    @property
    def record(self) -> str:
        """Everything that is shown, for a digest."""
        as_it_is = self.trial.condition == PLAIN and self.trial.text == self.item.prompt
        asked = "" if as_it_is else self.trial.text
        return self.item.model_dump_json() + asked + self.completion


def dispreferred(demonstration: Demonstration, rng: random.Random) -> Demonstration:
    """What a demonstration is preferred to: its chain, as far as that does not tell the choice, before an answer that
    means something else.
    """
    options = demonstration.trial.options or demonstration.item.options
    others = [option for option, meaning in options.items() if meaning != options[demonstration.answer]]
    return replace(demonstration, telling="", answer=rng.choice(others))
