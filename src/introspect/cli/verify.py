"""`introspect verify`: every stored part of a run against its digest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import StoreError
from .console import print_json


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the damaged files as one JSON document.")] = False,
) -> None:
    """Check every stored part of a run against its digest.

    Exits with 3 on damage; changes nothing.

    \b
    introspect verify runs/probe-risk
    """
    from ..run import verify_run

    damaged = verify_run(run)
    if as_json:
        print_json({"run": str(run), "damaged": damaged})
    if damaged:
        remedy = f"`introspect run ... --out {run} --resume` records them again"
        raise StoreError(f"{run}: damaged or missing: {', '.join(damaged)}; {remedy}")
    if not as_json:
        typer.echo(f"{run}: every part matches its digest")
