"""Waiting for what a worker answers: no longer than it may take, and what is raised where it is no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LOOK_SECONDS = 5.0
"""Between two looks at the time while an answer is waited for."""
LOST = {
    "OutOfMemoryError": "its machine ran out of memory",
    "NodeDiedError": "its machine is gone",
    "GetTimeoutError": "the cluster had no room for it",
    "ActorUnschedulableError": "the cluster had no room for it",
    "ActorUnavailableError": "it does not answer",
    "RayActorError": "its process ended",
    "WorkerCrashedError": "its process ended",
    "ObjectLostError": "its answer was lost with its machine",
}
"""Ray's errors that mean a worker is no more, and what to call them; the first that fits."""


class StuckError(Exception):
    """A worker lives, and has not answered for longer than it may take."""


def lost_errors(ray: Any) -> tuple[type[BaseException], ...]:
    """What is raised where a worker, its machine or its answer is no more, or to be given up."""
    return (*(getattr(ray.exceptions, name) for name in LOST), StuckError)


def reason(error: BaseException) -> str:
    """What to call one of these."""
    if isinstance(error, StuckError):
        return str(error)
    return next((said for name, said in LOST.items() if name in {each.__name__ for each in type(error).__mro__}), "")


def answer(ray: Any, promised: Any, patience: Callable[[], float]) -> Any:
    """What a worker answers.

    Args:
        promised: what Ray gave when it was asked.
        patience: seconds that it may take; asked again and again, since others may show meanwhile what is usual.

    Raises:
        StuckError: it took longer.
    """
    begun = time.monotonic()
    while not ray.wait([promised], timeout=min(LOOK_SECONDS, patience()))[0]:
        waited = time.monotonic() - begun
        if waited > patience():
            raise StuckError(f"it has not answered for {waited / 60:.0f} minutes")
    return ray.get(promised)
