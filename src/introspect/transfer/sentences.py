"""A transfer matrix in words and as tables of text. Arranges; computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..report import number

MOST_PAIRS = 6
"""Pairs that are told one by one; of more, the range and the ends."""
HEADINGS = {
    "probe": "probe, AUROC",
    "text": "words, AUROC",
    "text_visible": "words up to the place",
    "increment": "probe beyond the better words",
    "base": "untrained model, AUROC",
    "beyond_base": "probe beyond that",
    "ceiling": "the column's own probe",
    "below_ceiling": "below the column's own probe",
    "drop": "below its own rollouts",
}
"""Estimate of a cell -> its column on the page."""


class Table(NamedTuple):
    """A matrix as text."""

    title: str
    head: list[str]
    rows: list[list[str]]


def sentences(found: dict[str, Any]) -> list[str]:
    """What the matrix says, plainly."""
    cells = found["auroc"]
    pairs = [(row, column) for row in cells for column in cells if row != column]
    told = [(row, column) for row, column in pairs if cells[row][column]["probe"]["value"] is not None]
    own = [row for row in cells if cells[row][row]["probe"]["value"] is not None]
    numbers = "; ".join(f"{number(cells[row][row]['probe'])} for {row}" for row in own)
    said = f"the probe predicts the label with AUROC {numbers}" if own else "no probe has an AUROC"
    out = [f"On held-out groups of the rollouts that it was fitted on, {said}."]
    if not told:
        return [*out, "Nothing could be carried over."]
    if len(told) > MOST_PAIRS:
        values = {pair: cells[pair[0]][pair[1]]["probe"]["value"] for pair in told}
        mean = sum(values.values()) / len(values)
        out.append(
            f"Carried over to other rollouts, {len(told)} of {len(pairs)} pairs have an AUROC, {mean:.2f} in the mean; "
            "the highest and the lowest:"
        )
        told = [max(told, key=lambda pair: values[pair]), min(told, key=lambda pair: values[pair])]
    return [*out, *(_pair(found, row, column) for row, column in told)]


def _pair(found: dict[str, Any], row: str, column: str) -> str:
    cell = found["auroc"][row][column]
    words = f"words carried over alike reach {number(cell[cell['best_text']])}" if cell["best_text"] else "no words do"
    own = "" if cell["ceiling"]["value"] is None else f", and {column}'s own probe {number(cell['ceiling'])}"
    return (
        f"The probe fitted on {row} predicts the label on {column} with AUROC {number(cell['probe'])} "
        f"({cell['n_rows']} rollouts of {cell['n_groups']} groups{_shuffled(cell)}); {words}{own}."
    )


def _shuffled(cell: dict[str, Any]) -> str:
    null = cell["shuffled"]
    return f"; shuffled labels: {null['low']:.2f} to {null['high']:.2f}" if "low" in null else ""


def tables(found: dict[str, Any]) -> list[Table]:
    """AUROC, words, how far below the column's own probe, and cosines; a row is fitted on, a column tested on."""
    cells, cosines = found["auroc"], found["cosines"]["matrix"]
    names = list(cells)
    head = ["fitted on", *names]

    def table(title: str, text: Callable[[str, str], str]) -> Table:
        return Table(title, head, [[row, *(text(row, column) for column in names)] for row in names])

    def words(row: str, column: str) -> str:
        return short(cells[row][column][cells[row][column]["best_text"] or "text"])

    def shuffled(row: str, column: str) -> str:
        null = cells[row][column]["shuffled"]
        return f"{null['low']:.2f} to {null['high']:.2f}" if "low" in null else "-"

    return [
        table("AUROC of the probe", lambda row, column: short(cells[row][column]["probe"])),
        table("AUROC of probes fitted on shuffled labels, their central 95%", shuffled),
        table("AUROC of the better words, carried over alike", words),
        table("AUROC below the column's own probe", lambda row, column: short(cells[row][column]["below_ceiling"])),
        table(
            "cosine of directions, and 95% of any labels (diagonal: split-half reliability)",
            lambda row, column: cosine_text(cosines[row][column]),
        ),
    ]


def short(estimate: dict[str, Any]) -> str:
    """A number with its interval; a dash where there is none."""
    return "-" if estimate["value"] is None else number(estimate)


def cosine_text(cell: dict[str, Any]) -> str:
    """A cosine beside its null."""
    if "reliability" in cell:
        return f"({short(cell['reliability'])})"
    null = cell.get("random_labels", {})
    return short(cell) + (f"; {null['low']:.2f} to {null['high']:.2f}" if "low" in null else "")


def cell_rows(matrix: dict[str, Any]) -> list[dict[str, Any]]:
    """Every cell with the text of its estimates; `reason` where there are none."""
    return [
        {
            "fitted": row,
            "tested": column,
            "n": f"{cell['n_rows']} / {cell['n_groups']}",
            "cells": [short(cell[name]) for name in HEADINGS if name in cell],
            "shuffled": _null(cell["shuffled"]),
            "reason": cell["probe"].get("reason", ""),
        }
        for row, columns in matrix.items()
        for column, cell in columns.items()
    ]


def direction_rows(matrix: dict[str, Any]) -> list[dict[str, Any]]:
    """Every pair of directions with the text of its cosine and nulls; `reason` where there is none."""
    out = []
    for row, columns in matrix.items():
        for column, cell in columns.items():
            shown = cell.get("reliability", cell)
            out.append(
                {
                    "fitted": row,
                    "tested": column,
                    "cosine": ("split-half reliability " if "reliability" in cell else "") + short(shown),
                    "random": _null(cell.get("random_labels", {})),
                    "unrelated": _null(cell.get("unrelated", {})),
                    "shared": cell.get("n_shared", ""),
                    "reason": shown.get("reason", ""),
                }
            )
    return out


def _null(null: dict[str, Any]) -> str:
    if "low" not in null:
        return null.get("reason", "")
    return f"{null['mean']:.2f} [{null['low']:.2f}, {null['high']:.2f}], p = {null['p_value']:.3g}"
