"""`introspect transfer`: probes fitted on one kind of rollout, or one run, tested on others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpecError
from .console import note, print_json, print_rows, progress_bars


def transfer(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs of one model.")],
    by: Annotated[
        str | None,
        typer.Option(
            help="Of one run, what its rollouts are set apart by: position, span, or a field of items or conditions "
            "such as hint_kind, condition, domain or split.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="Fit every probe at this layer; each row's own inner folds choose when not given."),
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(help="Fit every probe at this position; each row's own inner folds choose when not given."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Of the split of groups; the first run's own when not given.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write transfer.json and transfer.html into this folder, or one of them to a .json or .html file.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Fit a probe on each row, and test it on every column.

    Rows and columns are runs of one model (organisms, checkpoints, tasks, styles), or kinds of one run's rollouts.
    No probe is fitted on a group that is tested on. Beside each AUROC: words carried over alike, the untrained model,
    the column's own probe, cosines of directions.

    \b
    introspect transfer runs/risk-sft runs/risk-dpo
    introspect transfer runs/probe-hints --by hint_kind
    introspect transfer runs/probe-risk --by position --out transfer
    introspect transfer runs/probe-risk --by split --layer 12 --position last_prompt --json
    """
    from ..notebook import open_run
    from ..transfer.page import check_out, write
    from ..transfer.sentences import sentences, tables

    if out is not None:
        if any(out.resolve().is_relative_to(run.resolve()) for run in runs):
            raise SpecError(f"--out {out} is inside a run, which holds its own files only: name a place elsewhere")
        check_out(out)
    first, *others = runs
    with progress_bars() as progress:
        opened = open_run(first)
        found = opened.transfer(*others, by=by, layer=layer, position=position, seed=seed, progress=progress).results
    written = [] if out is None else write(found, out)
    if as_json:
        print_json(found)
        return
    for sentence in sentences(found):
        typer.echo(sentence)
    typer.echo("")
    for table in tables(found):
        print_rows(table.title, table.head, table.rows)
        typer.echo("")
    for warning in found["warnings"]:
        note(warning)
    for path in written:
        typer.echo(str(path))
