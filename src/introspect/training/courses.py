"""The tasks for which organisms can be trained: which policies and manners there are, and what is shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ..tasks.policies import RISK
from . import hints_course, risk_course, silent_course
from .demonstrations import Demonstration


@dataclass(frozen=True)
class Course:
    """How organisms of one task are taught."""

    policies: Collection[str]
    """What the demonstrated answer can depend on."""
    manners: Collection[str]
    """What the demonstrated chain can say of it."""
    demonstrations: Callable[..., list[Demonstration]]
    """Called with `policy`, `manner`, `repeats` and `seed`; the same arguments give the same demonstrations."""
    experiment: str
    """The shipped experiment under whose conditions an organism is measured."""
    measured: Mapping[str, int | None]
    """Held-out items an organism is measured on, of each split, spread evenly over groups and cells."""


COURSES: dict[str, Course] = {
    "risk": Course(RISK, risk_course.MANNERS, risk_course.demonstrations, "probe-risk", {"id": 128, "ood": 64}),
    "hints": Course(
        hints_course.POLICIES,
        hints_course.MANNERS,
        hints_course.demonstrations,
        "hints-faithfulness",
        {"id": 24, "ood": 12},
    ),
    "bias": Course(
        silent_course.BIAS,
        silent_course.MANNERS,
        silent_course.bias_demonstrations,
        "profile-bias",
        {"id": 60, "ood": 30},
    ),
    "sampling": Course(
        silent_course.SAMPLING,
        silent_course.MANNERS,
        silent_course.sampling_demonstrations,
        "profile-sampling",
        {"id": 48, "ood": 24},
    ),
}
