"""`introspect report`: the page of a run, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import print_json


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, a study or a validation.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's path as one JSON document.")] = False,
) -> None:
    """Draw the page of a run, study or validation again.

    \b
    introspect report runs/probe-risk
    """
    from ..injection.spec import is_injection_folder
    from ..natural.kinds import is_natural_folder
    from ..studies.spec import is_study_folder
    from ..validation.spec import is_validation_folder

    if is_validation_folder(run):
        from ..validation.page import report_validation

        page = report_validation(run)
    elif is_injection_folder(run):
        from ..injection.page import report_injection

        page = report_injection(run)
    elif is_natural_folder(run):
        from ..natural.page import report_natural

        page = report_natural(run)
    elif is_study_folder(run):
        from ..studies.page import report_study

        page = report_study(run)
    else:
        from ..run import report_run

        page = report_run(run)
    if as_json:
        print_json({"report": str(page)})
    else:
        typer.echo(page)
