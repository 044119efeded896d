"""The map of layers and positions, with its controls: a table whose cells are coloured, and what is known of one cell.

A table rather than a picture: each cell is a link with its number in it, so it can be read without seeing colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .tokens import level_of

Json = dict[str, Any]
HALF = 0.5
"""Distance from the middle that has the full colour: of an AUROC, and of a difference of two."""


class Measure(NamedTuple):
    """One that the map can show."""

    label: str
    what: str
    middle: float
    """What has no colour: chance for an AUROC, nothing for a difference."""


MEASURES = {
    "auroc": Measure("probe", "AUROC on held-out groups", 0.5),
    "base": Measure("base model", "AUROC of a probe of the model before post-training, on the same rollouts", 0.5),
    "null": Measure("shuffled labels", "AUROC that 95% of probes fitted to shuffled labels stay under", 0.5),
    "inner": Measure("inner folds", "AUROC on inner folds of the development groups, by which places are chosen", 0.5),
    "beyond_base": Measure("beyond base model", "AUROC of the probe less that of the base model", 0.0),
    "beyond_null": Measure("beyond shuffled labels", "AUROC of the probe less what 95% of shuffles stay under", 0.0),
}


@dataclass(frozen=True)
class MapCell:
    """One place."""

    position: str
    layer: int
    value: float | None
    level: str
    headline: bool
    chosen: bool


@dataclass(frozen=True)
class LayerMap:
    """Rows are layers, columns are positions."""

    positions: Sequence[str]
    rows: Sequence[tuple[int, Sequence[MapCell]]]


def value_of(cell: Json, show: str) -> float | None:
    """The number of a cell of results.json's grid."""
    auroc, base, null = cell["auroc"]["value"], cell["base_auroc"], cell["null_q95"]
    if show in ("base", "null", "inner"):
        return {"base": base, "null": null, "inner": cell["inner_auroc"]}[show]
    if show == "beyond_base":
        return None if auroc is None or base is None else auroc - base
    if show == "beyond_null":
        return None if auroc is None or null is None else auroc - null
    return auroc


def layer_map(probe: Json, show: str, position: str, layer: int) -> LayerMap:
    """The map of a run's probes.

    Args:
        show: a name of `MEASURES`.
        position, layer: of the cell that is chosen.
    """
    head, middle = probe["headline"], MEASURES[show].middle
    grid = {(cell["position"], cell["layer"]): cell for cell in probe["grid"]}
    positions = list(dict.fromkeys(cell["position"] for cell in probe["grid"]))

    def cell_at(name: str, at: int) -> MapCell:
        found = grid.get((name, at))
        value = None if found is None else value_of(found, show)
        level = level_of(None if value is None else value - middle, HALF)
        is_head = (name, at) == (head["position"], head["layer"])
        return MapCell(name, at, value, level, is_head, (name, at) == (position, layer))

    layers = sorted({at for _, at in grid})
    return LayerMap(positions, [(at, [cell_at(name, at) for name in positions]) for at in layers])


def cell_facts(results: Json, position: str, layer: int) -> list[tuple[str, str, Json | float | None]]:
    """What is known of a place: label, kind (estimate, number) and value, in order."""
    probe = results["probe"]
    cell = next((c for c in probe["grid"] if (c["position"], c["layer"]) == (position, layer)), None)
    if cell is None:
        return []
    facts: list[tuple[str, str, Json | float | None]] = [
        ("probe", "estimate", cell["auroc"]),
        ("base model", "number", cell["base_auroc"]),
        ("95% of shuffled labels stay under", "number", cell["null_q95"]),
        ("on inner folds", "number", cell["inner_auroc"]),
    ]
    row: Json = next((each for each in probe["positions"] if each["position"] == position), {})
    words = {"text_prompt_chain": "words of prompt and chain up to here", "logits": "the next token's logits here"}
    facts += [(label, "estimate", row[name]) for name, label in words.items() if name in row]
    whole = results["baselines"].get("text_whole_chain", {}).get("auroc")
    return facts + ([("words of the whole chain", "estimate", whole)] if whole else [])
