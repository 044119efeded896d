"""`introspect link`: the link of a run, again, and its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RunError, SpecError
from .console import print_json, print_rows

if TYPE_CHECKING:
    from ..link import StoredLink


def link(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Write one row a rollout that was probed to this .csv or .parquet file.", show_default=False),
    ] = None,
    fpr: Annotated[
        float | None,
        typer.Option(
            help="False-positive rate at which thresholds are set; the spec's own when not given.", show_default=False
        ),
    ] = None,
    texts: Annotated[bool, typer.Option("--texts", help="With --out: prompts and chains too.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Write the link at the spec's own rate to results.json and the report.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the link as one JSON document.")] = False,
) -> None:
    """Cross what chains say with what is read, without a model.

    The link follows from a run's rollouts, verdicts and readouts: thresholds are set anew, at another rate if you like.
    The run is left as it is, unless --write is given: that makes a run of an earlier version as complete as its
    readouts allow.

    \b
    introspect link runs/probe-risk
    introspect link runs/probe-risk --fpr 0.1 --json
    introspect link runs/probe-risk --out rows.csv
    introspect link runs/probe-risk --write
    """
    from ..link import check_out, export_rows, open_link, write_rows

    if fpr is not None and not 0 < fpr < 1:
        raise typer.BadParameter(f"{fpr} is not between 0 and 1", param_hint="--fpr")
    if texts and out is None:
        raise typer.BadParameter("prompts and chains are for --out", param_hint="--texts")
    if out is not None:
        if out.resolve().is_relative_to(run.resolve()):
            raise SpecError(f"--out {out} is inside the run, which holds its own files only: name a file elsewhere")
        check_out(out)
    stored = open_link(run)
    if write and fpr is not None and fpr != stored.spec.link.fpr:
        raise RunError(
            f"results.json of {run} is for link.fpr {stored.spec.link.fpr}, as its spec says; leave --write out, or "
            f"make a new run with --set link.fpr={fpr}"
        )
    if write:
        from ..rescore import link_again

        link_again(run)
        stored = open_link(run)
    section, control = stored.section(fpr), stored.control(fpr)
    if out is not None:
        write_rows(export_rows(stored.rows, fpr=stored.spec.link.fpr if fpr is None else fpr, texts=texts), out)
    if as_json:
        print_json({"run": str(run), "link": section, "negative_control": control})
        return
    _show(stored, section, control)
    if out is not None:
        typer.echo(f"\n{out}: {len(stored.rows)} rows")


def _show(stored: StoredLink, section: dict[str, Any], control: dict[str, Any]) -> None:
    if "table" not in section:
        typer.echo(f"{stored.run}: chain and activations could not be linked: {section['reason']}")
        return
    from ..report import link_tables

    for table in link_tables(section, control):
        print_rows(table.title, table.head, [[cell.text for cell in row] for row in table.rows])
        for line in table.notes:
            typer.echo(line)
        typer.echo("")
