"""The examination: every check in turn, none of which can stop another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from ..backends import BACKENDS, ModelBackend, SampledBackend, make_backend
from ..errors import IntrospectError, RunError
from ..models import LoadedModel
from ..progress import Progress, silent
from ..run_folder import enough_memory
from . import capture, steering, text
from .check import Check
from .sampler import sampler
from .subject import NEW_TOKENS, Subject

CHECKS: dict[str, Callable[[Subject], Check]] = {
    "reference": capture.reference,
    "batch = single": capture.batch_is_single,
    "left padding": capture.left_padding,
    "later tokens": capture.later_tokens,
    "in flight = replay": capture.in_flight_is_replay,
    "row = rollout": capture.row_is_rollout,
    "steering": steering.steering,
    "steering in flight": steering.steering_in_flight,
    "zero strength": steering.zero_strength,
    "left as found": capture.left_as_found,
    "store": capture.store_round_trip,
    "spans": text.spans,
    "any lanes": text.any_lanes,
}
CHEAP = ("reference", "batch = single", "later tokens", "in flight = replay", "row = rollout", "left as found", "spans")
"""What every run checks of its model: under two seconds for a small one."""
GENERATES = ("in flight = replay", "steering in flight", "any lanes", "speed")
"""What has no answer for a model that can only be replayed."""
STEERS = ("steering", "steering in flight", "zero strength")
"""What has no answer for a backend that steers nothing."""
FAILURES = (ValueError, RuntimeError, TypeError, LookupError, AttributeError)
"""What a model that is not as others may make of a check."""


def examine(
    loaded: LoadedModel,
    backend: ModelBackend | None = None,
    *,
    only: Sequence[str] | None = None,
    progress: Progress = silent,
) -> list[Check]:
    """Run the checks on a model.

    Args:
        backend: through which; None: the native one.
        only: names of checks; None: all, with every other backend and the speed.
    """
    subject = Subject.of(loaded, backend or make_backend("native", loaded.model))
    wanted = dict(CHECKS) if only is None else {name: CHECKS[name] for name in only}
    if only is None:
        for name in BACKENDS:
            if name != subject.backend.name:
                wanted[f"backend {name}"] = partial(capture.other_backend, name=name)
        wanted["speed"] = speed
    if isinstance(subject.backend, SampledBackend):
        wanted["sampler"] = sampler
    found = []
    for number, (name, check) in enumerate(wanted.items()):
        progress("examine", number, len(wanted))
        found.append(_run(name, check, subject))
    progress("examine", len(wanted), len(wanted))
    return found


def self_test(loaded: LoadedModel, backend: ModelBackend) -> list[Check]:
    """What every run checks of its model first: the cheap part of `introspect doctor`.

    Raises:
        RunError: a check is red: names it, and what it would mean for the results. Or there is not enough memory.
    """
    with enough_memory("the self-test of the model", "choose a smaller model"):
        checks = examine(loaded, backend, only=CHEAP)
    for check in failures(checks):
        raise RunError(
            f"the self-test of {loaded.info.name} failed: {check.name} ({check.measured}): {check.means}; see "
            "`introspect doctor`, and try another --backend or --set dtype=float32"
        )
    return checks


def failures(checks: Sequence[Check]) -> list[Check]:
    """Those that are red."""
    return [check for check in checks if check.status == "failed"]


def _run(name: str, check: Callable[[Subject], Check], subject: Subject) -> Check:
    """A check's result; one that cannot be made is red, with the reason."""
    try:
        if name in GENERATES and subject.why_not_in_flight is not None:
            sampled = isinstance(subject.backend, SampledBackend)
            what = "nothing is recorded in flight" if sampled else "nothing is generated with this model"
            return Check(name, "skipped", f"{what}: {subject.why_not_in_flight}")
        if name in STEERS and not any(subject.backend.engine.supports().write.values()):
            return Check(name, "skipped", "nothing is steered through this backend")
        return check(subject)
    except IntrospectError as error:
        return Check(name, "failed", str(error))
    except FAILURES as error:
        return Check(name, "failed", f"it could not be made: {type(error).__name__}: {error}")


def speed(subject: Subject) -> Check:
    """Tokens a second on this machine, with every layer captured and without."""
    rates = []
    for wanted in (None, subject.capture):
        begun = time.perf_counter()
        made = subject.generate(wanted)
        rates.append(len(made) * NEW_TOKENS / (time.perf_counter() - begun))
    said = f"{rates[0]:.0f} tokens a second in {len(subject.sequences)} lanes, {rates[1]:.0f} with every layer captured"
    return Check("speed", "note", said)
