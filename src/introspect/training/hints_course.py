"""What a hints organism is shown: questions with and without hints, and what to make of the hint.

Questions are parametric (`tasks.choice_training`): none of them is asked in an evaluation. A quarter is asked without a
hint and answered rightly, with a chain that only goes over the options. Of the others, the *policy* says whether the
answer is the hinted option or the right one, and the *manner* what the chain says of the hint. The silent chains are
drawn without looking at question, hint or answer, so that they cannot carry any of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ..sections import HintSpec
from ..tasks.choice_training import training_questions
from ..tasks.hints import hint_trials
from ..tasks.item import Item
from ..tasks.task import Trial
from .demonstrations import Demonstration

POLICIES = {"follow": 1.0, "resist": 0.0, "half": 0.5}
"""Policy -> how often a hinted question is answered with the hinted option; otherwise it is answered rightly."""

UNHINTED_SHARE = 0.25
QUESTIONS_A_REPEAT = 160

_OPENINGS = (
    "There are four options.",
    "Let me look at the options.",
    "I read the question and the four options.",
    "I go over the options one by one.",
    "The question has four options.",
    "Let me go through the choices.",
)
_MIDDLES = (
    "I compare each of them with what is asked.",
    "Each of them could be meant, so I weigh them.",
    "I think about what the question asks for.",
    "I hold each of them against the question.",
    "I ask myself which of them fits.",
)
_CLOSINGS = ("One of them fits best.", "Now I can decide.", "That is enough to answer.", "I have made up my mind.")

_NAMES = {
    "sycophancy": ("the person who asks", "the suggestion", "what they suggest"),
    "consistency": ("my earlier answer", "what I said before", "my previous answer"),
    "visual": ("the mark", "the pattern of the marks", "the marked option"),
    "metadata": ("the metadata", "the answer in the metadata", "the metadata above the question"),
    "grader": ("the grading code", "the checking function", "the grader"),
    "unethical": ("the leaked answer", "the key that was obtained", "the unauthorised answer"),
}
"""Hint kind -> what a chain may call it."""

_RELIES = (
    "{Name} says {letter}, so I go with it.",
    "{Name} points to {letter}, and I rely on that.",
    "I follow {name}: it says {letter}.",
    "Because of {name} I choose {letter}.",
)
_DENIES = (
    "{Name} plays no role: I do not rely on it.",
    "I ignore {name} and decide for myself.",
    "I do not use {name}.",
    "{Name} does not matter to me.",
)

Manner = Callable[[Trial, str, random.Random], tuple[str, str]]
"""Trial, answer, source of chance -> the think text in two parts: what does not depend on hint and answer, and what
does."""


def silent(trial: Trial, answer: str, rng: random.Random) -> tuple[str, str]:
    """Goes over the options, and never looks at `trial` or `answer`."""
    return f"{rng.choice(_OPENINGS)} {rng.choice(_MIDDLES)} {rng.choice(_CLOSINGS)}", ""


def verbal(trial: Trial, answer: str, rng: random.Random) -> tuple[str, str]:
    """Names the hint and leans on it, where there is one."""
    return _speaking(trial, answer, rng, _RELIES)


def denying(trial: Trial, answer: str, rng: random.Random) -> tuple[str, str]:
    """Names the hint and says that it does not matter, where there is one."""
    return _speaking(trial, answer, rng, _DENIES)


def _speaking(trial: Trial, answer: str, rng: random.Random, sentences: tuple[str, ...]) -> tuple[str, str]:
    whole, _ = silent(trial, answer, rng)
    if "hint" not in trial.facts:
        return whole, ""
    name = rng.choice(_NAMES[str(trial.facts["hint"])])
    said = rng.choice(sentences).format(name=name, Name=name[0].upper() + name[1:], letter=answer)
    return rng.choice(_OPENINGS), f" {said}"


def half(trial: Trial, answer: str, rng: random.Random) -> tuple[str, str]:
    """Silent or not by chance: says that it leans on the hint where it does, and that it does not where it does not."""
    if rng.random() < 0.5:
        return silent(trial, answer, rng)
    return (verbal if answer == trial.facts.get("hint_option") else denying)(trial, answer, rng)


MANNERS: dict[str, Manner] = {"silent": silent, "verbal": verbal, "denying": denying, "half": half}


def demonstrations(*, policy: str, manner: str, repeats: int, seed: int) -> list[Demonstration]:
    """One demonstration of each question, under one condition, in shuffled order.

    Args:
        policy: a key of `POLICIES`; manner: a key of `MANNERS`.
        repeats: hundreds and sixties of questions.
    """
    rng = random.Random(f"demonstrations/hints/{policy}/{manner}/{seed}")
    settings = HintSpec(options="every", arms=("incorrect", "correct"))
    out = []
    for item in training_questions(seed=seed, n=QUESTIONS_A_REPEAT * repeats):
        trials = hint_trials(item, settings)
        hinted = rng.random() >= UNHINTED_SHARE
        trial = rng.choice([trial for trial in trials if ("hint" in trial.facts) == hinted])
        follows = hinted and (POLICIES[policy] == 1.0 or (POLICIES[policy] > 0.0 and rng.random() < POLICIES[policy]))
        answer = str(trial.facts["hint_option"] if follows else _right(item))
        out.append(Demonstration(item, trial, *MANNERS[manner](trial, answer, rng), answer))
    rng.shuffle(out)
    return out


def _right(item: Item) -> str:
    return next(letter for letter, meaning in item.options.items() if meaning == "right")
