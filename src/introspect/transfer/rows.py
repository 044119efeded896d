"""What is fitted at each row's place, and what of it is carried to the columns: scores and cosines, no activations.

Rows that read one layer are worked on together, so every activation is read once, and what is held at any time is that
of one layer: memory does not grow with the number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .carried import TEXTS, Carried, Place, Row, carried_words, fit_at, scored
from .common_split import Organism
from .cosines import cosine_matrix, too_small
from .shuffled import Drawn, shuffled_aurocs


@dataclass(frozen=True)
class Fitted:
    """Fitted on -> what is known of it without its activations."""

    rows: dict[str, Row] = field(default_factory=dict)
    bases: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """Tested on -> log-odds [row] by the same probe of the untrained model, where there is one."""
    shuffled: dict[str, dict[str, Drawn] | str] = field(default_factory=dict)
    """As `shuffled_aurocs`."""
    cosines: dict[str, dict[str, dict]] = field(default_factory=dict)
    """A row of `cosine_matrix`, of the kinds that have a direction; without rows that have none."""

    def study(self, organisms: Mapping[str, Organism], names: Sequence[str], n: int, seed: int) -> Carried:
        """The rows in an order."""
        return Carried(organisms, {name: self.rows[name] for name in names}, n, seed)


@dataclass(frozen=True)
class Reading:
    """How activations of the columns are read."""

    organisms: Mapping[str, Organism]
    positions: Mapping[str, str] | None
    """Where each is read, if that is what tells them apart; None: wherever the row's probe is."""
    site: str

    def where(self, place: Place) -> Place | int:
        """What rows have in common that read the same activations."""
        return place if self.positions is None else place[1]

    def at(self, place: Place, *, base: bool = False) -> dict[str, np.ndarray]:
        """Column -> activations [row, width] that a probe of that place is put to; `base`: of the untrained model."""
        position, layer = place
        return {
            name: each.recorded.at(
                self.site, layer, position if self.positions is None else self.positions[name], base=base
            )
            for name, each in self.organisms.items()
        }

    def texts(self, name: str, place: Place) -> dict[str, dict[str, np.ndarray] | str]:
        """Of `TEXTS` -> words fitted on one column, as `carried_words`."""
        whole = {each: organism.recorded.whole_texts for each, organism in self.organisms.items()}
        visible = {
            each: organism.recorded.visible_texts(place[0] if self.positions is None else self.positions[each])
            for each, organism in self.organisms.items()
        }
        found = (carried_words(self.organisms, name, whole), carried_words(self.organisms, name, visible))
        return dict(zip(TEXTS, found, strict=True))


def fit_rows(
    reading: Reading, places: Mapping[str, Place], penalties: Sequence[float], *, base: bool, seed: int
) -> Fitted:
    """Fit every row at its place, and carry it to every column.

    Args:
        places: fitted on -> position and layer.
        base: whether there is an untrained model beside all of them.
    """
    out, organisms = Fitted(), reading.organisms
    together: dict[Any, list[str]] = {}
    for name, place in places.items():
        together.setdefault(reading.where(place), []).append(name)
    for names in together.values():
        values = reading.at(places[names[0]])
        for name in names:
            cell = fit_at(organisms[name], values[name], places[name], penalties)
            out.rows[name] = Row(places[name], cell, scored(cell, values), reading.texts(name, places[name]))
            out.shuffled[name] = shuffled_aurocs(organisms, name, cell, values, seed=seed)
            out.cosines.update(_cosines(organisms, name, values, seed))
        del values
        if base:
            values = reading.at(places[names[0]], base=True)
            for name in names:
                before = fit_at(organisms[name], values[name], places[name], penalties)
                out.bases[name] = scored(before, values)
            del values
    return out


def without_direction(organisms: Mapping[str, Organism]) -> dict[str, str | None]:
    """Kind -> why it has no direction; None where it has one."""
    return {
        name: too_small(*(column[~each.recorded.ood] for column in (each.recorded.acted, each.recorded.groups)))
        for name, each in organisms.items()
    }


def _cosines(
    organisms: Mapping[str, Organism], name: str, values: Mapping[str, np.ndarray], seed: int
) -> dict[str, dict[str, dict]]:
    reasons = without_direction(organisms)
    if reasons[name] is not None:
        return {}
    labelled = {
        each: organism.recorded.labelled(values[each]) for each, organism in organisms.items() if reasons[each] is None
    }
    return cosine_matrix(labelled, rows=[name], seed=seed)
