"""steering.jsonl: what has been measured so far, a unit of work a line.

A line is appended whole and brought to the disk before the next unit begins, so a kill loses one unit at most: a last
line that was cut short is dropped, and its unit done again. The first line says of which plan the units are; a file of
another plan is set aside under a name of its own, not overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from ..atomic import read_at_most, write_atomic
from ..errors import RunError, StoreError
from ..stage_file import MAX_BYTES, Row
from .settings import Act, ScopeName

STEERING_FILE = "steering.jsonl"
ASIDE = "steering.other-{}.jsonl"
"""A file of another plan, by the first digits of its content's SHA-256."""
REMEDY = "move it away, and steer the run again"
PLAIN = "sampled/plain"
"""The unit of rollouts without steering."""


class Replayed(Row):
    """The answer of one rollout, its chain held fixed and steered as it is read."""

    scope: ScopeName
    rollout: int
    n_tokens: int
    """Steered before the answer's name; 0: the scope meets none, and nothing is measured."""
    plain: float | None = None
    """Log-odds (nats) of the options that act against the others, unsteered."""
    log_odds: list[list[float | None]] = Field(default_factory=list)
    """[direction][act]; null where activations became NaN or infinite."""
    kl: list[list[float | None]] = Field(default_factory=list)
    """[direction][act]: nats a token."""
    own_out: list[float | None] = Field(default_factory=list)
    """[control]: log-odds with that control's own component projected out."""
    component: list[float | None] = Field(default_factory=list)
    """[direction]: mean over the steered tokens of the component's size, in the units of the activations."""
    step: float | None = None
    """Of log-odds, where scores are not of 32 bits: that between neighbouring scores of their size (nats)."""


class Apart(Row):
    """A sentence that has nothing to do with the run, under one direction, steered throughout."""

    sentence: int
    direction: int
    kl: list[float | None]
    """[act]: nats a token, from the unsteered model's distributions; null where activations became NaN or infinite."""


class Mapped(Row):
    """The same as `Replayed` for the direction of one layer, steered in think and answer."""

    layer: int
    rollout: int
    plain: float | None
    """None: it is no number."""
    log_odds: list[float | None]
    """[act]."""
    kl: list[float | None]
    controls: list[list[float | None]] = Field(default_factory=list)
    """[control][act]: log-odds along random directions, of the norm of that layer's."""


class Sampled(Row):
    """A rollout that was sampled anew; of an intervention, but for the unsteered ones."""

    rollout: int
    """Number of the run's own rollout of the item."""
    direction: int
    acted: bool | None
    verbalised: bool | None
    correct: bool | None
    n_tokens: int = Field(ge=0, le=1 << 31)
    steered_tokens: int = Field(ge=0, le=1 << 31)
    repeated: float | None
    """Share of the completion's 4-grams that have been there before (seq-rep-4, Welleck et al. 2020)."""
    nats: float | None
    """How unlikely the unsteered model finds the completion: mean over its tokens of -log p; e to that is the
    perplexity. None: it has no token, or one that has no finite probability."""
    finish: str
    completion_ids: list[int] | None = None
    """Of the direction that is tested, and of no direction."""
    text: str | None = None


class Unit(Row):
    """A line."""

    unit: str
    apart: list[Apart] = Field(default_factory=list)
    replayed: list[Replayed] = Field(default_factory=list)
    mapped: list[Mapped] = Field(default_factory=list)
    sampled: list[Sampled] = Field(default_factory=list)


def cell_name(scope: ScopeName, act: Act) -> str:
    """The unit of rollouts under an act."""
    return f"sampled/{scope}/{act.operator}/{act.dose!r}"


class _Head(Row):
    plan: str


class Log:
    """The file of one plan, open for appending.

    Args:
        check: of units that the file holds, in its order; raises where they are not the plan's.
        earlier: what an earlier version of this package calls the same plan.

    Raises:
        StoreError: the file is damaged, or holds what the plan does not ask for. Names the line.
    """

    def __init__(
        self,
        folder: Path,
        plan: str,
        check: Callable[[Path, Mapping[str, Unit]], None] | None = None,
        *,
        earlier: str | None = None,
    ) -> None:
        self.path = folder / STEERING_FILE
        self.units: dict[str, Unit] = {}
        self._under_way = False
        if os.path.lexists(self.path):
            if plan_of(self.path) in (plan, earlier):
                units = read_log(self.path)[1]
                if check is not None:
                    check(self.path, units)
                self.units = units
            else:
                content = read_at_most(self.path, MAX_BYTES)
                self.path.replace(folder / ASIDE.format(hashlib.sha256(content).hexdigest()[:12]))
        lines = [json.dumps({"plan": plan}), *(unit.model_dump_json() for unit in self.units.values())]
        write_atomic(self.path, "".join(f"{line}\n" for line in lines))

    def add(self, unit: Unit) -> Unit:
        """Commit a unit.

        Raises:
            RunError: an earlier one was not added to the end, so that what the file ends with is not known.
        """
        if self._under_way:
            raise RunError(f"a unit of {self.path} was being written when that stopped; steer the run again")
        self._under_way = True
        with self.path.open("a", encoding="utf-8") as file:
            file.write(unit.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.units[unit.unit] = unit
        self._under_way = False
        return unit


def plan_of(path: Path) -> str:
    """The plan of a file that may be a stranger's, or an earlier version's, whose units are others.

    Raises:
        StoreError: it is damaged.
    """
    return _read(path, units=False)[0]


def read_log(path: Path) -> tuple[str, dict[str, Unit]]:
    """The plan of a file that may be a stranger's, and its units by name, in order: unit i is on line i + 2.

    Raises:
        StoreError: it is damaged. Names the file and the line.
    """
    return _read(path, units=True)


def _read(path: Path, *, units: bool) -> tuple[str, dict[str, Unit]]:
    number = 1
    try:
        lines: Sequence[bytes] = read_at_most(path, MAX_BYTES).split(b"\n")[:-1]
        plan = _Head.model_validate_json(lines[0]).plan if lines else ""
        found: dict[str, Unit] = {}
        for line in lines[1:] if units else ():
            number += 1
            unit = Unit.model_validate_json(line)
            if unit.unit in found:
                raise StoreError(f"{path}:{number}: unit {unit.unit[:80]!r} is there twice; {REMEDY}")
            found[unit.unit] = unit
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error}); {REMEDY}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise StoreError(f"{path}:{number}: no unit ({where}: {first['msg']}); {REMEDY}") from None
    return plan, found
