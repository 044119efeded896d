"""Notebooks on the site: their cells, and what these showed when they were last run on a real run.

Notebooks are kept without outputs. What the cells of one showed is committed beside the results, as figures in plotly's
own JSON and tables in HTML, and is made by

    python docs/_site/docs_notebooks.py explore_layers 'RUN="runs/probe-risk"'

The site shows that and runs nothing. A notebook whose code is no longer what was run stops the build.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "experiments" / "notebooks"
SHOWN = ROOT / "experiments" / "results" / "notebooks"
FOLDER = "notebooks"
"""Of the site: their pages."""
PLOTLY = "assets/plotly.min.js"
HEIGHT = 450
"""Pixels of a figure that names no height of its own."""


class Shown(NamedTuple):
    """What a cell shows."""

    value: Any
    output: dict[str, Any]


class NotebookError(ValueError):
    """What is committed beside a notebook is not what it shows."""


def names() -> list[str]:
    """The notebooks."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def cells(name: str) -> list[dict[str, Any]]:
    """The cells of a notebook."""
    found: list[dict[str, Any]] = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return found


def pages() -> dict[str, str]:
    """Path -> page in Markdown.

    Raises:
        NotebookError: a notebook is not what was run, or was never run.
    """
    return {f"{FOLDER}/{name}.md": page(name) for name in names()}


def page(name: str) -> str:
    """A notebook as Markdown, with a mark where each output goes."""
    shown = kept(name)
    parts = []
    for cell in cells(name):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            if not parts[1:]:
                parts.append(_about(name, shown))
            continue
        parts.append(f"```python\n{_with(source, shown['parameters']) if _is_parameters(cell) else source}\n```")
        if cell["id"] in shown["cells"]:
            parts.append(f'<div class="notebook-output" data-search-exclude data-cell="{cell["id"]}"></div>')
    return "\n\n".join(parts) + "\n"


def with_outputs(html: str, name: str) -> str:
    """The page as HTML with what the cells showed in place of the marks."""
    shown = kept(name)["cells"]
    for cell, output in shown.items():
        mark = f'data-cell="{cell}"></div>'
        if html.count(mark) != 1:
            raise NotebookError(f"{name}: the output of cell {cell} has {html.count(mark)} places on the page")
        html = html.replace(mark, f'data-cell="{cell}">{_html(output, f"{name}-{cell}")}</div>')
    if any(output["kind"] == "figure" for output in shown.values()):
        html = f'<script src="../{PLOTLY}"></script>\n{html}'
    return html


def plotly_script() -> str:
    """Plotly's own script, of the version that is installed."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def kept(name: str) -> dict[str, Any]:
    """What is committed of a notebook: `parameters` that it was run with, the run's `about`, and `cells`: id -> output.

    Raises:
        NotebookError: the notebook has changed since it was run.
    """
    path = SHOWN / f"{name}.json"
    again = f"run it again: python docs/_site/docs_notebooks.py {name} ..."
    if not path.is_file():
        raise NotebookError(f"nothing is kept of what {name} shows; {again}")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["code"] != _digest(name):
        raise NotebookError(f"the code of {name} is not what was run for {path.name}; {again}")
    return found


def execute(name: str, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Shown]]:
    """Run a notebook's cells in order, the cell of parameters followed by these.

    Returns:
        What they left behind, and what each showed: cell -> what stands last in it, and how that is shown at once.
    """
    left: dict[str, Any] = {"__name__": "__main__"}
    shown: dict[str, Shown] = {}
    for cell in cells(name):
        if cell["cell_type"] != "code":
            continue
        body, last = split_last("".join(cell["source"]))
        exec(compile(body, f"{name}: {cell['id']}", "exec"), left)  # noqa: S102
        value = eval(compile(last, f"{name}: {cell['id']}", "eval"), left) if last else None  # noqa: S307
        if _is_parameters(cell):
            left.update(parameters)
        if value is not None:
            shown[cell["id"]] = Shown(value, output_of(value))
    return left, shown


def outcome(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a notebook, from running it."""
    left, shown = execute(name, parameters)
    about = {}
    if "run" in left:
        experiment = left["run"].results["experiment"]
        about = {each: experiment[each] for each in ("name", "model", "organism", "n_rollouts")}
    outputs = {cell: each.output for cell, each in shown.items()}
    return {"parameters": dict(parameters), "about": about, "code": _digest(name), "cells": outputs}


def split_last(source: str) -> tuple[str, str]:
    """A cell before its last expression, and that expression; nothing where it ends in a statement."""
    tree = ast.parse(source)
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return source, ""
    lines = source.splitlines(keepends=True)
    at = tree.body[-1].lineno - 1
    return "".join(lines[:at]), "".join(lines[at:])


def output_of(value: Any) -> dict[str, Any]:
    """A value as a notebook would show it: a figure, HTML or text."""
    import plotly.graph_objects as go

    if isinstance(value, go.Figure):
        figure = json.loads(value.to_json())
        return {"kind": "figure", "data": figure["data"], "layout": figure["layout"]}
    if hasattr(value, "_repr_html_"):
        return {"kind": "html", "html": value._repr_html_()}
    return {"kind": "text", "text": repr(value)}


def _html(output: Mapping[str, Any], name: str) -> str:
    if output["kind"] == "text":
        return f"<pre><code>{escape(output['text'])}</code></pre>"
    if output["kind"] == "html":
        return str(output["html"])
    height = int(output["layout"].get("height", HEIGHT))
    drawn = json.dumps([output["data"], output["layout"]], separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div id="{escape(name)}" style="height: {height}px"></div>\n'
        f"<script>{{const [data, layout] = {drawn};\n"
        f'Plotly.newPlot("{escape(name)}", data, layout, {{responsive: true, displayModeBar: false}});}}</script>'
    )


def _about(name: str, shown: Mapping[str, Any]) -> str:
    about = shown["about"]
    what = "What stands under the cells is what they showed"
    if about:
        of = f"{about['model']} with organism {about['organism']}" if about["organism"] else about["model"]
        what += f" on a run of `{about['name']}`: {of}, {about['n_rollouts']:,} rollouts"
    own = (
        "it takes a run of your own by its folder, in its first cell" if about else "what it takes is in its first cell"
    )
    return f"{what}. The notebook is `experiments/notebooks/{name}.ipynb`, kept without outputs; {own}."


def _is_parameters(cell: Mapping[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def _with(source: str, parameters: Mapping[str, Any]) -> str:
    """The cell of parameters as they were given."""
    for key, value in parameters.items():
        source = re.sub(rf"^{key} = .*$", rf"{key} = {json.dumps(value)}", source, flags=re.MULTILINE)
    return source


def _digest(name: str) -> str:
    code = ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def _given(arguments: list[str]) -> Iterator[tuple[str, Any]]:
    for each in arguments:
        key, _, value = each.partition("=")
        yield key, ast.literal_eval(value)


if __name__ == "__main__":
    notebook, *given = sys.argv[1:]
    content = outcome(notebook, dict(_given(given)))
    SHOWN.mkdir(parents=True, exist_ok=True)
    (SHOWN / f"{notebook}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
