"""Teacher-forced: a stored chain is held fixed and steered as it is read, and the answer's log-odds are looked at.

Nothing is sampled, so an effect here is one on what is made of the chain, and not of another chain. All directions and
doses go through the model together; what stands before the first steered token, and blocks below the steered one, are
run once (`ModelBackend.branches`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ..backends import Capture, ModelBackend, Steer
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
    step: float | None
    """See `Replayed.step`."""


class Arm(NamedTuple):
    """One row."""

    direction: int
    act: Act | None
    """None: it is not steered."""
    own: bool = False
    """Of what is projected out: the direction's own component, rather than as much as the tested one has."""


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
    n = len(tested.vectors)
    rows = [Arm(0, None), *(Arm(d, act) for d in range(n) for act in acts)]
    rows += [Arm(d, Act("project", 1.0), own=True) for d in range(1, n)]
    vectors = tested.vectors[[each.direction for each in rows]]
    steer = make_rows(tested.direction, vectors, rows, tested.unit, _reach(where, scope))
    found = read_rows(subject, rollout, where, len(rows), steer)
    shape, end = (n, len(acts)), 1 + n * len(acts)
    return Replayed(
        scope=scope,
        rollout=rollout.rollout,
        n_tokens=len(where),
        plain=found.log_odds[0],
        log_odds=_shaped(found.log_odds[1:end], shape),
        kl=_shaped(found.kl[1:end], shape),
        own_out=found.log_odds[end:],
        component=components(subject, tested, rollout, where),
        step=found.step,
    )


def components(subject: Subject, tested: Tested, rollout: Rollout, where: range) -> list[float | None]:
    """Mean over tokens of the size of the component along each direction, without steering: what projecting it out
    removes at its own site, which nothing that is done there changes before.
    """
    pair = (tested.direction.site, tested.direction.layer)
    capture = Capture((pair[0],), (pair[1],))
    (found,) = subject.backend.replay([rollout.token_ids[: where.stop]], [where], capture=capture)
    units = tested.vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    sizes = np.abs(found[pair].double().numpy() @ units.T).mean(axis=0)
    return [round(float(size), 6) if math.isfinite(size) else None for size in sizes]


def map_case(
    subject: Subject, direction: Direction, controls: np.ndarray, unit: float, acts: Sequence[Act], rollout: Rollout
) -> Mapped:
    """One rollout under the direction of one layer, in think and answer, and under controls [control, width]."""
    where = steered_range(rollout, "both")
    vectors = np.concatenate([direction.vector[None], controls])
    rows = [Arm(0, None), *(Arm(d, act) for d in range(len(vectors)) for act in acts)]
    steer = make_rows(direction, vectors[[each.direction for each in rows]], rows, unit, _reach(where, "both"))
    found = read_rows(subject, rollout, where, len(rows), steer)
    own = slice(1, 1 + len(acts))
    return Mapped(
        layer=direction.layer,
        rollout=rollout.rollout,
        plain=found.log_odds[0],
        log_odds=found.log_odds[own],
        kl=found.kl[own],
        controls=_shaped(found.log_odds[own.stop :], (len(controls), len(acts))),
    )


def make_rows(direction: Direction, vectors: np.ndarray, rows: Sequence[Arm], unit: float, where: range) -> list[Steer]:
    """Steers of rows, each with its vector [row, width]. See `Tested` for what is projected out.

    Args:
        unit: strength that adds one typical activation's norm.
    """
    ranges = (where,) * len(rows)
    add = tuple(row.act.dose * unit if row.act is not None and row.act.operator == "add" else 0.0 for row in rows)
    out = [row.act is not None and row.act.operator == "project" for row in rows]
    as_much = tuple(float(is_out and not row.own) for row, is_out in zip(rows, out, strict=True))
    own = tuple(float(is_out and row.own) for row, is_out in zip(rows, out, strict=True))
    place = (direction.site, direction.layer, torch.from_numpy(np.array(vectors)))
    return [
        Steer(*place, add, ranges),
        Steer(*place, as_much, ranges, "project", along=torch.from_numpy(direction.vector.copy())),
        Steer(*place, own, ranges, "project"),
    ]


def read_rows(subject: Subject, rollout: Rollout, where: range, n: int, steer: Sequence[Steer]) -> Reading:
    """The answer of one rollout in `n` rows that differ in how they are steered; the first one is not."""
    begin, end = where.start, rollout.answer_position or 0
    ids: Ids = tuple(rollout.token_ids)
    options = option_ids(subject.loaded.tokenizer, sorted(rollout.options))
    prefix = ids[:end]
    found: list[dict[tuple[Ids, int], float]] = [{} for _ in range(n)]
    kl: list[float | None] = [None] * n
    step: float | None = None
    for sequence, tokens in wanted_tokens([prefix], [options]).items():
        rest = sequence[begin:]
        last = len(rest) - 1
        here = _spread(last) if sequence == prefix else [last]
        chosen = sorted(tokens)
        for row, scores in _scores(subject.backend, ids[:begin], rest, n, here, steer):
            logprobs = scores.log_softmax(dim=-1)
            if row == 0:
                plain = logprobs
                if sequence == prefix and not subject.backend.wide_head:
                    step = _step(scores[-1, chosen], subject.loaded.model.dtype)
            for token, value in zip(chosen, logprobs[-1, chosen].tolist(), strict=True):
                found[row][sequence, token] = value
            if sequence == prefix:
                apart = float((plain.exp() * (plain - logprobs)).sum(dim=-1).mean())
                kl[row] = max(round(apart, 6), 0.0) if math.isfinite(apart) else None
    acting = {name for name, meaning in rollout.options.items() if meaning == subject.task.acting}
    odds = [_log_odds(read_forced(prefix, options, each), acting) for each in found]
    return Reading(odds, kl, step)


def _scores(
    backend: ModelBackend,
    beginning: Sequence[int],
    rest: Sequence[int],
    n: int,
    at: Sequence[int],
    steer: Sequence[Steer],
) -> Iterator[tuple[int, torch.Tensor]]:
    """Row and its scores [wanted token, vocabulary], float32; those of the last token of a float32 head, where the
    engine has one.
    """
    for rows, logits in backend.branches(beginning, [rest] * n, at=at, steer=steer, wide=True):
        yield from zip(rows, logits.float(), strict=True)


def _step(scores: torch.Tensor, dtype: torch.dtype) -> float | None:
    """Between neighbouring numbers of that dtype, at the size of the largest score; None where that is none."""
    largest = float(scores.abs().max())
    return torch.finfo(dtype).eps * 2.0 ** math.floor(math.log2(largest)) if 0 < largest < math.inf else None


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
