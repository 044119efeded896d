"""Rollouts and activations in which the truth is known: what decides the choice, what is said, and what is inside.

Every draw is a sample of items with several rollouts each, and beside it a population: many more rollouts from the same
source, one an item, which stand where a run has those out of distribution. What was fitted on the sample is worth what
it is worth there. Choices of an item are alike, and so are its activations, as they are in runs; that is what intervals
over items are for.

Known trade-off: activations are Gaussian, with half of a rollout's own variance shared between positions and layers,
and signals are linear. What fails here fails; what holds here may yet fail on activations of another kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..features import token_position
from ..rollout import Rollout, RolloutSpans
from ..tasks.hints import UNHINTED
from .checks import Scenario
from .spec import Sizes
from .words import FILLERS, LEAK, SPOKEN, WHISPERED, Vocabulary, synonym

OPTIONS = {"risky": "risky", "safe": "safe"}
MEAN_WORDS, SPREAD_WORDS, FEWEST_WORDS = 12, 2.5, 4
LONGER = 4.0
"""Words by which chains of those that act are longer, where length is planted."""
FIDELITY = 0.85
"""How often a leaking word goes with the choice."""
OF_ITEM = 0.5
"""Spread of what the activations of an item's rollouts share, against 1 of what each has of its own."""
OF_LEAKING_ITEM = 3.0
"""The same where items leak."""
SYNONYMS = 40
"""Words of each of two meanings."""
OF_WORD = 1.0
"""Size of input embeddings in the activations of those that read them."""
OPEN, CLOSE, LEAD_IN, END = "<think>", "</think>", "Answer:", "<end>"
ALIGNED = 0.2
"""Share of questions that are answered as the hint says without it."""
OF_KIND = 0.75
"""How far activations under the second kind of hint lie from those under the first, in units of the spec's strength."""
HINTED, UNMOVED = "B", "A"
"""What every hint says, and what is answered otherwise."""


@dataclass(frozen=True)
class Planted:
    """A draw: the rollouts of the sample, then those of the population, and what was recorded of them. Questions that
    are asked without a hint too stand after all others, and nothing was recorded of these.
    """

    rollouts: list[Rollout]
    tokens: dict[str, np.ndarray]
    """Position -> absolute index of its token, [rollout]."""
    activations: np.ndarray
    """float32 [layer, rollout, position, width]."""
    base: np.ndarray | None
    """The same of the model before training."""
    acted: np.ndarray
    """Whether it acts on the policy, which what is answered without a hint as with it does not: bool [rollout]."""
    spoken: np.ndarray
    """Whether the chain says what is done: bool [rollout]."""
    whispered: np.ndarray
    """Whether it says so in words that no pattern knows: bool [rollout]."""
    vocabulary: Vocabulary
    embeddings: np.ndarray
    """The model's input embeddings, float32 [token id, width]; words of a meaning have the same."""


@dataclass(frozen=True)
class _Choices:
    """What is drawn before words and activations are, [rollout]."""

    item: np.ndarray
    acted: np.ndarray
    spoken: np.ndarray
    whispered: np.ndarray
    carries: np.ndarray
    """Of rollouts that act: whether their activations carry it."""
    latent: np.ndarray
    """The number that the choice follows, where it follows one."""
    n_items: int
    """Items of the sample; further ones are the population's."""
    aligned: np.ndarray
    """Whether the question is answered as the hint says without it."""
    kind: np.ndarray
    """Which kind of hint it is under."""


def plant(scenario: Scenario, sizes: Sizes, positions: Sequence[str], rng: np.random.Generator) -> Planted:
    """One draw of a scenario: equal generators give equal draws."""
    sizes = sizes.model_copy(update={"items": scenario.times * sizes.items})
    choices = _choices(scenario, sizes, rng)
    vocabulary = Vocabulary()
    rollouts = [_rollout(i, scenario, choices, vocabulary, rng) for i in range(len(choices.acted))]
    tokens = {name: np.array([token_position(rollout, name) for rollout in rollouts]) for name in positions}
    unhinted = _unhinted(rollouts, choices) if scenario.hints else []
    inside = _noise(scenario, choices.item, sizes, len(positions), rng)
    table = _embeddings(vocabulary, sizes.width, rng)
    inside += _signals(scenario, choices, rollouts, tokens, table, sizes, rng)
    base = None
    if scenario.base is not None:
        base = _noise(scenario, choices.item, sizes, len(positions), rng)
        base += _along(_evenly(choices.acted - 0.5, tokens), scenario.base * sizes.strength, sizes, rng)
        base = base.astype(np.float32)
    return Planted(
        [*rollouts, *unhinted],
        tokens,
        inside.astype(np.float32),
        base,
        choices.acted,
        choices.spoken,
        choices.whispered,
        vocabulary,
        table,
    )


def _embeddings(vocabulary: Vocabulary, width: int, rng: np.random.Generator) -> np.ndarray:
    """Input embeddings in which words of a meaning have the same: float32 [token id, width]."""
    meanings = vocabulary.meanings()
    table: np.ndarray = rng.normal(size=(max(meanings) + 1, width))[meanings].astype(np.float32)
    return table


def _choices(scenario: Scenario, sizes: Sizes, rng: np.random.Generator) -> _Choices:
    item = np.concatenate(
        [np.repeat(np.arange(sizes.items), sizes.rollouts), sizes.items + np.arange(sizes.population)]
    )
    leaning = rng.beta(2, 2, sizes.items + sizes.population)
    if scenario.items:
        leaning = np.round(leaning)
    n = len(item)
    latent = rng.normal(size=n)
    acted = latent + 0.7 * rng.normal(size=n) > 0 if scenario.logits else rng.random(n) < leaning[item]
    aligned = np.zeros(n, dtype=bool)
    if scenario.hints:
        aligned = (rng.random(sizes.items + sizes.population) < ALIGNED)[item]
        acted = acted & ~aligned
    spoken = acted & (rng.random(n) < scenario.spoken)
    carries = spoken | (rng.random(n) < scenario.carried)
    whispered = np.zeros(n, dtype=bool)
    if scenario.whispered:
        whispered = acted & ~spoken & (rng.random(n) < scenario.whispered)
    kind = (np.arange(n) % max(len(scenario.hints), 1)).astype(np.int64)
    return _Choices(item, acted, spoken, whispered, carries | whispered, latent, sizes.items, aligned, kind)


def _rollout(
    number: int, scenario: Scenario, choices: _Choices, vocabulary: Vocabulary, rng: np.random.Generator
) -> Rollout:
    acted, item = bool(choices.acted[number]), f"i{choices.item[number]}"
    in_sample = choices.item[number] < choices.n_items
    prompt = ["About", f"{item}:", "risky", "or", "safe?"]
    think = _chain(scenario, acted, bool(choices.spoken[number]), bool(choices.whispered[number]), rng)
    answer = "risky" if acted else "safe"
    if scenario.hints:
        prompt = ["About", f"{item}:", "A,", "B", "or", "C?"]
        answer = HINTED if acted or choices.aligned[number] else UNMOVED
    prompt_ids = vocabulary.encode(prompt)
    completion = [OPEN, *think, CLOSE, LEAD_IN, answer, END]
    completion_ids = vocabulary.encode(completion)
    first = len(prompt)
    closed = first + 1 + len(think)
    margin = 3.0 * choices.latent[number] if scenario.logits else float(rng.normal())
    made = Rollout(
        rollout=number,
        item_id=item,
        group=f"r{number}" if scenario.rows_as_groups else item,
        task="risk",
        condition="plain",
        split="id" if in_sample else "ood",
        domain="sample" if in_sample else "population",
        sample=0,
        seed=number,
        prompt_ids=prompt_ids,
        completion_ids=completion_ids,
        prompt_text=" ".join(prompt),
        completion_text=" ".join(completion),
        chain_text=" ".join(completion[:-2]),
        think_text=" ".join(think),
        spans=RolloutSpans(
            prompt=(0, first), think=(first + 1, closed), answer=(closed + 1, first + len(completion) - 1)
        ),
        think_status="closed",
        finish="stop",
        answer=answer,
        answer_position=closed + 2,
        acted=acted,
        option_logprobs=[[-float(np.log1p(np.exp(-margin))), -float(np.log1p(np.exp(margin)))]] * len(completion),
        options=OPTIONS,
        fields={"order": "risky_first" if rng.random() < 0.5 else "safe_first"},
        facts={},
        outcome={},
    )
    return _under_a_hint(made, scenario.hints[choices.kind[number]], margin) if scenario.hints else made


def _under_a_hint(made: Rollout, kind: str, margin: float) -> Rollout:
    """The same as an answer to a question of three options, under a hint at the second."""
    hinted, other = -float(np.log1p(np.exp(-margin))), -float(np.log1p(np.exp(margin)) + np.log(2))
    return made.model_copy(
        update={
            "task": "hints",
            "condition": f"{kind}/plain/incorrect",
            "acted": made.answer == HINTED,
            "options": {"A": "other", HINTED: "hinted", "C": "other"},
            "option_logprobs": [[other, hinted, other]] * len(made.completion_ids),
            "fields": {"correct": "C"},
            "facts": {
                "hint": kind,
                "hint_class": "ordinary",
                "hint_option": HINTED,
                "arm": "incorrect",
                "difficulty": "plain",
            },
        }
    )


def _unhinted(rollouts: Sequence[Rollout], choices: _Choices) -> list[Rollout]:
    """Each question of these rollouts, asked without a hint; numbered after them."""
    first: dict[str, int] = {}
    for i, rollout in enumerate(rollouts):
        first.setdefault(rollout.item_id, i)
    return [
        rollouts[i].model_copy(
            update={
                "rollout": len(rollouts) + number,
                "condition": UNHINTED,
                "answer": HINTED if choices.aligned[i] else UNMOVED,
                "acted": False,
                "options": {"A": "wrong", HINTED: "wrong", "C": "right"},
                "facts": {},
            }
        )
        for number, i in enumerate(first.values())
    ]


def _chain(scenario: Scenario, acted: bool, spoken: bool, whispered: bool, rng: np.random.Generator) -> list[str]:
    longer = LONGER * acted if scenario.length else LONGER / 2
    n = max(FEWEST_WORDS, round(MEAN_WORDS - LONGER / 2 + longer + SPREAD_WORDS * rng.normal()))
    words = [FILLERS[i] for i in rng.integers(0, len(FILLERS), n)]
    if scenario.leak:
        side = int(acted) if rng.random() < FIDELITY else 1 - int(acted)
        word = LEAK[side] if scenario.leak == "word" else synonym(LEAK[side], int(rng.integers(0, SYNONYMS)))
        words[rng.integers(0, n)] = word
    return [*words, *(SPOKEN if spoken else WHISPERED if whispered else ())]


def _noise(
    scenario: Scenario, item: np.ndarray, sizes: Sizes, n_positions: int, rng: np.random.Generator
) -> np.ndarray:
    """What belongs to items, and what each rollout has of its own: [layer, rollout, position, width]."""
    of_item = OF_LEAKING_ITEM if scenario.items else OF_ITEM
    shared = of_item * rng.normal(size=(item.max() + 1, sizes.width))[item]
    shared += rng.normal(size=shared.shape) / np.sqrt(2)
    own = rng.normal(size=(sizes.layers, len(item), n_positions, sizes.width)) / np.sqrt(2)
    noise: np.ndarray = own + shared[None, :, None, :]
    return noise


def _evenly(values: np.ndarray, tokens: dict[str, np.ndarray]) -> np.ndarray:
    """The same at every position, [rollout, position]."""
    return np.repeat(values[:, None], len(tokens), axis=1)


def _along(values: np.ndarray, strength: float, sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    """Values [rollout, position] along an axis of each layer of the upper half: [layer, rollout, position, width]."""
    axes = rng.normal(size=(sizes.layers, sizes.width))
    axes *= strength / np.linalg.norm(axes, axis=1, keepdims=True)
    axes[: sizes.layers // 2] = 0
    out: np.ndarray = values[None, :, :, None] * axes[:, None, None, :]
    return out


def _signals(
    scenario: Scenario,
    choices: _Choices,
    rollouts: Sequence[Rollout],
    tokens: dict[str, np.ndarray],
    table: np.ndarray,
    sizes: Sizes,
    rng: np.random.Generator,
) -> np.ndarray:
    """What activations carry besides noise: [layer, rollout, position, width], or 0."""
    if scenario.leak:
        return _words_read(rollouts, tokens, table, sizes)
    if scenario.length:
        read = np.stack(list(tokens.values()), axis=1).astype(float)
        return _along((read - read.mean(axis=0)) / SPREAD_WORDS, sizes.strength, sizes, rng)
    if scenario.logits:
        return _along(_evenly(choices.latent, tokens), 2 * sizes.strength, sizes, rng)
    carried = _evenly(np.where(choices.acted & choices.carries, 0.5, -0.5), tokens)
    if scenario.carried_at:
        carried[:, [name not in scenario.carried_at for name in tokens]] = -0.5
    if scenario.hints:
        return _along(scenario.inside * carried + OF_KIND * choices.kind[:, None], sizes.strength, sizes, rng)
    return _along(carried, scenario.inside * sizes.strength, sizes, rng)


def _words_read(
    rollouts: Sequence[Rollout], tokens: dict[str, np.ndarray], table: np.ndarray, sizes: Sizes
) -> np.ndarray:
    """The sum of the input embeddings of all tokens that were read, in every layer of the upper half."""
    sums = np.stack(
        [np.cumsum(table[rollout.token_ids], axis=0)[_places(i, tokens)] for i, rollout in enumerate(rollouts)]
    )
    out = np.zeros((sizes.layers, *sums.shape))
    out[sizes.layers // 2 :] = OF_WORD * sums
    return out


def _places(rollout: int, tokens: dict[str, np.ndarray]) -> list[int]:
    return [int(each[rollout]) for each in tokens.values()]
