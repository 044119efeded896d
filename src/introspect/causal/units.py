"""The units of work of a causal check, in their order; each depends on the plan, and those that score what was said on
what was sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from .log import PLAIN, Log, Unit, cell_name
from .replayed import map_case, replay_case
from .sampled import sample_plain, sample_unit, speak
from .settings import SCOPES, Act, ScopeName
from .vectors import typical_norms

if TYPE_CHECKING:
    from .stage import SteerPlan

Said = Sequence[list[int] | None]
"""Token ids of one case's completion in each cell, the unsteered one first."""
REPLAYED, MAPPED, SAMPLED, SPOKEN = (
    *("steer stored chains", "steer each layer", "sample under steering", "score what was said"),
)


class Named(NamedTuple):
    """A unit, before it is done."""

    stage: str
    name: str
    number: int
    """In its stage, from 0."""


class Units:
    """What a plan comes to, and how each unit of it is done."""

    def __init__(self, plan: SteerPlan) -> None:
        self.plan = plan
        cases = [case.rollout.rollout for case in plan.subject.cases]
        self.cells = [(scope, act) for scope in SCOPES for act in plan.acts]
        stages = {
            REPLAYED: [f"replayed/{rollout}" for rollout in cases],
            MAPPED: [f"map/{direction.layer}" for direction in plan.mapped],
            SAMPLED: [PLAIN, *(cell_name(scope, act) for scope, act in self.cells)],
            SPOKEN: [f"spoken/{rollout}" for rollout in cases],
        }
        self.named = [
            Named(stage, name, number) for stage, names in stages.items() for number, name in enumerate(names)
        ]
        self.sizes = {stage: len(names) for stage, names in stages.items()}

    def after(self, index: int) -> int:
        """How many of the first units have to be done before the one of that index."""
        return len(self.named) - self.sizes[SPOKEN] if self.named[index].stage == SPOKEN else 0

    def said(self, index: int, log: Log) -> Said:
        """What a unit that scores needs of those before it; nothing, of others."""
        stage, _, number = self.named[index]
        if stage != SPOKEN:
            return []
        rollout = self.plan.subject.cases[number].rollout.rollout
        names = [PLAIN, *(cell_name(scope, act) for scope, act in self.cells)]
        return [
            next(
                r for r in log.units[name].sampled if r.rollout == rollout and r.completion_ids is not None
            ).completion_ids
            for name in names
        ]

    def do(self, index: int, said: Said) -> Unit:
        """Do a unit."""
        plan, (stage, name, number) = self.plan, self.named[index]
        subject, tested, lanes = plan.subject, plan.tested, plan.settings.lanes
        if stage == REPLAYED:
            rollout = subject.cases[number].rollout
            return Unit(
                unit=name, replayed=[replay_case(subject, tested, plan.acts, rollout, scope) for scope in SCOPES]
            )
        if stage == MAPPED:
            direction = plan.mapped[number]
            unit = self._norms[direction.layer] / direction.norm
            return Unit(
                unit=name, mapped=[map_case(subject, direction, unit, plan.acts, c.rollout) for c in subject.cases]
            )
        if stage == SPOKEN:
            cells: list[tuple[ScopeName | None, Act | None]] = [(None, None), *self.cells]
            rows = [(scope, act, ids) for (scope, act), ids in zip(cells, said, strict=True) if ids]
            return Unit(unit=name, spoken=speak(subject, subject.cases[number], rows))
        if name == PLAIN:
            return Unit(unit=name, sampled=sample_plain(subject, tested, plan.acts[-1], lanes))
        scope, act = self.cells[number - 1]
        return Unit(unit=name, sampled=sample_unit(subject, tested, scope, act, plan.wanted, lanes))

    @cached_property
    def _norms(self) -> dict[int, float]:
        """Of typical activations, at each layer of the map."""
        mapped = self.plan.mapped
        return dict(typical_norms(self.plan.subject, mapped[0].site, tuple(direction.layer for direction in mapped)))
