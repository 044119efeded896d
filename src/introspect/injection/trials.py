"""Trials: a prompt, what is added where, and what the model does then: its first token's distribution, or a reply.

Prompts share what stands before an injection: it is run once for all trials of a wording. Words, doses and kinds of
vectors are rows of one batch, each with a vector of its own.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..backends import ModelBackend, Sampling, Steer
from ..concepts.vectors import SITE
from ..errors import ModelError, SpecError
from ..forced import Ids, answer_lead, continuation_ids
from ..models import LoadedModel, render_messages
from ..spans import token_starts

NOWHERE = range(0)
SHORT = 8
"""Tokens of a short reply."""


@dataclass(frozen=True)
class Swap:
    """Another prompt's activations, to be put in the place of a trial's own; see `swaps`."""

    prompt: Ids
    at: range
    """Its tokens that are taken."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of the model."""

    about: Mapping[str, Any]
    """What its line says of it, as JSON values."""
    prompt: Ids
    vector: np.ndarray | None = None
    """float32 [width], as it is added; None: nothing is."""
    where: range = NOWHERE
    """Tokens to which it is added, or that are replaced; may go on past the prompt where it is added."""
    shared: int = 1
    """How many first tokens of the prompt nothing is added to, in any trial that begins with them."""
    watch: tuple[int, ...] = ()
    """Tokens whose log-probabilities at the first token after the prompt are wanted."""
    seed: int = 0
    """Of a sampled reply."""
    short: bool = False
    """Whether its reply is cut off after `SHORT` tokens, where a yes, a no or a letter is all that is looked for."""
    swap: Swap | None = None
    """What is put in instead of adding a vector."""
    patch: np.ndarray | None = None
    """float32 [token, width], added to the tokens of `where` one by one: what a swap comes to."""

    @property
    def steered(self) -> int:
        """Tokens of the prompt that are changed."""
        if self.patch is not None:
            return len(self.patch)
        return 0 if self.vector is None else len(range(self.where.start, min(self.where.stop, len(self.prompt))))

    def most(self, tokens: int) -> int:
        """Tokens after which its reply is cut off, in a study that cuts off after so many."""
        return min(tokens, SHORT) if self.short else tokens


@dataclass(frozen=True)
class Reply:
    """A sampled reply."""

    ids: tuple[int, ...]
    """Without the token that ends it."""
    text: str
    finish: str
    """`stop`, `length` or `not_finite`."""


def steers(layer: int, trials: Sequence[Trial], width: int) -> list[Steer]:
    """What is done in trials that run together: a vector each, or a vector for each of a trial's tokens."""
    out = []
    if any(each.vector is not None for each in trials):
        given = [each.vector if len(each.where) else None for each in trials]
        out.append(_steer(layer, given, [each.where for each in trials], width))
    for k in range(max((len(each.patch) for each in trials if each.patch is not None), default=0)):
        given = [each.patch[k] if each.patch is not None and k < len(each.patch) else None for each in trials]
        out.append(_steer(layer, given, [each.where[k : k + 1] for each in trials], width))
    return out


def _steer(layer: int, vectors: Sequence[np.ndarray | None], where: Sequence[range], width: int) -> Steer:
    zero = np.zeros(width, dtype=np.float32)
    rows = torch.from_numpy(np.stack([zero if each is None else each for each in vectors]))
    return Steer(SITE, layer, rows, tuple(0.0 if each is None else 1.0 for each in vectors), tuple(where))


def first_tokens(backend: ModelBackend, layer: int, trials: Sequence[Trial], width: int) -> list[list[float] | None]:
    """Log-probabilities (nats) of each trial's watched tokens, in the order of `watch`; None where they are no numbers.

    One forward pass; nothing is drawn.
    """
    found: list[list[float] | None] = [None] * len(trials)
    for begin, indices in sharing(trials):
        here = [trials[index] for index in indices]
        rows = [each.prompt[len(begin) :] for each in here]
        for numbers, logits in backend.branches(begin, rows, steer=steers(layer, here, width)):
            for place, number in enumerate(numbers):
                last = torch.log_softmax(logits[place, len(rows[number]) - 1].float(), dim=-1)
                values = last[list(here[number].watch)].tolist()
                found[indices[number]] = values if all(map(math.isfinite, values)) else None
    return found


def sharing(trials: Sequence[Trial]) -> Iterator[tuple[Ids, list[int]]]:
    """Beginnings, and the trials that share each, short ones beside short ones; swaps, which take many additions, for
    themselves.
    """
    groups: dict[tuple[Ids, bool], list[int]] = {}
    for index, each in enumerate(trials):
        begin = each.prompt[: max(1, min(each.shared, len(each.prompt) - 1))]
        groups.setdefault((begin, each.patch is not None), []).append(index)
    for (begin, _), indices in groups.items():
        yield begin, sorted(indices, key=lambda index: (len(trials[index].prompt), index))


def replies(
    backend: ModelBackend, loaded: LoadedModel, layer: int, trials: Sequence[Trial], sampling: Sampling, lanes: int
) -> list[Reply]:
    """A sampled reply of each trial."""
    if not trials:
        return []
    made = backend.generate(
        [each.prompt for each in trials],
        seeds=[each.seed for each in trials],
        sampling=sampling,
        capture=None,
        steer=steers(layer, trials, loaded.info.width),
        lanes=lanes,
    )
    out = []
    for each in made:
        ids = [token for token in each.completion_ids if token not in sampling.stop_ids]
        out.append(Reply(tuple(ids), str(loaded.tokenizer.decode(ids, skip_special_tokens=True)), each.finish))
    return out


def surprise(backend: ModelBackend, prompts: Sequence[Ids], found: Sequence[Reply]) -> list[float | None]:
    """Median nats of each reply's tokens to the model without injection; None of no tokens.

    The median, not the mean (the log of the perplexity): to a model that reports rightly and only when it should, the
    few tokens that make a report, its Yes and its word, are a great surprise without injection, and those between not.
    """
    out: list[float | None] = [None] * len(prompts)
    groups: dict[Ids, list[int]] = {}
    for index, (prompt, reply) in enumerate(zip(prompts, found, strict=True)):
        if reply.ids and len(prompt) > 1:
            groups.setdefault(prompt, []).append(index)
    for prompt, indices in groups.items():
        rows = [(prompt[-1], *found[index].ids[:-1]) for index in indices]
        for numbers, logits in backend.branches(prompt[:-1], rows):
            for place, number in enumerate(numbers):
                ids = torch.tensor(found[indices[number]].ids, device=logits.device)
                said = torch.log_softmax(logits[place, : len(ids)].float(), dim=-1)
                out[indices[number]] = -float(said.gather(1, ids[:, None]).quantile(0.5))
    return out


@dataclass
class Chats:
    """Rendered chats, and where their parts stand. Each is rendered once."""

    loaded: LoadedModel
    _known: dict[tuple[str, ...], Ids] = field(default_factory=dict)
    _leads: dict[tuple[Ids, str], Ids] = field(default_factory=dict)
    _spelled: dict[Ids, tuple[str, list[int]]] = field(default_factory=dict)

    def render(self, messages: Sequence[Mapping[str, str]]) -> Ids:
        """Token ids up to where the assistant begins."""
        key = tuple(each["content"] for each in messages)
        if key not in self._known:
            self._known[key] = tuple(render_messages(self.loaded, messages))
        return self._known[key]

    def replying(self, prompt: Ids) -> Ids:
        """The prompt up to where a reply begins, after a think block that is closed."""
        return (*prompt, *answer_lead(self.loaded, prompt, ""))

    def led(self, prompt: Ids, names: Names) -> Ids:
        """The prompt with what has the model answer at once, up to where the names are told apart."""
        key = prompt, names.lead
        if key not in self._leads:
            self._leads[key] = answer_lead(self.loaded, prompt, names.lead)
        return (*prompt, *self._leads[key], *names.common)

    def tokens_of(self, prompt: Ids, text: str, inside: tuple[int, int] | None = None) -> range:
        """The tokens of the last place at which a text stands in a prompt, or of some of its characters.

        Raises:
            ModelError: the chat template did not leave the text as it was.
        """
        spelled, starts = self._spell(prompt)
        at = spelled.rfind(text)
        if at < 0:
            raise self._changed(text)
        begin, end = inside or (0, len(text))
        stops = [*starts[1:], len(spelled)]
        touched = [
            i
            for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
            if start < at + end and stop > at + begin
        ]
        return range(touched[0], touched[-1] + 1)

    def start_of(self, messages: Sequence[Mapping[str, str]], number: int) -> int:
        """The token of a chat with which a message begins, wherever else the chat holds the same text: what the chat
        and one in which that message begins otherwise have in common goes so far.

        Raises:
            ModelError: the chat template did not leave the message as it was.
        """
        text = messages[number]["content"]
        other = {**messages[number], "content": "1" if text.startswith("0") else "0"}
        spelled, starts = self._spell(self.render(messages))
        changed, _ = self._spell(self.render([*messages[:number], other, *messages[number + 1 :]]))
        same = zip(spelled, changed, strict=False)
        at = next((i for i, (one, two) in enumerate(same) if one != two), min(len(spelled), len(changed)))
        if not text or not spelled.startswith(text, at):
            raise self._changed(text)
        token = bisect_left(starts, at)
        return token if token < len(starts) and starts[token] == at else token - 1

    def _changed(self, text: str) -> ModelError:
        return ModelError(
            f"the chat template of {self.loaded.info.name} changes {text[:60]!r}: what is to be injected there "
            "has no place; choose other wordings (prompts_file) or another model"
        )

    def _spell(self, prompt: Ids) -> tuple[str, list[int]]:
        if prompt not in self._spelled:
            tokenizer = self.loaded.tokenizer
            text = tokenizer.decode(list(prompt), skip_special_tokens=False, clean_up_tokenization_spaces=False)
            self._spelled[prompt] = str(text), token_starts(tokenizer, prompt)
        return self._spelled[prompt]


@dataclass(frozen=True)
class Names:
    """Answers that are told apart by one token after a lead."""

    lead: str
    """Text that the reply begins with."""
    common: Ids
    """Tokens that all of them begin with."""
    tokens: Mapping[str, int]
    """Name -> its next token. Names that share it cannot be told apart."""

    def alone(self) -> tuple[str, ...]:
        """Names whose token is that of no other."""
        taken = list(self.tokens.values())
        return tuple(name for name, token in self.tokens.items() if taken.count(token) == 1)


def name_tokens(loaded: LoadedModel, names: Sequence[str], lead: str) -> Names:
    """The tokens by which names are told apart after a lead, or where a reply begins."""
    ids = {name: _after(loaded.tokenizer, lead, name) for name in names}
    shortest = min(map(len, ids.values()))
    depth = 0
    while depth < shortest - 1 and len({each[depth] for each in ids.values()}) == 1:
        depth += 1
    first = next(iter(ids.values()))
    return Names(lead, first[:depth], {name: each[depth] for name, each in ids.items()})


def _after(tokenizer: Any, lead: str, name: str) -> Ids:
    """The tokens of a name after the lead and a space; without a lead, where a line begins."""
    before, whole = (lead, f"{lead} {name}") if lead else ("\n", f"\n{name}")
    one, both = (tuple(tokenizer(text, add_special_tokens=False).input_ids) for text in (before, whole))
    return both[len(one) :] if both[: len(one)] == one else continuation_ids(tokenizer, whole[len(before) :])


def told_apart(loaded: LoadedModel, names: Sequence[str], lead: str) -> Names:
    """As `name_tokens`, of names that have to be told apart.

    Raises:
        SpecError: two of them have the same token. Names them.
    """
    found = name_tokens(loaded, names, lead)
    if len(found.alone()) < len(names):
        mixed = [name for name in names if name not in found.alone()]
        raise SpecError(f"{loaded.info.name} begins {mixed[0]!r} and {mixed[-1]!r} with the same token; choose another")
    return found
