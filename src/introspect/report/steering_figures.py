"""Figures of a causal check: dose response beside the control directions, and the map of layers and doses."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .figures import BLUE, GREEN, GREY, LAYOUT, ORANGE

PLACES = {"think": "think only", "answer": "answer only", "both": "think and answer"}
BAND = "rgba(128, 128, 128, 0.22)"
ROWS = ("log-odds (nats)", "P(acts)", "KL (nats)")
Found = dict[str, Any]


def steering_figures(steering: Found) -> dict[str, go.Figure]:
    """Name -> figure, of a section that has something to show."""
    if "replayed" not in steering:
        return {}
    out = {"steer_doses": dose_response(steering)}
    if "layers" in steering["map"]:
        out["steer_map"] = layer_map(steering["map"], steering["direction"]["layer"])
    return out


def dose_response(steering: Found) -> go.Figure:
    """Change by dose in each scope: with the stored chain held fixed, and sampled anew; controls as a band."""
    scopes = list(PLACES)
    figure = make_subplots(
        len(ROWS),
        len(scopes),
        shared_xaxes=True,
        shared_yaxes="rows",
        horizontal_spacing=0.03,
        vertical_spacing=0.06,
        column_titles=[PLACES[scope] for scope in scopes],
    )
    for column, scope in enumerate(scopes, start=1):
        chains = [cell for cell in steering["replayed"][scope]["doses"] if cell["operator"] == "add"]
        rollouts = [cell for cell in steering["sampled"][scope] if cell["operator"] == "add"]
        for row, (name, cells) in enumerate((("log_odds", chains), ("acts", rollouts)), start=1):
            for trace in _lines(cells, name, shown=column == row == 1):
                figure.add_trace(trace, row=row, col=column)
        away = steering.get("held_out", {}).get("doses", [])
        away = [cell for cell in away if cell["operator"] == "add"]
        for trace in _kl(chains, away, steering["kl_bound"], shown=column == 1):
            figure.add_trace(trace, row=3, col=column)
    figure.update_layout(**LAYOUT | {"margin": {"l": 70, "r": 20, "t": 40, "b": 50}}, height=680)
    figure.update_xaxes(LAYOUT["xaxis"])
    figure.update_yaxes(LAYOUT["yaxis"])
    for row, title in enumerate(ROWS, start=1):
        figure.update_yaxes(title=title, row=row, col=1)
    figure.update_xaxes(title="dose (part of a typical activation's norm)", row=3, col=2)
    figure.update_layout(legend={"orientation": "h", "y": -0.13}, hovermode="closest")
    return figure


def _lines(cells: list[Found], name: str, *, shown: bool) -> list[go.Scatter]:
    """The direction with its interval, and the controls' band and mean; 0 at a dose of 0."""
    there = [cell for cell in cells if cell[name]["change"]["value"] is not None]
    band = [cell for cell in cells if cell[name]["controls_95"] is not None]
    low, high, mean, own = ({0.0: 0.0} for _ in range(4))
    for cell in band:
        low[cell["dose"]], high[cell["dose"]] = cell[name]["controls_95"]
        if cell[name]["controls"]["value"] is not None:
            mean[cell["dose"]] = cell[name]["controls"]["value"]
    bars = {0.0: (0.0, 0.0)}
    for cell in there:
        change = cell[name]["change"]
        own[cell["dose"]] = change["value"]
        bars[cell["dose"]] = (change["value"] - change["ci95"][0], change["ci95"][1] - change["value"])
    x, at = sorted(low), sorted(own)
    sizes = {
        cell["dose"]: (cell[name].get("n_items", cell[name]["change"]["n"]), cell[name]["n_controls"]) for cell in there
    }
    return [
        go.Scatter(
            x=x + x[::-1],
            y=[high[dose] for dose in x] + [low[dose] for dose in reversed(x)],
            name="controls, central 95%",
            legendgroup="band",
            showlegend=shown,
            mode="none",
            fill="toself",
            fillcolor=BAND,
            hoverinfo="skip",
        ),
        go.Scatter(
            x=sorted(mean),
            y=[mean[dose] for dose in sorted(mean)],
            name="controls' mean",
            legendgroup="mean",
            showlegend=shown,
            mode="lines",
            line={"color": GREY, "width": 2, "dash": "dot"},
        ),
        go.Scatter(
            x=at,
            y=[own[dose] for dose in at],
            name="the direction, 95% interval",
            legendgroup="own",
            showlegend=shown,
            mode="lines+markers",
            line={"color": BLUE, "width": 3},
            customdata=[sizes.get(dose, ("all", "all")) for dose in at],
            hovertemplate="dose %{x}: %{y:.3f} (%{customdata[0]} items, %{customdata[1]} controls)<extra></extra>",
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [bars[dose][1] for dose in at],
                "arrayminus": [bars[dose][0] for dose in at],
            },
        ),
    ]


def _kl(cells: list[Found], away: list[Found], bound: float, *, shown: bool) -> list[go.Scatter]:
    """Distance from the unsteered model, on the chains and on sentences, and the bound of the usable range."""
    out = []
    for held, key, name, colour, dash in (
        (cells, "kl", "KL, the direction", ORANGE, "solid"),
        (cells, "controls_kl", "KL, the controls' mean", GREEN, "solid"),
        (away, "kl", "KL on sentences", ORANGE, "dot"),
    ):
        if not held:
            continue
        found = {0.0: 0.0} | {cell["dose"]: cell[key]["value"] for cell in held if cell[key]["value"] is not None}
        x = sorted(found)
        out.append(
            go.Scatter(
                x=x,
                y=[found[dose] for dose in x],
                name=name,
                legendgroup=name,
                showlegend=shown,
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash},
            )
        )
    doses = [0.0, *(cell["dose"] for cell in cells)]
    return [
        *out,
        go.Scatter(
            x=[min(doses), max(doses)],
            y=[bound, bound],
            name="bound of the usable range",
            legendgroup="bound",
            showlegend=shown,
            mode="lines",
            line={"color": GREY, "width": 1.5, "dash": "dash"},
        ),
    ]


def layer_map(found: Found, layer: int) -> go.Figure:
    """Change of the log-odds of acting by the layer that is steered, with the direction fitted there, and dose; and the
    largest change along random directions, in the same colours.
    """
    chosen = [i for i, act in enumerate(found["acts"]) if act["operator"] == "add"]
    controls = found.get("controls", {"n": 0})
    maps = [("the direction", found["log_odds"])]
    if controls["n"]:
        maps.append((f"the largest of {controls['n']} random directions", controls["largest"]))
    values = [[[row[i] for row in rows] for i in chosen] for _, rows in maps]
    sizes = [abs(each) for rows in values for row in rows for each in row if each is not None]
    largest = max(sizes, default=1.0) or 1.0
    figure = make_subplots(1, len(maps), shared_yaxes=True, horizontal_spacing=0.04, column_titles=[n for n, _ in maps])
    kl = [[row[i] for row in found["kl"]] for i in chosen]
    for column, ((name, _), shown) in enumerate(zip(maps, values, strict=True), start=1):
        own = ", KL %{customdata:.3f}" if column == 1 else ""
        figure.add_trace(
            go.Heatmap(
                z=shown,
                x=[str(each) for each in found["layers"]],
                y=[f"{found['acts'][i]['dose']:g}" for i in chosen],
                coloraxis="coloraxis",
                name=name,
                customdata=kl,
                hovertemplate="layer %{x}, dose %{y}: %{z:.2f} nats" + own + "<extra></extra>",
            ),
            row=1,
            col=column,
        )
    colours = {"cmin": -largest, "cmax": largest, "colorscale": "RdBu_r", "colorbar": {"title": "nats"}}
    figure.update_layout(**LAYOUT | {"margin": {"l": 70, "r": 20, "t": 40, "b": 50}}, coloraxis=colours)
    figure.update_layout(height=150 + 34 * len(chosen))
    figure.update_xaxes(type="category", title="layer")
    figure.update_yaxes(type="category")
    figure.update_yaxes(title="dose", row=1, col=1)
    return figure
