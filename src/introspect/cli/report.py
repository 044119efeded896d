"""`introspect report`: the page of a run, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import print_json


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or a study.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's path as one JSON document.")] = False,
) -> None:
    """Draw the page of a run or a study again, from its results.

    \b
    introspect report runs/probe-risk
    """
    from ..studies.spec import is_study_folder

    if is_study_folder(run):
        from ..studies.page import report_study

        page = report_study(run)
    else:
        from ..run import report_run

        page = report_run(run)
    if as_json:
        print_json({"report": str(page)})
    else:
        typer.echo(page)
