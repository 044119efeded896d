"""`introspect probe`: probes that outlive their run, saved from one and applied to another."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .console import print_columns, print_json

probe = typer.Typer(rich_markup_mode=None)


class Estimator(StrEnum):
    """What can be fitted."""

    logistic = "logistic"
    ridge = "ridge"
    difference_of_means = "difference-of-means"
    whitened_difference_of_means = "whitened-difference-of-means"


@probe.callback(invoke_without_command=True)
def probe_(context: typer.Context) -> None:
    """Save a run's probe, or apply a saved one to a run.

    \b
    introspect probe save runs/probe-risk --out my-probe
    introspect probe apply my-probe runs/another
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@probe.command("save")
def save(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="New folder for probe.safetensors and its card, probe.json.")],
    position: Annotated[str | None, typer.Option(help="Where it reads; without it, where the headline does.")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="Of which layer; without it, the headline's.")] = None,
    estimator: Annotated[Estimator, typer.Option(help="What is fitted.")] = Estimator.logistic,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as one JSON document.")] = False,
) -> None:
    """Save a run's probe with a card.

    It is fitted again from the run's stored activations, with the run's own split and recipe, and saved only if the
    headline's scores are found again. The card holds what was fitted, where it reads, and its figures beside their
    baselines and controls.

    \b
    introspect probe save runs/probe-risk --out my-probe
    introspect probe save runs/probe-risk --out my-means --estimator difference-of-means --layer 20
    """
    from ..saved_probes import save_run_probe

    card = save_run_probe(run, out, layer=layer, position=position, estimator=estimator.value).card
    if as_json:
        print_json(card)
        return
    typer.echo(f"{card['summary']}, AUROC {_figure(card['metrics']['auroc'])}")
    typer.echo(out)


@probe.command("apply")
def apply(
    saved: Annotated[str, typer.Argument(metavar="PROBE", help="A name from `introspect list probes`, or a folder.")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    other_model: Annotated[
        bool, typer.Option("--other-model", help="Accept a model with other weights, of the same width.")
    ] = False,
    base: Annotated[
        bool, typer.Option("--base", help="Read the model before post-training, over the same tokens, without a refit.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write a score a rollout to this new .csv or .parquet file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON document.")] = False,
) -> None:
    """Apply a saved probe to a run.

    Prints how well its scores predict what that run did, on groups that the probe was not fitted to, beside the run's
    own probe and baselines. The run stays as it is.

    \b
    introspect probe apply my-probe runs/another
    introspect probe apply risk-silent runs/another --base
    introspect probe apply risk-silent runs/another --out scores.csv
    """
    from ..link import write_rows
    from ..probe_folders import probe_folder
    from ..probes.saved import load_probe
    from ..saved_probes import apply_probe, check_scores_path

    if out is not None:
        check_scores_path(out, run)
    applied = apply_probe(load_probe(probe_folder(saved)), run, other_model=other_model, base=base)
    if out is not None:
        write_rows(applied.rows, out)
    found = applied.summary
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found['probe']['summary']}; on its own test groups AUROC {_figure(found['probe']['auroc'])}")
    rows = found["rows"]
    lines = {
        "rollouts": f"{rows['n_scored']} in {rows['n_groups']} groups, of {rows['n_rollouts']}",
        "AUROC": _figure(found["auroc"]),
        **{f"AUROC, {name}": _figure(each) for name, each in found["auroc_by_split"].items()},
    }
    above = found["above_threshold"] or {}
    names = {"acted": "of those that acted", "not_acted": "of those that did not", "all": "of all"}
    lines |= {f"above the threshold, {names[key]}": _figure(each) for key, each in above.items()}
    lines["this run's own probe there"] = _figure(found["beside"]["own_probe"])
    lines |= {f"{name}, in this run": _figure(each) for name, each in found["beside"]["baselines"].items()}
    print_columns(lines, indent="")
    for line in found["notes"]:
        typer.echo(line)


def _figure(estimate: dict) -> str:
    """An estimate of results.json in words."""
    if estimate["value"] is None:
        return f"none ({estimate['reason']})"
    low, high = estimate["ci95"]
    return f"{estimate['value']:.2f} [{low:.2f}, {high:.2f}], n {estimate['n']}"
