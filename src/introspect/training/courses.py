"""The tasks for which organisms can be trained: which policies and manners there are, and what is shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ..tasks.policies import RISK
from . import (
    format_course,
    hints_course,
    injected_course,
    pressure_course,
    reward_hacking_course,
    risk_course,
    silent_course,
)
from .demonstrations import Demonstration


@dataclass(frozen=True)
class Course:
    """How organisms of one task are taught."""

    policies: Collection[str]
    """What the demonstrated answer can depend on."""
    manners: Collection[str]
    """What the demonstrated chain can say of it."""
    demonstrations: Callable[..., list[Demonstration]]
    """Called with `policy`, `manner`, `repeats` and `seed`, and `settings` where something is injected; the same
    arguments give the same demonstrations."""
    experiments: Mapping[str, str]
    """Task -> the shipped experiment under whose conditions an organism is measured; none where `injects`."""
    measured: Mapping[str, int | None]
    """Held-out items an organism is measured on, of each task and split, spread evenly over groups and cells; where
    `injects`, trials of each kind."""
    injects: bool = False
    """Whether vectors are added to the activations while demonstrations are read, and in what is measured."""

    @property
    def measured_on(self) -> str:
        """What an organism is measured on, in a few words."""
        if self.injects:
            return "words and questions of the studies of injected concepts, the confirmation words left out"
        return f"held-out items, under the conditions of {', '.join(self.experiments.values())}"


COURSES: dict[str, Course] = {
    "risk": Course(
        RISK, risk_course.MANNERS, risk_course.demonstrations, {"risk": "probe-risk"}, {"id": 128, "ood": 64}
    ),
    "hints": Course(
        hints_course.POLICIES,
        hints_course.MANNERS,
        hints_course.demonstrations,
        {"hints": "hints-faithfulness"},
        {"id": 24, "ood": 12},
    ),
    "bias": Course(
        silent_course.BIAS,
        silent_course.MANNERS,
        silent_course.bias_demonstrations,
        {"bias": "profile-bias"},
        {"id": 60, "ood": 30},
    ),
    "sampling": Course(
        silent_course.SAMPLING,
        silent_course.MANNERS,
        silent_course.sampling_demonstrations,
        {"sampling": "profile-sampling"},
        {"id": 48, "ood": 24},
    ),
    "reward_hacking": Course(
        reward_hacking_course.POLICIES,
        reward_hacking_course.MANNERS,
        reward_hacking_course.demonstrations,
        {"reward_hacking": "profile-reward-hacking"},
        {"id": 36, "ood": 24},
    ),
    "pressure": Course(
        pressure_course.POLICIES,
        pressure_course.MANNERS,
        pressure_course.demonstrations,
        {"pressure": "profile-pressure"},
        {"id": 60, "ood": 32},
    ),
    "format": Course(
        format_course.POLICIES,
        format_course.MANNERS,
        format_course.demonstrations,
        {
            "risk": "probe-risk",
            "sampling": "profile-sampling",
            "hints": "hints-faithfulness",
            "bias": "profile-bias",
        },
        {"id": 24, "ood": 12},
    ),
    "injected": Course(
        injected_course.POLICIES,
        injected_course.MANNERS,
        injected_course.demonstrations,
        {},
        {"injected": 160, "control": 60},
        injects=True,
    ),
}
