"""Teacher-forced: a stored chain is held fixed and steered as it is read, and the answer's log-odds are looked at.

Nothing is sampled, so an effect here is one on what is made of the chain, and not of another chain. All directions and
doses go through the model together; what stands before the first steered token, and blocks below the steered one, are
run once (`ModelBackend.branches`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..backends import ModelBackend, Steer
from ..forced import Forced, Ids, option_ids, read_forced, wanted_tokens
from ..rollout import Rollout
from ..steering import Direction
from ..steering.interventions import ENDLESS
from .log import Mapped, Replayed
from .settings import Act, ScopeName
from .subject import Subject
from .vectors import Tested

KL_TOKENS = 8
"""Tokens of a chain at which distributions are compared, the one before the answer's name among them."""


@dataclass(frozen=True)
class Reading:
    """Of every row: log-odds (nats) of acting, and KL from the first row's distributions (nats a token)."""

    log_odds: list[float | None]
    kl: list[float | None]


def steered_range(rollout: Rollout, scope: ScopeName) -> range:
    """The tokens before the answer's name that a scope steers."""
    end = rollout.answer_position or 0
    if scope == "both":
        return range(len(rollout.prompt_ids) - 1, end)
    begin, stop = rollout.spans.think if scope == "think" else rollout.spans.answer
    return range(max(begin, len(rollout.prompt_ids)), min(stop, end))


def _reach(where: range, scope: ScopeName) -> range:
    """The tokens that are steered, those of an option's name that has to be followed further among them."""
    return where if scope == "think" else range(where.start, ENDLESS)


def replay_case(subject: Subject, tested: Tested, acts: Sequence[Act], rollout: Rollout, scope: ScopeName) -> Replayed:
    """One rollout in one scope, under every direction and act."""
    where = steered_range(rollout, scope)
    if not len(where):
        return Replayed(scope=scope, rollout=rollout.rollout, n_tokens=0)
    rows = [(0, None), *((d, act) for d in range(len(tested.vectors)) for act in acts)]
    vectors, reach = tested.vectors[[d for d, _ in rows]], _reach(where, scope)
    steer = make_rows(tested.direction, vectors, [act for _, act in rows], tested.unit, reach)
    found = read_rows(subject, rollout, where, len(rows), steer)
    shape = (len(tested.vectors), len(acts))
    return Replayed(
        scope=scope,
        rollout=rollout.rollout,
        n_tokens=len(where),
        plain=found.log_odds[0],
        log_odds=_shaped(found.log_odds[1:], shape),
        kl=_shaped(found.kl[1:], shape),
    )


def map_case(subject: Subject, direction: Direction, unit: float, acts: Sequence[Act], rollout: Rollout) -> Mapped:
    """One rollout under the direction of one layer, in think and answer."""
    where = steered_range(rollout, "both")
    rows = [None, *acts]
    steer = make_rows(direction, direction.vector[None].repeat(len(rows), axis=0), rows, unit, _reach(where, "both"))
    found = read_rows(subject, rollout, where, len(rows), steer)
    return Mapped(
        layer=direction.layer,
        rollout=rollout.rollout,
        plain=found.log_odds[0] or 0.0,
        log_odds=found.log_odds[1:],
        kl=found.kl[1:],
    )


def make_rows(
    direction: Direction, vectors: np.ndarray, acts: Sequence[Act | None], unit: float, where: range
) -> list[Steer]:
    """Steers of rows, each with its vector [row, width] and its act.

    Args:
        unit: strength that adds one typical activation's norm.
    """
    rows = torch.from_numpy(np.array(vectors))
    ranges = (where,) * len(acts)
    add = tuple(act.dose * unit if act is not None and act.operator == "add" else 0.0 for act in acts)
    out = tuple(float(act is not None and act.operator == "project") for act in acts)
    place = (direction.site, direction.layer, rows)
    return [Steer(*place, add, ranges), Steer(*place, out, ranges, "project")]


def read_rows(subject: Subject, rollout: Rollout, where: range, n: int, steer: Sequence[Steer]) -> Reading:
    """The answer of one rollout in `n` rows that differ in how they are steered; the first one is not."""
    begin, end = where.start, rollout.answer_position or 0
    ids: Ids = tuple(rollout.token_ids)
    options = option_ids(subject.loaded.tokenizer, sorted(rollout.options))
    prefix = ids[:end]
    found: list[dict[tuple[Ids, int], float]] = [{} for _ in range(n)]
    kl: list[float | None] = [None] * n
    for sequence, tokens in wanted_tokens([prefix], [options]).items():
        rest = sequence[begin:]
        last = len(rest) - 1
        here = _spread(last) if sequence == prefix else [last]
        chosen = sorted(tokens)
        for row, logprobs in _logprobs(subject.backend, ids[:begin], rest, n, here, steer):
            if row == 0:
                plain = logprobs
            for token, value in zip(chosen, logprobs[-1, chosen].tolist(), strict=True):
                found[row][sequence, token] = value
            if sequence == prefix:
                apart = float((plain.exp() * (plain - logprobs)).sum(dim=-1).mean())
                kl[row] = max(round(apart, 6), 0.0) if math.isfinite(apart) else None
    acting = {name for name, meaning in rollout.options.items() if meaning == subject.task.acting}
    odds = [_log_odds(read_forced(prefix, options, each), acting) for each in found]
    return Reading(odds, kl)


def _logprobs(
    backend: ModelBackend,
    beginning: Sequence[int],
    rest: Sequence[int],
    n: int,
    at: Sequence[int],
    steer: Sequence[Steer],
) -> Iterator[tuple[int, torch.Tensor]]:
    """Row and its log-probabilities [wanted token, vocabulary], float32."""
    for rows, logits in backend.branches(beginning, [rest] * n, at=at, steer=steer):
        yield from zip(rows, logits.float().log_softmax(dim=-1), strict=True)


def _spread(last: int) -> list[int]:
    """Indices spread evenly from 0 to the last."""
    return sorted({round(place) for place in np.linspace(0, last, min(KL_TOKENS, last + 1))})


def _log_odds(forced: Forced, acting: Collection[str]) -> float | None:
    """Of the acting options against the others; None where activations are no numbers any more."""
    sides = [[value for name, value in forced.logprobs.items() if (name in acting) == side] for side in (True, False)]
    if not all(math.isfinite(value) for side in sides for value in side):
        return None
    odds = float(np.logaddexp.reduce(sides[0]) - np.logaddexp.reduce(sides[1]))
    return round(odds, 6)


def _shaped(values: list[float | None], shape: tuple[int, int]) -> list[list[float | None]]:
    n_directions, n_acts = shape
    return [values[d * n_acts : (d + 1) * n_acts] for d in range(n_directions)]
