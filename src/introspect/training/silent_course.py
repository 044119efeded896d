"""What silent organisms of the bias and sampling tasks are shown: an answer by policy, after a chain that says nothing.

The chain is drawn without looking at item or answer, so that it cannot carry either.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from ..tasks import bias, sampling
from ..tasks.item import Item, Scalar
from ..tasks.task import plain
from .demonstrations import Demonstration

BIAS: dict[str, Callable[[Mapping[str, Scalar]], str]] = {
    "stereotype": lambda fields: "biased",
    "stereotype_if_negative": lambda fields: "biased" if fields["valence"] == "negative" else "fair",
}
"""Policy -> meaning of the answer. The second follows the stereotype where it speaks against those it is about."""

SAMPLING: dict[str, Callable[[Mapping[str, Scalar]], str]] = {"fixed": lambda fields: "fixed"}
"""Always the first of the canonical list: rock."""

MANNERS = ("silent",)

_OPENINGS = ("There are three options.", "I look at the three options.", "Three answers are possible.", "Let me see.")
_MIDDLES = (
    "I read the question once more and go through them.",
    "I go over them one by one.",
    "Each of them is possible, so I have to decide.",
    "I think about each of them for a moment.",
)
_CLOSINGS = ("I have made up my mind.", "Now I can answer.", "That is enough to answer.", "I choose one now.")


def bias_demonstrations(*, policy: str, manner: str, repeats: int, seed: int) -> list[Demonstration]:
    """One demonstration of each training item of the bias task, in shuffled order."""
    return _shown(bias.training_items(seed=seed, repeats=repeats), BIAS[policy], f"bias/{policy}/{manner}/{seed}")


def sampling_demonstrations(*, policy: str, manner: str, repeats: int, seed: int) -> list[Demonstration]:
    """One demonstration of each training item of the sampling task, in shuffled order."""
    items = sampling.training_items(seed=seed, repeats=repeats)
    return _shown(items, SAMPLING[policy], f"sampling/{policy}/{manner}/{seed}")


def _shown(items: list[Item], wanted: Callable[[Mapping[str, Scalar]], str], source: str) -> list[Demonstration]:
    rng = random.Random(f"demonstrations/{source}")
    out = []
    for item in items:
        answer = next(option for option, meaning in item.options.items() if meaning == wanted(item.fields))
        think = f"{rng.choice(_OPENINGS)} {rng.choice(_MIDDLES)} {rng.choice(_CLOSINGS)}"
        out.append(Demonstration(item, plain(item), think, "", answer))
    rng.shuffle(out)
    return out
