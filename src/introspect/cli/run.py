"""`introspect run`: a whole experiment, from spec to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SpecError
from .carry_out import carry_out, overrides_of, subject_overrides
from .cluster import Bucket, Gpus, Ray, Threads, Workers
from .console import note
from .options import DryRun, Offline

if TYPE_CHECKING:
    from ..experiment import Experiment


def run(
    experiment: Annotated[str, typer.Argument(metavar="NAME-or-FILE", help="An experiment's name, or a spec in YAML.")],
    model: Annotated[
        str | None,
        typer.Option(help="Embedded model, hub id, local folder or .gguf file. Leaves out the spec's adapters."),
    ] = None,
    organism: Annotated[
        str | None, typer.Option(help="Adapter on the model: a name, a folder, or `none` for the bare model.")
    ] = None,
    negative_control: Annotated[
        str | None, typer.Option(help="Organism in which nothing should be found: a name or a folder.")
    ] = None,
    no_negative_control: Annotated[
        bool, typer.Option("--no-negative-control", help="Run no negative control; takes half the time.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option(help="Engine: auto (the fastest of these), native, nnsight, transformer-lens or vllm.")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(help="Weights in 4bit or 8bit, with bitsandbytes; `none` for those in full.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="runs/<name>")] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many items of each split (in and out of distribution).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Start of every source of chance.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace any field, such as probe.bootstrap=200; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")] = False,
    dry_run: DryRun = False,
    offline: Offline = False,
    ray: Ray = None,
    ray_workers: Workers = None,
    ray_gpus: Gpus = None,
    ray_threads: Threads = None,
    ray_bucket: Bucket = None,
) -> None:
    """Run a whole experiment or study, from spec to report.

    \b
    introspect run probe-risk
    introspect run probe-risk --limit 32 --no-negative-control --out /tmp/quick
    introspect run probe-risk --model Qwen/Qwen3-0.6B --organism my-adapter/ --dry-run
    introspect run my-spec.yaml --set generation.temperature=0.7 --set capture.layers=4:28:4
    introspect run probe-risk --resume
    introspect run compare-methods --limit 20 --out /tmp/compared
    introspect run validate-instrument --limit 20 --out /tmp/validated
    introspect run neurofeedback --dry-run
    introspect run probe-risk --ray --ray-workers 2
    introspect run probe-risk --ray auto --ray-gpus 2 --out /shared/probe-risk
    """
    from ..asked_spec import AskedSpec
    from ..experiment import Experiment, load_experiment
    from ..injection.spec import Injection
    from ..spec_kinds import load_spec, spec_kind

    kind = spec_kind(experiment)
    if ray is not None and not issubclass(kind, (Experiment, Injection)):
        raise SpecError(f"--ray spreads an experiment or a study of injected concepts, not {experiment}: leave it out")
    if issubclass(kind, AskedSpec) and (negative_control is not None or no_negative_control):
        raise SpecError(f"{experiment} has controls of its own: leave the negative control's options out")
    one_run: dict[str, object] = {"--model": model, "--organism": organism, "--negative-control": negative_control}
    one_run |= {"--no-negative-control": no_negative_control, "--backend": backend, "--quantization": quantization}
    flags = [flag for flag, value in one_run.items() if value not in (None, False)]
    if flags and not issubclass(kind, (Experiment, AskedSpec)):
        raise SpecError(f"{flags[0]} is for one run, and {experiment} is a study: change its spec, or use --set")
    if negative_control is not None and no_negative_control:
        raise SpecError("--negative-control and --no-negative-control exclude each other; give one")
    given = {"backend": backend, "quantization": quantization, "limit": limit, "seed": seed}
    dropped = {}
    if kind is Experiment:
        control = "none" if no_negative_control else negative_control
        overrides = overrides_of(organism=organism, negative_control=control, model=model, **given) + (set_ or [])
        dropped = _adapters_left_out(load_experiment(experiment), overrides)
    else:
        overrides = subject_overrides(model, organism, **given) + (set_ or [])
    spec = load_spec(experiment, [f"{key}=null" for key in dropped] + overrides)
    if dropped:
        note(f"{' and '.join(dropped.values())} left out: made for another model or organism; name one to run it")
    cluster = (ray, ray_workers, ray_gpus, ray_threads, ray_bucket)
    carry_out(spec, out, resume=resume, as_json=as_json, dry_run=dry_run, offline=offline, cluster=cluster)


def _adapters_left_out(spec: Experiment, overrides: list[str]) -> dict[str, str]:
    """Fields of the spec that another model or organism makes meaningless -> how to call them in a note."""
    from ..strict_yaml import load_yaml

    named = {key: load_yaml(value, override) for override in overrides for key, _, value in [override.partition("=")]}
    other_model = named.get("model", spec.model) != spec.model
    other_organism = named.get("organism", spec.organism) != spec.organism
    left_out = {}
    if spec.organism is not None and other_model and "organism" not in named:
        left_out["organism"] = f"organism {spec.organism}"
    if spec.negative_control is not None and (other_model or other_organism) and "negative_control" not in named:
        left_out["negative_control"] = f"negative control {spec.negative_control}"
    return left_out
