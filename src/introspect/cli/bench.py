"""`introspect bench`: what introspect costs on this machine, against the usual ways."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .console import print_json, progress_bars

STATUS = {True: ("met   ", "green"), False: ("MISSED", "bold red"), None: ("      ", "dim")}
QUIET = ("row", "what", "note", "met", "unit", "of")


def bench(
    model: Annotated[str, typer.Option(help="What to generate with.")] = "smollm2-135m",
    organism: Annotated[str, typer.Option(help="Adapter on the model, or `none`.")] = "risk-silent",
    only: Annotated[
        str | None, typer.Option(help="Rows to measure, separated by commas: capture, nnsight, replay, store, ...")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Also time `introspect run probe-risk`, with its peak memory (minutes).")
    ] = False,
    repeats: Annotated[int, typer.Option(help="Runs of each side; medians are given.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: shows that everything runs, and nothing about speed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurements as one JSON document.")] = False,
) -> None:
    """Measure speed and memory on this machine.

    Each figure is a ratio to a peer or to the usual way of doing it, both sides measured in turns in the same run.
    A row says whether its goal is met.

    \b
    introspect bench
    introspect bench --only probes,store,startup --repeats 9
    introspect bench --whole --json > bench.json
    """
    from ..bench import run_bench

    with progress_bars() as progress:
        measured = run_bench(
            model,
            None if organism == "none" else organism,
            only=[name.strip() for name in only.split(",") if name.strip()] if only else (),
            whole=whole,
            repeats=repeats,
            quick=quick,
            progress=progress,
        )
    if as_json:
        print_json(measured)
        return
    _print_rows(measured["rows"])


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """A paragraph a row: whether its goal is met, what was measured, the figures, and how."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        status, style = STATUS[row.get("met")]
        if "failed" in row:
            status, style = "FAILED", "bold red"
        text = Text(f"{row['what']}\n")
        figures = ", ".join(_figure(name, value, row) for name, value in row.items() if _said(name, value))
        text.append(figures, style="bold")
        if row.get("note"):
            text.append(f"\n{row['note']}", style="dim")
        table.add_row(Text(status, style=style), text)
    Console().print(table)


def _said(name: str, value: Any) -> bool:
    return name not in QUIET and value is not None


def _figure(name: str, value: Any, row: dict[str, Any]) -> str:
    """One number, with its unit or its direction."""
    if name in ("ours", "peer"):
        return f"{name} {value:g} {row['unit']}"
    if name == "ratio" and "of" in row:
        return f"{row['of']} {value:g}"
    if name == "range of ratios":
        return f"range {value[0]:g} to {value[1]:g}"
    if name == "goal":
        return f"goal {value}"
    return f"{name} {value}"
