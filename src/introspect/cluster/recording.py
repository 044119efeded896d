"""A run's recording, spread over a crew: here, and at a worker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..doctor import self_test
from ..experiment import Experiment
from ..hands import Hands
from ..prepare import Prepared, prepare
from ..record import Made, PartMaker
from ..rollout import parse_rollouts, read_rollouts
from ..run_folder import check_memory, enough_memory
from ..store import StagedPart, stage_part
from ..turns import Turn, first_turn, next_turn, turn_maker
from .crew import Crew
from .errand import Errand, Work, facts_of, use_threads

KIND = f"{__name__}:RecordWork"
SHOWN = 6
"""Rollouts that are named of a part."""


def begin_recording(crew: Crew, spec: Experiment, out: Path, *, offline: bool) -> None:
    """Let the workers load what the first turn needs."""
    crew.begin(KIND, _setting(spec, out, 0, offline=offline))


def spread_record(
    crew: Crew, spec: Experiment, out: Path, number: int, maker: PartMaker, *, offline: bool
) -> Hands[Made]:
    """Who makes the parts of a turn.

    Args:
        number: of the turn; maker: what makes them here.
    """

    def name(index: int) -> str:
        rollouts = [str(job.rollout) for job in maker.parts[index]]
        listed = ", ".join(rollouts[:SHOWN]) + (", ..." if len(rollouts) > SHOWN else "")
        return f"part {index} (rollouts {listed})"

    return crew.hands(Errand(KIND, _setting(spec, out, number, offline=offline), _facts(maker), read=_read, name=name))


class RecordWork:
    """Parts of a run. Rollouts come back as lines; activations are written into the run's folder."""

    def __init__(self, setting: dict[str, Any], held: list[Work | None], threads: int) -> None:
        use_threads(threads)
        spec, self.out = Experiment.model_validate_json(setting["spec"]), Path(setting["out"])
        before = held.pop()
        self.memory: int
        kept = before.memory if isinstance(before, RecordWork) else 0
        if isinstance(before, RecordWork) and before.prepared.spec == spec:
            self.prepared: Prepared = before.prepared
        else:
            del before
            self.prepared = prepare(spec, offline=setting["offline"])
            self_test(self.prepared.loaded, self.prepared.backend)
        self.turn = self._turn(setting["turn"])
        self.maker = turn_maker(self.prepared, self.turn)
        self.memory = self.prepared.bytes_in_memory()
        check_memory(self.memory - kept)  # what a process has needed once, it keeps
        self.facts = _facts(self.maker)

    def do(self, index: int, told: Any) -> dict[str, Any]:
        """Make a part."""
        with enough_memory("a part of the run on this machine", "set a smaller generation.part_size"):
            made, content = self.maker.make(index)
        staged = stage_part(self.turn.folder / "activations", index, content)
        return {"rollouts": "".join(row.line() for row in made), "part": asdict(staged)}

    def _turn(self, number: int) -> Turn:
        """The turn of that number: those before it are in the run's folder."""
        turn = first_turn(self.prepared, self.out)
        for follow_up in turn.task.follow_ups[:number]:
            rollouts = read_rollouts(turn.folder / "rollouts.jsonl")
            turn = next_turn(self.prepared, self.out, turn, follow_up, rollouts)
        return turn


def _setting(spec: Experiment, out: Path, number: int, *, offline: bool) -> dict[str, Any]:
    return {"spec": spec.model_dump_json(), "out": str(out.absolute()), "turn": number, "offline": offline}


def _facts(maker: PartMaker) -> dict[str, str | None]:
    return facts_of(maker.loaded.info, maker.backend.name, maker.store.meta["plan"])


def _read(answer: dict[str, Any]) -> Made:
    """What a worker says of a part that it has written."""
    return parse_rollouts(answer["rollouts"], "what a worker sent"), StagedPart(**answer["part"])
