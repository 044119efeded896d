"""A study of natural states in its directory: units as they come, what was found, and the page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from ..assets import find_card
from ..atomic import write_atomic, write_json
from ..backends import Capture, Sampling
from ..doctor import CHEAP, Check, examine, failures
from ..errors import RunError
from ..injection.rows import Cells
from ..lock import only_writer
from ..progress import Progress, silent
from ..results import read_run_manifest
from ..run_folder import check_folder, enough_memory, make_folder
from .base import FILE, NaturalStudy
from .confidence import ConfidenceStudy
from .cue_study import WhichCueStudy
from .framing_study import FramingStudy
from .neurofeedback import NeurofeedbackStudy
from .page import render
from .privileged import PrivilegedAccessStudy
from .results import NATURAL
from .spec import MARKER, NaturalSpec
from .subject import SITE, Subject, prepare_subject

STUDIES: dict[str, type[NaturalStudy]] = {
    "neurofeedback": NeurofeedbackStudy,
    "confidence": ConfidenceStudy,
    "privileged-access": PrivilegedAccessStudy,
    "which-cue": WhichCueStudy,
    "framing": FramingStudy,
}
TIMED, GENERATED = 8, 8
"""Sequences, and tokens of each, that are timed for an estimate."""


class Cost(NamedTuple):
    """What a study would take."""

    n_units: int
    """Committed one by one."""
    n_passes: int
    """Sequences that are run through the model."""
    n_tokens: int
    """Their tokens."""
    n_generated: int
    """Tokens that are sampled one by one, at most."""
    seconds: float
    """On this machine, from a few sequences that were timed."""


def run_natural(
    spec: NaturalSpec, out: Path, *, resume: bool = False, offline: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Run a study into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.

    Returns:
        The content of `results.json`.

    Raises:
        SpecError: the spec names what there is not.
        ModelError: the model or its adapter cannot be loaded.
        RunError: `out` holds something else, was made with other versions or weights, or cannot be written; or the
            model fails its self-test.
        StoreError: units.jsonl is damaged.
    """
    check_folder(out, MARKER, spec.to_yaml(), what="another study", links=[FILE], resume=resume)
    subject = prepare_subject(spec, offline=offline)
    study = STUDIES[spec.study](subject)
    checks = examine(subject.loaded, subject.backend, only=CHEAP)
    for check in failures(checks):
        raise RunError(
            f"the self-test of {spec.model} failed: {check.name} ({check.measured}): {check.means}; see `introspect "
            "doctor`, and try another --backend or --set dtype=float32"
        )
    make_folder(out)
    with only_writer(out / ".lock", out):
        write_atomic(out / MARKER, spec.to_yaml())
        done = Cells(out, FILE, ("kind",))
        manifest = _manifest(study, checks)
        if done.cells:
            _refuse_other(read_run_manifest(out / "manifest.json"), manifest, out)
        else:
            write_json(out / "manifest.json", manifest)
        with enough_memory("a unit of the study", "set a smaller batch_size or --limit"):
            units = study.units()
            progress("units", len(done.cells), len(units))
            for unit in units[len(done.cells) :]:
                done.commit([{"kind": unit.kind, "number": unit.number, **row} for row in study.run(unit, done.cells)])
                progress("units", len(done.cells), len(units))
        results = {"schema_version": 1, "natural": about(subject), **study.results(done.cells)}
        NATURAL.write(out, results, render)
    return results


def natural_cost(spec: NaturalSpec, *, offline: bool = False) -> Cost:
    """What a study would take, from a few sequences of its mean length that are run and thrown away."""
    subject = prepare_subject(spec, offline=offline)
    study = STUDIES[spec.study](subject)
    work = study.work()
    mean = max(2, round(work.tokens / max(1, work.passes)))
    ids = subject.asked("This is what a prompt looks like.")
    sequence = (ids * (mean // len(ids) + 1))[:mean]
    some, whole = [sequence] * TIMED, Capture((SITE,), (subject.loaded.info.n_layers - 1,))
    # The first pass of a shape is slower, so it is not timed.
    for _ in range(2):
        started = time.perf_counter()
        subject.backend.replay(some, [[0]] * TIMED, capture=whole)
        a_token = (time.perf_counter() - started) / (TIMED * mean)
    seconds = work.tokens * a_token
    if work.generated:
        sampling = Sampling(GENERATED, 1.0, frozenset())
        started = time.perf_counter()
        subject.backend.generate(some, seeds=[*range(TIMED)], sampling=sampling, capture=None)
        prefill = mean * a_token  # equal prompts share theirs
        took = max(0.0, time.perf_counter() - started - prefill)
        seconds += work.generated * took / (TIMED * GENERATED)
    return Cost(len(study.units()), work.passes, work.tokens, work.generated, seconds)


def about(subject: Subject) -> dict[str, Any]:
    """The `natural` section: what was asked of which model."""
    spec = subject.spec
    truth = find_card(spec.organism).get("planted_truth")
    return {
        "kind": spec.study,
        "name": spec.name,
        "question": spec.question,
        "digest": spec.digest(),
        "seed": spec.seed,
        "model": spec.model,
        "organism": spec.organism,
        "planted_truth": truth if isinstance(truth, str) else None,
    }


def _manifest(study: NaturalStudy, checks: list[Check]) -> dict[str, Any]:
    return NATURAL.manifest(study.subject.spec) | {
        "model": study.loaded.info.to_json(),
        "backend": study.backend.name,
        "doctor": [check.to_json() for check in checks],
        "texts": study.materials(),
        "beside": study.beside(),
    }


def _refuse_other(before: dict[str, Any] | None, now: dict[str, Any], out: Path) -> None:
    """Rows of different versions or weights do not stand in one file.

    Raises:
        RunError: names what differs.
    """
    if before is None:
        raise RunError(f"{out} has rows and no manifest.json that says what they were made with; choose another --out")
    for key in ("versions", "model", "backend", "texts", "beside"):
        if before.get(key) != now[key]:
            raise RunError(f"the rows in {out} were made with another {key}; choose another --out")
