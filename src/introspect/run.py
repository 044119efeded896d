"""A whole experiment in a run directory: record, score, probe, link, negative control, report.

A run directory belongs to one resolved spec; its `experiment.yaml` says which. Every stage writes its files whole or
not at all and is skipped when they are there, so `resume` goes on from wherever the last process stopped, and ends
with the same rollouts and the same parts as a run that was never stopped.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .analysis import Model, analyse
from .assets import data_path
from .atomic import write_atomic
from .backends import Backend, Capture, Sampling, make_backend
from .errors import EstimateError, IntrospectError, RunError, StoreError
from .experiment import Experiment, resolve_layers
from .features import choose_probed
from .lock import only_writer
from .manifest import write_manifest
from .models import LoadedModel, ModelInfo, load_model, render_prompt, resolve
from .plan import Job, make_batches, select_items
from .progress import Progress, silent
from .record import record, replay, stop_ids, store_spec
from .report import write_report
from .results import negative_control_section, read_results, validate_results
from .rollout import Rollout, read_rollouts
from .store import estimated_bytes, verify
from .tasks.item import Item, read_items
from .tasks.registry import find_task

STORES = ("activations", "base_activations")
REPLAY_BATCH = 32
"""Sequences replayed together."""
BYTES_A_ROLLOUT, BYTES_A_TOKEN = 1500, 10
"""Of a line of rollouts.jsonl: names and fields, and every token id, its text or a log-probability. Lines are there
twice while a run is being finished."""


@dataclass(frozen=True)
class Cost:
    """What a run is expected to take. Tokens and bytes are upper bounds, from the longest allowed completions."""

    n_items: int
    n_rollouts: int
    n_tokens: int
    bytes_on_disk: int
    seconds: float


@dataclass(frozen=True)
class Prepared:
    """A spec with its items, its model and its plan."""

    spec: Experiment
    items: list[Item]
    loaded: LoadedModel
    backend: Backend
    capture: Capture
    batches: list[list[Job]]

    def bytes_at_most(self) -> int:
        """Bytes of the stores, in flight and of the base model, and of the rollouts' lines, if every completion is as
        long as it may be.
        """
        jobs = [job for batch in self.batches for job in batch]
        longest = self.spec.generation.max_new_tokens
        rows = 1 + longest
        if self.spec.organism is not None and self.spec.base_baseline:
            rows += len(self.spec.probe.positions)
        tokens = sum(len(job.prompt_ids) + longest * (2 + len(job.item.options)) for job in jobs)
        lines = BYTES_A_ROLLOUT * len(jobs) + BYTES_A_TOKEN * tokens
        return estimated_bytes(store_spec(self.capture, self.loaded, plan=""), rows * len(jobs)) + 2 * lines


def spec_items(spec: Experiment) -> list[Item]:
    """The items that a spec selects, in file order."""
    path = Path(spec.items)
    found = read_items(path if path.suffix == ".jsonl" and path.exists() else data_path(spec.items))
    return select_items(found, {"id": spec.limit.id, "ood": spec.limit.ood})


def prepare(spec: Experiment, *, offline: bool = False) -> Prepared:
    """Load the model and lay out the work. Writes nothing."""
    items = spec_items(spec)
    find_task(spec.task)
    loaded = load_model(
        spec.model,
        adapter=spec.organism,
        revision=spec.revision,
        dtype=spec.dtype,
        attention=spec.attention,
        offline=offline,
    )
    capture = Capture(spec.capture.sites, resolve_layers(spec.capture.layers, loaded.info.n_layers))
    prompts = [render_prompt(loaded, item.prompt) for item in items]
    generation = spec.generation
    batches = make_batches(items, prompts, samples=generation.samples, seed=spec.seed, batch_size=generation.batch_size)
    return Prepared(spec, items, loaded, make_backend(spec.backend, loaded), capture, batches)


def run_experiment(
    spec: Experiment, out: Path, *, resume: bool = False, offline: bool = False, progress: Progress = silent
) -> dict:
    """Run an experiment into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.

    Returns:
        The content of `results.json`.

    Raises:
        RunError: `out` holds something else, cannot be written, or the disk cannot hold the run.
        SpecError, ModelError: the spec cannot be run.
        StoreError: stored data is damaged.
    """
    check_out(out, spec, resume=resume)
    finished = _finished(out)
    if finished is not None:
        write_report(out)
        return finished
    for adapter in filter(None, (spec.organism, spec.negative_control)):
        resolve(spec.model, adapter=adapter, revision=spec.revision, offline=offline)
    return _run(prepare(spec, offline=offline), out, resume=resume, offline=offline, progress=progress)


def _finished(out: Path) -> dict | None:
    """The results of a run that is whole; None when something of it is missing or damaged."""
    try:
        results = read_results(out / "results.json")
        return None if verify_run(out) else results
    except IntrospectError:
        return None


def _run(prepared: Prepared, out: Path, *, resume: bool, offline: bool, progress: Progress) -> dict:
    """Run what is prepared. No caller holds on to it, so its model is freed before the negative control's is loaded."""
    make_out(out)
    with only_writer(out / ".lock", out):
        spec, results_path = prepared.spec, out / "results.json"
        claim_out(out, prepared)
        rollouts = record_stage(prepared, out, progress)
        loaded = prepared.loaded
        base = base_stage(prepared, out, rollouts, offline=offline, progress=progress)
        write_manifest(out / "manifest.json", spec, loaded.info, base)
        model = Model(loaded.tokenizer, prepared.capture.layers, noise_probe(prepared))
        results = analyse(out, spec, rollouts, model, progress=progress)
        del prepared, loaded, model
        gc.collect()
        if spec.negative_control is not None:
            control = spec.model_copy(update={"organism": spec.negative_control, "negative_control": None})

            def control_progress(stage: str, done: int, total: int) -> None:
                progress(f"negative control: {stage}", done, total)

            measured = run_experiment(
                control, out / "negative_control", resume=resume, offline=offline, progress=control_progress
            )
            results["controls"]["negative_control"] = negative_control_section(measured)
        validate_results(results)
        write_atomic(results_path, json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_report(out)
        return results


def check_out(out: Path, spec: Experiment, *, resume: bool) -> None:
    """Refuse a folder that holds something else than this spec's run.

    Raises:
        RunError: names the folder and the remedy.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; choose another --out")
    if not out.exists() or not any(_visible(out)):
        return
    for name in (*STORES, "negative_control"):
        if (out / name).is_symlink():
            raise RunError(f"{out / name} is a link, and would be written through; choose another --out")
    marker = out / "experiment.yaml"
    if not marker.exists():
        raise RunError(f"{out} is not empty and holds no run; choose another --out")
    if marker.read_text(encoding="utf-8") != spec.to_yaml():
        raise RunError(f"{out} holds a run of another spec ({marker} differs); choose another --out")
    if not resume:
        raise RunError(f"{out} already holds this run; add --resume to go on with it, or choose another --out")


def make_out(out: Path) -> None:
    """Create the run directory.

    Raises:
        RunError: it cannot be created.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create {out}: {error.strerror}; choose another --out") from None


def _visible(folder: Path) -> Iterator[Path]:
    """What a folder holds but locks and what a kill left of a file that was being written."""
    return (path for path in folder.iterdir() if not (path.name.startswith(".") and path.suffix in (".lock", ".tmp")))


def claim_out(out: Path, prepared: Prepared) -> None:
    """Write the run's spec into its directory, once the disk is known to hold the run."""
    runs = 1 + (prepared.spec.negative_control is not None)
    needed, free = runs * prepared.bytes_at_most(), shutil.disk_usage(out).free
    held = sum(path.stat().st_size for path in out.rglob("*.h5"))
    if needed > free + held:
        raise RunError(
            f"{out} has {free / 1e9:.1f} GB free and the run may need {needed / 1e9:.1f} GB; free space, choose "
            "another --out, or record less with --set capture.layers=... or --limit"
        )
    write_atomic(out / "experiment.yaml", prepared.spec.to_yaml())


def record_stage(prepared: Prepared, out: Path, progress: Progress) -> list[Rollout]:
    """Rollouts and activations of the plan."""
    generation = prepared.spec.generation
    with enough_memory(f"a batch of {generation.batch_size} with {generation.max_new_tokens} new tokens"):
        return record(
            out,
            prepared.batches,
            task=find_task(prepared.spec.task),
            loaded=prepared.loaded,
            backend=prepared.backend,
            sampling=Sampling(generation.max_new_tokens, generation.temperature, stop_ids(prepared.loaded)),
            capture=prepared.capture,
            progress=progress,
        )


@contextmanager
def enough_memory(work: str) -> Iterator[None]:
    """Turn running out of memory, of whichever kind, into one line.

    Raises:
        RunError: there was not enough memory for the work.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
        if not known:
            raise
        raise RunError(
            f"there is not enough memory for {work}; try again into another --out with a smaller "
            "--set generation.batch_size=... or --set capture.layers=..."
        ) from None


def base_stage(
    prepared: Prepared, out: Path, rollouts: Sequence[Rollout], *, offline: bool, progress: Progress
) -> ModelInfo | None:
    """Replay the probed positions through the model before post-training. Returns its info, or None without a base."""
    spec = prepared.spec
    if spec.organism is None or not spec.base_baseline:
        return None
    try:
        probed = choose_probed(rollouts, spec.probe.positions)
    except EstimateError:
        return None
    base = load_model(spec.model, revision=spec.revision, dtype=spec.dtype, attention=spec.attention, offline=offline)
    wanted = [sorted({int(probed.tokens[name][i]) for name in probed.positions}) for i in range(len(probed.rollouts))]
    replay(
        out / "base_activations",
        probed.rollouts,
        wanted,
        loaded=base,
        backend=make_backend(spec.backend, base),
        capture=prepared.capture,
        batch_size=REPLAY_BATCH,
        progress=progress,
        stage="replay through the base model",
    )
    return base.info


def noise_probe(prepared: Prepared) -> Callable[[Sequence[Rollout], Sequence[int], int], np.ndarray]:
    """A function that captures one position of each rollout again, every sequence alone in its batch."""
    site = prepared.capture.sites[0]

    def again(rollouts: Sequence[Rollout], positions: Sequence[int], layer: int) -> np.ndarray:
        capture = Capture((site,), (layer,))
        rows = [
            prepared.backend.replay([rollout.token_ids[: position + 1]], [[position]], capture=capture)[0][site, layer]
            for rollout, position in zip(rollouts, positions, strict=True)
        ]
        return torch.cat(rows).float().numpy()

    return again


def estimate_cost(spec: Experiment, *, offline: bool = False) -> Cost:
    """What a run would take on this machine, from one short batch that is timed. Writes nothing."""
    prepared = prepare(spec, offline=offline)
    n_rollouts = sum(len(batch) for batch in prepared.batches)
    longest = prepared.batches[0]
    steps = 4
    begun = time.perf_counter()
    prepared.backend.generate(
        [job.prompt_ids for job in longest],
        seeds=[job.seed for job in longest],
        sampling=Sampling(steps, spec.generation.temperature, frozenset()),
        capture=prepared.capture,
    )
    generated = time.perf_counter() - begun
    begun = time.perf_counter()
    few = [list(job.prompt_ids) for job in longest[:REPLAY_BATCH]]
    prepared.backend.replay(few, [[0]] * len(few), capture=prepared.capture)
    replayed = (time.perf_counter() - begun) / len(few)
    per_step = max(generated - replayed * len(longest), 0.0) / steps
    per_batch = replayed * len(longest) + per_step * spec.generation.max_new_tokens
    runs = 1 + (spec.negative_control is not None)
    has_base = spec.organism is not None and spec.base_baseline
    seconds = runs * (per_batch * len(prepared.batches) + (2 * replayed * n_rollouts if has_base else 0.0))
    tokens = sum(len(job.prompt_ids) + spec.generation.max_new_tokens for batch in prepared.batches for job in batch)
    return Cost(len(prepared.items), runs * n_rollouts, runs * tokens, runs * prepared.bytes_at_most(), seconds)


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
    if not (run / "experiment.yaml").exists():
        raise RunError(f"{run} is not a run directory: it has no experiment.yaml; give the folder of a run")
    damaged = []
    for folder in (run, run / "negative_control"):
        if folder != run and not folder.exists():
            continue
        for name in STORES:
            prefix = (folder / name).relative_to(run)
            if (folder / name).exists():
                damaged += [f"{prefix}/{problem}" for problem in verify(folder / name).problems]
            elif name == "activations":
                damaged.append(f"{prefix}: missing")
        try:
            read_rollouts(folder / "rollouts.jsonl")
        except StoreError as error:
            damaged.append(str(error).split(";")[0])
    return damaged
