"""The share of this machine that the process takes which starts a crew and works beside it."""

from __future__ import annotations

import importlib
import os
from typing import Any

from ..errors import RunError
from .answers import lost_errors
from .connect import Share
from .worker import Seat

SEAT_SECONDS = 60.0


def sit(ray: Any, share: Share) -> Any:
    """Take a share of this machine's GPUs and cores. Gives what holds it, an actor.

    Raises:
        RunError: it has none free.
    """
    strategies = importlib.import_module("ray.util.scheduling_strategies")
    own = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    placed = ray.remote(Seat).options(
        num_cpus=share.threads, num_gpus=share.gpus, max_restarts=0, scheduling_strategy=own
    )
    seat = placed.remote()
    try:
        gpus = ray.get(seat.gpus.remote(), timeout=SEAT_SECONDS)
    except lost_errors(ray):
        ray.kill(seat)
        raise RunError(
            f"this machine has no {share.gpus} GPUs and {share.threads} cores free in the cluster, and does its "
            "part too: start this on one of its machines that has, or with other --ray-gpus, --ray-threads"
        ) from None
    if share.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return seat
