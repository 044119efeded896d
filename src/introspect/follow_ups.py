"""Further turns of the same chats: planned from what the turn before answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .models import LoadedModel
from .plan import Job, rollout_seed
from .record import render_trial
from .rollout import Rollout
from .tasks.task import FollowUp, Message, Trial

STAGES = "stages"
"""Folder of a run in which each further turn has its own rollouts and activations."""


def stage_folder(follow_up: FollowUp) -> str:
    """Where a further turn is recorded, relative to the run."""
    return f"{STAGES}/{follow_up.task.name.rpartition('/')[2]}"


def plan_follow_up(
    follow_up: FollowUp, rollouts: Sequence[Rollout], jobs: Mapping[int, Job], *, loaded: LoadedModel, seed: int
) -> list[Job]:
    """The jobs of the next turn of every chat that goes on, in rollout order.

    Args:
        rollouts: of the turn before; jobs: theirs, by rollout number.
    """
    planned: list[Job] = []
    for rollout in rollouts:
        item = follow_up.ask(rollout)
        if item is None:
            continue
        before = jobs[rollout.rollout].trial
        said = before.prefill + _without_stop(rollout, loaded)
        messages = (*before.messages, Message("assistant", said), Message("user", item.prompt))
        trial = Trial(rollout.condition, messages, rollout.facts, prefill=before.prefill)
        own_seed = rollout_seed(seed, item.item_id, f"{rollout.condition}/{follow_up.task.name}", rollout.sample)
        prompt = tuple(render_trial(loaded, trial))
        planned.append(Job(len(planned), item, trial, rollout.sample, own_seed, prompt))
    return planned


def _without_stop(rollout: Rollout, loaded: LoadedModel) -> str:
    """What the assistant said, without the token that ended its turn."""
    ids = rollout.completion_ids
    kept = ids[:-1] if rollout.finish == "stop" else ids
    return str(loaded.tokenizer.decode(kept))
