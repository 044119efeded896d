"""`introspect score`: the verdicts and behavioural measures of a run, again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpecError
from .console import print_json, progress_bars
from .options import Offline


def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run whose rollouts are finished.")],
    judge: Annotated[
        str | None,
        typer.Option(help="Model judge: a local model's name or folder or, with --url, the name the endpoint knows."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible endpoint, such as http://localhost:8000/v1.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="A sheet filled in by hand: a third classifier.")] = None,
    headline: Annotated[
        str | None, typer.Option(help="Classifier whose verdicts are linked with readouts: lexical, judge or labels.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write chains to label by hand to this CSV file, and stop.")
    ] = None,
    sheet_size: Annotated[int, typer.Option(min=1, help="With --sheet: at most so many chains.")] = 200,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a field, such as verdicts.judge.sample=null."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the new results as one JSON document.")] = False,
    offline: Offline = False,
) -> None:
    """Score a run again, with other judges or labels by hand.

    No model is run but the judge. Behaviour, verdicts and link are made anew; probes and baselines stay as they are. A
    judge's answers are kept in the run, so that asking again costs nothing. The key of an endpoint is read from the
    environment variable that verdicts.judge.key_variable names.

    \b
    introspect score runs/hints-faithfulness
    introspect score runs/hints-faithfulness --judge my-model --url http://localhost:8000/v1 --headline judge
    introspect score runs/hints-faithfulness --sheet labels.csv --sheet-size 100
    introspect score runs/hints-faithfulness --labels labels.csv
    """
    from ..rescore import export_sheet, score_run

    if sheet is not None:
        written = export_sheet(run, sheet, n=sheet_size)
        if as_json:
            print_json({"sheet": str(sheet), "chains": written})
        else:
            typer.echo(f"{sheet}: {written} chains; fill in mentions, relies and denies, then give it as --labels")
        return
    if url is not None and judge is None:
        raise SpecError("--url needs --judge, the name of the model at the endpoint")
    given = {"judge.model": judge, "judge.url": url, "labels": labels and str(labels.resolve()), "headline": headline}
    overrides = [f"verdicts.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    with progress_bars() as progress:
        results = score_run(run, overrides + (set_ or []), offline=offline, progress=progress)
    if as_json:
        print_json(results)
        return
    from ..report import headline as sentences

    for sentence in sentences(results):
        typer.echo(sentence)
    typer.echo(f"\n{run / 'report.html'}")
