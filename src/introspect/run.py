"""A whole experiment in a run directory: record, score, probe, link, negative control, report.

A run directory belongs to one resolved spec; its `experiment.yaml` says which. Every stage writes its files whole or
not at all and is skipped when they are there, so `resume` goes on from wherever the last process stopped, and ends
with the same rollouts and the same parts as a run that was never stopped.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .analysis import Model, analyse
from .atomic import write_atomic, write_json
from .awareness import AWARENESS_FILE, BASE_AWARENESS_FILE, awareness_stage, read_awareness
from .backends import Capture, ModelBackend, make_backend
from .chain import CHAIN_FILE, chain_stage, read_chain
from .doctor import self_test
from .errors import EstimateError, IntrospectError, RunError, StoreError
from .experiment import Experiment, load_experiment
from .features import Probed, choose_probed, probed_rows
from .follow_ups import STAGES, stage_folder
from .hands import in_turn
from .lines import read_lines
from .lock import only_writer
from .manifest import write_manifest
from .models import LoadedModel, ModelInfo, input_embeddings, load_model, resolve
from .models.memory import give_back_freed_memory
from .prepare import REPLAY_PART, Prepared, prepare
from .progress import Progress, silent, within
from .record import replay, store_spec
from .report import write_report
from .results import negative_control_section, read_results, validate_results
from .rollout import Rollout
from .rows import mean_of
from .run_folder import check_folder, check_memory, check_room, enough_memory, make_folder
from .scoring import lexical_verdict
from .selection import Selection
from .steering import describe_steering, make_steers, steering_warnings
from .store import estimated_bytes, verify
from .tasks.registry import find_task
from .turns import Spread, record_turns

if TYPE_CHECKING:
    from .cluster.crew import Crew

MARKER = "experiment.yaml"
MARKERS = (MARKER, "transcripts.yaml")
"""What says of a folder that it is a run, and of what."""
STORES = ("activations", "base_activations")
PROBED = Selection(())
"""Of the base model's activations, only what the probes read is kept."""
REPLAY_BYTES = 1 << 30
"""Of activations in memory at once while the base model is replayed: where means are probed, every token of a span."""


def run_experiment(
    spec: Experiment,
    out: Path,
    *,
    resume: bool = False,
    offline: bool = False,
    progress: Progress = silent,
    crew: Crew | None = None,
) -> dict:
    """Run an experiment into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.
        crew: workers who record beside this process; None: it records alone.

    Returns:
        The content of `results.json`.

    Raises:
        RunError: `out` holds something else, cannot be written, or the disk cannot hold the run.
        SpecError, ModelError: the spec cannot be run.
        StoreError: stored data is damaged.
    """
    stages = [stage_folder(each) for each in find_task(spec.task).follow_ups]
    links = (*STORES, STAGES, *stages, *(f"{each}/activations" for each in stages), "negative_control")
    check_folder(out, MARKER, spec.to_yaml(), what="a run of another spec", links=links, resume=resume)
    finished = _finished(out)
    if finished is not None:
        write_report(out)
        return finished
    for adapter in filter(None, (spec.organism, spec.negative_control)):
        resolve(spec.model, adapter=adapter, revision=spec.revision, offline=offline)
    if crew is not None:
        from .cluster.recording import begin_recording

        begin_recording(crew, spec, out, offline=offline)
    return _run(prepare(spec, offline=offline), out, resume=resume, offline=offline, progress=progress, crew=crew)


def _finished(out: Path) -> dict | None:
    """The results of a run that is whole; None when something of it is missing or damaged."""
    try:
        results = read_results(out / "results.json")
        return None if verify_run(out) else results
    except IntrospectError:
        return None


def _run(prepared: Prepared, out: Path, *, resume: bool, offline: bool, progress: Progress, crew: Crew | None) -> dict:
    """Run what is prepared. No caller holds on to it, so its model is freed before the negative control's is loaded."""
    make_folder(out)
    with only_writer(out / ".lock", out):
        spec, results_path = prepared.spec, out / "results.json"
        runs = 1 + (spec.negative_control is not None)
        check_room(out, runs * prepared.bytes_at_most())
        give_back_freed_memory()  # of a run before this one, such as the one that this is the negative control of
        check_memory(prepared.bytes_in_memory())
        write_atomic(out / MARKER, spec.to_yaml())
        checks = self_test(prepared.loaded, prepared.backend)
        rollouts = record_turns(prepared, out, progress, _spread(crew, spec, out, offline=offline))
        forced_stages(prepared, out, rollouts, progress)
        loaded = prepared.loaded
        base = base_stage(prepared, out, rollouts, offline=offline, progress=progress)
        steering = describe_steering(prepared.interventions, rollouts, prepared.loaded, prepared.backend)
        write_manifest(
            out / "manifest.json",
            spec,
            loaded.info,
            base,
            backend=prepared.backend.name,
            checks=checks,
            steering=steering,
            crew=None if crew is None else crew.about(),
        )
        steered = steering_warnings(prepared.interventions, steering)
        embeddings = functools.partial(input_embeddings, loaded)
        model = Model(loaded.tokenizer, prepared.capture.layers, noise_probe(prepared), embeddings)
        results = analyse(out, spec, rollouts, model, offline=offline, progress=progress)
        results["warnings"] = [*steered, *results["warnings"]]
        del prepared, loaded, model, embeddings
        gc.collect()
        if spec.negative_control is not None:
            headline = "lexical" if spec.verdicts.headline == "labels" else spec.verdicts.headline
            verdicts = spec.verdicts.model_copy(update={"labels": None, "headline": headline})
            changed = {"organism": spec.negative_control, "negative_control": None, "verdicts": verdicts}
            control = spec.model_copy(update=changed)
            named, folder = within(progress, "negative control"), out / "negative_control"
            measured = run_experiment(control, folder, resume=resume, offline=offline, progress=named, crew=crew)
            results["controls"]["negative_control"] = negative_control_section(measured)
        validate_results(results)
        write_json(results_path, results)
        write_report(out)
        return results


def _spread(crew: Crew | None, spec: Experiment, out: Path, *, offline: bool) -> Spread:
    """Who makes the parts of each turn."""
    if crew is None:
        return lambda number, maker: in_turn
    from .cluster.recording import spread_record

    return functools.partial(spread_record, crew, spec, out, offline=offline)


def forced_stages(prepared: Prepared, out: Path, rollouts: list[Rollout], progress: Progress) -> None:
    """Answers that are forced, for tests of the chain and for what the model says of itself."""
    spec, loaded, backend = prepared.spec, prepared.loaded, prepared.backend
    lanes = spec.generation.batch_size
    if spec.chain is not None:
        verdicts = {r.rollout: lexical_verdict(find_task(spec.task), r) for r in rollouts}
        quiet = [number for number, given in verdicts.items() if given is not None and given.verdict == "silent"]
        chain_stage(
            out,
            spec.chain,
            rollouts,
            loaded=loaded,
            backend=backend,
            silent_rollouts=quiet,
            seed=spec.seed,
            lanes=lanes,
            progress=progress,
        )
    if spec.awareness:
        awareness_stage(out, spec.task, loaded=loaded, backend=backend, lanes=lanes, progress=progress)


def base_stage(
    prepared: Prepared, out: Path, rollouts: Sequence[Rollout], *, offline: bool, progress: Progress
) -> ModelInfo | None:
    """Ask the model before post-training about itself, and replay the probed positions through it. Returns its info, or
    None where it is not compared with.
    """
    spec = prepared.spec
    if spec.organism is None or not spec.base_baseline:
        return None
    try:
        probed = choose_probed(find_task(spec.task).counted(rollouts), spec.probe.positions)
    except EstimateError:
        probed = None
    if probed is None and not spec.awareness:
        return None
    base = load_model(
        spec.model,
        revision=spec.revision,
        dtype=spec.dtype,
        attention=spec.attention,
        quantization=spec.quantization,
        offline=offline,
    )
    backend = make_backend(spec.backend, base.model, prepared.capture)
    if spec.awareness:
        lanes = spec.generation.batch_size
        awareness_stage(
            out, spec.task, loaded=base, backend=backend, file=BASE_AWARENESS_FILE, lanes=lanes, progress=progress
        )
    if probed is not None:
        replay_base(prepared, out, probed, base, backend, progress)
    return base.info


def replay_base(
    prepared: Prepared, out: Path, probed: Probed, base: LoadedModel, backend: ModelBackend, progress: Progress
) -> None:
    """The base model's activations at the probed positions of the same tokens."""
    rows = [probed_rows(rollout, probed.positions) for rollout in probed.rollouts]
    part_size = REPLAY_PART
    if any(each.means for each in rows):
        a_token = estimated_bytes(store_spec(prepared.capture, base, plan="", selection=PROBED), 1)
        at_once = REPLAY_BYTES // (a_token * max(len(each.needed()) for each in rows))
        part_size = max(1, min(REPLAY_PART, at_once))
    with enough_memory("the replay of the longest rollout", "try again with a smaller model or fewer layers"):
        replay(
            out / "base_activations",
            probed.rollouts,
            rows,
            loaded=base,
            backend=backend,
            capture=prepared.capture,
            selection=PROBED,
            part_size=part_size,
            progress=progress,
            stage="replay through the base model",
        )


def noise_probe(prepared: Prepared) -> Callable[[Sequence[Rollout], Sequence[range], str, int], np.ndarray]:
    """A function that captures some tokens of each rollout again, every sequence alone in its batch, and gives their
    mean as a store keeps it.
    """

    def again(rollouts: Sequence[Rollout], tokens: Sequence[range], site: str, layer: int) -> np.ndarray:
        capture = Capture((site,), (layer,))
        rows = []
        for rollout, wanted in zip(rollouts, tokens, strict=True):
            steer = make_steers(prepared.interventions, [rollout.prompt_ids], prepared.loaded)
            sequence = [rollout.token_ids[: wanted[-1] + 1]]
            (found,) = prepared.backend.replay(sequence, [wanted], capture=capture, steer=steer)
            rows.append(mean_of(found[site, layer]))
        return torch.cat(rows).float().numpy()

    return again


def report_run(run: Path) -> Path:
    """Write the report of a run again, from its results.

    Raises:
        RunError: the run has no results yet.
    """
    if not (run / "results.json").exists():
        raise RunError(f"{run} has no results.json; finish the run with `introspect run ... --out {run} --resume`")
    return write_report(run)


def verify_run(run: Path) -> list[str]:
    """Names of the damaged or missing files of a run and of its negative control, relative to `run`.

    Raises:
        RunError: `run` is not a run directory.
    """
    if not any((run / marker).exists() for marker in MARKERS):
        raise RunError(f"{run} is not a run directory: it has no {' or '.join(MARKERS)}; give the folder of a run")
    damaged = []
    runs = [run, *([run / "negative_control"] if (run / "negative_control").exists() else [])]
    folders = [folder for each in runs for folder in (each, *sorted((each / STAGES).glob("*")))]
    for folder in folders:
        for name in STORES:
            prefix = (folder / name).relative_to(run)
            if (folder / name).exists():
                damaged += [f"{prefix}/{problem}" for problem in verify(folder / name).problems]
            elif name == "activations":
                damaged.append(f"{prefix}: missing")
        try:
            for _ in read_lines(folder / "rollouts.jsonl", Rollout):
                pass
        except StoreError as error:
            damaged.append(str(error).split(";")[0])
    for each in runs:
        damaged += _missing_of_spec(each) if (each / MARKER).exists() else []
    return damaged


def _missing_of_spec(run: Path) -> list[str]:
    """What the spec of a run asks for and its folder lacks, or holds damaged, besides rollouts and activations."""
    spec, found = load_experiment(run / MARKER), []
    wanted: dict[str, Callable[[Path], object]] = {}
    if spec.chain is not None:
        wanted[CHAIN_FILE] = read_chain
    if spec.awareness:
        wanted[AWARENESS_FILE] = read_awareness
        if spec.organism is not None and spec.base_baseline:
            wanted[BASE_AWARENESS_FILE] = read_awareness
    for name, read in wanted.items():
        try:
            read(run / name)
        except StoreError as error:
            found.append(str(error).split(";")[0])
    stages = [stage_folder(each) for each in find_task(spec.task).follow_ups]
    folders = [*stages, *(["negative_control"] if spec.negative_control is not None else [])]
    return found + [f"{name}: missing" for name in folders if not (run / name).is_dir()]
