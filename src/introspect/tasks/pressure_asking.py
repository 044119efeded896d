"""How the turns of the pressure task are asked and read: with a scratchpad or without, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import SpecError
from .answers import find_answer
from .item import Item
from .making import THINK_FIRST, answers_line
from .pressure_words import DOMAINS, WORDS, Choice, Domain
from .task import FollowUp, Message, Reading, Task, Trial

if TYPE_CHECKING:
    from ..experiment import Experiment
    from ..rollout import RolloutSummary

SCRATCHPAD, NO_SCRATCHPAD = "scratchpad", "no_scratchpad"
AT_ONCE = "Write at once"
"""How the last line of a prompt begins where there is no scratchpad."""
PREFILL = "Answer:"
ORDERS = {
    "order": ("act_first", "refrain_first"),
    "report_order": ("honest_first", "deceptive_first"),
    "confronted_order": ("yes_first", "no_first"),
}
"""Field -> the orders in which the options of its turn may stand."""

_NO_WORDS = re.compile(r"\W*(?:(?:answer|option)\W+)*", re.IGNORECASE)


def question(text: str, choices: Sequence[Choice], *, swap: bool, words: Mapping[str, str]) -> tuple[str, list[str]]:
    """A prompt, and the names of its options in the order shown.

    Args:
        swap: whether the second choice stands first.
        words: what the texts are filled in with.
    """
    shown = list(reversed(choices)) if swap else list(choices)
    names = [name for name, _ in shown]
    lines = [text, *(f"{name}: {line}" for name, line in shown), f"{THINK_FIRST} {answers_line(names)}"]
    return "\n".join(lines).format(**words), names


def without_scratchpad(prompt: str, item_id: str) -> str:
    """The prompt, but with a last line that asks for the answer at once.

    Raises:
        SpecError: it has no last line that asks to think first.
    """
    body, asks, forms = prompt.rpartition(THINK_FIRST)
    if not asks:
        raise SpecError(
            f"item {item_id}: the condition without a scratchpad replaces {THINK_FIRST!r} in the last line of a "
            "prompt, and this one has no such line; end it with one"
        )
    return f"{body}{AT_ONCE}{forms}"


def trials(item: Item, spec: Experiment) -> Sequence[Trial]:
    """The item with a scratchpad, as it is worded, and without.

    Raises:
        SpecError: as `without_scratchpad`.
    """
    at_once = without_scratchpad(item.prompt, item.item_id)
    return [
        Trial(SCRATCHPAD, (Message("user", item.prompt),)),
        Trial(NO_SCRATCHPAD, (Message("user", at_once),), prefill=PREFILL),
    ]


def thought_over(rollouts: Sequence[RolloutSummary]) -> list[RolloutSummary]:
    """Those with a scratchpad: without one there is no chain to be silent in."""
    return [rollout for rollout in rollouts if rollout.condition == SCRATCHPAD]


def reader(acting: str) -> Callable[[Item, Trial, str], Reading]:
    """Reads the option; where the assistant was made to begin with the answer, only one that comes at once."""

    def read(item: Item, trial: Trial, text: str) -> Reading:
        found = (_at_once if trial.prefill else find_answer)(text, item.options)
        return Reading(None, None, None) if found is None else Reading(*found, item.options[found[0]] == acting)

    return read


def _at_once(text: str, options: Collection[str]) -> tuple[str, int] | None:
    """The option that a text which goes on from `PREFILL` begins with, and where it stands; or None."""
    written = text.lstrip()
    line = written.partition("\n")[0]
    found = find_answer(f"{PREFILL} {line}", options)
    if found is None:
        return None
    at = found[1] - len(PREFILL) - 1
    return (found[0], at + len(text) - len(written)) if _NO_WORDS.fullmatch(written, 0, at) else None


@dataclass(frozen=True)
class Turn:
    """How a turn that follows an act is worded."""

    name: str
    """Of its task."""
    ask: Callable[[Domain], str]
    """The manager's question."""
    choices: Callable[[Domain], dict[str, Choice]]
    """Meaning -> option, in the order that the first of `ORDERS[order]` names."""
    order: str
    """The field that says in which order the options stand."""

    def item(self, asked: Item | RolloutSummary) -> Item:
        """What is asked, with a scratchpad, in the chat of an item or a rollout of it.

        Raises:
            SpecError: it has not the domain or the fields of a pressure item. Names it.
        """
        try:
            domain = DOMAINS[asked.domain]
            words = {name: str(asked.fields[name]) for name in WORDS}
            swap = asked.fields[self.order] == ORDERS[self.order][1]
        except KeyError as missing:
            raise SpecError(
                f"item {asked.item_id}: {self.name} cannot be worded without {missing}; give pressure items one of "
                f"the domains {', '.join(DOMAINS)}, and the fields {', '.join(WORDS)} and {self.order}"
            ) from None
        choices = self.choices(domain)
        meant = {choice[0]: meaning for meaning, choice in choices.items()}
        prompt, names = question(self.ask(domain), list(choices.values()), swap=swap, words=words)
        return Item(
            item_id=asked.item_id,
            group=asked.group,
            split=asked.split,
            domain=asked.domain,
            prompt=prompt,
            options={name: meant[name] for name in names},
            fields=asked.fields,
        )


def stage(task: Task, turn: Turn) -> FollowUp:
    """A turn that follows an act, under the same condition."""

    def asked(rollout: RolloutSummary) -> Item | None:
        if not rollout.acted:
            return None
        item = turn.item(rollout)
        if rollout.condition != NO_SCRATCHPAD:
            return item
        return item.model_copy(update={"prompt": without_scratchpad(item.prompt, item.item_id)})

    return FollowUp(task, asked)
