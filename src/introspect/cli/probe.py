"""`introspect probe`: a run probed again in another way, and probes that outlive their run."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .console import print_columns, print_json, progress_bars
from .options import Offline

probe = typer.Typer(rich_markup_mode=None)


class Estimator(StrEnum):
    """What can be fitted."""

    logistic = "logistic"
    ridge = "ridge"
    difference_of_means = "difference-of-means"
    whitened_difference_of_means = "whitened-difference-of-means"


class Label(StrEnum):
    """What can be predicted."""

    acted = "acted"
    verbalised = "verbalised"
    silent = "silent"
    denied = "denied"


class Site(StrEnum):
    """Places in a block."""

    resid_post = "resid_post"
    resid_mid = "resid_mid"
    attn_out = "attn_out"
    mlp_out = "mlp_out"


@probe.callback(invoke_without_command=True)
def probe_(context: typer.Context) -> None:
    """Probe a run again, save its probe, or apply a saved one.

    \b
    introspect probe fit runs/probe-risk --estimator difference-of-means
    introspect probe save runs/probe-risk --out my-probe
    introspect probe apply my-probe runs/another
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@probe.command("fit")
def fit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    estimator: Annotated[Estimator | None, typer.Option(help="What is fitted; without it, as the run has it.")] = None,
    label: Annotated[
        Label | None,
        typer.Option(
            help="What is predicted: acting on the policy or, of those that acted, what the chain says of it."
        ),
    ] = None,
    site: Annotated[
        list[Site] | None,
        typer.Option(
            help="Place in a block, of those that the run has recorded; of several, one is chosen on inner folds."
        ),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(help="A stricter text baseline: `input`, or a sentence-embedding model (hub id or folder)."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace a field, such as probe.permutations=1000; repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for the results and their report; without it, they are printed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")] = False,
    offline: Offline = False,
) -> None:
    """Probe a run again with another estimator, label, place in a block, or text baseline.

    The run's own analysis, with the same split, baselines and controls, on what the run has recorded. The run stays as
    it is, and so does its headline: what is found by trying several ways is one of several looks at the same test
    groups.

    \b
    introspect probe fit runs/probe-risk --estimator difference-of-means
    introspect probe fit runs/hints-faithfulness --label verbalised --out runs/verbalised
    introspect probe fit runs/probe-risk --embedding input --set probe.permutations=1000
    """
    from ..refit import fit_again
    from ..report import headline

    given = {"estimator": estimator, "label": label, "embedding": embedding}
    overrides = [f"probe.{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None]
    if site:
        several = len(site) > 1
        overrides.append(f"probe.site={'null' if several else site[0].value}")
        overrides.append(f"probe.sites={json.dumps([each.value for each in site]) if several else 'null'}")
    with progress_bars() as progress:
        results = fit_again(run, overrides + (set_ or []), out, offline=offline, progress=progress)
    if as_json:
        print_json(results)
        return
    for sentence in headline(results)[1:]:
        typer.echo(sentence)
    if out is not None:
        typer.echo(f"\n{out / 'report.html'}")


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
