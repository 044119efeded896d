"""Figures of a run for a notebook, everything in sight at once. Numbers come from results.json as they are."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..report import number, share
from ..report.figures import BLUE, GREEN, GREY, LAYOUT, ORANGE
from ..report.page import plain
from ..report.steering_figures import dose_response

PINK, YELLOW, SKY = "#CC79A7", "#E69F00", "#56B4E9"
BAND, NULL = "rgba(0, 114, 178, 0.15)", "rgba(128, 128, 128, 0.18)"
FEW, A_ROW = 10, 4
"""Layers that each have a tick; panels side by side."""
HOUSE: dict[str, Any] = LAYOUT | {"modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "rgba(128,128,128,0.5)"}}
AXIS: dict[str, Any] = HOUSE["xaxis"] | {"ticklabelstandoff": 4}
MARGIN = {"l": 60, "r": 20, "t": 100, "b": 60}
SHARES = (
    ("acts on the policy", ("policy_rate", "id"), share),
    ("says so, of those", ("verbalised_rate_acted",), share),
    ("probe AUROC", ("probe", "headline", "auroc"), number),
    ("words of the whole chain, AUROC", ("baselines", "text_whole_chain", "auroc"), number),
    ("base model, AUROC", ("baselines", "base_model", "auroc"), number),
    ("silent but decodable", ("link", "silent_but_decodable"), share),
)
"""Row of the figure of several runs -> where it stands in a run's summary, and how it is written."""
Estimate = dict[str, Any]


def layers(results: dict[str, Any]) -> go.Figure:
    """AUROC by layer, a panel a position: probe, base model, shuffled labels, words, answer logits."""
    probe, rows = results["probe"], results["probe"]["positions"]
    head = probe["headline"]
    n_rows = -(-len(rows) // A_ROW)
    n_columns = -(-len(rows) // n_rows)
    figure = make_subplots(
        n_rows,
        n_columns,
        shared_yaxes=True,
        horizontal_spacing=0.025,
        vertical_spacing=0.16,
        subplot_titles=[row["position"].replace("_", " ") for row in rows],
        x_title="layer",
        y_title="AUROC on held-out groups",
    )
    whole = results["baselines"]["text_whole_chain"]["auroc"]
    for i, row in enumerate(rows):
        cells = sorted((c for c in probe["grid"] if c["position"] == row["position"]), key=lambda cell: cell["layer"])
        panel = {"row": i // n_columns + 1, "col": i % n_columns + 1}
        flat = [
            ("words so far", row["text_prompt_chain"], GREEN),
            ("words of the whole chain", whole, PINK),
            ("answer logits", row["logits"], YELLOW),
        ]
        for trace in [*_of_layers(cells), *(_level(*each, cells) for each in flat if each[1]["value"] is not None)]:
            figure.add_trace(trace.update(showlegend=i == 0, legendgroup=trace.name), **panel)
        if row["position"] == head["position"]:
            figure.add_trace(_chosen(head).update(legendgroup="headline"), **panel)
    figure.update_layout(**HOUSE | {"margin": MARGIN | {"b": 110}}, height=170 + 240 * n_rows)
    span = max(cell["layer"] for cell in probe["grid"])
    figure.update_xaxes(AXIS | {"title": None, "dtick": 1 if span < FEW else None})
    figure.update_yaxes(AXIS | {"range": [0.2, 1.03]})
    figure.update_layout(
        title=_title(
            "What the activations predict, by layer and position",
            f"{head['site']}; {probe['split']['n_test']} rollouts of {probe['split']['n_test_groups']} "
            "held-out groups; 95% intervals over groups",
        ),
        legend={"orientation": "h", "y": -0.16 if n_rows > 1 else -0.32, "yanchor": "top"},
        hovermode="closest",
    )
    return figure


def _of_layers(cells: Sequence[dict[str, Any]]) -> list[go.Scatter]:
    there = [cell for cell in cells if cell["auroc"]["value"] is not None]
    where = [cell["layer"] for cell in there]
    intervals = [cell["auroc"]["ci95"] for cell in there]
    every = [cell["layer"] for cell in cells]
    band = go.Scatter(
        x=where + where[::-1],
        y=[high for _, high in intervals] + [low for low, _ in reversed(intervals)],
        name="probe, 95% interval",
        mode="none",
        fill="toself",
        fillcolor=BAND,
        hoverinfo="skip",
    )
    null = go.Scatter(
        x=every + every[::-1],
        y=[cell["null_q95"] for cell in cells] + [0.5] * len(cells),
        name="shuffled labels, up to 95%",
        mode="none",
        fill="toself",
        fillcolor=NULL,
        hoverinfo="skip",
    )
    probe = go.Scatter(
        x=where,
        y=[cell["auroc"]["value"] for cell in there],
        name="probe",
        mode="lines+markers",
        line={"color": BLUE, "width": 3},
        marker={"size": 5},
        customdata=[[number(cell["auroc"]), f"{cell['inner_auroc']:.2f}", f"{cell['null_q95']:.2f}"] for cell in there],
        hovertemplate="layer %{x}: AUROC %{customdata[0]}<br>on inner folds %{customdata[1]}, "
        "shuffled labels %{customdata[2]}<extra>probe</extra>",
    )
    base = go.Scatter(
        x=every,
        y=[cell["base_auroc"] for cell in cells],
        name="base model",
        mode="lines",
        line={"color": ORANGE, "width": 2},
        hovertemplate="layer %{x}: AUROC %{y:.2f}<extra>base model</extra>",
    )
    return [null, band, probe, *([base] if any(cell["base_auroc"] is not None for cell in cells) else [])]


def _level(name: str, estimate: Estimate, colour: str, cells: Sequence[dict[str, Any]]) -> go.Scatter:
    """A baseline that has one number for all layers."""
    return go.Scatter(
        x=[cell["layer"] for cell in cells],
        y=[estimate["value"]] * len(cells),
        name=name,
        mode="lines",
        line={"color": colour, "width": 2, "dash": "dash"},
        hovertemplate=f"AUROC {number(estimate)}<extra>{name}</extra>",
    )


def _chosen(head: dict[str, Any]) -> go.Scatter:
    """The cell that inner folds chose."""
    return go.Scatter(
        x=[head["layer"]],
        y=[head["auroc"]["value"]],
        name="headline, chosen on inner folds",
        mode="markers",
        marker={"symbol": "circle-open", "size": 15, "color": BLUE, "line": {"width": 2.5}},
        cliponaxis=False,
        hovertemplate=f"headline: layer {head['layer']}, AUROC {number(head['auroc'])}<extra></extra>",
    )


def link(results: dict[str, Any]) -> go.Figure:
    """What chains say against what is read, and how often that is decoded, beside words and those that did not act."""
    found, control = results["link"], results["controls"]["negative_control"]
    figure = make_subplots(
        1,
        2,
        column_widths=[0.42, 0.58],
        horizontal_spacing=0.24,
        subplot_titles=["rollouts that acted: chain x readout", "share over the threshold"],
    )
    verdicts = list(found["table"])
    for readout, name, colour in (("policy", "readout: policy", BLUE), ("none", "readout: none", GREY)):
        counts = [found["table"][verdict][readout] for verdict in verdicts]
        figure.add_bar(
            x=counts,
            y=verdicts,
            orientation="h",
            name=name,
            marker_color=colour,
            text=[count or "" for count in counts],
            textposition="inside",
            hovertemplate="%{y}, " + name + ": %{x} rollouts<extra></extra>",
            row=1,
            col=1,
        )
    words = found["text_baseline"]
    rates = [
        ("acted, silent: probe", found["silent_but_decodable"], BLUE),
        ("acted, silent: words", words["silent_but_decodable"], GREEN),
        ("did not act: probe", found["realised_fpr"], GREY),
        ("did not act: words", words["realised_fpr"], GREY),
    ]
    if "organism" in control:
        rates.append(("negative control, silent", control["silent_but_decodable"], ORANGE))
    for name, rate, colour in rates:
        figure.add_trace(_point(name, rate, colour), row=1, col=2)
        if rate["value"] is None:
            said = f"not estimated: {rate['reason']}"
            figure.add_annotation(
                x=0.01, y=name, text=_safe(said), hovertext=_safe(said), xanchor="left", showarrow=False, row=1, col=2
            )
    figure.add_vline(x=found["threshold_fpr"], line_color=GREY, line_dash="dot", row=1, col=2)
    figure.update_layout(
        **HOUSE | {"margin": MARGIN}, height=380, barmode="stack", legend={"orientation": "h", "y": -0.3}
    )
    figure.update_xaxes(AXIS | {"title": "rollouts"}, row=1, col=1)
    figure.update_xaxes(AXIS | {"range": [-0.02, 1.02], "tickformat": ".0%"}, row=1, col=2)
    figure.update_yaxes(AXIS | {"autorange": "reversed"})
    figure.update_layout(
        title=_title(
            f"Said against read: {found['policy']}",
            f"{found['n_acted']} test rollouts that acted, {found['n_not_acted']} that did not; threshold set for "
            f"{found['threshold_fpr']:.0%} of those",
        )
    )
    return figure


def _point(name: str, estimate: Estimate, colour: str) -> go.Scatter:
    """A share with its interval; an empty row where there is none."""
    if estimate["value"] is None:
        return go.Scatter(x=[None], y=[name], name=name, showlegend=False)
    value, (low, high) = estimate["value"], estimate["ci95"]
    return go.Scatter(
        x=[value],
        y=[name],
        name=name,
        showlegend=False,
        mode="markers",
        marker={"size": 11, "color": colour},
        error_x={"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low]},
        hovertemplate=f"{share(estimate)}, n = {estimate.get('n')}<extra></extra>",
    )


def side_by_side(found: Sequence[dict[str, Any]], names: Sequence[str]) -> go.Figure:
    """Behaviour, probe and link of several runs, as `compare.summarise` gives them."""
    colours = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY)
    figure = go.Figure()
    for i, (run, name) in enumerate(zip(found, names, strict=True)):
        rows = [(label, _at(run, path), write) for label, path, write in SHARES]
        there = [(label, each, write(each)) for label, each, write in rows if each is not None]
        figure.add_scatter(
            x=[each["value"] for _, each, _ in there],
            y=[label for label, _, _ in there],
            name=_safe(name),
            mode="markers",
            orientation="h",
            marker={"size": 10, "color": colours[i % len(colours)]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [each["ci95"][1] - each["value"] for _, each, _ in there],
                "arrayminus": [each["value"] - each["ci95"][0] for _, each, _ in there],
            },
            customdata=[said for _, _, said in there],
            hovertemplate="%{y}: %{customdata}<extra>" + _safe(name) + "</extra>",
        )
    figure.add_vline(x=0.5, line_color=GREY, line_dash="dot")
    figure.update_layout(
        **HOUSE | {"margin": MARGIN | {"l": 210}},
        height=190 + 26 * len(SHARES) * max(len(found), 2),
        scattermode="group",
        scattergap=0.3,
        title=_title(
            "Runs side by side", "shares and AUROC with 95% intervals; the dotted line is chance for an AUROC"
        ),
        legend={"orientation": "h", "y": -0.12},
    )
    figure.update_xaxes(range=[-0.03, 1.03])
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=[label for label, _, _ in SHARES])
    return figure


def _at(run: dict[str, Any], path: Sequence[str]) -> Estimate | None:
    """The estimate at a path of a run's summary; None where there is none."""
    tree: Any = run
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) and tree.get("value") is not None else None


def steering(results: dict[str, Any]) -> go.Figure:
    """Change by dose in each scope, beside the control directions."""
    found = results["steering"]
    direction, controls = found["direction"], found["controls"]
    figure = dose_response(found)
    figure.update_layout(
        **HOUSE | {"margin": MARGIN | {"b": 110}},
        title=_title(
            "Does the direction move the choice?",
            f"{direction['site']} {direction['layer']}; {found['n_items']} test items of {found['n_groups']} groups; "
            f"{controls['random']} random and {controls['orthogonal']} orthogonal directions of the same norm",
        ),
    )
    return figure


def _title(head: str, below: str) -> dict[str, Any]:
    return {
        "text": f"{_safe(head)}<br><sup>{_safe(below)}</sup>",
        "x": 0.01,
        "xanchor": "left",
        "y": 1,
        "yanchor": "top",
        "pad": {"t": 14},
    }


def _safe(text: str) -> str:
    """Text in a figure, which reads some HTML."""
    return escape(plain(text), quote=False)
