"""Every kind of study of natural states, run in its directory, and what it would cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backends import Capture, Sampling
from ..cell_folder import CellFolder
from ..progress import Progress, silent
from .base import FILE, NaturalStudy
from .confidence import ConfidenceStudy
from .cue_study import WhichCueStudy
from .framing_study import FramingStudy
from .neurofeedback import NeurofeedbackStudy
from .page import render
from .privileged import PrivilegedAccessStudy
from .results import NATURAL
from .spec import MARKER, NaturalSpec
from .subject import SITE, prepare_subject

STUDIES: dict[str, type[NaturalStudy]] = {
    "neurofeedback": NeurofeedbackStudy,
    "confidence": ConfidenceStudy,
    "privileged-access": PrivilegedAccessStudy,
    "which-cue": WhichCueStudy,
    "framing": FramingStudy,
}
FOLDER = CellFolder(NATURAL, render, MARKER, FILE, ("kind",), "unit", "set a smaller batch_size or --limit")
TIMED, GENERATED = 8, 8
"""Sequences, and tokens of each, that are timed for an estimate."""


@dataclass(frozen=True)
class Cost:
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


def make_study(spec: NaturalSpec, *, offline: bool = False) -> NaturalStudy:
    """The study of a spec with its model.

    Raises:
        ModelError: the model or its adapter cannot be loaded.
        SpecError: the spec names what there is not, or the study's rows would be too large.
    """
    study = STUDIES[spec.study](prepare_subject(spec, offline=offline))
    study.check_size()
    return study


def run_natural(
    spec: NaturalSpec, out: Path, *, resume: bool = False, offline: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Run a study into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.

    Returns:
        The content of `results.json`.

    Raises:
        IntrospectError: as of `CellFolder.run`.
    """
    return FOLDER.run(
        spec,
        out,
        lambda: make_study(spec, offline=offline),
        resume=resume,
        progress=progress,
    )


def natural_cost(spec: NaturalSpec, *, offline: bool = False, progress: Progress = silent) -> Cost:
    """What a study would take, from a few sequences of its mean length that are run and thrown away."""
    progress("some sequences", 0, 2)
    study = make_study(spec, offline=offline)
    subject, work = study.subject, study.work()
    mean = max(2, round(work.tokens / max(1, work.passes)))
    ids = subject.asked("This is what a prompt looks like.")
    sequence = (ids * (mean // len(ids) + 1))[:mean]
    some, whole = [sequence] * TIMED, Capture((SITE,), (subject.loaded.info.n_layers - 1,))
    # The first pass of a shape is slower, so it is not timed.
    for _ in range(2):
        started = time.perf_counter()
        subject.backend.replay(some, [[0]] * TIMED, capture=whole)
        a_token = (time.perf_counter() - started) / (TIMED * mean)
    progress("some sequences", 1, 2)
    seconds = work.tokens * a_token
    if work.generated:
        sampling = Sampling(GENERATED, 1.0, frozenset())
        started = time.perf_counter()
        subject.backend.generate(some, seeds=[*range(TIMED)], sampling=sampling, capture=None)
        prefill = mean * a_token  # equal prompts share theirs
        took = max(0.0, time.perf_counter() - started - prefill)
        seconds += work.generated * took / (TIMED * GENERATED)
    progress("some sequences", 2, 2)
    return Cost(len(study.cells()), work.passes, work.tokens, work.generated, seconds)
