"""The units of a causal check, spread over a crew: here, and at a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..causal.log import Unit
from ..causal.settings import SteerSettings
from ..causal.stage import plan_steer
from ..causal.units import Units
from ..hands import Hands
from ..run_folder import enough_memory
from .crew import Crew
from .errand import Errand, Work, facts_of, use_threads
from .ground import ground_of

KIND = f"{__name__}:UnitWork"


def spread_units(crew: Crew, run: Path, settings: SteerSettings, units: Units, *, offline: bool) -> Hands[Unit]:
    """Who does the units of a causal check."""
    given = None if settings.direction is None else Path(settings.direction)

    def hands(todo: Sequence[int], make: Callable[[int], Unit], take: Callable[[int, Unit], object]) -> None:
        if not todo:  # nothing to send anybody for
            return
        setting = {
            "run": crew.ground.send(run, crew.progress),
            "direction": crew.ground.send(given) if given is not None and given.exists() else None,
            "ground": crew.ground.setting(),
            "settings": asdict(settings),
            "offline": offline,
        }
        errand = Errand(
            KIND,
            setting,
            _facts(units),
            read=Unit.model_validate_json,
            name=lambda index: f"unit {units.named[index].name}",
        )
        crew.hands(errand)(todo, make, take)

    return hands


class UnitWork:
    """Units of a causal check of a finished run. They come back as lines."""

    memory = 0

    def __init__(self, setting: dict[str, Any], held: list[Work | None], threads: int) -> None:
        use_threads(threads)
        held.clear()
        asked = TypeAdapter(SteerSettings).validate_python(setting["settings"])
        self.ground = ground_of(setting["ground"])
        if setting["direction"] is not None:
            asked = replace(asked, direction=str(self.ground.receive(setting["direction"])))
        self.units = Units(plan_steer(self.ground.receive(setting["run"]), asked, offline=setting["offline"]))
        self.facts = _facts(self.units)

    def do(self, index: int, told: None) -> str:
        """Do a unit."""
        with enough_memory("a unit of the check on this machine", "set fewer --lanes"):
            return self.units.do(index).model_dump_json()


def _facts(units: Units) -> dict[str, str | None]:
    subject = units.plan.subject
    return facts_of(subject.loaded.info, subject.backend.name, units.plan.digest)
