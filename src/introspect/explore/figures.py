"""Figures of pages, drawn by those who draw reports, and each figure again as tables for who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from ..report.figures import along, forest, lines
from ..report.page import plain
from ..report.steering_figures import steering_figures

MOST_ROWS = 400
"""Of a table that says what a figure shows."""
LONG = 12
"""Characters beside a row that take a phone's room."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """A figure of a page."""

    name: str
    title: str
    tables: Sequence[Table]
    broad: bool = False
    """Whether it needs more room than a phone has, and is moved sideways there."""


@dataclass(frozen=True)
class Table:
    """The numbers of a trace."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


TITLES = {
    "layers": "AUROC by layer at one position, with the base model, shuffled labels and words",
    "forest": "The probe beyond each baseline",
    "along": "Silent but decodable, by position",
    "steer_doses": "Dose response of the direction, beside its controls",
    "steer_map": "Change of the log-odds of acting, by layer and dose (nats)",
    "grid": "Layers by strengths",
    "curves": "Along the layers",
}


def by_layer(results: Json, position: str) -> go.Figure:
    """The report's figure of one position, without its menu."""
    probe = results["probe"]
    figure = lines(results | {"probe": probe | {"headline": probe["headline"] | {"position": position}}})
    seen = [trace for trace in figure.data if trace.visible is not False]
    shown = go.Figure(seen, figure.layout)
    shown.layout.updatemenus = ()
    return shown


def run_figures(results: Json) -> dict[str, go.Figure]:
    """Name -> figure, of what a run's results have beside the map."""
    found: dict[str, go.Figure] = {}
    if "grid" in results["probe"]:
        found["forest"] = forest(results)
    if "along_chain" in results["link"]:
        found["along"] = along(results)
    return found | steering_figures(results["steering"])


def injection_shown(results: Json) -> dict[str, go.Figure]:
    """Name -> figure, of a study of injected concepts."""
    from ..injection.figures import injection_figures

    found = injection_figures(results)
    if "grid" in found:  # lines behind cells show between them where the ground is dark
        found["grid"].update_xaxes(showgrid=False, zeroline=False)
        found["grid"].update_yaxes(showgrid=False, zeroline=False)
    return found


def shown(name: str, figure: go.Figure) -> Shown:
    """A figure with its tables."""
    several = sum(axis.startswith("xaxis") for axis in figure.layout.to_plotly_json()) > 1
    named = any(len(each) > LONG for trace in figure.data for each in _names(trace))
    return Shown(name, TITLES.get(name, name.replace("_", " ")), tables(figure), broad=several or named)


def _names(trace: Any) -> list[str]:
    """What stands beside the rows of a trace, where these are no numbers."""
    return [each for each in (trace.y if trace.y is not None else ()) if isinstance(each, str)]


def tables(figure: go.Figure) -> list[Table]:
    """The numbers of every trace that has any, as text."""
    panels = [plain(each.text) for each in figure.layout.annotations or () if each.text]
    found = []
    for i, trace in enumerate(figure.data):
        if trace.type == "heatmap":
            found.append(_matrix(trace, panels[i] if i < len(panels) else ""))
        elif trace.mode != "none" and trace.x is not None and len(trace.x):
            found.append(_points(trace, _panel(figure, trace, panels)))
    return found


def _panel(figure: go.Figure, trace: Any, panels: Sequence[str]) -> str:
    """What the panel of a trace is called, where there are several: its column, and the axis of its row."""
    axis = str(trace.xaxis or "x").removeprefix("x") or "1"
    if not panels or not axis.isdecimal():
        return ""
    row, column = divmod(int(axis) - 1, len(panels))
    first = row * len(panels) + 1
    upright = figure.layout[f"yaxis{first if first > 1 else ''}"].title.text
    return " · ".join(part for part in (panels[column], plain(upright or "")) if part)


def _points(trace: Any, panel: str) -> Table:
    bars = trace.error_x if trace.error_x.array is not None else trace.error_y
    rows = []
    for i, (x, y) in enumerate(zip(trace.x, trace.y, strict=False)):
        if i == MOST_ROWS:
            break
        row = [_text(x), _text(y)]
        if bars.array is not None:
            middle = x if bars is trace.error_x else y
            low = bars.arrayminus if bars.arrayminus is not None else bars.array
            row.append(f"{_text(middle - low[i])} to {_text(middle + bars.array[i])}")
        rows.append(row)
    title = " · ".join(part for part in (panel, plain(trace.name or "")) if part)
    return Table(title, ["at", "value", *(["95% interval"] if bars.array is not None else [])], rows)


def _matrix(trace: Any, panel: str) -> Table:
    head = ["", *(_text(x) for x in trace.x)]
    rows = [[_text(y), *(_text(z) for z in row)] for y, row in zip(trace.y, trace.z, strict=False)]
    return Table(panel, head, rows[:MOST_ROWS])


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else plain(value)
