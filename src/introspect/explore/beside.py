"""Two studies of injected concepts side by side: their grids, a measure a row, on the same axes and scales."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import RunError
from ..injection.figures import ALIKE
from ..report.figures import LAYOUT
from ..report.page import plain
from ..transfer.figures import cell_text, heat_map
from .figures import injection_shown, shown
from .opened import INJECTION, holding_together
from .site import Site

LONGEST_NAME = 24
"""Characters of a folder's name above a panel."""
MOST_COLUMNS = 5
"""Whose intervals fit into their cells; of more they are under the pointer only."""
Json = dict[str, Any]


def two_studies(site: Site, a: int, b: int) -> dict[str, Any]:
    """What their page shows: what each found, the grids, and the curves where both have some."""
    runs, curves = [site.find(each).run for each in (a, b)], []
    for run in runs:
        with holding_together(run):
            curves += [shown(*each) for each in injection_shown(run.results or {}).items() if each[0] == "curves"]
    found = _grids(site, a, b)
    return {
        "studies": [run.results for run in runs],
        "grids": None if found is None else shown("grid", found),
        "curves": curves if len(curves) == len(runs) else [],
    }


def common_grids(site: Site, a: int, b: int) -> go.Figure:
    """The grids of two studies as one figure.

    Raises:
        RunError: one of them is no such study, or they have no measure in common.
    """
    if any(site.find(each).run.kind != INJECTION for each in (a, b)):
        raise RunError("grids side by side are of two studies of injected concepts")
    found = _grids(site, a, b)
    if found is None:
        raise RunError(f"{site.names[a]} and {site.names[b]} have no measure in common")
    return found


def _grids(site: Site, a: int, b: int) -> go.Figure | None:
    left, right = (site.find(each).run for each in (a, b))
    with holding_together(left), holding_together(right):
        return grids_beside([left.results or {}, right.results or {}], [site.names[each] for each in (a, b)])


def grids_beside(sides: Sequence[Json], names: Sequence[str]) -> go.Figure | None:
    """The measures that both have, layers down and strengths across; None where they have none.

    Args:
        sides: results of two studies; names: of their folders, as text.
    """
    grids = [side["grid"] for side in sides]
    labels = {name: label for name, label in grids[0]["labels"].items() if name in grids[1]["labels"]}
    if not labels or not all(grid["cells"] for grid in grids):
        return None
    cells = [cell for grid in grids for cell in grid["cells"]]
    layers = sorted({cell["layer"] for cell in cells})
    strengths = sorted({cell["strength"] for cell in cells})
    short = [escape(plain(name)[:LONGEST_NAME]) for name in names]
    each = 60 + 40 * len(layers)
    figure = make_subplots(
        rows=len(labels),
        cols=2,
        subplot_titles=[f"{label} · {name}" for label in labels.values() for name in short],
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=min(0.9, 60 / (len(labels) * each)) if len(labels) > 1 else 0,
    )
    for row, name in enumerate(labels, start=1):
        share = all(name in grid["shares"] for grid in grids)
        most = 1.0 if share else _most(cells, next((group for group in ALIKE if name in group), (name,)))
        for column, grid in enumerate(grids, start=1):
            found = {(cell["layer"], cell["strength"]): cell["measures"][name] for cell in grid["cells"]}
            estimates = [[found.get((layer, strength), {}) for strength in strengths] for layer in layers]
            trace = heat_map(
                estimates,
                [f"layer {layer}" for layer in layers],
                [f"{strength:g}" for strength in strengths],
                (0.0 if share else -most, most),
                colours="Blues" if share else "RdBu_r",
            )
            if len(strengths) > MOST_COLUMNS:
                trace.text = [[cell_text(cell, brief=True) for cell in each_row] for each_row in estimates]
            figure.add_trace(trace, row=row, col=column)
    figure.update_layout(**LAYOUT | {"margin": {"l": 70, "r": 10, "t": 30, "b": 40}}, height=each * len(labels) + 40)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(type="category", showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False)
    return figure


def _most(cells: Sequence[Json], names: Sequence[str]) -> float:
    """The greatest absolute value of measures of one unit, in any cell of either study."""
    values = [cell["measures"][name]["value"] for cell in cells for name in names if name in cell["measures"]]
    return max([abs(value) for value in values if value is not None] or [1.0]) or 1.0
