"""`introspect compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import print_json, print_table


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as one JSON document.")] = False,
) -> None:
    """Set runs side by side, each with its negative control.

    \b
    introspect compare runs/probe-risk runs/verbal
    introspect compare runs/probe-risk runs/verbal --json > summary.json
    """
    from ..compare import awareness_across, summarise, table

    found = summarise(runs)
    if as_json:
        print_json(found)
    else:
        print_table(table(found))
        for task, estimate in awareness_across(found).items():
            typer.echo(f"{task}: self-rating and policy rate across runs, Spearman's rho {estimate}")
