"""Figures of a report as plotly JSON. Numbers come from results.json as they are."""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go

BLUE, ORANGE, GREY, GREEN = "#0072B2", "#D55E00", "#8a8a8a", "#009E73"
BASELINES = {
    "text_chain": "words: chain so far",
    "text_prompt_chain": "words: prompt + chain so far",
    "text_whole_chain": "words: whole chain",
    "text_prompt_whole_chain": "words: prompt + whole chain",
    "embedding_prompt_chain": "embedding: prompt + chain so far",
    "embedding_prompt_whole_chain": "embedding: prompt + whole chain",
    "logits": "next token's logits",
    "option_order": "letter, option order",
    "condition": "condition alone",
    "prior": "unhinted probability",
    "length": "length",
    "base_model": "base model",
}
"""How a reader calls them."""
LAYOUT = {
    "template": "plotly_white",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#777777"},
    "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
    "xaxis": {"gridcolor": "rgba(128,128,128,0.2)", "zerolinecolor": "rgba(128,128,128,0.2)", "automargin": True},
    "yaxis": {"gridcolor": "rgba(128,128,128,0.2)", "zerolinecolor": "rgba(128,128,128,0.2)", "automargin": True},
}
"""Colours that can be read on a light and on a dark page."""
ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
"""A legend that grows away from what is drawn, where a narrow page breaks it into lines."""
NONE = {"increment": {"value": None}}
"""A strictest bound of results of an earlier version, which have none."""


def heatmap(results: dict) -> go.Figure:
    """Test AUROC by layer and position."""
    grid = results["probe"]["grid"]
    positions = list(dict.fromkeys(cell["position"] for cell in grid))
    layers = sorted({cell["layer"] for cell in grid})
    values = {(cell["position"], cell["layer"]): cell["auroc"]["value"] for cell in grid}
    figure = go.Figure(
        go.Heatmap(
            z=[[values.get((position, layer)) for layer in layers] for position in positions],
            x=layers,
            y=[position.replace("_", " ") for position in positions],
            zmin=0.0,
            zmax=1.0,
            colorscale="RdBu_r",
            colorbar={"title": "AUROC"},
        )
    )
    figure.update_layout(**LAYOUT, height=330, xaxis_title="layer")
    figure.update_yaxes(autorange="reversed")
    return figure


def lines(results: dict) -> go.Figure:
    """AUROC by layer at one position (chosen from a menu), with its interval and the baselines that have one line."""
    grid, rows = results["probe"]["grid"], results["probe"]["positions"]
    whole = results["baselines"]["text_whole_chain"]["auroc"]["value"]
    figure, owners = go.Figure(), []
    shown = results["probe"]["headline"]["position"]
    for row in rows:
        position = row["position"]
        cells = sorted((cell for cell in grid if cell["position"] == position), key=lambda cell: cell["layer"])
        layers = [cell["layer"] for cell in cells]
        intervals = [cell["auroc"]["ci95"] for cell in cells if cell["auroc"]["value"] is not None]
        where = [cell["layer"] for cell in cells if cell["auroc"]["value"] is not None]
        figure.add_scatter(
            x=where + where[::-1],
            y=[high for _, high in intervals] + [low for low, _ in reversed(intervals)],
            name="probe, 95% interval",
            mode="none",
            fill="toself",
            fillcolor="rgba(0, 114, 178, 0.15)",
            hoverinfo="skip",
            visible=position == shown,
        )
        owners.append(position)
        traces = [
            ("probe", [cell["auroc"]["value"] for cell in cells], {"color": BLUE, "width": 3}),
            ("base model", [cell["base_auroc"] for cell in cells], {"color": ORANGE, "width": 2}),
            ("95% of shuffled labels", [cell["null_q95"] for cell in cells], {"color": GREY, "dash": "dot"}),
            *(
                (label, [value] * len(layers), {"color": colour, "dash": "dash"})
                for value, label, colour in (
                    (row["text_prompt_chain"]["value"], "words so far", GREEN),
                    (whole, "words of the whole chain", "#CC79A7"),
                    (row["logits"]["value"], "answer logits", "#E69F00"),
                )
            ),
        ]
        for name, values, line in traces:
            figure.add_scatter(x=layers, y=values, name=name, mode="lines", line=line, visible=position == shown)
            owners.append(position)
    buttons = [
        {
            "label": row["position"].replace("_", " "),
            "method": "update",
            "args": [{"visible": [owner == row["position"] for owner in owners]}],
        }
        for row in rows
    ]
    active = [row["position"] for row in rows].index(shown)
    figure.update_layout(
        **LAYOUT,
        height=420,
        xaxis_title="layer",
        yaxis_title="AUROC on held-out groups",
        yaxis_range=[0.2, 1.03],
        updatemenus=[{"buttons": buttons, "active": active, "x": 1.0, "y": 1.15, "xanchor": "right"}],
        legend={"orientation": "h", "y": -0.25},
    )
    return figure


def forest(results: dict) -> go.Figure:
    """The probe's AUROC beyond each baseline's, with intervals."""
    found = results["baselines"]
    rows = [(BASELINES[name], found[name]["increment"]) for name in BASELINES if name in found]
    for name, of in (("best_text", "words"), ("best", "all")):
        rows.append((f"largest of {of} on the test part", found[name].get("strictest", NONE)["increment"]))
    rows = [(name, increment) for name, increment in rows if increment["value"] is not None]
    values = [increment["value"] for _, increment in rows]
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=[name for name, _ in rows],
            mode="markers",
            marker={"size": 11, "color": BLUE},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [increment["ci95"][1] - increment["value"] for _, increment in rows],
                "arrayminus": [increment["value"] - increment["ci95"][0] for _, increment in rows],
                "color": BLUE,
            },
        )
    )
    figure.add_vline(x=0, line_color=GREY, line_dash="dot")
    figure.update_layout(**LAYOUT, height=110 + 26 * len(rows), xaxis_title="AUROC of the probe beyond the baseline")
    figure.update_yaxes(autorange="reversed")
    return figure


def along(results: dict) -> go.Figure:
    """Silent-but-decodable rate by position, beside the rate at which rollouts that did not act pass the threshold."""
    figure = go.Figure()
    for key, name, colour in (
        ("silent_but_decodable", "acted, silent: decoded", BLUE),
        ("realised_fpr", "did not act: false positive", GREY),
    ):
        rows = [row for row in results["link"]["along_chain"] if row[key]["value"] is not None]
        rates = [row[key] for row in rows]
        figure.add_scatter(
            x=[row["position"].replace("_", " ") for row in rows],
            y=[rate["value"] for rate in rates],
            name=name,
            mode="lines+markers",
            line={"color": colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [rate["ci95"][1] - rate["value"] for rate in rates],
                "arrayminus": [rate["value"] - rate["ci95"][0] for rate in rates],
            },
        )
    figure.update_layout(**LAYOUT, height=320, yaxis_title="share over the threshold", yaxis_range=[-0.02, 1.05])
    figure.update_layout(legend=ABOVE)
    return figure


def figure_json(figure: go.Figure) -> str:
    """A figure for a script element: no character of it can end the script or the line."""
    document: Any = json.loads(figure.to_json())
    text = json.dumps({"data": document["data"], "layout": document["layout"]}, sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
