"""`introspect report`: the page of a run, drawn again."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from .console import print_json

PAGES = {
    "validation.yaml": ("validation.page", "report_validation"),
    "injection.yaml": ("injection.page", "report_injection"),
    "natural.yaml": ("natural.page", "report_natural"),
    "study.yaml": ("studies.page", "report_study"),
}
"""What says of a folder that it is no run -> what draws its page."""
PAGE = ("run", "report_run")
"""A run's."""


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, a study or a validation.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's path as one JSON document.")] = False,
) -> None:
    """Draw the page of a run, study or validation again.

    \b
    introspect report runs/probe-risk
    """
    module, draw = next((page for marker, page in PAGES.items() if (run / marker).exists()), PAGE)
    page = getattr(import_module(f"..{module}", __package__), draw)(run)
    if as_json:
        print_json({"report": str(page)})
    else:
        typer.echo(page)
