"""Sampled: rollouts made anew, under an intervention and without, from seeds of their own, and read as the run's."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from ..backends import Generation, Sampling, Steer
from ..errors import RunError
from ..record import read_generation, stop_ids
from ..rollout import Rollout
from ..scoring import lexical_verdict
from ..steering import Intervention, count_steered, make_steers
from .log import Sampled
from .settings import SPANS, Act, ScopeName
from .subject import Case, Subject
from .vectors import Tested

GRAM = 4
"""Tokens of the pieces whose repetition is counted."""
NOT_ZERO = (
    "a strength of 0 changed what was sampled (rollout {}): lanes do not keep sequences apart on this machine; steer "
    "again with another --lanes, or --set dtype=float32 in a new run"
)


class Wanted(NamedTuple):
    """A rollout to be sampled."""

    direction: int
    case: int


def rotation(groups: Sequence[Hashable], n_controls: int, items: int) -> list[Wanted]:
    """The tested direction on every case, and each control on so many, spread evenly over the groups.

    Args:
        groups: of each case.
    """
    n, many = len(groups), min(items, len(groups))
    first = {group: i for i, group in reversed(list(enumerate(groups)))}
    order = sorted(range(n), key=lambda case: first[groups[case]])
    out = [Wanted(0, case) for case in range(n)]
    for control in range(n_controls):
        out += [Wanted(control + 1, order[(control + i * n // many) % n]) for i in range(many)]
    return out


def sample_plain(subject: Subject, tested: Tested, act: Act, lanes: int) -> list[Sampled]:
    """The cases without steering, and beside that with a strength of 0, which has to give the same tokens.

    Args:
        act: of the neighbours of those with a strength of 0.

    Raises:
        RunError: it does not.
    """
    cases = subject.cases
    plain = _generate(subject, cases, [], lanes)
    twice = [*cases, *cases]
    acts: list[Act | None] = [*[None] * len(cases), *[act] * len(cases)]
    beside = _generate(subject, twice, _steers(subject, tested, twice, [0] * len(twice), acts, "both"), lanes)
    for case, one, other in zip(cases, plain, beside, strict=False):
        if one.completion_ids != other.completion_ids:
            raise RunError(NOT_ZERO.format(case.rollout.rollout))
    nats = _nats(subject, list(range(len(cases))), plain)
    return [
        _row(subject, case, made, said, direction=0, steered=0)
        for case, made, said in zip(cases, plain, nats, strict=True)
    ]


def sample_unit(
    subject: Subject, tested: Tested, scope: ScopeName, act: Act, wanted: Sequence[Wanted], lanes: int
) -> list[Sampled]:
    """All directions under one act in one scope, and how unlikely the unsteered model finds what was said."""
    cases = [subject.cases[each.case] for each in wanted]
    steer = _steers(subject, tested, cases, [each.direction for each in wanted], [act] * len(wanted), scope)
    made = _generate(subject, cases, steer, lanes)
    fed = [[*case.rollout.prompt_ids, *_fed(each)] for case, each in zip(cases, made, strict=True)]
    # Each row is steered by one of the two: by the other with a strength of 0.
    counts = count_steered([steer[0] if act.operator == "add" else steer[1]], fed)[0]
    nats = _nats(subject, [each.case for each in wanted], made)
    return [
        _row(subject, case, each, said, direction=one.direction, steered=n)
        for case, each, said, one, n in zip(cases, made, nats, wanted, counts, strict=True)
    ]


def _fed(made: Generation) -> list[int]:
    """The tokens that something was drawn after: one that ends a completion, or at which it is cut off, is not fed, and
    steering it would change nothing.
    """
    return made.completion_ids[:-1] if made.finish in ("stop", "length") else made.completion_ids


def _nats(subject: Subject, cases: Sequence[int], made: Sequence[Generation]) -> list[float | None]:
    """Of each completion, by the number of its case: see `speak`."""
    out: list[float | None] = [None] * len(made)
    for number in sorted(set(cases)):
        here = [i for i, case in enumerate(cases) if case == number and made[i].completion_ids]
        found = speak(subject, subject.cases[number], [made[i].completion_ids for i in here])
        for i, nats in zip(here, found, strict=True):
            out[i] = nats
    return out


def speak(subject: Subject, case: Case, said: Sequence[list[int]]) -> list[float | None]:
    """How unlikely the unsteered model finds completions of one case: of each, the mean over its tokens of -log p; None
    where that is not finite.
    """
    distinct = list(dict.fromkeys(map(tuple, said)))
    if not distinct:
        return []
    prompt = case.rollout.prompt_ids
    out: dict[tuple[int, ...], float | None] = {}
    for here, logits in subject.backend.branches(prompt[:-1], [[prompt[-1], *ids[:-1]] for ids in distinct]):
        for row, own in zip(here, logits, strict=True):
            ids = torch.tensor(distinct[row], device=own.device)
            found = own[: len(ids)].float().log_softmax(dim=-1).gather(1, ids[:, None])
            nats = float(-found.mean())
            out[distinct[row]] = round(nats, 6) if math.isfinite(nats) else None
    return [out[tuple(ids)] for ids in said]


def repeated(ids: Sequence[int]) -> float | None:
    """Share of pieces of four tokens that have been there before (seq-rep-4, Welleck et al. 2020); None under four.

    >>> repeated([1, 2, 3, 4, 1, 2, 3, 4])
    0.2
    """
    grams = Counter(tuple(ids[i : i + GRAM]) for i in range(len(ids) - GRAM + 1))
    return None if not grams else round(1 - len(grams) / grams.total(), 6)


def timed_steps(subject: Subject, tested: Tested, act: Act, rows: int, steps: int) -> float:
    """Seconds that some steps of sampling take, the prompts' prefill included."""
    cases = [subject.cases[i % len(subject.cases)] for i in range(rows)]
    steer = _steers(subject, tested, cases, [0] * rows, [act] * rows, "both")
    begun = time.perf_counter()
    subject.backend.generate(
        [case.rollout.prompt_ids for case in cases],
        seeds=range(rows),
        sampling=Sampling(steps, 1.0, frozenset()),
        capture=None,
        steer=steer,
    )
    return time.perf_counter() - begun


def _generate(subject: Subject, cases: Sequence[Case], steer: Sequence[Steer], lanes: int) -> list[Generation]:
    generation = subject.spec.generation
    return subject.backend.generate(
        [case.rollout.prompt_ids for case in cases],
        seeds=[case.seed for case in cases],
        sampling=Sampling(generation.max_new_tokens, generation.temperature, stop_ids(subject.loaded)),
        capture=None,
        steer=steer,
        lanes=lanes,
    )


def _steers(
    subject: Subject,
    tested: Tested,
    cases: Sequence[Case],
    directions: Sequence[int],
    acts: Sequence[Act | None],
    scope: ScopeName,
) -> list[Steer]:
    """One vector and act a sequence: what is added, and what is projected out; see `Tested` for its controls."""
    prompts = [case.rollout.prompt_ids for case in cases]
    vectors = torch.from_numpy(tested.vectors[list(directions)])
    add = tuple(act.dose * tested.unit if act is not None and act.operator == "add" else 0.0 for act in acts)
    out = tuple(float(act is not None and act.operator == "project") for act in acts)
    both = [
        Intervention(tested.direction, "add", add, where=SPANS[scope]),
        Intervention(tested.direction, "project", out, where=SPANS[scope]),
    ]
    added, projected = make_steers(both, prompts, subject.loaded)
    return [replace(added, vector=vectors), replace(projected, vector=vectors, along=projected.vector)]


def _row(
    subject: Subject, case: Case, made: Generation, nats: float | None, *, direction: int, steered: int
) -> Sampled:
    rollout = None if made.finish == "not_finite" else _read(subject, case, made)
    verdict = None if rollout is None else lexical_verdict(subject.task, rollout)
    correct = case.rollout.fields.get("correct")
    known = rollout is not None and rollout.answer is not None and correct in case.rollout.options
    ids = made.completion_ids
    kept = direction == 0
    return Sampled(
        rollout=case.rollout.rollout,
        direction=direction,
        acted=None if rollout is None else rollout.acted,
        verbalised=None if verdict is None or verdict.verdict is None else verdict.verdict == "verbalised",
        correct=rollout.answer == correct if rollout is not None and known else None,
        n_tokens=len(ids),
        steered_tokens=steered,
        repeated=repeated(ids),
        nats=nats,
        finish=made.finish,
        completion_ids=ids if kept else None,
        text=subject.loaded.tokenizer.decode(ids) if kept else None,
    )


def _read(subject: Subject, case: Case, made: Generation) -> Rollout:
    job = replace(case.job, rollout=case.rollout.rollout)
    bare = replace(made, watched=torch.zeros(len(made.completion_ids), 0))
    return read_generation(job, bare, task=subject.task, loaded=subject.loaded, options=[])
