"""`introspect bench`: what introspect costs on this machine, against the usual ways."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import print_columns, print_json, progress_bars


def bench(
    model: Annotated[str, typer.Option(help="What to generate with.")] = "smollm2-135m",
    organism: Annotated[str, typer.Option(help="Adapter on the model, or `none`.")] = "risk-silent",
    whole: Annotated[
        bool, typer.Option("--whole", help="Also time `introspect run probe-risk`, with its peak memory (minutes).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurements as one JSON document.")] = False,
) -> None:
    """Measure speed and memory on this machine.

    Each figure is a ratio to a peer or to the usual way of doing it, both sides measured in the same run.

    \b
    introspect bench
    introspect bench --whole --json > bench.json
    """
    from ..bench import run_bench

    with progress_bars() as progress:
        measured = run_bench(model, None if organism == "none" else organism, whole=whole, progress=progress)
    if as_json:
        print_json(measured)
        return
    for row in measured["rows"]:
        typer.echo(row["what"])
        print_columns({key: str(value) for key, value in row.items() if key != "what"})
