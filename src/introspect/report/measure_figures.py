"""Figures of behavioural measures. Numbers come from results.json as they are."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from .figures import ABOVE, BLUE, GREEN, GREY, LAYOUT, ORANGE

COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)


def measure_figures(measures: dict[str, Any]) -> dict[str, go.Figure]:
    """Measure -> its figure, for those that have one."""
    out = {}
    if "faithfulness" in measures:
        out["faithfulness"] = faithfulness(measures["faithfulness"])
    if "think_answer" in measures:
        out["think_answer"] = think_answer(measures["think_answer"]["all"]["table"])
    if measures.get("chain", {}).get("tests"):
        out["chain"] = chain(measures["chain"])
    return out


def faithfulness(sections: dict[str, Any]) -> go.Figure:
    """Hint use, and F_norm by classifier, for each kind of hint."""
    figure = go.Figure()
    kinds = list(next(iter(sections.values()))["by_kind"])
    columns = [("switches to the hinted option (p)", "p", next(iter(sections.values()))["by_kind"])]
    columns += [(f"F_norm, {name}", "F_norm", section["by_kind"]) for name, section in sections.items()]
    for (label, key, by_kind), colour in zip(columns, (GREY, *COLOURS), strict=False):
        there = [kind for kind in kinds if by_kind[kind][key]["value"] is not None]
        figure.add_bar(name=label, x=there, marker_color=colour, **_bars([by_kind[kind][key] for kind in there]))
    figure.update_layout(**LAYOUT, height=340, yaxis_title="share", yaxis_range=[0, 1.05], barmode="group")
    figure.update_layout(legend=ABOVE)
    return figure


def think_answer(table: dict[str, Any]) -> go.Figure:
    """Rollouts by what the chain leans to and what is answered."""
    rows, columns = ("policy", "other", "undecided"), ("policy", "other")
    counts = [[table[row][column] for column in columns] for row in rows]
    figure = go.Figure(
        go.Heatmap(
            z=counts,
            x=[f"answers: {name}" for name in columns],
            y=[f"chain: {name}" for name in rows],
            text=counts,
            texttemplate="%{text}",
            colorscale="Blues",
            showscale=False,
        )
    )
    figure.update_layout(**LAYOUT, height=260)
    figure.update_yaxes(autorange="reversed")
    return figure


def chain(section: dict[str, Any]) -> go.Figure:
    """Share of answers that stay the same, against the place along the chain at which it was changed."""
    figure = go.Figure()
    for (name, test), colour in zip(section["tests"].items(), COLOURS, strict=False):
        there = [i for i, estimate in enumerate(test["same_answer"]) if estimate["value"] is not None]
        figure.add_scatter(
            x=[test["points"][i] for i in there],
            name=name.replace("_", " "),
            mode="lines+markers",
            line={"color": colour},
            **_bars([test["same_answer"][i] for i in there]),
        )
    moved = section["transplant"]
    if "p_hint" in moved:
        figure.add_scatter(
            x=moved["points"],
            name="transplant: P(hinted option) after the unhinted prompt",
            mode="lines+markers",
            line={"color": GREY, "dash": "dot"},
            **_bars(moved["p_hint"]),
        )
    figure.update_layout(**LAYOUT, height=340, xaxis_title="share of the chain before the change")
    figure.update_layout(yaxis_title="same answer, or P(hinted)", yaxis_range=[0, 1.05], legend=ABOVE)
    return figure


def _bars(estimates: list[dict[str, Any]]) -> dict[str, Any]:
    """Values and error bars."""
    values = [estimate["value"] for estimate in estimates]
    return {
        "y": values,
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [e["ci95"][1] - e["value"] for e in estimates],
            "arrayminus": [e["value"] - e["ci95"][0] for e in estimates],
        },
    }
