"""`introspect inject`: a study of injected concepts, from spec to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpecError
from .carry_out import carry_out, subject_overrides
from .cluster import Bucket, Gpus, Ray, Threads, Workers
from .options import DryRun, Offline


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
    dry_run: DryRun = False,
    offline: Offline = False,
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
    ray_bucket: Bucket = None,
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
    from ..injection.spec import Injection
    from ..spec_kinds import load_spec, spec_kind

    if not issubclass(spec_kind(study), Injection):
        raise SpecError(f"{study} is no study of injected concepts: use `introspect run {study}`")
    overrides = subject_overrides(model, organism, backend=backend, norms=norms, limit=limit, seed=seed)
    spec = load_spec(study, overrides + (set_ or []))
    cluster = (ray, ray_workers, ray_gpus, ray_threads, ray_bucket)
    carry_out(spec, out, resume=resume, as_json=as_json, dry_run=dry_run, offline=offline, cluster=cluster)
