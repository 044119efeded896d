"""`introspect run`: a whole experiment, from spec to report."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SpecError
from .cluster import Gpus, Ray, Threads, Workers, crew_of
from .console import note, print_columns, print_found, print_json, progress_bars, weights_line
from .inject import inject

if TYPE_CHECKING:
    from ..experiment import Experiment
    from ..prepare import Cost


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no model hub: use what is on this machine.")] = False,
    ray: Ray = None,
    ray_workers: Workers = None,
    ray_gpus: Gpus = None,
    ray_threads: Threads = None,
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
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from ..experiment import load_experiment
    from ..injection.spec import is_injection
    from ..natural.kinds import is_natural
    from ..studies.spec import is_study
    from ..validation.spec import is_validation

    asked_in = [] if quantization is None else [f"quantization={'null' if quantization == 'none' else quantization}"]
    if is_injection(experiment):
        if negative_control is not None or no_negative_control:
            raise SpecError(f"{experiment} has controls of its own: leave the negative control's options out")
        given_too = [*asked_in, *(set_ or [])]
        inject(
            *(experiment, model, organism, backend, out, limit, seed, resume, given_too, as_json, dry_run, offline),
            ray=ray,
            ray_workers=ray_workers,
            ray_gpus=ray_gpus,
            ray_threads=ray_threads,
        )
        return
    if ray is not None and (is_natural(experiment) or is_study(experiment)):
        raise SpecError(f"--ray spreads an experiment or a study of injected concepts, not {experiment}: leave it out")
    if is_natural(experiment):
        if negative_control is not None or no_negative_control:
            raise SpecError(f"{experiment} has controls of its own: leave the negative control's options out")
        overrides = [*_subject_overrides(model, organism, backend), *asked_in, *_numbers(limit, seed), *(set_ or [])]
        _run_natural(experiment, overrides, out, resume=resume, as_json=as_json, dry_run=dry_run, offline=offline)
        return
    if is_study(experiment):
        one_run = {
            "--model": model is not None,
            "--organism": organism is not None,
            "--negative-control": negative_control is not None,
            "--no-negative-control": no_negative_control,
            "--backend": backend is not None,
            "--quantization": quantization is not None,
        }
        _refuse(experiment, [flag for flag, was_given in one_run.items() if was_given])
        overrides = _numbers(limit, seed) + (set_ or [])
        if is_validation(experiment):
            _run_validation(experiment, overrides, out, resume=resume, as_json=as_json, dry_run=dry_run)
            return
        _run_study(experiment, overrides, out, resume=resume, as_json=as_json, dry_run=dry_run, offline=offline)
        return
    given = {"organism": organism, "negative_control": negative_control, "model": model, "backend": backend}
    given["quantization"] = quantization
    flags = {key: value for key, value in given.items() if value is not None}
    if no_negative_control:
        if negative_control is not None:
            raise SpecError("--negative-control and --no-negative-control exclude each other; give one")
        flags["negative_control"] = "none"
    overrides = [f"{key}={'null' if value == 'none' else json.dumps(value)}" for key, value in flags.items()]
    overrides += _numbers(limit, seed) + (set_ or [])
    dropped = _adapters_left_out(load_experiment(experiment), overrides)
    spec = load_experiment(experiment, [f"{key}=null" for key in dropped] + overrides)
    if dropped:
        note(f"{' and '.join(dropped.values())} left out: made for another model or organism; name one to run it")

    from ..prepare import estimate_cost
    from ..run import run_experiment

    if dry_run:
        _print_cost(estimate_cost(spec, offline=offline), as_json)
        return
    folder = out or Path("runs") / spec.name
    with (
        progress_bars() as progress,
        crew_of(ray, ray_workers, ray_gpus, ray_threads, out=folder, offline=offline, progress=progress) as crew,
    ):
        results = run_experiment(spec, folder, resume=resume, offline=offline, progress=progress, crew=crew)
    from ..report import headline

    print_found(results, headline(results), folder, as_json)


def _numbers(limit: int | None, seed: int | None) -> list[str]:
    return [f"{key}={value}" for key, value in (("limit", limit), ("seed", seed)) if value is not None]


def _subject_overrides(model: str | None, organism: str | None, backend: str | None) -> list[str]:
    """What the options that say which model is asked put into a spec. Another model leaves out the spec's adapter."""
    given = {"model": model, "organism": organism, "backend": backend}
    overrides = [] if model is None or organism is not None else ["organism=null"]
    return overrides + [
        f"{key}={'null' if key == 'organism' and value == 'none' else json.dumps(value)}"
        for key, value in given.items()
        if value is not None
    ]


def _refuse(study: str, flags: list[str]) -> None:
    """Refuse what means something for one run only."""
    if flags:
        raise SpecError(f"{flags[0]} is for one run, and {study} is a study: change its spec, or use --set")


def _run_study(
    name: str, overrides: list[str], out: Path | None, *, resume: bool, as_json: bool, dry_run: bool, offline: bool
) -> None:
    from ..studies.spec import load_study

    spec = load_study(name, overrides)
    from ..studies.sentences import headline
    from ..studies.study import not_counted, run_study, study_cost

    if dry_run:
        _print_cost(study_cost(spec, offline=offline), as_json)
        for each in not_counted(spec):
            note(each)
        return
    folder = out or Path("runs") / spec.name
    with progress_bars() as progress:
        results = run_study(spec, folder, resume=resume, offline=offline, progress=progress)
    print_found(results, headline(results), folder, as_json)


def _run_natural(
    name: str, overrides: list[str], out: Path | None, *, resume: bool, as_json: bool, dry_run: bool, offline: bool
) -> None:
    from ..natural.kinds import load_natural

    spec = load_natural(name, overrides)
    from ..natural.study import natural_cost, run_natural

    if dry_run:
        cost = natural_cost(spec, offline=offline)
        if as_json:
            print_json(cost._asdict())
            return
        print_columns(
            {
                "units": f"{cost.n_units:,}, committed one by one",
                "passes": f"{cost.n_passes:,} of {cost.n_tokens:,} tokens",
                "sampled": f"{cost.n_generated:,} tokens at most",
                "time": f"about {max(1, round(cost.seconds / 60))} min on this machine",
            },
            "",
        )
        return
    folder = out or Path("runs") / spec.name
    with progress_bars() as progress:
        results = run_natural(spec, folder, resume=resume, offline=offline, progress=progress)
    print_found(results, [*results["sentences"], *results["warnings"]], folder, as_json)


def _run_validation(
    name: str, overrides: list[str], out: Path | None, *, resume: bool, as_json: bool, dry_run: bool
) -> None:
    from ..validation.spec import load_validation

    spec = load_validation(name, overrides)
    from ..validation.sentences import headline
    from ..validation.validate import run_validation, validation_cost, with_provenance

    if dry_run:
        cost = validation_cost(spec)
        minutes = max(1, round(cost.seconds / 60))
        if as_json:
            print_json(cost._asdict())
        else:
            print_columns(
                {"draws": f"{cost.n_draws} of {cost.n_scenarios} scenarios", "time": f"about {minutes} min"}, ""
            )
        return
    folder = out or Path("runs") / spec.name
    with progress_bars() as progress:
        results = run_validation(spec, folder, resume=resume, progress=progress)
    sentences = [*headline(results), *results["warnings"]]
    print_found(with_provenance(results, folder), sentences, folder, as_json)


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


def _print_cost(cost: Cost, as_json: bool) -> None:
    if as_json:
        print_json(asdict(cost))
        return
    print_columns(
        {
            "items": f"{cost.n_items:,}",
            "rollouts": f"{cost.n_rollouts:,}",
            "tokens": f"{cost.n_tokens:,} at most",
            **({"forced answers": f"{cost.n_forced:,} at most"} if cost.n_forced else {}),
            **({"judged": f"{cost.n_judged:,} chains, by {cost.judge}"} if cost.judge else {}),
            **weights_line(cost.bytes_of_weights, cost.if_quantised),
            "on disk": f"{cost.bytes_on_disk / 1e9:.2f} GB at most",
            "time": f"about {max(1, round(cost.seconds / 60))} min on this machine",
        },
        indent="",
    )
