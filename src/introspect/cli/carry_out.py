"""What verbs that run a spec share: options as overrides; then its cost, or a run of it and what was found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .cluster import Asked, check_asked, crew_of
from .console import minutes, note, print_cost, print_found, progress_bars, weights_line

if TYPE_CHECKING:
    from ..injection.cost import Cost as InjectionCost
    from ..natural.study import Cost as NaturalCost
    from ..prepare import Cost
    from ..spec_kinds import AnySpec
    from ..validation.validate import Cost as ValidationCost

NOT_NONE = ("organism", "negative_control", "quantization")
"""Fields of which `none` says that there is none."""


def overrides_of(**given: str | int | None) -> list[str]:
    """What options that were given put into a spec."""
    return [
        f"{key}={'null' if key in NOT_NONE and value == 'none' else json.dumps(value)}"
        for key, value in given.items()
        if value is not None
    ]


def subject_overrides(model: str | None, organism: str | None, **given: str | int | None) -> list[str]:
    """The same of a study that asks one model. Another model leaves out the spec's adapter."""
    left_out = ["organism=null"] if model is not None and organism is None else []
    return left_out + overrides_of(model=model, organism=organism, **given)


class Way(NamedTuple):
    """How one kind of spec is carried out."""

    cost: Callable[..., Any]
    """Given the spec, `offline` and `progress`: a dataclass."""
    in_words: Callable[[Any], dict[str, str]]
    """Of the cost."""
    run: Callable[..., dict[str, Any]]
    """Given the spec, its folder, `resume`, `offline`, `progress`, and the `crew` if there is one: results."""
    sentences: Callable[[dict[str, Any]], Iterable[str]]
    """Of the results."""
    not_counted: Callable[[Any], list[str]] = lambda spec: []
    """What the cost of a spec leaves out, in words."""


def carry_out(
    spec: AnySpec, out: Path | None, *, resume: bool, as_json: bool, dry_run: bool, offline: bool, cluster: Asked
) -> None:
    """Say what a spec would cost, or run it and print what was found."""
    way = _way(spec)
    check_asked(cluster)
    if dry_run:
        with progress_bars() as progress:
            cost = way.cost(spec, offline=offline, progress=progress)
        print_cost(cost, way.in_words(cost), as_json)
        for each in way.not_counted(spec):
            note(each)
        return
    folder = out or Path("runs") / spec.name
    with progress_bars() as progress, crew_of(*cluster, out=folder, offline=offline, progress=progress) as crew:
        others = {} if crew is None else {"crew": crew}
        results = way.run(spec, folder, resume=resume, offline=offline, progress=progress, **others)
    print_found(results, way.sentences(results), folder, as_json)


def _way(spec: AnySpec) -> Way:
    from ..experiment import Experiment
    from ..injection.spec import Injection
    from ..natural.spec import NaturalSpec
    from ..validation.spec import ValidateInstrument

    if isinstance(spec, Experiment):
        from ..prepare import estimate_cost
        from ..report import headline
        from ..run import run_experiment

        return Way(estimate_cost, _words_of_runs, run_experiment, headline)
    if isinstance(spec, Injection):
        from ..injection.cost import injection_cost
        from ..injection.study import run_injection

        return Way(injection_cost, _words_of_injection, run_injection, _sentences)
    if isinstance(spec, NaturalSpec):
        from ..natural.study import natural_cost, run_natural

        return Way(natural_cost, _words_of_natural, run_natural, _sentences)
    if isinstance(spec, ValidateInstrument):
        from ..validation.sentences import headline as of_validation
        from ..validation.validate import run_validation, validation_cost, with_provenance

        def run(spec: ValidateInstrument, folder: Path, *, offline: bool, **options: Any) -> dict[str, Any]:
            return with_provenance(run_validation(spec, folder, **options), folder)

        return Way(
            lambda spec, offline, progress: validation_cost(spec, progress=progress),
            _words_of_validation,
            run,
            lambda results: [*of_validation(results), *results["warnings"]],
        )
    from ..studies.sentences import headline as of_study
    from ..studies.study import not_counted, run_study, study_cost

    return Way(study_cost, _words_of_runs, run_study, of_study, not_counted)


def _sentences(results: dict[str, Any]) -> list[str]:
    return [*results["sentences"], *results["warnings"]]


def _words_of_runs(cost: Cost) -> dict[str, str]:
    return {
        "items": f"{cost.n_items:,}",
        "rollouts": f"{cost.n_rollouts:,}",
        "tokens": f"{cost.n_tokens:,} at most",
        **({"forced answers": f"{cost.n_forced:,} at most"} if cost.n_forced else {}),
        **({"judged": f"{cost.n_judged:,} chains, by {cost.judge}"} if cost.judge else {}),
        **weights_line(cost.bytes_of_weights, cost.if_quantised),
        "on disk": _bytes_in_words(cost),
        "time": _time_in_words(cost),
    }


def _bytes_in_words(cost: Cost) -> str:
    most = f"{cost.bytes_on_disk / 1e9:.2f} GB at most"
    if cost.expected is None:
        return most
    size = cost.expected.bytes_on_disk
    if size["value"] is None:
        return f"{most}; how much is likely is not known: {size['reason']}"
    value, low, high = (each / 1e9 for each in (size["value"], *size["ci95"]))
    return f"{value:.2f} GB [{low:.2f}, {high:.2f}] by the lengths of {size['n']} rollouts that were sampled; {most}"


def _time_in_words(cost: Cost) -> str:
    likely = None if cost.expected is None else cost.expected.seconds
    if likely is None:
        return f"{minutes(cost.seconds)} on this machine at most, without probes and report"
    return f"{minutes(likely)} on this machine, {minutes(cost.seconds)} at most, without probes and report"


def _words_of_injection(cost: InjectionCost) -> dict[str, str]:
    return {
        "words": f"{cost.n_words:,} explored, about as many held out",
        "cells": f"{cost.n_cells:,}",
        "first tokens": f"{cost.n_trials:,}, a forward pass each",
        "replies": f"{cost.n_replies:,} sampled",
        "time": f"{minutes(cost.seconds)} on this machine",
    }


def _words_of_natural(cost: NaturalCost) -> dict[str, str]:
    return {
        "units": f"{cost.n_units:,}, committed one by one",
        "passes": f"{cost.n_passes:,} of {cost.n_tokens:,} tokens",
        "sampled": f"{cost.n_generated:,} tokens at most",
        "time": f"{minutes(cost.seconds)} on this machine",
    }


def _words_of_validation(cost: ValidationCost) -> dict[str, str]:
    return {"draws": f"{cost.n_draws} of {cost.n_scenarios} scenarios", "time": minutes(cost.seconds)}
