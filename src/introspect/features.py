"""Positions: which tokens of a rollout are probed, and what text is visible there.

A position has a name and falls on one token of each rollout: the last prompt token, a relative place in the think span
(`think_0` is its first token, `think_100` its last), the token before the answer's name, or its first token
(`answer_token`; where another follows, whose distribution was recorded). Or it is the mean over a span (`prompt_mean`,
`think_mean`, `answer_mean`), and stands where the span ends. What a probe may use at a position is a function of the
tokens up to and including it, of a mean up to the span's last, and the text baselines see exactly those.

The mean over a span is kept as one row, over every token of it, taken in float32 and stored in the model's own format.
Of a run that keeps no such row, it is the mean of the span's recorded tokens: of all, or of each k-th where
`capture.tokens` is `every:k` of that span. Anything less is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .errors import EstimateError, SpecError
from .experiment import MEANS
from .free_memory import free_memory
from .probes.stream import BUDGET, Activations, Streamed
from .rollout import Rollout
from .rows import NO_TOKEN, Rows
from .spans import SPAN_CODES
from .store import StoreReader, averages
from .surroundings import MEMORY_GB

"""Of the machine, and so no part of a spec: results do not depend on it."""
ANSWER_ITSELF = ("answer_token", "answer_mean")
"""Positions at which what was answered has been read."""
MIN_SHARE_WITH_THINK = 0.9
"""Think positions are probed when at least this share of valid rollouts has a think span with tokens in it."""


def token_position(rollout: Rollout, name: str) -> int | None:
    """Absolute index of the token that the named position falls on, of a mean its span's last; None when the rollout
    has no such token.
    """
    first = len(rollout.prompt_ids)
    if name in MEANS:
        return next(iter(_span(rollout, MEANS[name])[-1:]), None)
    if name == "last_prompt":
        return first - 1
    if name == "before_answer":
        return None if rollout.answer_position is None else rollout.answer_position - 1
    if name == "answer_token":
        at = rollout.answer_position
        return None if at is None or at + 1 >= first + len(rollout.completion_ids) else at
    start, stop = rollout.spans.think
    if start >= stop or start < first:
        return None
    return start + round(int(name.removeprefix("think_")) / 100 * (stop - 1 - start))


def position_tokens(rollout: Rollout, name: str) -> range:
    """Absolute indices of the tokens that are read at the named position: one, or all that a mean is taken over; none
    when the rollout has no such token.
    """
    if name in MEANS:
        return _span(rollout, MEANS[name])
    at = token_position(rollout, name)
    return range(0) if at is None else range(at, at + 1)


def _span(rollout: Rollout, name: str) -> range:
    """The tokens of a span; none where no distribution over what follows any of them was recorded."""
    first, n_tokens = len(rollout.prompt_ids), len(rollout.prompt_ids) + len(rollout.completion_ids)
    start, stop = getattr(rollout.spans, name)
    inside = (0 if name == "prompt" else first) <= start < stop <= n_tokens and start + 1 < n_tokens
    return range(start, stop) if inside else range(0)


def probed_rows(rollout: Rollout, names: Sequence[str]) -> Rows:
    """The rows that probes at the named positions read, of those that the rollout has."""
    found = {name: tokens for name in names if (tokens := position_tokens(rollout, name))}
    means = {SPAN_CODES[MEANS[name]]: list(tokens) for name, tokens in found.items() if name in MEANS}
    return Rows(sorted({tokens[0] for name, tokens in found.items() if name not in MEANS}), means)


@dataclass(frozen=True)
class Probed:
    """The rollouts and positions that go into the probes: every rollout has a valid answer and every position."""

    rollouts: list[Rollout]
    positions: tuple[str, ...]
    tokens: dict[str, np.ndarray]
    """Position name -> absolute token index of each rollout; of a mean, its span's last token."""
    notes: list[str]
    """What was left out, in sentences."""


def choose_probed(rollouts: Sequence[Rollout], positions: Sequence[str]) -> Probed:
    """Keep the valid rollouts that have every position; drop think positions when most rollouts have no chain.

    Positions come in the order in which they fall in a rollout, however they are listed: of places that are equally
    good, the first one is taken.

    Raises:
        EstimateError: no rollout has a valid answer, or no position is left.
    """
    valid = [rollout for rollout in rollouts if rollout.acted is not None]
    if not valid:
        raise EstimateError(f"none of {len(rollouts)} rollouts has a valid answer, so there is nothing to predict")
    notes = []
    if len(valid) < len(rollouts):
        notes.append(
            f"{len(rollouts) - len(valid)} of {len(rollouts)} rollouts have no valid answer and are not probed."
        )
    with_think = [r for r in valid if token_position(r, "think_0") is not None]
    kept_positions = tuple(positions)
    if len(with_think) < MIN_SHARE_WITH_THINK * len(valid):
        kept_positions = tuple(name for name in positions if not name.startswith("think_"))
        notes.append(
            f"Only {len(with_think)} of {len(valid)} valid rollouts have a think span: no position in it is probed, "
            "and verdicts are on whatever stands before the answer."
        )
    if not kept_positions:
        raise EstimateError("no position is left to probe: add last_prompt or before_answer to probe.positions")
    kept_positions = tuple(sorted(kept_positions, key=_place))
    kept = [r for r in valid if all(token_position(r, name) is not None for name in kept_positions)]
    if len(kept) < len(valid):
        lack = "have no think span" + " or end with their answer" * any(
            name in ANSWER_ITSELF for name in kept_positions
        )
        notes.append(f"{len(valid) - len(kept)} valid rollouts {lack} and are not probed.")
    tokens = {name: np.array([token_position(r, name) for r in kept], dtype=np.int64) for name in kept_positions}
    return Probed(kept, kept_positions, tokens, notes)


def _place(name: str) -> float:
    """Where a named position falls: 0 is the prompt's end, 1 to 2 the think span, 3 and 4 the answer's name, and a mean
    comes after the last token of its span.
    """
    ends = {"last_prompt": 0.0, "before_answer": 3.0, "answer_token": 4.0}
    ends |= {"prompt_mean": 0.5, "think_mean": 2.5, "answer_mean": 5.0}
    return ends[name] if name in ends else 1 + int(name.removeprefix("think_")) / 100


def visible_chain(rollout: Rollout, position: int, tokenizer: Any) -> str:
    """The part of the completion that has been read once the token at `position` has."""
    return tokenizer.decode(rollout.token_ids[len(rollout.prompt_ids) : position + 1])


def logit_margin(rollout: Rollout, name: str, acting: str) -> float:
    """Log-odds (nats) of the acting options' names against the others', in the distribution over the token that follows
    the named position; of a mean, their mean over those of its tokens after which a distribution was recorded.
    """
    before, tokens = len(rollout.prompt_ids) - 1, position_tokens(rollout, name)
    logprobs = np.array(rollout.option_logprobs[max(tokens.start - before, 0) : tokens.stop - before])
    acts = np.array([meaning == acting for meaning in rollout.options.values()])
    sides = (np.logaddexp.reduce(logprobs[:, side], axis=1) for side in (acts, ~acts))
    return float(np.mean(next(sides) - next(sides)))


def prior_probability(everything: Sequence[Rollout], chosen: Sequence[Rollout]) -> np.ndarray | None:
    """Probability of the hinted option where the answer begins, over the item's unhinted samples, those of the hint's
    own baseline where it has one: [chosen rollout].

    Items without a readable unhinted answer get the mean of the others. None when no rollout is hinted.
    """
    if not all("hint_option" in rollout.facts for rollout in chosen):
        return None
    unhinted: dict[tuple[str, object], list[dict[str, float]]] = {}
    for rollout in everything:
        if "hint" not in rollout.facts and rollout.answer_position is not None:
            logprobs = rollout.option_logprobs[rollout.answer_position - len(rollout.prompt_ids)]
            key = rollout.item_id, rollout.facts.get("baseline_for")
            unhinted.setdefault(key, []).append(dict(zip(rollout.options, np.exp(logprobs), strict=True)))
    found, own_baseline = [], {kind for _, kind in unhinted}
    for rollout in chosen:
        kind = rollout.facts["hint"] if rollout.facts["hint"] in own_baseline else None
        own = unhinted.get((rollout.item_id, kind), [])
        found.append(np.mean([each[str(rollout.facts["hint_option"])] for each in own] or [np.nan]))
    column = np.array(found, dtype=float)
    return np.where(np.isnan(column), np.nanmean(column), column) if np.isfinite(column).any() else None


def gather(store: StoreReader, probed: Probed, site: str, layers: Sequence[int]) -> dict[str, np.ndarray]:
    """Activations at every probed position: name -> float32 [layer, rollout, width].

    Raises:
        EstimateError: the store lacks a row that a position falls on.
    """
    return _read(store, stored_rows(store, probed), site, probed.positions, layers)


def streamed(store: StoreReader, probed: Probed, site: str, budget: int = BUDGET) -> Streamed:
    """The same, read as it is needed; `budget`: bytes to hold at once.

    Raises:
        EstimateError: the store lacks a row that a position falls on.
    """
    rows = stored_rows(store, probed)
    site_bytes = 4 * len(probed.rollouts) * store.spec.width
    return Streamed(probed.positions, partial(_read, store, rows, site), site_bytes, budget)


def held_or_streamed(
    stores: Sequence[StoreReader], probed: Probed, site: str, layers: Sequence[int]
) -> list[Activations]:
    """Activations of each store, held whole where memory has room for all of them, and read as needed elsewhere.

    What is found in them is the same.

    Raises:
        EstimateError: a store lacks a row that a position falls on.
        SpecError: `INTROSPECT_MEMORY_GB` is no number above 0.
    """
    budget = memory_budget()
    found = [streamed(store, probed, site, budget) for store in stores]
    if sum(each.site_bytes for each in found) * len(probed.positions) * len(layers) > budget:
        return list(found)
    return [each.read(each.positions, tuple(layers)) for each in found]


def memory_budget() -> int:
    """Bytes of memory that activations may take: `$INTROSPECT_MEMORY_GB`, else a quarter of what is free.

    Raises:
        SpecError: the variable is no number above 0.
    """
    said = os.environ.get(MEMORY_GB, "").strip()
    if not said:
        return free_memory() // 4
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise SpecError(
            f"{MEMORY_GB} is {said!r}: set it to the GB of memory that activations may take, such as 2, or unset it"
        )
    return int(number * 1e9)


@dataclass(frozen=True)
class Held:
    """Where a store holds what is read at a position."""

    rows: np.ndarray
    """Its rows, those of a rollout one after another."""
    counts: np.ndarray | None = None
    """How many each rollout has, whose mean is read, [rollout]; None: one each."""

    @property
    def n(self) -> int:
        """Rollouts."""
        return len(self.rows if self.counts is None else self.counts)


def stored_rows(store: StoreReader, probed: Probed) -> dict[str, Held]:
    """Where the store holds what is read at every probed position.

    Raises:
        EstimateError: it lacks a row.
    """
    columns = store.columns()
    tokens = _Numbered(_pairs(columns["rollout"], columns["position"]))
    means = _Numbered(_pairs(columns["rollout"], np.where(columns["position"] == NO_TOKEN, columns["span"], -1)))
    numbers = np.array([rollout.rollout for rollout in probed.rollouts], dtype=np.int64)
    found = {}
    for name in probed.positions:
        if name in MEANS:
            kept = means.rows(_pairs(numbers, np.full(len(numbers), SPAN_CODES[MEANS[name]])))
            found[name] = Held(kept) if (kept >= 0).all() else _members(store, tokens, probed, numbers, name)
            continue
        rows = tokens.rows(_pairs(numbers, probed.tokens[name]))
        if (rows < 0).any():
            absent = int(np.argmin(rows))
            first = int(numbers[absent]), int(probed.tokens[name][absent])
            raise EstimateError(f"rollout, position {first} was not recorded: record the run again")
        found[name] = Held(rows)
    return found


def _members(store: StoreReader, tokens: _Numbered, probed: Probed, numbers: np.ndarray, name: str) -> Held:
    """The recorded tokens of a span whose mean has no row of its own."""
    span, selection = MEANS[name], store.spec.selection
    step = int(selection.tokens.partition(":")[2] or 1) if span in selection.spans else 1
    wanted = [position_tokens(rollout, name)[::step] for rollout in probed.rollouts]
    counts = np.array([len(each) for each in wanted], dtype=np.int64)
    positions = np.concatenate([np.arange(each.start, each.stop, each.step) for each in wanted])
    rows = tokens.rows(_pairs(np.repeat(numbers, counts), positions))
    if (rows < 0).any():
        lacking = int(np.repeat(numbers, counts)[np.argmin(rows)])
        raise EstimateError(
            f"{store.path} keeps neither the mean over the {span} span of rollout {lacking} nor every token of it: "
            f"record the run again with {name} in probe.positions"
        )
    return Held(rows, counts)


class _Numbered:
    """Rows of a store by a number, [row]; -1: none that is asked for."""

    def __init__(self, keys: np.ndarray) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        """The row of each number, -1 where there is none."""
        at = np.searchsorted(self._keys, wanted, side="right") - 1
        there = (at >= 0) & (wanted >= 0)
        there[there] = self._keys[at[there]] == wanted[there]
        rows = np.full(len(wanted), -1, dtype=np.int64)
        rows[there] = self._order[at[there]]
        return rows


def _pairs(rollouts: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A rollout and a token of it as one number; -1 for what is neither."""
    fits = (rollouts >= 0) & (rollouts < 1 << 31) & (positions >= 0) & (positions < 1 << 31)
    return np.where(fits, (rollouts << 31) | positions, -1)


def _read(
    store: StoreReader,
    held: Mapping[str, Held],
    site: str,
    positions: Sequence[str],
    layers: Sequence[int],
) -> dict[str, np.ndarray]:
    """Some positions and layers: name -> float32 [layer, rollout, width]. Rows of their own are read together."""
    width, n = store.spec.width, held[positions[0]].n
    out = {name: np.empty((len(layers), n, width), np.float32) for name in positions}
    single = [name for name in positions if held[name].counts is None]
    wanted = np.concatenate([np.empty(0, np.int64), *(held[name].rows for name in single)])
    for i, layer in enumerate(layers):
        values = store.read(site, layer, wanted)
        for k, name in enumerate(single):
            out[name][i] = values[k * n : (k + 1) * n]
        del values
        for name in positions:
            if (counts := held[name].counts) is not None:
                owner = np.repeat(np.arange(n), counts)
                out[name][i] = averages(partial(store.read, site, layer), held[name].rows, owner, n, width)
    return out
