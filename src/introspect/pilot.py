"""What a few rollouts of a plan, sampled to their end, say of how much a run of it takes. Writes nothing.

They are rollouts that the run itself will make, spread evenly over its plan: the same prompts, seeds and sampling. What
a run comes to follows from how long its completions get, which nobody can say before; so their spread is stated, and
where a pilot was not sampled to its end there is no number.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student

from .backends import Generation, Sampling
from .errors import EstimateError, ModelError
from .features import choose_probed, probed_rows
from .follow_ups import plan_follow_up
from .plan import Job
from .progress import Progress, silent
from .record import option_token, read_generation, stop_ids, store_spec
from .rollout import Rollout
from .rows import Rows, choose_rows
from .selection import Selection
from .stats import Estimate
from .steering import make_steers
from .store import estimated_bytes
from .tasks.registry import find_task
from .tasks.task import Task

if TYPE_CHECKING:
    from .prepare import Prepared

MOST = 32
"""Rollouts of a pilot."""
PILOT = "pilot"
"""What progress calls it."""
SECONDS = 120.0
"""That a turn of them may take, as far as a short batch tells that."""
LEAST_TOKENS = 16
"""Of a completion, however slow the machine is."""
SAID_BYTES, READ_BYTES = 150, 95
"""Of verdicts.jsonl, a rollout; and of readouts.jsonl, a rollout and position that is probed."""
PAGE_BYTES = 5_000_000
"""Of a run's page, nearly all of it the library that draws its figures."""
DATASET_BYTES = 600
"""Of each dataset of a part, beside its numbers."""


@dataclass(frozen=True)
class Pilot:
    """What came of the rollouts that were sampled, [rollout] each. Further turns count to the rollout that began."""

    n_planned: int
    """Rollouts of the plan."""
    n_unfinished: int
    """Of those sampled, cut short by the pilot and not by the spec."""
    longest: int
    """Tokens of the longest completion."""
    new_tokens: np.ndarray
    """Sampled."""
    prompt_tokens: np.ndarray
    replayed_tokens: np.ndarray
    """Through the base model."""
    n_bytes: np.ndarray
    """In stores and in lines of files."""
    once: int
    """Bytes beside those."""

    def total_bytes(self) -> Estimate:
        """Bytes of a run of the plan."""
        n, planned = len(self.n_bytes), self.n_planned
        if self.n_unfinished:
            return Estimate.undefined(
                f"{self.n_unfinished} of {n} sampled rollouts had not ended after {self.longest} tokens, the most that "
                f"are sampled here in about {SECONDS:.0f} s"
            )
        value = planned * float(self.n_bytes.mean()) + self.once
        spread = float(self.n_bytes.std(ddof=1)) if n > 1 else 0.0
        not_seen = 1 - n / planned
        half = planned * float(student.ppf(0.975, max(n - 1, 1))) * spread * (not_seen / n) ** 0.5
        return Estimate(value, (value - half, value + half), n, "mean of a pilot, t, of a finite plan")


def sample_pilot(prepared: Prepared, most_tokens: int, progress: Progress = silent) -> Pilot:
    """Sample a pilot of a plan.

    Args:
        most_tokens: of a completion, where the spec allows for more.

    Raises:
        ModelError: an intervention drives the model to NaN or infinity.
    """
    spec, task = prepared.spec, find_task(prepared.spec.task)
    planned = [job for part in prepared.parts for job in part]
    n = min(MOST, len(planned))
    a_row = estimated_bytes(store_spec(prepared.capture, prepared.loaded, plan="", selection=Selection(())), 1)
    new, prompt, replayed, size = np.zeros(n), np.zeros(n), np.zeros(n), np.full(n, float(SAID_BYTES))
    unfinished: set[int] = set()
    longest, first = 0, list[Rollout]()
    for owners, rollouts in _turns(prepared, task, _spread(planned, n), most_tokens, progress):
        first = first or rollouts
        for owner, rollout in zip(owners, rollouts, strict=True):
            n_new = len(rollout.completion_ids)
            new[owner] += n_new
            prompt[owner] += len(rollout.prompt_ids)
            size[owner] += a_row * len(_kept(prepared, rollout)) + len(rollout.line().encode())
            longest = max(longest, n_new)
            if rollout.finish == "length" and n_new < spec.generation.max_new_tokens:
                unfinished.add(owner)
    for owner, rows in _probed(task, first, spec.probe.positions):
        size[owner] += READ_BYTES * len(rows)
        if prepared.has_base:
            replayed[owner] = len(first[owner].token_ids)
            size[owner] += a_row * len(rows)
    return Pilot(len(planned), len(unfinished), longest, new, prompt, replayed, size, _once(prepared))


def _spread(planned: Sequence[Job], n: int) -> list[Job]:
    """So many jobs, evenly over the plan, which has prompts of one length side by side."""
    return [planned[int((at + 0.5) * len(planned) / n)] for at in range(n)]


def _turns(
    prepared: Prepared, task: Task, jobs: list[Job], most_tokens: int, progress: Progress
) -> Iterator[tuple[list[int], list[Rollout]]]:
    """The rollouts of each turn, and which of the first turn's each belongs to."""
    owners, rollouts = list(range(len(jobs))), _sampled(prepared, task, jobs, most_tokens, progress, PILOT)
    yield owners, rollouts
    for number, follow_up in enumerate(task.follow_ups):
        before = {job.rollout: job for job in jobs}
        asked = [follow_up.ask(rollout) is not None for rollout in rollouts]
        owners = [owner for owner, goes_on in zip(owners, asked, strict=True) if goes_on]
        jobs = plan_follow_up(follow_up, rollouts, before, loaded=prepared.loaded, seed=prepared.spec.seed)
        rollouts = _sampled(prepared, follow_up.task, jobs, most_tokens, progress, f"{PILOT}, turn {number + 2}")
        yield owners, rollouts


def _sampled(
    prepared: Prepared, task: Task, jobs: Sequence[Job], most_tokens: int, progress: Progress, stage: str
) -> list[Rollout]:
    """As the run samples them, without their activations."""
    if not jobs:
        return []
    generation, loaded = prepared.spec.generation, prepared.loaded
    options = sorted({option for job in jobs for option in job.item.options})
    made: list[Generation] = []
    progress(stage, 0, len(jobs))
    while len(made) < len(jobs):
        some = jobs[len(made) : len(made) + generation.batch_size]
        prompts = [job.prompt_ids for job in some]
        made += prepared.backend.generate(
            prompts,
            seeds=[job.seed for job in some],
            sampling=Sampling(min(most_tokens, generation.max_new_tokens), generation.temperature, stop_ids(loaded)),
            capture=None,
            watch=[option_token(loaded, option) for option in options],
            steer=make_steers(prepared.interventions, prompts, loaded),
            lanes=generation.batch_size,
        )
        progress(stage, len(made), len(jobs))
    lost = sum(each.finish == "not_finite" for each in made)
    if lost:
        done = "; ".join(map(str, prepared.interventions))
        raise ModelError(
            f"steering ({done}) drives the model to NaN or infinity in {lost} of {len(made)} sampled rollouts: lower "
            "its strength"
        )
    return [
        read_generation(job, each, task=task, loaded=loaded, options=options)
        for job, each in zip(jobs, made, strict=True)
    ]


def _kept(prepared: Prepared, rollout: Rollout) -> Rows:
    """The rows that a store keeps of a rollout. A stop token is never fed, so it has none."""
    end = len(rollout.token_ids) - (rollout.finish == "stop")
    spec = prepared.spec
    return choose_rows(spec.capture.selection, rollout, end, probed_rows(rollout, spec.probe.positions))


def _probed(task: Task, rollouts: Sequence[Rollout], positions: Sequence[str]) -> Iterator[tuple[int, Rows]]:
    """The rollouts that probes read, by their place, and the rows that they read of each."""
    places = {rollout.rollout: place for place, rollout in enumerate(rollouts)}
    try:
        probed = choose_probed(task.counted(rollouts), positions)
    except EstimateError:
        return
    for rollout in probed.rollouts:
        yield places[rollout.rollout], probed_rows(rollout, probed.positions)


def _once(prepared: Prepared) -> int:
    """Bytes of what a part has beside its rows, and of the page."""
    parts = len(prepared.parts) * prepared.turns + len(prepared.parts) * prepared.has_base
    return parts * DATASET_BYTES * len(prepared.capture.pairs()) + PAGE_BYTES


@dataclass(frozen=True)
class Pace:
    """How fast this machine is, by a short batch."""

    a_step: float
    """Seconds in which every rollout of a batch gets a token."""
    a_token: float
    """Seconds to read a token of a prompt."""
    lanes: int
    """Rollouts of that batch."""
    parts: int
    """Of the plan: each ends with its longest rollouts alone."""
    forced: float
    """Seconds of forced answers."""

    @property
    def most_tokens(self) -> int:
        """That a completion of a pilot may have."""
        return max(LEAST_TOKENS, int(SECONDS / self.a_step)) if self.a_step else sys.maxsize

    def seconds(self, pilot: Pilot) -> float:
        """To sample and replay what a pilot stands for."""
        mean = float(pilot.new_tokens.mean())
        steps = pilot.n_planned * mean / self.lanes + self.parts * max(0.0, pilot.longest - mean)
        read = pilot.n_planned * float((pilot.prompt_tokens + pilot.replayed_tokens).mean())
        return steps * self.a_step + read * self.a_token + self.forced


@dataclass(frozen=True)
class Expected:
    """What runs are likely to take, by the lengths of a few of their rollouts."""

    bytes_on_disk: dict[str, Any]
    """An estimate, as in results.json."""
    seconds: float | None
    """To sample and replay: without the judge, probes and report. None where there is no such estimate."""


def expected(pilots: Sequence[Pilot], pace: Pace, most_seconds: float) -> Expected:
    """Of a run and its negative control, whose pilots are independent."""
    found = together([(Expected(each.total_bytes().to_json(), pace.seconds(each)), 1) for each in pilots])
    return found if found.seconds is None else replace(found, seconds=min(found.seconds, most_seconds))


def together(parts: Sequence[tuple[Expected, int]]) -> Expected:
    """Of several, each so many times; no number where one of them has none."""
    sizes = [each.bytes_on_disk for each, _ in parts]
    missing = next((size for size in sizes if size["value"] is None), None)
    if missing is not None or not sizes:
        return Expected(missing or Estimate.undefined("there is nothing to run").to_json(), None)
    value = sum(size["value"] * times for size, (_, times) in zip(sizes, parts, strict=True))
    halves = [(size["ci95"][1] - size["value"]) * times for size, (_, times) in zip(sizes, parts, strict=True)]
    half = math.hypot(*halves)
    n = sum(size["n"] for size in sizes)
    seconds = sum((each.seconds or 0.0) * times for each, times in parts)
    return Expected(Estimate(value, (value - half, value + half), n, sizes[0]["method"]).to_json(), seconds)
