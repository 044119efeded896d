"""A study of injected concepts in its directory: cells as they come, what was found, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..assets import find_card
from ..atomic import write_atomic, write_json
from ..doctor import CHEAP, Check, examine, failures
from ..errors import RunError
from ..lock import only_writer
from ..progress import Progress, silent
from ..results import read_run_manifest
from ..run_folder import check_folder, enough_memory, make_folder
from .cells import Study
from .intentional import Intentional
from .page import render
from .prefill import Prefill
from .results import INJECTION
from .rows import FILE, Cells
from .sentences import headline, warnings_of
from .spec import MARKER, Injection, Kind
from .subject import Subject, prepare_subject
from .thought import Thought
from .thought_results import KINDS
from .thought_text import ThoughtText

STUDIES: dict[Kind, type[Study]] = {
    "inject-thought": Thought,
    "inject-thought-vs-text": ThoughtText,
    "inject-prefill": Prefill,
    "inject-intentional-control": Intentional,
}


def run_injection(
    spec: Injection, out: Path, *, resume: bool = False, offline: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Run a study into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.

    Returns:
        The content of `results.json`.

    Raises:
        SpecError: the spec names what there is not.
        ModelError: the model or its adapter cannot be loaded, or its template leaves an injection no place.
        RunError: `out` holds something else, was made with other versions or weights, or cannot be written; or the
            model fails its self-test.
        StoreError: trials.jsonl is damaged.
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
        done = Cells(out)
        manifest = _manifest(subject, checks)
        if done.cells:
            _refuse_other(read_run_manifest(out / "manifest.json"), manifest, out)
        else:
            write_json(out / "manifest.json", manifest)
        with enough_memory("a cell of the study", "set a smaller text.batch_size or --limit"):
            _run_cells(study, done, progress)
        found = study.results(done.cells)
        results = {"schema_version": 1, "injection": about(subject), **found}
        results |= {"sentences": headline(results), "warnings": warnings_of(results)}
        INJECTION.write(out, results, render)
    return results


def _run_cells(study: Study, done: Cells, progress: Progress) -> None:
    cells = study.cells()
    progress("cells", len(done.cells), len(cells))
    for cell in cells[len(done.cells) :]:
        done.commit(study.run(study.settled(cell, done.cells), done.cells))
        progress("cells", len(done.cells), len(cells))


def about(subject: Subject) -> dict[str, Any]:
    """The `injection` section: what was asked of which model."""
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
        "prompts": subject.size,
        "layers": list(subject.layers),
        "strengths": list(subject.strengths),
        "typical_norms": [round(subject.typical[layer], 6) for layer in subject.layers],
        "n_exploration": len(subject.words["exploration"]),
        "n_confirmation": len(subject.words["confirmation"]),
    } | ({} if subject.trained is None else {"training": subject.trained.to_json(spec.study, KINDS)})


def _manifest(subject: Subject, checks: list[Check]) -> dict[str, Any]:
    return INJECTION.manifest(subject.spec) | {
        "model": subject.loaded.info.to_json(),
        "backend": subject.backend.name,
        "doctor": [check.to_json() for check in checks],
        "texts": subject.materials.digest(),
    }


def _refuse_other(before: dict[str, Any] | None, now: dict[str, Any], out: Path) -> None:
    """Trials of different versions or weights do not stand in one file.

    Raises:
        RunError: names what differs.
    """
    if before is None:
        raise RunError(
            f"{out} has trials and no manifest.json that says what they were made with; choose another --out"
        )
    for key in ("versions", "model", "backend", "texts"):
        if before.get(key) != now[key]:
            raise RunError(f"the trials in {out} were made with another {key}; choose another --out")
