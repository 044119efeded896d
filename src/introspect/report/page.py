"""One self-contained HTML page, offline, in which nothing that a model or a stranger wrote can act.

Text goes through the template's escaping, with control and bidirectional characters made visible; figures are JSON with
every character escaped that could end a script; and a content security policy allows only the page's own two scripts,
by their digests, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from plotly.offline import get_plotlyjs

from ..atomic import write_atomic
from ..errors import StoreError
from ..results import read_results, read_run_manifest
from .figures import BASELINES, along, figure_json, forest, heatmap, lines
from .instrument import shipped_validation
from .link_tables import link_tables
from .measure_figures import measure_figures
from .measures import measure_tables
from .sentences import beyond, headline, noise, number, share
from .steering_figures import steering_figures
from .steering_tables import steering_tables

FAULTS = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    StopIteration,
    UndefinedError,
)
"""What results that fit the schema and yet do not hold together may raise."""
DRAW = """
const plots = JSON.parse(document.getElementById("figures").textContent);
for (const [name, figure] of Object.entries(plots)) {
  Plotly.newPlot(name, figure.data, figure.layout, {responsive: true, displayModeBar: false});
}
"""


def write_report(run: Path) -> Path:
    """Write `report.html` of a run from its `results.json` and `manifest.json`.

    Raises:
        StoreError: results.json is missing or not one of ours.
    """
    results, manifest = read_results(run / "results.json"), read_run_manifest(run / "manifest.json")
    try:
        page = render(results, manifest)
    except FAULTS as error:
        raise StoreError(
            f"{run / 'results.json'} does not hold together ({error!r}); run the experiment again"
        ) from None
    path = run / "report.html"
    write_atomic(path, page)
    return path


def render(results: dict, manifest: dict[str, Any] | None) -> str:
    """The page. Equal input gives equal bytes."""
    figures = {}
    if "grid" in results["probe"]:
        figures = {"heatmap": heatmap(results), "lines": lines(results), "forest": forest(results)}
    figures |= measure_figures(results["behaviour"]["measures"])
    if "along_chain" in results["link"]:
        figures["along"] = along(results)
    figures |= steering_figures(results["steering"])
    return fill(
        "page.html.j2",
        figures,
        results=results,
        manifest=manifest,
        sentences=headline(results),
        noise=noise(results),
        baselines=BASELINES,
        link_tables=link_tables(results["link"], results["controls"]["negative_control"])
        if "table" in results["link"]
        else [],
        measures=measure_tables(results["behaviour"]["measures"]),
        steering_tables=steering_tables(results["steering"]),
        judge=measure_tables({"judge": results["verdicts"]["judge"]})[0]["rows"],
        agreement=measure_tables({"agreement": results["verdicts"]["agreement"]})[0]["rows"],
        instrument=shipped_validation(),
    )


def fill(template: str, figures: Mapping[str, go.Figure], **values: Any) -> str:
    """A page from a template of this folder: `values`, and figures by the id of the element that each is drawn in."""
    bodies = ", ".join(f'"{name}": {figure_json(figure)}' for name, figure in figures.items())
    library = get_plotlyjs()
    return (
        templates()
        .get_template(template)
        .render(
            **values,
            figures=list(figures),
            bodies="{" + bodies + "}",
            library=library,
            draw=DRAW,
            policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
            f"script-src {_hash(library)} {_hash(DRAW)}",
        )
    )


@cache
def templates() -> Environment:
    """The templates of this folder: everything is escaped, and what is missing is an error."""
    found = Environment(
        loader=PackageLoader("introspect.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "share": share, "beyond": beyond, "plain": plain, "tint": tint}
    return found


def plain(text: object) -> str:
    """Text with control, bidirectional and other format characters spelled out, except line breaks."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else _named(character)
        for character in str(text)
    )


def tint(score: float) -> str:
    """Background of a token: blue for log-odds against the policy, orange for it, stronger with size."""
    strength = min(abs(score) / 6, 1) * 0.75
    colour = "213, 94, 0" if score > 0 else "0, 114, 178"
    return f"rgba({colour}, {strength:.2f})"


def _named(character: str) -> str:
    return f"<U+{ord(character):04X}>"


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"
