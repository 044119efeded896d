"""What an organism of injected concepts says, on words and questions that it was not trained on.

Each word of the studies' exploration lists is injected once, at one of the recipe's layers and a strength out of its
range; the confirmation words are left for the studies. Replies are sampled at temperature 1.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..backends import Sampling, make_backend
from ..concepts import Materials, read_materials
from ..concepts.forms import WordFinder
from ..concepts.sentences import LISTED
from ..models import LoadedModel
from ..progress import Progress
from ..record import render_trial, stop_ids
from ..stats import Estimate, proportion
from ..tasks.task import Trial
from .demonstrations import EARLY, Added, Injection
from .injected_course import Ask, localise_trial, trial_of
from .injected_settings import InjectionSettings
from .injected_vectors import ConceptVectors
from .injected_words import read_training_words
from .rows import injected_tokens
from .steered import ENDLESS, NOWHERE, make_steer

MAX_NEW_TOKENS = 16
AT_ONCE = 64
_ANSWER = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
_LETTER = re.compile(r"\W*([A-Z])\s*(?:[.,:;)]|$)")

Case = tuple[str, Ask, Added | None, bool]
"""Name; what is asked; what is added; whether what is asked of is the injected word, or a question's answer is Yes."""
CASES: tuple[Case, ...] = (
    ("concept", "detect", "concept", True),
    ("nothing", "detect", None, True),
    ("random", "detect", "random", True),
    ("negated", "detect", "negated", True),
    ("shuffled", "detect", "shuffled", True),
    ("concept, asked the other way about", "reversed", "concept", True),
    ("nothing, asked the other way about", "reversed", None, True),
    ("concept, asked for the word only", "which", "concept", True),
    ("concept, asked of it", "concept", "concept", True),
    ("concept, asked of another", "concept", "concept", False),
    ("concept, unrelated question: No", "unrelated", "concept", False),
    ("nothing, unrelated question: No", "unrelated", None, False),
    ("concept, unrelated question: Yes", "unrelated", "concept", True),
    ("nothing, unrelated question: Yes", "unrelated", None, True),
    ("natural", "detect", "natural", True),
    ("concept, asked for its sentence", "localise", "concept", True),
)


@dataclass(frozen=True)
class Asked:
    """One trial, and what was replied."""

    case: Case
    injection: Injection | None
    trial: Trial
    word: str
    reply: str = ""
    letter: str = ""
    """Of the sentence that is injected, where sentences are listed."""

    @property
    def finds(self) -> bool:
        """Whether the reply begins with the letter of the injected sentence."""
        found = _LETTER.match(self.reply)
        return found is not None and found[1] == self.letter

    @property
    def answer(self) -> str | None:
        """`yes`, `no`, or neither."""
        found = _ANSWER.match(self.reply)
        return found[1].lower() if found else None

    @property
    def names(self) -> bool:
        """Whether the reply holds the injected word, in any form."""
        return any(True for _ in WordFinder([self.word]).find(self.reply))


def measure_injected(
    loaded: LoadedModel,
    settings: InjectionSettings,
    vectors: ConceptVectors,
    counts: Mapping[str, int | None],
    *,
    seed: int,
    stage: str,
    progress: Progress,
) -> dict[str, dict]:
    """Case -> measure -> estimate, as JSON values.

    Args:
        counts: trials where a word is injected and asked about (`injected`), and of every other case (`control`).
        stage: how to call this in progress reports.
    """
    asked = list(_trials(settings, counts, read_materials(), seed))
    replied: list[Asked] = []
    for start in range(0, len(asked), AT_ONCE):
        replied += _replies(loaded, vectors, asked[start : start + AT_ONCE], seed * 1_000_000 + start)
        progress(stage, len(replied), len(asked))
    return {
        case[0]: {name: each.to_json() for name, each in _figures(case, [t for t in replied if t.case == case])}
        for case in _cases(settings)
    }


def _cases(settings: InjectionSettings) -> list[Case]:
    """Those whose vectors are trained on."""
    return [case for case in CASES if case[2] in (None, "concept", *settings.controls)]


def _trials(
    settings: InjectionSettings, counts: Mapping[str, int | None], materials: Materials, seed: int
) -> Iterator[Asked]:
    rng = random.Random(f"measure/injected/{seed}")
    words, sentences = materials.words.words("exploration"), read_training_words().sentences
    wordings = materials.prompts.small.trials
    low, high = map(math.log, settings.strengths)
    for case in _cases(settings):
        _, ask, added, same = case
        many = counts["injected" if case == CASES[0] else "control"] or len(words)
        order = [word for _ in range(-(-many // len(words))) for word in rng.sample(words, len(words))][:many]
        for at, word in enumerate(order):
            injection = None
            layer = settings.layers[at % len(settings.layers)]
            strength = round(math.exp(rng.uniform(low, high)), 4)
            early, drawn = rng.randint(0, EARLY), rng.randrange(1 << 32)
            if added is not None:
                source = rng.choice(sentences) if added == "natural" else word
                injection = Injection(added, source, layer, strength, early, drawn)
            other = rng.choice([each for each in words if each != word])
            if ask == "localise" and injection is not None:
                listed = rng.sample(materials.sentences.sentences, LISTED)
                trial, places = localise_trial(rng.choice(materials.prompts.small.localise), listed)
                letter = rng.choice(sorted(places))
                yield Asked(case, replace(injection, early=0, within=places[letter]), trial, word, letter=letter)
                continue
            pair = materials.sentences.questions[at % len(materials.sentences.questions)]
            trial = trial_of(
                wordings[at // len(settings.layers) % len(wordings)],
                ask,
                word=word if same else other,
                question=pair.yes if same else pair.no,
            )
            yield Asked(case, injection, trial, word)


def _replies(loaded: LoadedModel, vectors: ConceptVectors, asked: Sequence[Asked], seed: int) -> list[Asked]:
    prompts = [render_trial(loaded, each.trial) for each in asked]
    added = np.zeros((len(asked), vectors.units.shape[-1]), dtype=np.float32)
    layers, ranges = [NOWHERE] * len(asked), [range(ENDLESS)] * len(asked)
    for at, (each, prompt) in enumerate(zip(asked, prompts, strict=True)):
        if each.injection is not None:
            added[at] = vectors.added(each.injection)
            layers[at] = each.injection.layer
            ranges[at] = injected_tokens(loaded, prompt, each.trial.messages[-1].content, each.injection)
    made = make_backend("native", loaded.model).generate(
        prompts,
        seeds=range(seed, seed + len(prompts)),
        sampling=Sampling(MAX_NEW_TOKENS, 1.0, stop_ids(loaded)),
        capture=None,
        steer=make_steer(torch.from_numpy(added), layers, ranges),
    )
    texts = [loaded.tokenizer.decode(each.completion_ids, skip_special_tokens=True) for each in made]
    return [replace(each, reply=text) for each, text in zip(asked, texts, strict=True)]


def _figures(case: Case, trials: Sequence[Asked]) -> Iterator[tuple[str, Estimate]]:
    """What is read off the trials of a case."""
    _, ask, _, _ = case

    def share(holds: Callable[[Asked], bool], among: Sequence[Asked] = trials) -> Estimate:
        return proportion(sum(map(holds, among)), len(among))

    if ask in ("which", "localise"):
        yield ("named", share(lambda each: each.names)) if ask == "which" else ("found", share(lambda each: each.finds))
        return
    reported = "no" if ask == "reversed" else "yes"
    yield ("detected" if ask in ("detect", "reversed") else "yes"), share(lambda each: each.answer == reported)
    if case == CASES[0]:
        yield "detected_and_named", share(lambda each: each.answer == "yes" and each.names)
        for layer in sorted({each.injection.layer for each in trials if each.injection is not None}):
            here = [each for each in trials if each.injection is not None and each.injection.layer == layer]
            yield f"detected_and_named_layer_{layer}", share(lambda each: each.answer == "yes" and each.names, here)
    yield "neither_yes_nor_no", share(lambda each: each.answer is None)
