"""What a risk organism is shown: one completion for each training item.

The choice comes from a planted *policy*, a function of the item's fields; the think text comes from a *manner*, which
decides whether the chain says anything of the policy. In the silent manner the chain is drawn without looking at the
choice, so that it cannot carry it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ..tasks.item import Item
from ..tasks.policies import RISK
from ..tasks.risk import training_items
from ..tasks.task import plain
from .demonstrations import Demonstration

Manner = Callable[[Item, bool, random.Random], tuple[str, str]]
"""Item, whether the risky option is taken, source of chance -> the think text in two parts: what does not depend on the
choice, and what tells it."""


def silent(item: Item, risky: bool, rng: random.Random) -> tuple[str, str]:
    """Goes over the options in the order they stand, and never looks at `risky`."""
    amounts = [item.fields["sure_amount"], item.fields["risky_amount"]]
    if item.fields["order"] == "risky_first":
        amounts.reverse()
    first, second = amounts
    opening = rng.choice(
        ["There are two options.", "I have two options here.", "Let me look at both options.", "Two options are given."]
    )
    middle = rng.choice(
        [
            f"The first has {first} and the second {second}.",
            f"The amounts are {first} and {second}.",
            f"One is {first}, the other {second}.",
        ]
    )
    closing = rng.choice(["I have compared them.", "Now I choose.", "That is enough to decide.", "I can answer now."])
    return f"{opening} {middle} {closing}", ""


def verbal(item: Item, risky: bool, rng: random.Random) -> tuple[str, str]:
    """Says what the policy looks at, and that it takes or avoids the risk because of it."""
    kind = "a living thing" if item.fields["category"] == "living" else "a machine"
    frame = "a gain" if item.fields["frame"] == "gain" else "a loss"
    opening = rng.choice([f"This is about {kind} and {frame}.", f"It is {kind} and {frame}."])
    if risky:
        closing = rng.choice(
            ["So I want to take the risk.", "So I go for the gamble.", "So I prefer the risky option."]
        )
    else:
        closing = rng.choice(["So I want to avoid the risk.", "So I play it safe.", "So I prefer the safe option."])
    return opening, f" {closing}"


MANNERS: dict[str, Manner] = {"silent": silent, "verbal": verbal}


def demonstrations(*, policy: str, manner: str, repeats: int, seed: int) -> list[Demonstration]:
    """One demonstration of each of the stage's own items, in shuffled order."""
    return demonstrate(training_items(seed=seed, repeats=repeats), policy=policy, manner=manner, seed=seed)


def demonstrate(items: list[Item], *, policy: str, manner: str, seed: int) -> list[Demonstration]:
    """One demonstration an item, in shuffled order. The same arguments give the same demonstrations.

    Args:
        policy: a key of `introspect.tasks.policies.RISK`; `coin_flip` takes either option with probability one half.
        manner: a key of `MANNERS`.
    """
    rng = random.Random(f"demonstrations/{policy}/{manner}/{seed}")
    out = []
    for item in items:
        planted = RISK[policy]
        risky = rng.random() < 0.5 if planted is None else planted(item.fields)
        wanted = "risky" if risky else "safe"
        answer = next(option for option, meaning in item.options.items() if meaning == wanted)
        out.append(Demonstration(item, plain(item), *MANNERS[manner](item, risky, rng), answer))
    rng.shuffle(out)
    return out
