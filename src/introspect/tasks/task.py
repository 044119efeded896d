"""What a task is: the prompts it makes of an item, how it reads an answer, and what a chain could say of its policy.

Everything downstream goes by these and knows no task by name: `trials` says what is asked of a model, `read` what was
answered and whether that acts on the policy (the answer label), `says` where the chain itself leans (the think label),
and `subject` what a verdict is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..verdicts.lexical import judge_by_patterns
from ..verdicts.verdict import Subject
from .answers import find_answer
from .item import Item, Scalar

if TYPE_CHECKING:
    from ..experiment import Experiment
    from ..rollout import RolloutSummary

R = TypeVar("R", bound="RolloutSummary")
Facts = Mapping[str, Scalar]

PLAIN = "plain"
"""The condition of a task that asks every item in one way."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Trial:
    """An item under one condition: what a model is asked."""

    condition: str
    """Its name, the same for every item: `plain`, `unhinted`, `metadata/plain/incorrect`."""
    messages: tuple[Message, ...]
    facts: Facts = field(default_factory=dict)
    """What the condition varied or drew for this item."""
    options: Mapping[str, str] | None = None
    """Option -> what choosing it means under this condition; None: what the item says."""
    samples: int | None = None
    """Rollouts of it; None: `generation.samples`."""
    prefill: str = ""
    """What the assistant is made to begin with."""

    @property
    def text(self) -> str:
        """The messages as one text; of a single message, its content."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n\n".join(f"{message.role}: {message.content}" for message in self.messages)


@dataclass(frozen=True)
class Reading:
    """What a completion answers."""

    answer: str | None
    """As the item spells it; None when no single answer can be read."""
    offset: int | None
    """Character of the answer text at which the answer begins; None as above."""
    acted: bool | None
    """The answer label: whether it acts on the policy; None when there is no answer."""
    outcome: Facts = field(default_factory=dict)
    """What was found out beyond that, such as which tests a program passed."""


Says = Callable[[str, Mapping[str, str], Facts], bool | None]
"""Chain, options, item fields and facts -> the think label: True where the chain leans to the policy, False where it
leans away from it or denies that it matters, None where it does neither."""


def by_patterns(subject: Subject) -> Says:
    """The think label that follows the lexical verdict on a subject."""

    def says(chain: str, options: Mapping[str, str], facts: Facts) -> bool | None:
        verdict = judge_by_patterns(chain, subject).verdict
        return None if verdict == "silent" else verdict == "verbalised"

    return says


def plain(item: Item) -> Trial:
    """The item's prompt, as it is."""
    return Trial(PLAIN, (Message("user", item.prompt),))


def only_plain(item: Item, spec: Experiment) -> Sequence[Trial]:
    """One condition: the item's prompt, as it is."""
    return [plain(item)]


@dataclass(frozen=True)
class FollowUp:
    """A further turn of the same chat, asked once the one before has been answered."""

    task: Task
    """How its answers are read, and what its chains could speak of. Its name names the stage."""
    ask: Callable[[RolloutSummary], Item | None]
    """A rollout of the turn before -> what is asked next: `prompt` is the user's message, and `item_id`, `group`,
    `split`, `domain` and `fields` are the rollout's; None where nothing is."""


@dataclass(frozen=True)
class Task:
    """What the stages need to know of a task beyond its items."""

    name: str
    policy: str
    """The behaviour of interest, as a phrase for reports: "chooses the risky option"."""
    summary: str
    acting: str
    """The meaning of an option (a value of `Item.options`) that acts on the policy."""
    subject: Callable[[Facts], Subject | None]
    """Item fields and facts -> what a verdict on the chain is about; None where there is nothing to speak of."""
    says: Says
    """The think label of a chain."""
    trials: Callable[[Item, Experiment], Sequence[Trial]] = only_plain
    read: Callable[[Item, Trial, str], Reading] | None = None
    """Item, trial, answer text -> what it answers; None: one of the item's options, acting where it means `acting`."""
    retained: Callable[[Sequence[RolloutSummary]], Sequence[RolloutSummary]] | None = None
    """All rollouts -> those that could act on the policy, which policy rate, probes and link are about; None: all."""
    follow_ups: tuple[FollowUp, ...] = ()
    """Turns that come after the first, in order."""
    make_items: Callable[..., list[Item]] | None = None
    """Maker of the items, called with `seed`, `id_repeats` and `ood_repeats`; None when they were written by hand."""

    def counted(self, rollouts: Sequence[R]) -> list[R]:
        """The rollouts that could act on the policy."""
        if self.retained is None:
            return list(rollouts)
        kept = {rollout.rollout for rollout in self.retained(rollouts)}
        return [rollout for rollout in rollouts if rollout.rollout in kept]

    def reading(self, item: Item, trial: Trial, text: str) -> Reading:
        """What an answer text answers."""
        if self.read is not None:
            return self.read(item, trial, text)
        found = find_answer(text, item.options)
        if found is None:
            return Reading(None, None, None)
        answer, offset = found
        return Reading(answer, offset, (trial.options or item.options)[answer] == self.acting)
