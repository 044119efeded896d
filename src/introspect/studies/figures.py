"""Figures of a study, as plotly figures: profiles of methods, how probes carry over, and a training along its steps.

Numbers come from results.json as they are. Text in a figure is ours or a name that the schema holds to plain words,
since plotly reads markup in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..report.figures import BLUE, GREEN, GREY, LAYOUT, ORANGE
from ..transfer.figures import heat_map

COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")
"""Of methods, in their order; the reference is grey. Told apart by most colour-blind readers, on light and on dark."""
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
PROFILE = {
    "policy_rate_id": "acts on the policy, in distribution",
    "policy_rate_ood": "acts on the policy, out of it",
    "planted_agreement_id": "agrees with the planted policy, in",
    "planted_agreement_ood": "agrees with the planted policy, out",
    "transfer_ratio": "out of distribution over in",
    "p": "switches to the hinted option",
    "self_rating_minus_untrained": "self-rating beyond untrained, of 100",
    "phi": "chain and answer agree (phi)",
    "rgr_net": "reflective gain, net",
    "verbalised_acted": "chain says so, of those that acted",
    "F_norm": "chain says so, F_norm",
    "probe_auroc": "probe's AUROC",
    "probe_beyond_text": "probe beyond words",
    "probe_beyond_base": "probe beyond untrained",
    "silent_but_decodable": "silent but decodable",
}
"""Measure -> its row; all on one scale, ratings divided by 100."""
SCALE = {"self_rating_minus_untrained": 0.01}
WIDEST = (-1.08, 2.08)
"""Of the profiles' axis: every measure but the ratio lies within -1 and 1."""
SPREAD = 0.62
"""Of a row's height, what the methods' dots take."""
GRID = "rgba(128,128,128,0.2)"
UNTRAINED = "untrained"
SPLIT_HALF = "split-half"
Series = Sequence[tuple[str, str, str, str]]
"""Measure, label, colour and dash of each line of a panel."""
PANELS: dict[str, Series] = {
    "what it does and says": (
        ("policy_rate_id", "acts, in distribution", BLUE, "solid"),
        ("policy_rate_ood", "acts, out of it", BLUE, "dot"),
        ("planted_agreement_id", "agrees with the policy, in", GREEN, "solid"),
        ("planted_agreement_ood", "agrees with the policy, out", GREEN, "dot"),
        ("verbalised_acted", "says so, of those that acted", ORANGE, "solid"),
        ("invalid_rate", "invalid answers", GREY, "solid"),
    ),
    "what activations predict": (
        ("probe_auroc", "AUROC of the step's probe", BLUE, "solid"),
        ("final_probe", "AUROC of the last step's probe", "#56B4E9", "dash"),
        ("probe_beyond_text", "beyond words", GREEN, "solid"),
        ("probe_beyond_base", "beyond the untrained model", ORANGE, "solid"),
    ),
    "where its direction points (cosine)": (
        ("cosine_final", "with the last step's", BLUE, "solid"),
        ("cosine_final_whitened", "the same, whitened", "#56B4E9", "dash"),
        ("attainable_cosine", "what noise alone would leave", GREY, "dot"),
        ("cosine_final_planted", "of the same labels at every step", GREEN, "solid"),
        ("cosine_untrained", "with the untrained model's", ORANGE, "solid"),
        ("cosine_untrained_planted", "the same, of the same labels", ORANGE, "dash"),
    ),
}
REWARDS = {
    "reward": ("reward", BLUE),
    "policy": ("reward for the policy", GREEN),
    "format": ("reward for the format", GREY),
    "verbalising": ("reward for what is said", ORANGE),
    "accuracy": ("preferred over dispreferred", BLUE),
}
"""Curve of a card -> label and colour; those with a scale of their own are left out."""
CAPTIONS = {
    "profiles": "Every method's profile: a dot is the mean over seeds with its 95% interval, small open dots are "
    "single seeds. All rows are on one scale, ratings divided by 100; an arrow at the edge: the interval, or the dot "
    "itself, lies beyond it. Where a row has no dot, the table says why. Of what activations predict, intervals are "
    "the range of the seeds' own.",
    "trajectory": "Along the training, against the optimiser step of its last stage, with 95% intervals. The band is "
    "the central 95% of cosines that random labels of the same items would give; the dotted line is the cosine that a "
    "second sample of the last step would have with the first, and the dotted curve what noise alone would leave of "
    "the cosine at each step. Same labels: what the policy says of the items, whatever was done.",
    "transfer": "Left: AUROC of the row's probe on the column's rollouts, of groups that no probe was fitted on; the "
    "diagonal is the organism's own, and the last column the untrained model on the row's tokens. Right: cosines of "
    "their directions (difference of means, raw); the diagonal is no cosine of two organisms but the split-half "
    "reliability of one's direction: what a second sample of it would have.",
}
"""Kind of figure -> what it shows."""


def study_figures(results: dict[str, Any]) -> dict[str, go.Figure]:
    """Name -> figure, in the order of the page: `profiles` and `transfer TASK`, or `trajectory`."""
    if "trajectory" in results:
        return {"trajectory": trajectory(results["trajectory"])}
    study, tasks = results["study"], results["tasks"]
    out = {"profiles": profiles(tasks, list(study["methods"]), study["reference"])}
    for task, table in tasks.items():
        names = [member for method in table["methods"].values() for member in method["members"]]
        measured = _measured(table["directions"], names) if "auroc" in table["directions"] else []
        if len(measured) > 1:
            out[f"transfer {task}"] = transfer(table["directions"], measured)
    return out


def caption(name: str) -> str:
    """What a figure shows, by its name in `study_figures`."""
    kind, _, task = name.partition(" ")
    return f"{task}. {CAPTIONS[kind]}" if task else CAPTIONS[kind]


def profiles(tasks: Mapping[str, Any], methods: Sequence[str], reference: str) -> go.Figure:
    """Methods by measures, a panel a task: dots with intervals, one colour a method."""
    rows = [key for key in PROFILE if any(key in table["measures"] for table in tasks.values())]
    figure = make_subplots(
        rows=1, cols=len(tasks), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=list(tasks)
    )
    others = [name for name in methods if name != reference]
    extent = _extent(tasks, methods, rows)
    for column, table in enumerate(tasks.values(), start=1):
        for place, method in enumerate(methods):
            if method not in table["methods"]:
                continue
            colour = GREY if method == reference else COLOURS[others.index(method) % len(COLOURS)]
            offset = SPREAD * ((place + 0.5) / len(methods) - 0.5)
            shown_before = any(method in each["methods"] for each in list(tasks.values())[: column - 1])
            style = {"legendgroup": method, "row": 1, "col": column}
            seeds = [(x, y + offset) for x, y in _seeds(table, method, rows)]
            figure.add_scatter(
                x=[x for x, _ in seeds],
                y=[y for _, y in seeds],
                mode="markers",
                marker={"size": 5, "color": colour, "symbol": "circle-open"},
                showlegend=False,
                hoverinfo="skip",
                **style,
            )
            dots = list(_dots(table["methods"][method]["measures"], rows))
            figure.add_scatter(
                x=[value for value, _, _, _ in dots],
                y=[y + offset for _, _, _, y in dots],
                error_x=_bars([value for value, _, _, _ in dots], [(low, high) for _, low, high, _ in dots], colour),
                mode="markers",
                marker={"size": 8, "color": colour, "symbol": SYMBOLS[place % len(SYMBOLS)]},
                name=method,
                showlegend=not shown_before,
                hovertemplate="%{x:.2f}",
                **style,
            )
            cut = [(edge, y + offset, symbol) for edge, y, symbol in _cut(dots, extent)]
            figure.add_scatter(
                x=[edge for edge, _, _ in cut],
                y=[y for _, y, _ in cut],
                mode="markers",
                marker={"size": 9, "color": colour, "symbol": [symbol for _, _, symbol in cut]},
                cliponaxis=False,
                showlegend=False,
                hoverinfo="skip",
                **style,
            )
        for bound, dash in ((0, "solid"), (0.5, "dot"), (1, "solid")):
            figure.add_vline(x=bound, line_color=GREY, line_width=1, line_dash=dash, row=1, col=column)
    figure.update_layout(**LAYOUT, height=120 + 52 * len(rows), legend={"orientation": "h", "y": -0.06})
    figure.update_layout(margin={"l": 20, "r": 20, "t": 40, "b": 50})
    figure.update_xaxes(range=extent, gridcolor=GRID, zeroline=False, tickvals=[-1, -0.5, 0, 0.5, 1, 1.5, 2])
    figure.update_yaxes(
        range=[len(rows) - 0.4, -0.6],
        tickvals=list(range(len(rows))),
        ticktext=[PROFILE[key] for key in rows],
        gridcolor=GRID,
        zeroline=False,
        automargin=True,
    )
    return figure


def _dots(measures: Mapping[str, Any], rows: Sequence[str]) -> Iterator[tuple[float, float, float, int]]:
    """Value, limits and row of every measure that there is."""
    for y, key in enumerate(rows):
        estimate = measures.get(key, {"value": None})
        if estimate["value"] is not None:
            scale = SCALE.get(key, 1.0)
            low, high = estimate["ci95"]
            yield scale * estimate["value"], scale * low, scale * high, y


def _extent(tasks: Mapping[str, Any], methods: Sequence[str], rows: Sequence[str]) -> tuple[float, float]:
    """What the axis spans: from 0 to 1, and every limit that `WIDEST` holds."""
    found = [
        dot
        for table in tasks.values()
        for method in methods
        if method in table["methods"]
        for dot in [
            *_dots(table["methods"][method]["measures"], rows),
            *(each for name in table["methods"][method]["members"] for each in _dots(table["members"][name], rows)),
        ]
    ]
    ends = [end for value, low, high, _ in found for end in (value, low, high)]
    return max(WIDEST[0], min([0.0, *ends]) - 0.08), min(WIDEST[1], max([1.0, *ends]) + 0.08)


def _cut(
    dots: Sequence[tuple[float, float, float, int]], extent: tuple[float, float]
) -> Iterator[tuple[float, int, str]]:
    """Edge, row and symbol of every end that lies beyond the axis."""
    for value, low, high, y in dots:
        if min(low, value) < extent[0]:
            yield extent[0], y, "triangle-left"
        if max(high, value) > extent[1]:
            yield extent[1], y, "triangle-right"


def _seeds(table: Mapping[str, Any], method: str, rows: Sequence[str]) -> Iterator[tuple[float, int]]:
    """Value and row of every seed's own measures, where a method has several."""
    members = table["methods"][method]["members"]
    for name in members if len(members) > 1 else ():
        yield from ((value, y) for value, _, _, y in _dots(table["members"][name], rows))


def _bars(values: Sequence[float], limits: Sequence[Sequence[float]], colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, limits, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, limits, strict=True)],
        "color": colour,
        "thickness": 2,
        "width": 0,
    }


def _measured(directions: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The organisms of which there is an AUROC or a cosine at all, in order."""
    aurocs, raw, base = directions["auroc"], directions["cosines"]["raw"], directions["base"]

    def cells(name: str) -> Iterator[Mapping[str, Any]]:
        yield from (base[name].get(each, {}) for each in ("probe", "cosine"))
        for other in names:
            if other in aurocs:
                yield from (aurocs[name][other]["probe"], aurocs[other][name]["probe"], _cosine(raw, name, other))

    return [name for name in names if name in aurocs and any(cell.get("value") is not None for cell in cells(name))]


def transfer(directions: Mapping[str, Any], here: Sequence[str]) -> go.Figure:
    """Heat maps of AUROCs and cosines, with their numbers; of many organisms, intervals are under the pointer only.

    Args:
        directions: as `directions.transfer` gives them; here: the organisms, in order.
    """
    base = directions["base"]
    aurocs = [
        [directions["auroc"][row][column]["probe"] for column in here] + [base[row].get("probe", {})] for row in here
    ]
    raw = directions["cosines"]["raw"]
    cosines = [[_cosine(raw, row, column) for column in here] + [base[row].get("cosine", {})] for row in here]
    figure = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.06,
        subplot_titles=["AUROC", "cosine (diagonal: split-half reliability)"],
    )
    for column, (cells, lowest) in enumerate(((aurocs, 0.0), (cosines, -1.0)), start=1):
        figure.add_trace(heat_map(cells, here, [*here, UNTRAINED], (lowest, 1.0)), row=1, col=column)
    figure.update_layout(**LAYOUT, height=140 + 46 * len(here))
    figure.update_layout(margin={"l": 20, "r": 20, "t": 40, "b": 20})
    figure.update_xaxes(type="category", tickangle=-35, showgrid=False, automargin=True)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, automargin=True)
    return figure


def _cosine(matrix: Mapping[str, Any], row: str, column: str) -> dict[str, Any]:
    cell: dict[str, Any] = matrix.get(row, {}).get(column, {}) if "value" not in matrix else {}
    return {**cell.get("reliability", {}), "note": SPLIT_HALF} if row == column else cell


def trajectory(along: Mapping[str, Any]) -> go.Figure:
    """Behaviour, probes, cosines, and the training's own curves, against the step."""
    steps = [int(step) for step in along["steps"]]
    curves = {"loss": along["training"]["loss"]} if along["training"]["loss"] else {}
    rewards = {name: along["training"]["rewards"][name] for name in REWARDS if name in along["training"]["rewards"]}
    titles = [
        *PANELS,
        *(["loss of the training"] if curves else []),
        *(["what the training rewards"] if rewards else []),
    ]
    figure = make_subplots(rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.05, subplot_titles=titles)
    for row, series in enumerate(PANELS.values(), start=1):
        if row == len(PANELS):
            _null_band(figure, along, steps, row)
        for key, label, colour, dash in series:
            there = [(step, each) for step, each in zip(steps, along["measures"][key].values(), strict=True)]
            found = [(step, each) for step, each in there if each["value"] is not None]
            values, limits = [float(each["value"]) for _, each in found], [each["ci95"] for _, each in found]
            figure.add_scatter(
                x=[step for step, _ in found],
                y=values,
                error_y=_bars(values, limits, colour),
                name=label,
                mode="lines+markers",
                line={"color": colour, "dash": dash, "width": 2},
                marker={"size": 7},
                legend=_legend(row),
                row=row,
                col=1,
            )
    row = len(PANELS)
    for name, curve in curves.items():
        row += 1
        _curve(figure, curve, name, GREY, row)
    for place, (name, curve) in enumerate(rewards.items()):
        row += place == 0
        label, colour = REWARDS[name]
        _curve(figure, curve, label, colour, row)
    figure.update_layout(**LAYOUT, height=110 + 230 * len(titles))
    figure.update_layout(margin={"l": 50, "r": 20, "t": 40, "b": 50})
    for place in range(1, len(titles) + 1):
        top = figure.get_subplot(place, 1).yaxis.domain[1]
        figure.update_layout({_legend(place): {"x": 1.01, "y": top, "xanchor": "left", "yanchor": "top"}})
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_xaxes(title="optimiser step of the last stage", row=len(titles), col=1)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GREY, automargin=True)
    figure.update_yaxes(range=[-0.05, 1.05], row=1, col=1)
    return figure


def _legend(row: int) -> str:
    return "legend" if row == 1 else f"legend{row}"


def _null_band(figure: go.Figure, along: Mapping[str, Any], steps: Sequence[int], row: int) -> None:
    """What cosines random labels of the same items give, and what a second sample of the last step would."""
    nulls = [(step, along["nulls"].get(f"step {step}", {}).get("random_labels", {})) for step in steps]
    band = [(step, null["low"], null["high"]) for step, null in nulls if "low" in null]
    figure.add_scatter(
        x=[step for step, _, _ in band] + [step for step, _, _ in reversed(band)],
        y=[high for _, _, high in band] + [low for _, low, _ in reversed(band)],
        name="random labels, 95%",
        mode="none",
        fill="toself",
        fillcolor="rgba(138, 138, 138, 0.25)",
        hoverinfo="skip",
        legend=_legend(row),
        row=row,
        col=1,
    )
    if along["reliability"]["value"] is not None:
        figure.add_hline(
            y=along["reliability"]["value"], line_color=BLUE, line_dash="dot", line_width=1, row=row, col=1
        )


def _curve(figure: go.Figure, curve: Sequence[Sequence[float]], label: str, colour: str, row: int) -> None:
    figure.add_scatter(
        x=[float(step) for step, _ in curve],
        y=[float(value) for _, value in curve],
        name=label,
        mode="lines",
        line={"color": colour, "width": 2},
        legend=_legend(row),
        row=row,
        col=1,
    )
