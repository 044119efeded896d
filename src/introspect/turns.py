"""The turns of a run's chats, recorded one after another: each is planned from what the one before it answered.

Most tasks have one. A turn's plan depends on the spec and on the rollouts of the turns before it, so whoever sees the
run's folder plans the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .backends import Sampling
from .features import probed_rows
from .follow_ups import plan_follow_up, stage_folder
from .hands import Hands
from .plan import Job, in_parts
from .prepare import Prepared
from .progress import Progress
from .record import Made, PartMaker, record, stop_ids
from .rollout import Rollout
from .run_folder import enough_memory, make_folder
from .tasks.registry import find_task
from .tasks.task import FollowUp, Task

Spread = Callable[[int, PartMaker], Hands[Made]]
"""Who makes the parts of a turn, by its number and what makes them here."""


@dataclass(frozen=True)
class Turn:
    """What is recorded into one folder."""

    number: int
    """From 0."""
    folder: Path
    task: Task
    parts: Sequence[Sequence[Job]]
    """Rollouts that are committed together."""


def first_turn(prepared: Prepared, out: Path) -> Turn:
    """Of a run in `out`."""
    return Turn(0, out, find_task(prepared.spec.task), prepared.parts)


def next_turn(prepared: Prepared, out: Path, before: Turn, follow_up: FollowUp, rollouts: Sequence[Rollout]) -> Turn:
    """The turn after one whose rollouts are there."""
    jobs = {job.rollout: job for part in before.parts for job in part}
    planned = plan_follow_up(follow_up, rollouts, jobs, loaded=prepared.loaded, seed=prepared.spec.seed)
    parts = in_parts(planned, prepared.spec.generation.rollouts_a_part)
    return Turn(before.number + 1, out / stage_folder(follow_up), follow_up.task, parts)


def turn_maker(prepared: Prepared, turn: Turn) -> PartMaker:
    """What makes the parts of a turn."""
    generation = prepared.spec.generation
    return PartMaker(
        turn.parts,
        task=turn.task,
        loaded=prepared.loaded,
        backend=prepared.backend,
        sampling=Sampling(generation.max_new_tokens, generation.temperature, stop_ids(prepared.loaded)),
        capture=prepared.capture,
        selection=prepared.spec.capture.selection,
        always=functools.partial(probed_rows, names=prepared.spec.probe.positions),
        lanes=generation.batch_size,
        interventions=prepared.interventions,
    )


def record_turns(prepared: Prepared, out: Path, progress: Progress, spread: Spread) -> list[Rollout]:
    """Record every turn; returns the first one's rollouts."""
    turn = first_turn(prepared, out)
    first = rollouts = _record(prepared, turn, progress, spread)
    for follow_up in turn.task.follow_ups:
        turn = next_turn(prepared, out, turn, follow_up, rollouts)
        make_folder(turn.folder)

        def turn_progress(stage: str, done: int, total: int, name: str = turn.folder.name) -> None:
            progress(f"{stage} {name}", done, total)

        rollouts = _record(prepared, turn, turn_progress, spread)
    return first


def _record(prepared: Prepared, turn: Turn, progress: Progress, spread: Spread) -> list[Rollout]:
    """Rollouts and activations of a turn."""
    with enough_memory(
        f"one rollout of {prepared.spec.generation.max_new_tokens} new tokens at a time",
        "try again into another --out with a smaller --set generation.part_size=... or --set capture.layers=...",
    ):
        maker = turn_maker(prepared, turn)
        return record(turn.folder, maker, progress=progress, hands=spread(turn.number, maker))
