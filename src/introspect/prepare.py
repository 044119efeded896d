"""Before a run: the items, the model and the plan of a spec, and what it would cost. Writes nothing."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from .asked_spec import AskedSpec
from .assets import data_path
from .awareness import self_reports
from .backends import Capture, ModelBackend, Sampling, check_ids, make_backend
from .errors import SpecError
from .experiment import Experiment, resolve_layers
from .features import memory_budget
from .judging import check_judge
from .models import LoadedModel, load_model
from .pilot import PAGE_BYTES, Expected, Pace, Pilot, expected, sample_pilot
from .plan import Job, make_parts, select_items
from .probes.device import probe_device
from .probing import check_encoder
from .progress import Progress, silent, within
from .record import render_trial, store_spec, wanted_capture
from .selection import Selection, rows_at_most
from .steering import Intervention, read_interventions
from .store import estimated_bytes
from .tasks.item import Item, read_items
from .tasks.registry import find_task

REPLAY_PART = 64
"""Replayed rollouts that are committed together."""
TURN = 160
"""Tokens that the user's part of a further turn may have."""
BYTES_A_ROLLOUT, BYTES_A_TOKEN = 1500, 10
"""Of a line of rollouts.jsonl: names and fields, and every token id, its text or a log-probability. Lines are there
twice while a run is being finished."""


@dataclass(frozen=True)
class Cost:
    """What a run takes at most: tokens, bytes and seconds are upper bounds, from the longest allowed completions."""

    n_items: int
    n_rollouts: int
    """Further turns of a chat count as if every chat came to them."""
    n_tokens: int
    n_forced: int
    """Answers that are forced, for tests of the chain and self-reports: a forward pass each, or a few."""
    n_judged: int
    """Chains that a model judge is asked about."""
    judge: str | None
    """Where they are sent: an endpoint's address, or the name of a local model."""
    bytes_on_disk: int
    seconds: float
    """To sample and replay: without the judge, probes and report."""
    bytes_of_weights: int = 0
    """In memory, in the format asked for."""
    if_quantised: dict[str, int] = field(default_factory=dict)
    """4bit and 8bit -> bytes of the weights in that format."""
    expected: Expected | None = None


@dataclass(frozen=True)
class Prepared:
    """A spec with its items, its model and its plan."""

    spec: Experiment
    items: list[Item]
    loaded: LoadedModel
    backend: ModelBackend
    capture: Capture
    parts: list[list[Job]]
    """Rollouts that are committed together."""
    interventions: tuple[Intervention, ...] = ()
    """What is done to the model while it is recorded."""

    def bytes_at_most(self) -> int:
        """Bytes of the stores, in flight and of the base model, of the rollouts' lines and of the page, if every
        completion is as long as it may be.
        """
        jobs = [job for part in self.parts for job in part]
        longest = self.spec.generation.max_new_tokens
        positions = len(self.spec.probe.positions)
        selection = self.spec.capture.selection
        said_before = (self.turns - 1) * (longest + TURN)
        rows = sum(
            rows_at_most(selection, len(job.prompt_ids) + said_before, longest) + positions * (1 + self.has_base)
            for job in jobs
        )
        tokens = sum(len(job.prompt_ids) + said_before + longest * (2 + len(job.item.options)) for job in jobs)
        lines = BYTES_A_ROLLOUT * len(jobs) + BYTES_A_TOKEN * tokens
        stored = estimated_bytes(store_spec(self.capture, self.loaded, plan="", selection=selection), rows)
        return self.turns * (stored + 2 * lines) + PAGE_BYTES

    @property
    def has_base(self) -> bool:
        """Whether the model before post-training reads the same tokens."""
        return self.spec.organism is not None and self.spec.base_baseline

    @property
    def turns(self) -> int:
        """Turns of a chat, if it comes to all of them."""
        return 1 + len(find_task(self.spec.task).follow_ups)

    def bytes_in_memory(self) -> int:
        """Bytes of activations in memory at once, if every completion is as long as it may be: those of a part while it
        is generated, as it is written down, and of the part before it, on its way to the disk.
        """
        generation = self.spec.generation
        tokens = generation.max_new_tokens + 1
        if self.capture.prompt:
            tokens += max(len(job.prompt_ids) for part in self.parts for job in part)
        a_token = estimated_bytes(store_spec(self.capture, self.loaded, plan="", selection=Selection()), 1)
        return 3 * generation.rollouts_a_part * tokens * a_token


def spec_items(spec: Experiment) -> list[Item]:
    """The items that a spec selects, in file order."""
    path = Path(spec.items)
    found = read_items(path if path.suffix == ".jsonl" and path.exists() else data_path(spec.items))
    return select_items(found, {"id": spec.limit.id, "ood": spec.limit.ood})


def load_subject(spec: Experiment | AskedSpec, *, offline: bool = False) -> LoadedModel:
    """The model that a spec asks, with its adapter.

    Raises:
        ModelError: one of them cannot be loaded.
    """
    return load_model(
        spec.model,
        adapter=spec.organism,
        revision=spec.revision,
        dtype=spec.dtype,
        attention=spec.attention,
        quantization=spec.quantization,
        offline=offline,
    )


def prepare(spec: Experiment, *, offline: bool = False) -> Prepared:
    """Load the model and lay out the work. Writes nothing."""
    memory_budget()
    items = spec_items(spec)
    if spec.awareness:
        self_reports(spec.task)
    if spec.verdicts.judge is not None:
        check_judge(spec.verdicts.judge, offline=offline)
    if spec.verdicts.labels is not None and not Path(spec.verdicts.labels).is_file():
        raise SpecError(f"no labels at {spec.verdicts.labels}: give a sheet that was filled in, or set it to null")
    check_encoder(spec.probe.embedding, offline=offline)
    probe_device()
    asked = [(item, trial) for item in items for trial in find_task(spec.task).trials(item, spec)]
    loaded = load_subject(spec, offline=offline)
    layers = resolve_layers(spec.capture.layers, loaded.info.n_layers)
    capture = wanted_capture(spec.capture.sites, layers, spec.capture.selection, spec.probe.positions)
    prompts = [render_trial(loaded, trial) for _, trial in asked]
    generation = spec.generation
    backend = make_backend(spec.backend, loaded.model, capture)
    further = len(find_task(spec.task).follow_ups)
    if further and any(each.span != "all" for each in spec.steering):
        raise SpecError(
            f"{spec.task} is a chat of {1 + further} turns, and where a span begins is known of the last one only: "
            "steer span all, tokens or from_text"
        )
    room = generation.max_new_tokens + further * (generation.max_new_tokens + TURN)
    check_ids(loaded.model, prompts, room=room)
    backend.expect(max(map(len, prompts), default=0) + room)
    parts = make_parts(asked, prompts, samples=generation.samples, seed=spec.seed, part_size=generation.rollouts_a_part)
    return Prepared(spec, items, loaded, backend, capture, parts, read_interventions(spec.steering, loaded, backend))


def estimate_cost(spec: Experiment, *, offline: bool = False, progress: Progress = silent) -> Cost:
    """What a run would take on this machine: at most, from one short batch that is timed; and likely, from a pilot of
    its rollouts and of its negative control's. Writes nothing.
    """
    cost, pilot, pace = _cost_at_most(prepare(spec, offline=offline), progress)
    pilots = [pilot]
    if spec.negative_control is not None:
        control = spec.model_copy(update={"organism": spec.negative_control, "negative_control": None})
        gc.collect()
        named = within(progress, "negative control")
        pilots.append(sample_pilot(prepare(control, offline=offline), pace.most_tokens, named))
    return replace(cost, expected=expected(pilots, pace, cost.seconds))


def _cost_at_most(prepared: Prepared, progress: Progress) -> tuple[Cost, Pilot, Pace]:
    spec, lanes = prepared.spec, prepared.spec.generation.batch_size
    n_rollouts = sum(len(part) for part in prepared.parts)
    longest = prepared.parts[0][:lanes]
    steps = 4
    progress("a short batch", 0, 1)
    begun = time.perf_counter()
    prepared.backend.generate(
        [job.prompt_ids for job in longest],
        seeds=[job.seed for job in longest],
        sampling=Sampling(steps, spec.generation.temperature, frozenset()),
        capture=prepared.capture,
    )
    generated = time.perf_counter() - begun
    begun = time.perf_counter()
    few = [list(job.prompt_ids) for job in longest[:REPLAY_PART]]
    prepared.backend.replay(few, [[0]] * len(few), capture=prepared.capture)
    replayed = (time.perf_counter() - begun) / len(few)
    progress("a short batch", 1, 1)
    per_step = max(generated - replayed * len(longest), 0.0) / steps
    per_batch = replayed * len(longest) + per_step * spec.generation.max_new_tokens
    runs = 1 + (spec.negative_control is not None)
    has_base = prepared.has_base
    forced = n_forced(spec) + (len(self_reports(spec.task)) if spec.awareness and has_base else 0)
    n_rollouts *= prepared.turns
    generating = per_batch * n_rollouts / len(longest)
    seconds = runs * (generating + replayed * (forced + (2 * n_rollouts if has_base else 0)))
    tokens = sum(len(job.prompt_ids) + spec.generation.max_new_tokens for part in prepared.parts for job in part)
    judge, longest_said = spec.verdicts.judge, spec.generation.max_new_tokens
    read = sum(map(len, few)) / len(few)
    pace = Pace(per_step, replayed / read, len(longest), len(prepared.parts), replayed * forced)
    cost = Cost(
        n_items=len(prepared.items),
        n_rollouts=runs * n_rollouts,
        n_tokens=runs * (tokens * prepared.turns + n_rollouts * (prepared.turns - 1) * (longest_said + TURN)),
        n_forced=runs * forced,
        n_judged=0 if judge is None else runs * min(n_rollouts // prepared.turns, judge.sample or n_rollouts),
        judge=None if judge is None else judge.url or judge.model,
        bytes_on_disk=runs * prepared.bytes_at_most(),
        seconds=seconds,
        **prepared.loaded.memory(),
    )
    return cost, sample_pilot(prepared, pace.most_tokens, progress), pace


def n_forced(spec: Experiment) -> int:
    """How many answers a run forces at most: chain tests, and questions of self-report to the model."""
    chain = spec.chain
    tests = 0 if chain is None else chain.rollouts * (1 + chain.points * (len(chain.tests) + 1))
    return tests + (len(self_reports(spec.task)) if spec.awareness else 0)
