"""Whether units on file are those that a plan asks for: the file may be a stranger's, or have been edited."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from ..stage_file import Row
from .held_out import SENTENCES
from .log import PLAIN, REMEDY, Apart, Mapped, Replayed, Sampled, Unit, cell_name
from .settings import SCOPES, Act
from .units import directions_on_sentences


@dataclass(frozen=True)
class Expected:
    """What a plan asks for."""

    rollouts: Sequence[int]
    n_directions: int
    acts: Sequence[Act]
    layers: Sequence[int]
    """Of the map."""
    n_map_controls: int
    wanted: Collection[tuple[int, int]]
    """Direction and rollout of what is sampled under each act."""
    n_ids: int
    """Tokens that the model knows."""

    def check(self, path: Path, units: Mapping[str, Unit]) -> None:
        """Refuse what the plan does not ask for.

        Raises:
            StoreError: names the line, and what is wrong with it.
        """
        for line, (name, unit) in enumerate(units.items(), start=2):
            why = self._why_not(name, unit)
            if why is not None:
                raise StoreError(f"{path}:{line}: unit {name[:80]!r} {why}; {REMEDY}")

    def _why_not(self, name: str, unit: Unit) -> str | None:
        kind, _, what = name.partition("/")
        held: dict[str, Sequence[Row]] = {
            "apart": unit.apart,
            "replayed": unit.replayed,
            "map": unit.mapped,
            "sampled": unit.sampled,
        }
        if kind not in held or any(rows for other, rows in held.items() if other != kind):
            return "is of no kind that is measured, or holds rows of another"
        if kind == "apart":
            return self._apart(what, unit.apart)
        if kind == "replayed":
            return self._replayed(what, unit.replayed)
        if kind == "map":
            return self._mapped(what, unit.mapped)
        return self._sampled(name, unit.sampled)

    def _apart(self, what: str, rows: Sequence[Apart]) -> str | None:
        found = dict(zip(map(str, range(SENTENCES)), directions_on_sentences(self.n_directions), strict=True))
        if what not in found or any(str(row.sentence) != what for row in rows):
            return "is of a sentence that is not read"
        if [row.direction for row in rows] != found[what] or any(len(row.kl) != len(self.acts) for row in rows):
            return f"is not of the directions that are read on it under {len(self.acts)} doses"
        return None

    def _replayed(self, what: str, rows: Sequence[Replayed]) -> str | None:
        if what not in map(str, self.rollouts) or any(str(row.rollout) != what for row in rows):
            return "is of an item that is not steered"
        if [row.scope for row in rows] != list(SCOPES):
            return f"is not of the scopes {', '.join(SCOPES)}, each once"
        steered = [row for row in rows if row.n_tokens]
        shape, n_acts = self.n_directions, len(self.acts)
        grids = [grid for row in steered for grid in (row.log_odds, row.kl)]
        lists = [(row.component, shape) for row in steered] + [(row.own_out, shape - 1) for row in steered]
        if any(len(grid) != shape or any(len(each) != n_acts for each in grid) for grid in grids) or any(
            len(found) != n for found, n in lists
        ):
            return f"is not of {shape} directions under {n_acts} doses"
        return None

    def _mapped(self, what: str, rows: Sequence[Mapped]) -> str | None:
        if what not in map(str, self.layers) or any(str(row.layer) != what for row in rows):
            return f"is of a layer that the map does not have; it has {', '.join(map(str, self.layers)) or 'none'}"
        if [row.rollout for row in rows] != list(self.rollouts):
            return "is not of the items that are steered, each once"
        if any(len(row.controls) != self.n_map_controls for row in rows):
            return f"is not of {self.n_map_controls} control directions"
        if any(len(found) != len(self.acts) for row in rows for found in (row.log_odds, row.kl, *row.controls)):
            return f"is not of {len(self.acts)} doses"
        return None

    def _sampled(self, name: str, rows: Sequence[Sampled]) -> str | None:
        cells = {cell_name(scope, act) for scope in SCOPES for act in self.acts}
        if name != PLAIN and name not in cells:
            return "is of a scope or dose that was not asked for"
        found = [(row.direction, row.rollout) for row in rows]
        wanted = {(0, number) for number in self.rollouts} if name == PLAIN else set(self.wanted)
        if len(found) != len(wanted) or set(found) != wanted:
            return "is not of the directions and items that were asked for, each once"
        if any(row.completion_ids is None for row in rows if row.direction == 0):
            return "lacks the tokens of a completion"
        if any(not 0 <= token < self.n_ids for row in rows for token in row.completion_ids or ()):
            return f"has tokens that are none of the model's {self.n_ids}"
        return None
