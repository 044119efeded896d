"""The page of a study of natural states, from its results. Arranges; computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from ..report import fill
from ..report.figures import BLUE, GREEN, GREY, LAYOUT, ORANGE
from .results import NATURAL

COLOURS = (BLUE, ORANGE, GREEN, GREY, "#CC79A7", "#E69F00", "#56B4E9")


def report_natural(out: Path) -> Path:
    """Draw the page of a study of natural states again; see `FolderResults.report`."""
    return NATURAL.report(out, render)


def render(results: dict[str, Any], manifest: dict[str, Any] | None) -> str:
    """The page. Equal input gives equal bytes."""
    drawn = {f"figure-{i}": _drawn(each) for i, each in enumerate(results["figures"])}
    return fill("natural.html.j2", drawn, results=results, manifest=manifest)


def _drawn(found: dict[str, Any]) -> go.Figure:
    drawn = go.Figure()
    lines = found["kind"] == "lines"
    n_series = len(found["series"])
    for index, series in enumerate(found["series"]):
        here = [
            (x, each) for x, each in zip(series["x"], series["estimates"], strict=True) if each["value"] is not None
        ]
        places, values = [x for x, _ in here], [each["value"] for _, each in here]
        spread = {
            "type": "data",
            "symmetric": False,
            "array": [each["ci95"][1] - each["value"] for _, each in here],
            "arrayminus": [each["value"] - each["ci95"][0] for _, each in here],
        }
        colour = COLOURS[index % len(COLOURS)]
        if lines:
            drawn.add_scatter(
                x=places, y=values, name=series["label"], mode="lines+markers", line={"color": colour}, error_y=spread
            )
        else:
            drawn.add_scatter(
                x=values,
                y=places,
                name=series["label"],
                mode="markers",
                marker={"color": colour, "size": 8},
                error_x=spread,
            )
    names = max((len(series["x"]) for series in found["series"]), default=0)
    height = 400 if lines else 140 + 34 * names
    x_title, y_title = (found["x_title"], found["y_title"]) if lines else (found["y_title"], found["x_title"])
    drawn.update_layout(
        **LAYOUT,
        height=height,
        xaxis_title=x_title,
        yaxis_title=y_title,
        showlegend=n_series > 1,
        legend={"orientation": "h", "y": -0.25 if lines else -0.35},
    )
    if not lines:
        drawn.update_layout(scattermode="group", scattergap=0.4)
        drawn.update_yaxes(autorange="reversed", type="category")
    if found["at"] is not None:
        add = drawn.add_hline if lines else drawn.add_vline
        add(found["at"], line={"color": GREY, "dash": "dash", "width": 1})
    return drawn
