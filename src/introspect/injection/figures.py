"""Figures of a study of injected concepts. Numbers come from results.json as they are; labels are held to plain words
by its schema, since plotly reads markup in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..report.figures import BLUE, GREEN, GREY, LAYOUT, ORANGE
from ..transfer.figures import heat_map

A_ROW = 2
"""Heat maps side by side."""
ALIKE = (("detection", "random"), ("told", "yes_bias", "beyond_bias"), ("effect", "own", "other", "random"))
"""Measures of one unit, whose colours are of one scale."""
COLOURS = (BLUE, ORANGE, GREEN, GREY)


def injection_figures(results: dict[str, Any]) -> dict[str, go.Figure]:
    """Id of an element -> figure: heat maps of layers by strengths, one a measure, or curves along the layers."""
    out = {"grid": _maps(results["grid"])} if results["grid"]["cells"] else {}
    if "curves" in results:
        out["curves"] = _curves(results["curves"])
    return out


def captions(results: dict[str, Any]) -> dict[str, str]:
    """Id -> what the figure shows."""
    measures = ", ".join(results["grid"]["labels"].values())
    out = {"grid": f"Layers by strengths: {measures}"} if results["grid"]["cells"] else {}
    return out | ({"curves": results["curves"]["title"]} if "curves" in results else {})


def _maps(grid: dict[str, Any]) -> go.Figure:
    cells, labels = grid["cells"], grid["labels"]
    layers = sorted({cell["layer"] for cell in cells})
    strengths = sorted({cell["strength"] for cell in cells})
    n_rows = -(-len(labels) // A_ROW)
    each = 60 + 40 * len(layers)
    figure = make_subplots(
        rows=n_rows,
        cols=A_ROW,
        subplot_titles=list(labels.values()),
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=min(0.9, 60 / (n_rows * each)) if n_rows > 1 else 0,
    )
    for place, name in enumerate(labels):
        alike = next((group for group in ALIKE if name in group and labels.keys() >= {*group}), (name,))
        found = {(cell["layer"], cell["strength"]): cell["measures"][name] for cell in cells}
        share = name in grid["shares"]
        most = 1.0 if share else _most(cells, alike)
        figure.add_trace(
            heat_map(
                [[found.get((layer, strength), {}) for strength in strengths] for layer in layers],
                [f"layer {layer}" for layer in layers],
                [f"{strength:g}" for strength in strengths],
                (0.0 if share else -most, most),
                colours="Blues" if share else "RdBu_r",
            ),
            row=place // A_ROW + 1,
            col=place % A_ROW + 1,
        )
    figure.update_layout(**LAYOUT | {"margin": {"l": 70, "r": 10, "t": 30, "b": 40}}, height=each * n_rows + 40)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(type="category")
    return figure


def _most(cells: Sequence[dict[str, Any]], names: Sequence[str]) -> float:
    """The greatest absolute value of these measures, in any cell."""
    values = [cell["measures"][name]["value"] for cell in cells for name in names]
    return max([abs(value) for value in values if value is not None] or [1.0]) or 1.0


def _curves(curves: dict[str, Any]) -> go.Figure:
    figure = go.Figure()
    for index, line in enumerate(curves["lines"]):
        here = [
            (layer, each)
            for layer, each in zip(curves["layers"], line["estimates"], strict=True)
            if each["value"] is not None
        ]
        layers, estimates = [layer for layer, _ in here], [each for _, each in here]
        figure.add_scatter(
            x=layers,
            y=[each["value"] for each in estimates],
            name=line["label"],
            mode="lines+markers",
            line={"color": COLOURS[index % len(COLOURS)]},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [each["ci95"][1] - each["value"] for each in estimates],
                "arrayminus": [each["value"] - each["ci95"][0] for each in estimates],
            },
        )
    figure.update_layout(
        **LAYOUT, height=400, xaxis_title="layer", yaxis_title=curves["axis"], legend={"orientation": "h", "y": -0.2}
    )
    return figure
