"""Forced answers: what a model would answer if it had to, read off its next-token distribution and never sampled.

After a prefix that ends with `Answer:`, each option's probability is that of its name's tokens. Names are followed only
as far as is needed to tell them apart: for most tokenizers that is the first token; where names begin with the same
token (a tokenizer that spells ` 7` as a space and a digit, say), the common part is fed and the next token looked at,
so that the options' events are disjoint and their probabilities add up to at most 1. That sum, the `mass`, says how far
the model would have answered with any of the options; the `shares` are renormalised over them.

Known trade-offs: an option is known by the tokens of one spelling, the one that an answer line has it in; and a name
that is told apart by its first token counts whatever follows it (`7` includes `75` where digits are single tokens).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backends import Backend, Sampling
from .errors import SpecError
from .models import LoadedModel
from .progress import Progress, silent
from .spans import locate_spans

ANSWER = "Answer:"

Ids = tuple[int, ...]

OptionIds = Mapping[str, Ids]
"""Option -> the tokens of its name after `Answer:`."""


@dataclass(frozen=True)
class Forced:
    """The distribution over options after one prefix."""

    logprobs: dict[str, float]
    """Option -> log-probability (nats), not renormalised."""

    @property
    def mass(self) -> float:
        """Probability of any of the options, 0 to 1."""
        return float(np.exp(self._total))

    @property
    def shares(self) -> dict[str, float]:
        """Option -> probability, given that it is one of the options."""
        return {option: float(np.exp(value - self._total)) for option, value in self.logprobs.items()}

    @property
    def answer(self) -> str:
        """The most probable option; of equal ones, the first."""
        return max(self.logprobs, key=lambda option: self.logprobs[option])

    @property
    def _total(self) -> float:
        return float(np.logaddexp.reduce(list(self.logprobs.values())))


@dataclass(frozen=True)
class ForcedCost:
    """What forced answers will take: one forward pass over each sequence, no decoding."""

    passes: int
    tokens: int

    def __add__(self, other: ForcedCost) -> ForcedCost:
        return ForcedCost(self.passes + other.passes, self.tokens + other.tokens)


def forced_answers(
    backend: Backend,
    prefixes: Sequence[Sequence[int]],
    options: Sequence[OptionIds],
    *,
    lanes: int = 32,
    progress: Progress = silent,
    stage: str = "forced answers",
) -> list[Forced]:
    """The model's distribution over given answers after each prefix.

    Args:
        prefixes: token ids, each ending with those of `Answer:`. Equal ones are run once.
        options: of each prefix, its options as `option_ids` gives them.
        lanes: prefixes in one batch.
        progress: told of forward passes done and in all, under the name `stage`.

    Returns:
        One for each prefix, in their order. Deterministic: nothing is drawn.

    Raises:
        SpecError: two options of a prefix cannot be told apart by their tokens (names both); or a prefix is not one
            that the model can read.
    """
    wanted = wanted_tokens(prefixes, options)
    order = sorted(wanted, key=lambda sequence: (-len(sequence), sequence))
    found: dict[tuple[Ids, int], float] = {}
    sampling = Sampling(max_new_tokens=1, temperature=0.0, stop_ids=frozenset())
    progress(stage, 0, len(order))
    for start in range(0, len(order), lanes):
        batch = order[start : start + lanes]
        watch = sorted({token for sequence in batch for token in wanted[sequence]})
        column = {token: k for k, token in enumerate(watch)}
        made = backend.generate(
            batch, seeds=[0] * len(batch), sampling=sampling, capture=None, watch=watch, lanes=lanes
        )
        for sequence, generation in zip(batch, made, strict=True):
            row = generation.watched[0].tolist()
            found |= {(sequence, token): row[column[token]] for token in wanted[sequence]}
        progress(stage, start + len(batch), len(order))
    return [read_forced(prefix, own, found) for prefix, own in zip(prefixes, options, strict=True)]


def read_forced(prefix: Sequence[int], options: OptionIds, found: Mapping[tuple[Ids, int], float]) -> Forced:
    """The distribution over options after a prefix, from the log-probability of every token of `wanted_tokens` after
    its sequence.
    """
    return Forced(
        {
            option: sum(found[(*prefix, *ids[:k]), ids[k]] for k in range(depth))
            for (option, ids), depth in zip(options.items(), _depths(options), strict=True)
        }
    )


def forced_cost(prefixes: Sequence[Sequence[int]], options: Sequence[OptionIds]) -> ForcedCost:
    """What `forced_answers` would take for these. Runs no model."""
    wanted = wanted_tokens(prefixes, options)
    return ForcedCost(len(wanted), sum(len(sequence) for sequence in wanted))


def wanted_tokens(prefixes: Sequence[Sequence[int]], options: Sequence[OptionIds]) -> dict[Ids, set[int]]:
    """Every sequence that has to be run -> the next tokens that are looked at."""
    wanted: dict[Ids, set[int]] = {}
    for prefix, own in zip(prefixes, options, strict=True):
        for ids, depth in zip(own.values(), _depths(own), strict=True):
            for k in range(depth):
                wanted.setdefault((*prefix, *ids[:k]), set()).add(ids[k])
    return wanted


def _depths(options: OptionIds) -> list[int]:
    """How many tokens of each name tell it from all others.

    Raises:
        SpecError: a name's tokens are, or begin, another's.
    """
    depths = []
    for option, ids in options.items():
        others = [(name, other) for name, other in options.items() if name != option]
        covered = next((name for name, other in others if other[: len(ids)] == ids), None)
        if covered is not None:
            raise SpecError(
                f"the options {option!r} and {covered!r} cannot be told apart: the model's tokens of the one begin "
                "those of the other; rename one of them in the items"
            )
        depths.append(1 + max((_n_common(ids, other) for _, other in others), default=0))
    return depths


def _n_common(one: Ids, other: Ids) -> int:
    """How many tokens both begin with."""
    return next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def option_ids(tokenizer: Any, options: Sequence[str]) -> dict[str, Ids]:
    """Option -> the tokens of its name where an answer line puts it: after `Answer:` and a space.

    The first of them is `record.option_token`.
    """
    n_lead = len(_ids(tokenizer, ANSWER))
    return {option: tuple(_ids(tokenizer, f"{ANSWER} {option}")[n_lead:]) for option in options}


def continuation_ids(tokenizer: Any, text: str) -> Ids:
    """Token ids of a text that goes on where another ended, so without what a tokenizer puts before a beginning."""
    lead = _ids(tokenizer, "a")
    both = _ids(tokenizer, f"a{text}")
    return tuple(both[len(lead) :] if both[: len(lead)] == lead else _ids(tokenizer, text))


def answer_lead(loaded: LoadedModel, prompt_ids: Sequence[int], text: str = ANSWER) -> Ids:
    """What is put after a rendered prompt so that the model answers at once: its think block closed where the prompt
    leaves one open, passed over where its format has one, and `Answer:` or another text.
    """
    form, tokenizer = loaded.format, loaded.tokenizer
    left = locate_spans(prompt_ids, [], tokenizer, form).status
    if left == "empty" or (left == "absent" and form.name == "plain"):
        return continuation_ids(tokenizer, text)
    header = form.answer_opens[0] if form.answer_opens else ""
    if left == "absent" and header:
        return continuation_ids(tokenizer, f"{header}{text}")
    # An opening that brings its own line break (a channel's name) is closed on the next line, without a gap.
    gap = "" if form.opens[0].endswith("\n") else "\n\n"
    closed = f"\n{form.closes[0]}" if left == "truncated" else f"{form.opens[0]}{gap}{form.closes[0]}"
    after = f"<|start|>assistant{header}" if header else gap
    return continuation_ids(tokenizer, f"{closed}{after}{text}")


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)
