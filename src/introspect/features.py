"""Positions: which tokens of a rollout are probed, and what text is visible there.

A position has a name and falls on one token of each rollout: the last prompt token, a relative place in the think span
(`think_0` is its first token, `think_100` its last), the token before the answer's name, or its first token
(`answer_token`; where another follows, whose distribution was recorded). What a probe may use at a position is a
function of the tokens up to and including it, and the text baselines see exactly those.
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
from .free_memory import free_memory
from .probes.stream import BUDGET, Activations, Streamed
from .rollout import Rollout
from .store import StoreReader

MEMORY = "INTROSPECT_MEMORY_GB"
"""Of the machine, and so no part of a spec: results do not depend on it."""
ANSWER_ITSELF = "answer_token"
MIN_SHARE_WITH_THINK = 0.9
"""Think positions are probed when at least this share of valid rollouts has a think span with tokens in it."""


def token_position(rollout: Rollout, name: str) -> int | None:
    """Absolute index of the token that the named position falls on, or None when the rollout has no such token."""
    first = len(rollout.prompt_ids)
    if name == "last_prompt":
        return first - 1
    if name == "before_answer":
        return None if rollout.answer_position is None else rollout.answer_position - 1
    if name == ANSWER_ITSELF:
        at = rollout.answer_position
        return None if at is None or at + 1 >= len(rollout.token_ids) else at
    start, stop = rollout.spans.think
    if start >= stop or start < first:
        return None
    return start + round(int(name.removeprefix("think_")) / 100 * (stop - 1 - start))


def probed_positions(rollout: Rollout, names: Sequence[str]) -> list[int]:
    """Absolute index of each named position that the rollout has."""
    found = (token_position(rollout, name) for name in names)
    return [position for position in found if position is not None]


@dataclass(frozen=True)
class Probed:
    """The rollouts and positions that go into the probes: every rollout has a valid answer and every position."""

    rollouts: list[Rollout]
    positions: tuple[str, ...]
    tokens: dict[str, np.ndarray]
    """Position name -> absolute token index of each rollout."""
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
        lack = "have no think span" + (" or end with their answer" if ANSWER_ITSELF in kept_positions else "")
        notes.append(f"{len(valid) - len(kept)} valid rollouts {lack} and are not probed.")
    tokens = {name: np.array([token_position(r, name) for r in kept], dtype=np.int64) for name in kept_positions}
    return Probed(kept, kept_positions, tokens, notes)


def _place(name: str) -> float:
    """Where a named position falls: 0 is the prompt's end, 1 to 2 the think span, 3 and 4 the answer's name."""
    ends = {"last_prompt": 0.0, "before_answer": 3.0, ANSWER_ITSELF: 4.0}
    return ends[name] if name in ends else 1 + int(name.removeprefix("think_")) / 100


def visible_chain(rollout: Rollout, position: int, tokenizer: Any) -> str:
    """The part of the completion that has been read once the token at `position` has."""
    return tokenizer.decode(rollout.token_ids[len(rollout.prompt_ids) : position + 1])


def logit_margin(rollout: Rollout, position: int, acting: str) -> float:
    """Log-odds (nats) of the acting options' names against the others', in the distribution over the next token."""
    after = position - len(rollout.prompt_ids) + 1
    logprobs = np.array(rollout.option_logprobs[after])
    acts = np.array([meaning == acting for meaning in rollout.options.values()])
    return float(np.logaddexp.reduce(logprobs[acts]) - np.logaddexp.reduce(logprobs[~acts]))


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
    said = os.environ.get(MEMORY, "").strip()
    if not said:
        return free_memory() // 4
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise SpecError(
            f"{MEMORY} is {said!r}: set it to the GB of memory that activations may take, such as 2, or unset it"
        )
    return int(number * 1e9)


def stored_rows(store: StoreReader, probed: Probed) -> dict[str, np.ndarray]:
    """Where the store holds every probed token: position -> row [rollout].

    Raises:
        EstimateError: it lacks one.
    """
    columns = store.columns()
    held = _pairs(columns["rollout"], columns["position"])
    order = np.argsort(held, kind="stable")
    held = held[order]
    numbers = np.array([rollout.rollout for rollout in probed.rollouts], dtype=np.int64)
    rows = {}
    for name in probed.positions:
        wanted = _pairs(numbers, probed.tokens[name])
        at = np.searchsorted(held, wanted, side="right") - 1
        absent = np.flatnonzero((at < 0) | (held[at] != wanted)) if len(held) else np.arange(len(wanted))
        if len(absent):
            first = int(numbers[absent[0]]), int(probed.tokens[name][absent[0]])
            raise EstimateError(f"rollout, position {first} was not recorded: record the run again")
        rows[name] = order[at]
    return rows


def _pairs(rollouts: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A rollout and a token of it as one number; -1 for what is neither."""
    fits = (rollouts >= 0) & (rollouts < 1 << 31) & (positions >= 0) & (positions < 1 << 31)
    return np.where(fits, (rollouts << 31) | positions, -1)


def _read(
    store: StoreReader,
    rows: Mapping[str, np.ndarray],
    site: str,
    positions: Sequence[str],
    layers: Sequence[int],
) -> dict[str, np.ndarray]:
    """Some positions and layers: name -> float32 [layer, rollout, width]."""
    wanted = np.concatenate([rows[name] for name in positions])
    n = len(wanted) // len(positions)
    out = {name: np.empty((len(layers), n, store.spec.width), np.float32) for name in positions}
    for i, layer in enumerate(layers):
        values = store.read(site, layer, wanted)
        for k, name in enumerate(positions):
            out[name][i] = values[k * n : (k + 1) * n]
    return out
