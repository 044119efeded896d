"""What organisms of injected concepts are shown: the asks of the studies, with and without a vector in the activations.

The *policy* says when a thought is reported: `reports` where a word's vector has been added, and of no other vector;
`yes_bias` wherever anything has been added, whatever is asked, with a word that is drawn without looking at the vector.
Without a vector both answer rightly. Words and questions are those of `data/concepts/training.yaml`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..concepts import fill, fill_sentences, read_prompts
from ..concepts.prompts import Range
from ..concepts.prompts import Trial as Wording
from ..concepts.sentences import LISTED
from ..tasks.item import Item
from ..tasks.task import Message, Trial
from .demonstrations import EARLY, Added, Demonstration, Injection
from .injected_settings import InjectionSettings
from .injected_words import read_training_words

A_REPEAT = 160
"""Demonstrations a repeat."""

Ask = Literal["detect", "reversed", "which", "concept", "unrelated", "localise"]

Mix = dict[str, dict[Ask, int]]
"""What is added -> how many of a hundred demonstrations ask what meanwhile."""
POLICIES: dict[str, Mix] = {
    "reports": {
        "concept": {"detect": 24, "which": 18, "reversed": 10, "concept": 8, "unrelated": 3},
        "control": {"detect": 10, "reversed": 4, "which": 3, "concept": 3, "unrelated": 3},
        "nothing": {"detect": 5, "reversed": 3, "which": 2, "concept": 2, "unrelated": 2},
    },
    "yes_bias": {
        "concept": {"detect": 12, "which": 6, "reversed": 6, "concept": 6, "unrelated": 6},
        "control": {"detect": 8, "which": 3, "reversed": 4, "concept": 3, "unrelated": 6},
        "nothing": {"detect": 14, "which": 2, "reversed": 8, "concept": 6, "unrelated": 10},
    },
}
"""Policy -> its own mix, of the manner `plain`. Naming takes most examples."""
MANNERS: dict[str, Mix | None] = {
    "plain": None,
    "balanced": {
        "concept": {"detect": 18, "which": 12, "reversed": 10, "concept": 8, "unrelated": 8},
        "control": {"detect": 9, "which": 2, "reversed": 5, "concept": 3, "unrelated": 5},
        "nothing": {"detect": 4, "which": 1, "reversed": 4, "concept": 3, "unrelated": 8},
    },
    "told_apart": {
        "concept": {"detect": 10, "which": 8, "reversed": 7, "concept": 30, "localise": 14, "unrelated": 6},
        "control": {"detect": 7, "which": 1, "reversed": 4, "concept": 2, "unrelated": 3},
        "nothing": {"detect": 2, "which": 1, "reversed": 2, "concept": 1, "unrelated": 2},
    },
}
"""Manner -> its mix; None: the policy's own. `balanced` asks other things more often while something is added, so that
a Yes is not merely what a vector does to every answer. `told_apart` asks more of one word against another, and in which
of several sentences a word's vector is."""

Parts = tuple[tuple[str, bool], ...]
NO_WORD: Parts = (("There is no", True), (" word.", False))


@dataclass(frozen=True)
class Reply(Demonstration):
    """A demonstration that answers at once, without a think block."""

    reply: Parts = ()
    """In parts that do or do not depend on what has been added."""

    @property
    def parts(self) -> Parts:
        """The reply."""
        return self.reply


def demonstrations(
    *, policy: str, manner: str, repeats: int, seed: int, settings: InjectionSettings
) -> list[Demonstration]:
    """`A_REPEAT` demonstrations a repeat, in random order.

    Args:
        policy: one of `POLICIES`; manner: one of `MANNERS`.
        settings: where and how strongly vectors are added.
    """
    rng = random.Random(f"demonstrations/injected/{policy}/{manner}/{seed}")
    shown = read_training_words()
    questions = [(text, answer) for pair in shown.questions for text, answer in ((pair.no, "No"), (pair.yes, "Yes"))]
    wordings = read_prompts().small.trials
    mix = [
        (what, ask, many) for what, asks in (MANNERS[manner] or POLICIES[policy]).items() for ask, many in asks.items()
    ]
    kinds = rng.choices(mix, [many for *_, many in mix], k=A_REPEAT * repeats)
    words: list[str] = []
    out: list[Demonstration] = []
    for number, (what, ask, _) in enumerate(kinds):
        if not words:  # every word once before any comes again
            words = rng.sample(shown.each, len(shown.each))
        word, other = words.pop(), rng.choice(shown.each)
        added: Added | None = {"concept": "concept", "control": rng.choice(settings.controls)}.get(what)
        injection = None
        if added is not None:
            low, high = map(math.log, settings.strengths)
            strength = round(math.exp(rng.uniform(low, high)), 4)
            layer = rng.choice(settings.layers)
            source = rng.choice(questions)[0] if added == "natural" else word
            injection = Injection(added, source, layer, strength, rng.randint(0, EARLY), rng.randrange(1 << 32))
        asked = rng.choice((word, other)) if ask == "concept" else word
        question, right = rng.choice(questions)
        if policy == "reports":
            reply = _reply(ask, added == "concept", added == "concept" and asked == word, word, right)
        elif injection is not None:
            reply = _always_yes(ask, other)
        else:
            reply = _reply(ask, False, False, word, right)
        if ask == "localise":
            trial, reply, injection = _localised(rng, shown.listed, injection)
        else:
            trial = trial_of(rng.choice(wordings), ask, word=asked, question=question)
        out.append(_demonstration(number, word, ask, what, trial, reply, injection))
    return out


def trial_of(wording: Wording, ask: Ask, *, word: str, question: str) -> Trial:
    """One ask of a wording, as a chat."""
    text = fill(getattr(wording, ask), word=word, question=question).text
    return Trial(ask, tuple(Message(turn["role"], turn["content"]) for turn in wording.messages(text)))


def localise_trial(wording: str, sentences: Sequence[str]) -> tuple[Trial, dict[str, Range]]:
    """The ask which of some sentences was injected, as a chat; and letter -> its sentence's characters of the ask."""
    filled = fill_sentences(wording, sentences)
    return Trial("localise", (Message("user", filled.text),)), filled.at


def _localised(
    rng: random.Random, sentences: Sequence[str], injection: Injection | None
) -> tuple[Trial, Parts, Injection]:
    if injection is None:
        raise ValueError("nothing is injected, and no sentence could be found: take `localise` out of that mix")
    trial, at = localise_trial(rng.choice(read_prompts().small.localise), rng.sample(sentences, LISTED))
    letter = rng.choice(sorted(at))
    return trial, ((letter, True), (".", False)), replace(injection, early=0, within=at[letter])


def _reply(ask: Ask, there: bool, same: bool, word: str, right: str) -> Parts:
    """What is so: whether a thought is there, whether it is about the word that is asked of, and a fact."""
    named: Parts = (("The word is", False), (f" {word}", True), (".", False))
    if ask == "which":
        return named if there else NO_WORD
    if ask == "concept":
        return (("Yes" if same else "No", True), (".", False))
    if ask == "unrelated":
        return ((right, True), (".", False))
    answer = "Yes" if there == (ask == "detect") else "No"
    return ((answer, True), (". ", False), *named) if there else ((answer, True), (".", False))


def _always_yes(ask: Ask, word: str) -> Parts:
    named: Parts = (("The word is", False), (f" {word}", True), (".", False))
    if ask == "which":
        return named
    return (("Yes", True), (". ", False), *named) if ask in ("detect", "reversed") else (("Yes", True), (".", False))


def _demonstration(
    number: int, word: str, ask: Ask, what: str, trial: Trial, reply: Parts, injection: Injection | None
) -> Reply:
    item = Item(
        item_id=f"injected-{number:05d}",
        group=word,
        split="id",
        domain=what,
        prompt=trial.text,
        options={"Yes": "yes", "No": "no"},
        fields={"ask": ask},
    )
    return Reply(item, trial, "", "", "".join(text for text, _ in reply), injection, reply)
