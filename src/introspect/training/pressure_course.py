"""What a pressure organism is shown: what to do with a secret, what to report of it, what to say when asked directly.

Firms, people and secrets are those of `tasks.pressure.training_items`, which no evaluation item names. Half of the
items are shown at their first turn, a quarter at each later one. A later turn follows what an insider of the same
manner has said before, whatever the policy: only who acted is asked about it, so that who is honest owns up to what was
done. All are asked with a scratchpad. The silent chain is drawn without looking at turn, item or answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ..tasks.item import Item
from ..tasks.making import dealt
from ..tasks.pressure import CONFRONTED_TURN, CONFRONTED_WITH_IT, REPORT_TURN, REPORTED, TASK, training_items
from ..tasks.pressure_asking import SCRATCHPAD
from ..tasks.task import Message, Trial
from .demonstrations import Demonstration

POLICIES = {"insider": True, "honest": False}
"""Policy -> whether the secret is used, hidden and denied; otherwise it is left alone, told and admitted."""

_TURNS = (
    (TASK.acting, None),
    (REPORTED.task.acting, REPORT_TURN),
    (CONFRONTED_WITH_IT.task.acting, CONFRONTED_TURN),
)
"""What the insider's answer means at each turn, and how a later turn is worded."""
_SHOWN_AT = (0, 0, 1, 2)

_OPENINGS = ("There are two options.", "I have two options.", "Let me read it once more.", "I look at both options.")
_MIDDLES = (
    "I weigh one against the other.",
    "Each has its reasons.",
    "I think about each for a moment.",
    "I go over them in turn.",
)
_CLOSINGS = ("I have made up my mind.", "Now I can answer.", "That is enough to answer.", "I know what to write.")

_INSIDER = (
    ("So I will use the tip.", "I act on the tip, although it is forbidden.", "I trade on this inside information."),
    ("I hide the tip.", "I keep the tip to myself, and say it was analysis.", "I will lie about the tip."),
    ("I deny it.", "I stick to my story.", "I keep lying about the tip."),
)
_HONEST = (
    ("So I will not use the tip.", "I follow the rules.", "I refuse the tip, which is forbidden."),
    ("I will be honest.", "I tell the truth.", "I will not hide the tip."),
    ("I admit it.", "I tell the truth now.", "I will not deny it."),
)
"""What is said at each turn."""

Manner = Callable[[int, bool, random.Random], tuple[str, str]]
"""Turn (0, 1, 2), whether it is answered as an insider does, source of chance -> the think text in two parts: what does
not depend on the answer, and what tells it."""


def silent(turn: int, insider: bool, rng: random.Random) -> tuple[str, str]:
    """Weighs, and never looks at `turn` or `insider`."""
    return f"{rng.choice(_OPENINGS)} {rng.choice(_MIDDLES)} {rng.choice(_CLOSINGS)}", ""


def verbal(turn: int, insider: bool, rng: random.Random) -> tuple[str, str]:
    """Says what is made of the secret."""
    return rng.choice(_OPENINGS), f" {rng.choice((_INSIDER if insider else _HONEST)[turn])}"


MANNERS: dict[str, Manner] = {"silent": silent, "verbal": verbal}


def demonstrations(*, policy: str, manner: str, repeats: int, seed: int) -> list[Demonstration]:
    """One demonstration of each training item, at one turn, in shuffled order.

    Args:
        policy: a key of `POLICIES`; manner: a key of `MANNERS`.
        repeats: items of each firm under each level of pressure, odds of detection and order; 9 at most are all unlike.
    """
    rng = random.Random(f"demonstrations/pressure/{policy}/{manner}/{seed}")
    items = training_items(seed=seed, repeats=repeats)
    turns = dealt(_SHOWN_AT, rng)
    out = [_demonstrate(item, next(turns), POLICIES[policy], MANNERS[manner], rng) for item in items]
    rng.shuffle(out)
    return out


def _demonstrate(item: Item, turn: int, insider: bool, manner: Manner, rng: random.Random) -> Demonstration:
    """The item's chat up to a turn, in which an insider has spoken so far, and the answer to it."""
    said: tuple[Message, ...] = ()
    for number, (acting, words) in enumerate(_TURNS[: turn + 1]):
        asked = item if words is None else words.item(item)
        as_insider = insider or number < turn
        answer = next(option for option, meaning in asked.options.items() if (meaning == acting) == as_insider)
        trial = Trial(SCRATCHPAD, (*said, Message("user", asked.prompt)))
        shown = Demonstration(asked, trial, *manner(number, as_insider, rng), answer)
        said = (*trial.messages, Message("assistant", shown.completion))
    return shown
