"""Heat maps, as plotly figures: fitted on the row, tested on the column. Numbers come from results as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..report.figures import LAYOUT
from ..report.page import plain

CROWDED = 4
"""Rows in a map above which there is no room for intervals in its cells."""
PANELS = (
    ("probe", "AUROC of the probe", (0.0, 1.0)),
    ("words", "AUROC of words, carried over alike", (0.0, 1.0)),
    ("below_ceiling", "AUROC below the column's own probe", (-1.0, 1.0)),
    ("cosine", "cosine of directions", (-1.0, 1.0)),
)
CAPTION = (
    "Fitted on the row, tested on the column: rollouts of groups that no probe was fitted on. The diagonal is the "
    "row's own kind; of cosines it is the split-half reliability of the direction: what a second sample would have. "
    "Intervals, sizes and controls are under the pointer and in the table."
)


def heat_map(
    cells: Sequence[Sequence[Mapping[str, Any]]],
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float],
    *,
    hover: Sequence[Sequence[str]] | None = None,
    colours: str = "RdBu_r",
) -> go.Heatmap:
    """Estimates as colours with their numbers; of many rows, intervals are under the pointer only.

    Args:
        cells: estimates [row][column]; empty where there is none. Their `note` stands below the number.
        hover: text under the pointer, [row][column]; None: the estimate.
        colours: a scale of plotly's; by default one with a middle, halfway between the limits.
    """
    return go.Heatmap(
        z=[[cell.get("value") for cell in row] for row in cells],
        x=list(columns),
        y=list(rows),
        text=[[cell_text(cell, brief=len(rows) > CROWDED) for cell in row] for row in cells],
        customdata=hover or [[cell_text(cell) for cell in row] for row in cells],
        texttemplate="%{text}",
        textfont={"size": 12},
        zmin=limits[0],
        zmax=limits[1],
        colorscale=colours,
        showscale=False,
        hovertemplate="%{y} on %{x}: %{customdata}<extra></extra>",
        xgap=2,
        ygap=2,
    )


def cell_text(cell: Mapping[str, Any], *, brief: bool = False) -> str:
    """An estimate, its interval and its note, a line each; briefly, the number only."""
    if cell.get("value") is None:
        return "–"
    low, high = cell["ci95"]
    limits = "" if brief else f"<br>{low:.2f}, {high:.2f}"
    note = f"<br>{cell['note']}" if "note" in cell and not brief else ""
    return f"{cell['value']:.2f}{limits}{note}"


def matrices(found: Mapping[str, Any]) -> go.Figure:
    """The four matrices: AUROC, words, how far below the column's own probe, cosines."""
    names = list(found["auroc"])
    called = [_safe(name) for name in names]
    figure = make_subplots(
        2,
        2,
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.1,
        subplot_titles=[title for _, title, _ in PANELS],
    )
    for place, (key, _, limits) in enumerate(PANELS):
        cells = [[_cell(found, key, row, column) for column in names] for row in names]
        hover = [[_hover(found, key, row, column) for column in names] for row in names]
        figure.add_trace(heat_map(cells, called, called, limits, hover=hover), row=place // 2 + 1, col=place % 2 + 1)
    figure.update_layout(**LAYOUT, height=200 + 2 * max(150, 58 * len(names)))
    figure.update_layout(margin={"l": 20, "r": 20, "t": 40, "b": 20})
    figure.update_xaxes(type="category", tickangle=-35, showgrid=False, automargin=True)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, automargin=True)
    return figure


def _cell(found: Mapping[str, Any], key: str, row: str, column: str) -> Mapping[str, Any]:
    if key == "cosine":
        cell: Mapping[str, Any] = found["cosines"]["matrix"][row][column]
        return cell.get("reliability", cell)
    cell = found["auroc"][row][column]
    return cell[cell["best_text"] or "text"] if key == "words" else cell[key]


def _hover(found: Mapping[str, Any], key: str, row: str, column: str) -> str:
    shown = _cell(found, key, row, column)
    if shown.get("value") is None:
        return _safe(f"none: {shown['reason']}")
    lines = [cell_text(shown)]
    cell, cosine = found["auroc"][row][column], found["cosines"]["matrix"][row][column]
    nulls = {"cosine": ("any labels", cosine.get("random_labels", {})), "probe": ("shuffled labels", cell["shuffled"])}
    said, null = nulls.get(key, ("", {}))
    if "low" in null:
        lines.append(f"{said}: {null['low']:.2f}, {null['high']:.2f}; p = {null['p_value']:.3g}")
    if key == "cosine":
        return "<br>".join(lines)
    if key == "words":
        lines.append("prompt and whole chain" if cell["best_text"] == "text" else "prompt and chain up to the place")
    lines.append(f"{cell['n_rows']} rollouts, {cell['n_groups']} groups")
    return "<br>".join(lines)


def _safe(text: str) -> str:
    """Text in a figure, which reads some HTML."""
    return escape(plain(text), quote=False)
