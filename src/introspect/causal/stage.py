"""The stage: units of work in their order, each committed before the next; then results.json and the report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import write_json
from ..hands import Hands, in_order, in_turn
from ..link import with_causal
from ..lock import only_writer
from ..manifest import earlier_versions, machine_facts, package_versions
from ..progress import Progress, seconds_of, silent
from ..record import stop_ids
from ..report import write_report
from ..results import read_results, validate_results
from ..stage_file import plan_digest
from ..steering import Direction, check_new, write_given
from .checked import Expected
from .held_out import SENTENCES, read_sentence
from .log import Log, Unit
from .replayed import map_case, replay_case
from .sampled import Wanted, rotation, speak, timed_steps
from .section import steering_section
from .settings import METHOD, SCOPES, Act, SteerSettings
from .subject import Subject, check_options, read_subject
from .units import Units, directions_on_sentences
from .vectors import MAP_CONTROLS, Tested, make_tested, map_controls, map_directions

if TYPE_CHECKING:
    from ..cluster.crew import Crew

Spread = Callable[[Units], Hands[Unit]]
"""Who does the units, given what they are here."""
TIMED_DIRECTIONS, TIMED_LANES = 3, 64
"""Of the pieces that an estimate is made from."""
PIECES, N_PIECES = "the direction, and short pieces", 6
"""What progress calls an estimate, and how many it counts: the plan, and what is timed."""


@dataclass(frozen=True)
class SteerPlan:
    """What will be done."""

    subject: Subject
    tested: Tested
    mapped: list[Direction]
    wanted: list[Wanted]
    """Rollouts of one scope and act."""
    settings: SteerSettings

    @property
    def acts(self) -> tuple[Act, ...]:
        return self.settings.acts

    @property
    def digest(self) -> str:
        """Of all that decides what is measured: of what the settings come to, and of what measures it. What the model
        was asked for and what it answered are in the cases.
        """
        return self._digest(package_versions())

    @property
    def earlier(self) -> str:
        """The same plan's in a file that was begun when fewer packages were recorded: what is there is of it."""
        return self._digest(earlier_versions(package_versions()))

    def _digest(self, versions: Mapping[str, str]) -> str:
        subject, loaded, machine = self.subject, self.subject.loaded, machine_facts()
        how = [METHOD, versions, loaded.info.to_json(), subject.backend.name]
        how += [machine["processor"], machine["accelerator"]]
        said: list[Any] = [subject.spec.task, subject.spec.generation.model_dump(mode="json"), asdict(loaded.format)]
        said += [sorted(stop_ids(loaded)), self.settings.lanes]
        place = [self.tested.direction.site, self.tested.direction.layer, self.tested.digest, self.tested.typical]
        cases = [[c.rollout.rollout, c.rollout.token_ids, c.seed] for c in subject.cases]
        maps = [[each.layer, each.vector.tolist()] for each in self.mapped]
        return plan_digest([how, said, self.acts, self.wanted, place, maps, *cases])

    @property
    def expected(self) -> Expected:
        """What its file may hold."""
        numbers = [case.rollout.rollout for case in self.subject.cases]
        return Expected(
            numbers,
            len(self.tested.vectors),
            self.acts,
            [each.layer for each in self.mapped],
            min(MAP_CONTROLS, self.settings.controls),
            {(each.direction, numbers[each.case]) for each in self.wanted},
            self.subject.loaded.model.get_input_embeddings().num_embeddings,
        )


def plan_steer(run: Path, settings: SteerSettings, *, offline: bool = False) -> SteerPlan:
    """Read the run, load its model, make the direction and its controls; measures nothing."""
    subject = read_subject(run, settings.items, seed=settings.seed, offline=offline)
    check_options(subject)
    tested = make_tested(subject, settings)
    wanted = rotation(subject.groups, len(tested.vectors) - 1, settings.control_items)
    return SteerPlan(subject, tested, map_directions(subject, settings), wanted, settings)


def steer_run(
    run: Path,
    settings: SteerSettings | None = None,
    *,
    offline: bool = False,
    progress: Progress = silent,
    crew: Crew | None = None,
) -> dict[str, Any]:
    """Steer a finished run's test items, and write steering.jsonl, results.json and the report.

    What has been measured by the same settings is not measured again, so a steer that was stopped goes on.

    Args:
        crew: workers who measure beside this process; None: it measures alone.

    Returns:
        The new content of results.json.

    Raises:
        RunError: no finished run of an experiment, one that was itself steered, or a strength of 0 changes something.
        SpecError, ModelError, EstimateError: there is no such direction, or it is not of this model.
        StoreError: what the run holds is damaged.
    """
    plan = plan_steer(run, settings or SteerSettings(), offline=offline)
    with only_writer(run / ".lock", run):
        log = Log(run, plan.digest, plan.expected.check, earlier=plan.earlier)
        work(plan, log, progress, _spread(crew, run, plan.settings, offline=offline))
        results = read_results(run / "results.json")
        results["steering"] = steering_section(plan.subject, plan.tested, plan.settings, plan.mapped, log.units)
        results["link"] = with_causal(results["link"], results["steering"])
        validate_results(results)
        write_json(run / "results.json", results)
        write_report(run)
    return results


def _spread(crew: Crew | None, run: Path, settings: SteerSettings, *, offline: bool) -> Spread:
    """Who does the units."""
    if crew is None:
        return lambda units: in_turn
    from ..cluster.steering import spread_units

    return functools.partial(spread_units, crew, run, settings, offline=offline)


def save_steered(run: Path, settings: SteerSettings, out: Path, *, offline: bool = False) -> Tested:
    """Write the direction that would be steered along, without steering; see `write_given`. The run is left as it is.

    Raises:
        RunError: something is there already; and as `steer_run`.
        SpecError: a control vector does not hold such a direction.
    """
    check_new(out)
    plan = plan_steer(run, replace(settings, controls=0, layers=None), offline=offline)
    config = plan.subject.loaded.model.config
    write_given(out, plan.tested.direction, hint=str(getattr(config, "model_type", "unknown")))
    return plan.tested


def work(plan: SteerPlan, log: Log, progress: Progress, spread: Spread) -> None:
    """Do the units that the log does not hold yet; they are committed in their order."""
    units = Units(plan)

    def commit(index: int, unit: Unit) -> None:
        log.add(unit)
        stage, _, number = units.named[index]
        progress(stage, number + 1, units.sizes[stage])

    for stage, size in units.sizes.items():
        if size:
            progress(stage, sum(each.stage == stage and each.name in log.units for each in units.named), size)
    left = [index for index, each in enumerate(units.named) if each.name not in log.units]
    spread(units)(left, units.do, in_order(left, commit))


@dataclass(frozen=True)
class SteerCost:
    """What a causal check is expected to take on this machine."""

    n_items: int
    n_directions: int
    n_acts: int
    n_replayed: int
    """Rows that are read, teacher-forced."""
    n_sampled: int
    """Rollouts that are sampled."""
    seconds: float


def estimate_steer(
    run: Path, settings: SteerSettings | None = None, *, offline: bool = False, progress: Progress = silent
) -> SteerCost:
    """What `steer_run` would take, from short pieces of it that are timed. Writes nothing."""
    progress(PIECES, 0, N_PIECES)
    plan = plan_steer(run, settings or SteerSettings(), offline=offline)
    progress(PIECES, 1, N_PIECES)
    subject, acts, rollout = plan.subject, plan.acts, plan.subject.cases[0].rollout
    n_cases, n_cells = len(subject.cases), len(SCOPES) * len(acts)
    few = replace(plan.tested, vectors=plan.tested.vectors[:TIMED_DIRECTIONS])
    n_rows, n_few = (len(each.vectors) * (len(acts) + 1) for each in (plan.tested, few))
    a_row = seconds_of(lambda: replay_case(subject, few, acts, rollout, "both")) / n_few
    progress(PIECES, 2, N_PIECES)
    # The scopes think and both have about the chain's length, and answer next to none of it.
    a_case = 2.2 * a_row * n_rows
    beside = np.empty(0)
    if plan.mapped:
        middle = plan.mapped[len(plan.mapped) // 2]
        beside = map_controls(plan.settings, middle)
        a_case += len(plan.mapped) * seconds_of(lambda: map_case(subject, middle, beside, 1e-6, acts, rollout))
    progress(PIECES, 3, N_PIECES)
    lanes = min(plan.settings.lanes, len(plan.wanted), TIMED_LANES)
    on_sentences = sum(map(len, directions_on_sentences(len(plan.tested.vectors))))
    a_sentence = seconds_of(lambda: read_sentence(subject, few, acts, 0, range(len(few.vectors)))) / len(few.vectors)
    progress(PIECES, 4, N_PIECES)
    two, four = (timed_steps(subject, plan.tested, acts[0], lanes, steps) for steps in (2, 4))
    progress(PIECES, 5, N_PIECES)
    length = sum(len(case.rollout.completion_ids) for case in subject.cases) / n_cases
    a_rollout = max(four - two, 0.0) / 2 * length / lanes
    n_sampled = n_cells * len(plan.wanted) + 3 * n_cases
    ids = rollout.completion_ids
    said = [[*ids[start:], *ids[:start]] for start in range(min(4, len(ids)))]
    a_rollout += seconds_of(lambda: speak(subject, subject.cases[0], said)) / len(set(map(tuple, said)))
    progress(PIECES, 6, N_PIECES)
    return SteerCost(
        n_items=n_cases,
        n_directions=len(plan.tested.vectors),
        n_acts=len(acts),
        n_replayed=n_cases * (len(SCOPES) * n_rows + len(plan.mapped) * (1 + len(acts) * (1 + len(beside))))
        + SENTENCES
        + on_sentences * len(acts),
        n_sampled=n_sampled,
        seconds=a_sentence * on_sentences + a_case * n_cases + a_rollout * n_sampled,
    )
