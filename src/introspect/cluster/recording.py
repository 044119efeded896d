"""A run's recording, spread over a crew: here, and at a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..doctor import self_test
from ..experiment import Experiment
from ..follow_ups import stage_folder
from ..hands import Hands
from ..prepare import Prepared, prepare
from ..record import Made, PartMaker
from ..rollout import parse_rollouts, read_rollouts
from ..run_folder import check_memory, enough_memory
from ..store import StagedPart, stage_part
from ..tasks.registry import find_task
from ..turns import Turn, first_turn, next_turn, turn_maker
from .crew import Crew
from .errand import Errand, Work, facts_of, use_threads
from .ground import Ground, Parcel, ground_of

KIND = f"{__name__}:RecordWork"
SHOWN = 6
"""Rollouts that are named of a part."""


def begin_recording(crew: Crew, spec: Experiment, out: Path, *, offline: bool) -> None:
    """Let the workers load what the first turn needs."""
    crew.begin(KIND, _setting(crew.ground, spec, out, 0, offline=offline))


def spread_record(
    crew: Crew, spec: Experiment, out: Path, number: int, maker: PartMaker, *, offline: bool
) -> Hands[Made]:
    """Who makes the parts of a turn.

    Args:
        number: of the turn; maker: what makes them here.
    """
    activations = _turn_folders(spec, out)[number] / "activations"

    def read(answer: dict[str, Any]) -> Made:
        staged = StagedPart(**answer["part"])
        crew.ground.collect(answer["sent"], activations / Path(staged.file).name)
        return parse_rollouts(answer["rollouts"], "what a worker sent"), staged

    def name(index: int) -> str:
        rollouts = [str(job.rollout) for job in maker.parts[index]]
        listed = ", ".join(rollouts[:SHOWN]) + (", ..." if len(rollouts) > SHOWN else "")
        return f"part {index} (rollouts {listed})"

    def hands(todo: Sequence[int], make: Callable[[int], Made], take: Callable[[int, Made], object]) -> None:
        if todo:  # else there is nothing to send anybody for
            setting = _setting(crew.ground, spec, out, number, offline=offline)
            crew.hands(Errand(KIND, setting, _facts(maker), read=read, name=name))(todo, make, take)

    return hands


class RecordWork:
    """Parts of a run. Rollouts come back as lines; activations are written into the run's folder, or sent there."""

    def __init__(self, setting: dict[str, Any], held: list[Work | None], threads: int) -> None:
        use_threads(threads)
        spec, self.out = Experiment.model_validate_json(setting["spec"]), Path(setting["out"])
        self.ground = ground_of(setting["ground"])
        before = held.pop()
        self.memory: int
        kept = before.memory if isinstance(before, RecordWork) else 0
        if isinstance(before, RecordWork) and before.prepared.spec == spec:
            self.prepared: Prepared = before.prepared
        else:
            del before
            self.prepared = prepare(spec, offline=setting["offline"])
            self_test(self.prepared.loaded, self.prepared.backend)
        self.turn = self._turn(setting["before"])
        self.maker = turn_maker(self.prepared, self.turn)
        self.memory = self.prepared.bytes_in_memory()
        check_memory(self.memory - kept)  # what a process has needed once, it keeps
        self.facts = _facts(self.maker)

    def do(self, index: int, told: Any) -> dict[str, Any]:
        """Make a part."""
        with enough_memory("a part of the run on this machine", "set a smaller generation.part_size"):
            made, content = self.maker.make(index)
        folder = self.ground.writes_to(self.turn.folder / "activations")
        folder.mkdir(parents=True, exist_ok=True)
        staged = stage_part(folder, index, content)
        sent = self.ground.hand_in(folder / staged.file)
        return {"rollouts": "".join(row.line() for row in made), "part": asdict(staged), "sent": sent}

    def _turn(self, before: Sequence[Parcel]) -> Turn:
        """The turn after those of which these are the rollouts."""
        turn = first_turn(self.prepared, self.out)
        for follow_up, sent in zip(turn.task.follow_ups, before, strict=False):
            rollouts = read_rollouts(self.ground.receive(sent))
            turn = next_turn(self.prepared, self.out, turn, follow_up, rollouts)
        return turn


def _setting(ground: Ground, spec: Experiment, out: Path, number: int, *, offline: bool) -> dict[str, Any]:
    before = [ground.send(folder / "rollouts.jsonl") for folder in _turn_folders(spec, out)[:number]]
    where = {"out": str(out.absolute()), "ground": ground.setting(), "before": before}
    return {"spec": spec.model_dump_json(), **where, "offline": offline}


def _turn_folders(spec: Experiment, out: Path) -> list[Path]:
    """Of the turns of a run in `out`."""
    return [out, *(out / stage_folder(each) for each in find_task(spec.task).follow_ups)]


def _facts(maker: PartMaker) -> dict[str, str | None]:
    return facts_of(maker.loaded.info, maker.backend.name, maker.store.meta["plan"])
