"""`introspect inject`: a study of injected concepts, from spec to report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpecError
from .cluster import Asked, Gpus, Ray, Threads, Workers, crew_of
from .console import print_columns, print_found, print_json, progress_bars


def inject(
    study: Annotated[str, typer.Argument(metavar="NAME-or-FILE", help="A study's name, or a spec in YAML.")],
    model: Annotated[
        str | None,
        typer.Option(help="Embedded model, hub id, local folder or .gguf file. Leaves out the spec's adapter."),
    ] = None,
    organism: Annotated[
        str | None, typer.Option(help="Adapter on the model: a name, a folder, or `none` for the bare model.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Engine: auto (the fastest that does it), native, nnsight or transformer-lens.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study.", show_default="runs/<name>")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many words explored, and as many held out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of every source of chance.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that was interrupted.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace any field, such as strengths=[0.5,1]; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no model hub: use what is on this machine.")] = False,
    norms: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Your CSV of words with their concreteness, frequency or both, for the regression on words.",
        ),
    ] = None,
    ray: Ray = None,
    ray_workers: Workers = None,
    ray_gpus: Gpus = None,
    ray_threads: Threads = None,
) -> None:
    """Inject concepts into activations, against every control.

    Words' vectors are added to a model's activations, to see what it says of it. Studies: inject-thought (is a thought
    reported, and which), inject-thought-vs-text (named, and the text still repeated), inject-prefill (a word in its
    mouth taken as meant), inject-intentional-control (thinking of a word while writing). A vector is what activations
    have of a word more than of other words, just before the model would tell about it; its strength is a part of the
    norm of a typical activation at that layer.

    Layers and strengths: a quarter, two fifths, two thirds and five sixths of the depth, and .1 to .8; of an organism
    that was trained on injections, its own layers too, and strengths that it was trained at.

    Every cell of layer and strength is committed as it is done, and --resume goes on from there.

    \b
    introspect inject inject-thought --limit 10 --dry-run
    introspect inject inject-thought --limit 10
    introspect inject inject-thought --organism reports-injected --out runs/reports
    introspect inject inject-thought --norms norms.csv
    introspect inject inject-thought --set "strengths=[0.5, 1.0]" --set "layers=[12, 20]"
    introspect inject inject-prefill --model Qwen/Qwen3-0.6B --resume
    introspect inject inject-thought --limit 10 --ray --ray-workers 2
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from ..injection.spec import is_injection

    if not is_injection(study):
        raise SpecError(f"{study} is no study of injected concepts: use `introspect run {study}`")
    given = {"model": model, "organism": organism, "backend": backend, "norms": norms}
    overrides = [] if model is None or organism is not None else ["organism=null"]
    overrides += [
        f"{key}={'null' if key == 'organism' and value == 'none' else json.dumps(value)}"
        for key, value in given.items()
        if value is not None
    ]
    overrides += [f"{key}={value}" for key, value in (("limit", limit), ("seed", seed)) if value is not None]
    run_study(
        study,
        overrides + (set_ or []),
        out,
        resume=resume,
        as_json=as_json,
        dry_run=dry_run,
        offline=offline,
        cluster=(ray, ray_workers, ray_gpus, ray_threads),
    )


def run_study(
    name: str,
    overrides: list[str],
    out: Path | None,
    *,
    resume: bool,
    as_json: bool,
    dry_run: bool,
    offline: bool,
    cluster: Asked,
) -> None:
    """Run a study of injected concepts, or say what it would cost."""
    from ..injection.spec import load_injection

    spec = load_injection(name, overrides)
    from ..injection.cost import injection_cost
    from ..injection.study import run_injection

    if dry_run:
        cost = injection_cost(spec, offline=offline)
        if as_json:
            print_json(cost._asdict())
            return
        print_columns(
            {
                "words": f"{cost.n_words:,} explored, about as many held out",
                "cells": f"{cost.n_cells:,}",
                "first tokens": f"{cost.n_trials:,}, a forward pass each",
                "replies": f"{cost.n_replies:,} sampled",
                "time": f"about {max(1, round(cost.seconds / 60))} min on this machine",
            },
            indent="",
        )
        return
    folder = out or Path("runs") / spec.name
    with (
        progress_bars() as progress,
        crew_of(*cluster, out=folder, offline=offline, progress=progress) as crew,
    ):
        results = run_injection(spec, folder, resume=resume, offline=offline, progress=progress, crew=crew)
    print_found(results, [*results["sentences"], *results["warnings"]], folder, as_json)
