"""`introspect explore`: runs in a browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpecError

NEEDS = ("starlette", "uvicorn")


def explore(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Folders of runs, of transcripts, or of studies of injected concepts (inject)."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="To listen on, on this machine; 0: any free one.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and leave opening it to you.")
    ] = False,
    probe: Annotated[
        list[str] | None,
        typer.Option(help="A saved probe to colour tokens by, beside those that ship; may be repeated."),
    ] = None,
) -> None:
    """Look at runs in a browser, alone or side by side.

    Maps of layers and positions, rollouts and their tokens, doses, grids of injections, two runs beside each other.

    Only this machine is answered, and only under the address that is printed; nothing is written. Ctrl-C ends it.

    \b
    introspect explore runs/probe-risk
    introspect explore runs/risk-sft runs/risk-dpo
    introspect explore runs/inject-thought --no-browser --port 8471
    introspect explore runs/probe-risk --probe my-probe
    """
    if any(find_spec(name) is None for name in NEEDS):
        raise SpecError(
            "the explorer needs two more packages: get them with `pip install -c constraints.txt '.[explore]'` in the "
            "folder of introspect's source"
        )
    from ..explore.saved import check_given
    from ..explore.serving import serve
    from ..explore.site import Site

    given = list(probe or [])
    check_given(given)
    serve(Site(runs, given), port=port, browser=not no_browser, told=typer.echo)
