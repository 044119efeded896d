"""The units of work of a causal check, in their order; each depends on the plan alone."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from .held_out import CONTROL_SENTENCES, SENTENCES, read_sentence
from .log import PLAIN, Unit, cell_name
from .replayed import map_case, replay_case
from .sampled import rotation, sample_plain, sample_unit
from .settings import SCOPES
from .vectors import map_controls, typical_norms

if TYPE_CHECKING:
    from .stage import SteerPlan

APART, REPLAYED, MAPPED, SAMPLED = (
    *("steer sentences", "steer stored chains", "steer each layer", "sample under steering"),
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
        self.on_sentences = directions_on_sentences(len(plan.tested.vectors))
        stages = {
            APART: [f"apart/{number}" for number in range(SENTENCES)],
            REPLAYED: [f"replayed/{rollout}" for rollout in cases],
            MAPPED: [f"map/{direction.layer}" for direction in plan.mapped],
            SAMPLED: [PLAIN, *(cell_name(scope, act) for scope, act in self.cells)],
        }
        self.named = [
            Named(stage, name, number) for stage, names in stages.items() for number, name in enumerate(names)
        ]
        self.sizes = {stage: len(names) for stage, names in stages.items()}

    def do(self, index: int) -> Unit:
        """Do a unit."""
        plan, (stage, name, number) = self.plan, self.named[index]
        subject, tested, lanes = plan.subject, plan.tested, plan.settings.lanes
        if stage == APART:
            rows = read_sentence(subject, tested, plan.acts, number, self.on_sentences[number])
            return Unit(unit=name, apart=rows)
        if stage == REPLAYED:
            rollout = subject.cases[number].rollout
            return Unit(
                unit=name, replayed=[replay_case(subject, tested, plan.acts, rollout, scope) for scope in SCOPES]
            )
        if stage == MAPPED:
            direction = plan.mapped[number]
            unit = self._norms[direction.layer] / direction.norm
            controls = map_controls(plan.settings, direction)
            return Unit(
                unit=name,
                mapped=[map_case(subject, direction, controls, unit, plan.acts, c.rollout) for c in subject.cases],
            )
        if name == PLAIN:
            return Unit(unit=name, sampled=sample_plain(subject, tested, plan.acts[-1], lanes))
        scope, act = self.cells[number - 1]
        return Unit(unit=name, sampled=sample_unit(subject, tested, scope, act, plan.wanted, lanes))

    @cached_property
    def _norms(self) -> dict[int, float]:
        """Of typical activations, at each layer of the map."""
        mapped = self.plan.mapped
        return dict(typical_norms(self.plan.subject, mapped[0].site, tuple(direction.layer for direction in mapped)))


def directions_on_sentences(n_directions: int) -> list[list[int]]:
    """Of each sentence, the directions that are read on it: the tested one, and every so many controls in rotation."""
    found: list[list[int]] = [[] for _ in range(SENTENCES)]
    for each in rotation(range(SENTENCES), n_directions - 1, CONTROL_SENTENCES):
        found[each.case].append(each.direction)
    return found
