"""Demonstrations: what an organism is shown, in the form in which the trainer takes them."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, replace
from typing import Literal

from ..rollout import Rollout
from ..tasks.item import Item
from ..tasks.task import PLAIN, Trial

Added = Literal["concept", "random", "negated", "shuffled", "natural"]
"""What is added: a word's vector; a random one; the word's, negated, or with its numbers in another order; or natural:
the direction from the trial prompts' activations towards another prompt's."""
EARLY = 3
"""Tokens before the ask at which an injection begins at the earliest: a template's own, between two messages."""


@dataclass(frozen=True)
class Injection:
    """A vector that is added to the activations while a demonstration is read, from the user's last message on."""

    added: Added
    word: str
    """Whose vector it is, or is made of; the other prompt, of a `natural` one."""
    layer: int
    """Whose output it is added to."""
    strength: float
    """Norm of what is added, as a part of a typical activation's norm at that layer."""
    early: int
    """Tokens before the text of the last message at which it begins, 0 to `EARLY`."""
    seed: int
    """Of what is drawn by chance: the random vector, or the order."""
    within: tuple[int, int] | None = None
    """The characters of the last message to whose tokens alone it is added; None: to all of them and to the reply."""

    @property
    def record(self) -> str:
        """As JSON, for a digest; without what says nothing, so that older digests hold."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "within" or value})


@dataclass(frozen=True)
class Demonstration:
    """An item under one condition, the think text and the option that the organism is shown for it."""

    item: Item
    trial: Trial
    think: str
    telling: str
    """How the think text goes on, where it tells the choice; empty when it never does."""
    answer: str
    injection: Injection | None = None
    """What is added to the activations meanwhile, if anything is."""

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
        injected = "" if self.injection is None else self.injection.record
        return self.item.model_dump_json() + asked + self.completion + injected


def dispreferred(demonstration: Demonstration, rng: random.Random) -> Demonstration:
    """What a demonstration is preferred to: its chain, as far as that does not tell the choice, before an answer that
    means something else.
    """
    options = demonstration.trial.options or demonstration.item.options
    others = [option for option, meaning in options.items() if meaning != options[demonstration.answer]]
    return replace(demonstration, telling="", answer=rng.choice(others))
