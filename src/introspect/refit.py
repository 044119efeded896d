"""The probe stage of a run that exists, again: another estimator, label, place in a block, or text baseline.

It goes through the analysis that the run went through, with other values of the spec's `probe` section, on the run's
own rollouts, verdicts and activations. The run stays as it is; what is found goes to a folder of its own, with the spec
that it was found by, or is only returned. The model is not run again, so numerical noise is not measured; it is loaded
only for its input embeddings, where those are asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .analysis import Model, analyse_activations
from .atomic import read_at_most, write_atomic, write_json
from .errors import RunError, SpecError, StoreError
from .experiment import Experiment, load_experiment
from .link import READOUTS
from .link.stored import CONTROL, MAX_VERDICTS, VERDICTS_FILE, check_headline
from .lock import only_writer
from .models import input_embeddings, load_model
from .notebook.folder import RunFolder, check_same_weights
from .notebook.tokenizer import check_tokenizer, run_tokenizer
from .probing import check_encoder
from .progress import Progress, silent
from .report import write_report
from .results import experiment_section, negative_control_section, validate_results
from .run import MARKER
from .scoring import Scored
from .stats import Estimate

SECTION = "probe."
MANIFEST = "manifest.json"


def fit_again(
    run: Path,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    *,
    offline: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Probe a finished run again, and its negative control in the same way.

    Args:
        overrides: of the spec's `probe` section, such as `probe.estimator=ridge`.
        out: new folder for results.json, report.html, readouts.jsonl, verdicts.jsonl and the spec; None: nothing is
            written.
        offline: ask no model hub. None is asked for what the run's own spec names, only for what an override does.

    Returns:
        The content of a results.json.

    Raises:
        RunError: `run` is no finished run of an experiment, or `out` is inside it or not empty.
        SpecError: an override is not one of the section, or asks for what the run has not recorded.
        ModelError: an override asks for the model's embeddings, and its weights are not here or are others.
        StoreError: what the run holds is damaged.
    """
    outside = [override for override in overrides if not override.startswith(SECTION)]
    if outside:
        raise SpecError(f"{outside[0]}: only the section probe can be changed here; make a new run for the rest")
    folder = RunFolder(run)
    spec = load_experiment(run / MARKER, overrides) if folder.is_experiment else folder.spec
    _check_recorded(folder, spec)
    if out is not None:
        _check_out(run, out)
    with tempfile.TemporaryDirectory() as scratch:
        results = _fit(folder, spec, overrides, Path(scratch), offline=offline, progress=progress)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            with only_writer(out / ".lock", out):
                _write(folder, spec, results, Path(scratch), out)
    return results


def _check_out(run: Path, out: Path) -> None:
    if out.resolve().is_relative_to(run.resolve()):
        raise RunError(f"--out {out} is inside the run, which stays as it is: name a folder elsewhere")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is there already: choose a new --out")


def _check_recorded(folder: RunFolder, spec: Experiment) -> None:
    if not folder.has_results:
        raise RunError(
            f"{folder.path} is not finished; finish it with `introspect run ... --out {folder.path} --resume`"
        )
    before = folder.spec.probe.positions
    new = [position for position in spec.probe.positions if position not in before]
    if new:
        both = ", ".join([*before, *new])
        raise SpecError(
            f"probe.positions: {folder.path} keeps {', '.join(before)}, and not surely {new[0]}; choose among those, "
            f'or record it again: `introspect run {folder.path / MARKER} --set "probe.positions=[{both}]" --out NEW`'
        )


def _fit(
    folder: RunFolder, spec: Experiment, overrides: Sequence[str], out: Path, *, offline: bool, progress: Progress
) -> dict[str, Any]:
    before, rollouts = folder.results, folder.rollouts
    if not rollouts:
        raise StoreError(f"{folder.path} holds no rollouts: record the run again")
    tokenizer = run_tokenizer(folder.model)
    check_tokenizer(tokenizer, rollouts[0], str(folder.model["name"]))
    asked = any(override.startswith(f"{SECTION}embedding=") for override in overrides)
    check_encoder(spec.probe.embedding, offline=offline or not asked)

    def embeddings() -> Any:
        revision = folder.model["revision"] or spec.revision
        loaded = load_model(
            spec.model,
            adapter=spec.organism,
            revision=revision,
            dtype=spec.dtype,
            quantization=spec.quantization,
            offline=offline or not asked,
        )
        check_same_weights(folder.path, folder.model, loaded.info)
        return input_embeddings(loaded)

    layers = tuple(folder.store.spec.layers)
    model = Model(tokenizer, layers, None, embeddings)
    headline = before["verdicts"]["headline_classifier"]
    check_headline(folder.path, folder.verdicts, headline)
    scored = Scored(dict(folder.verdicts), headline, before["verdicts"]["judge"], [])
    sections, warnings = analyse_activations(
        folder.path, spec, rollouts, scored, model, out=out, offline=offline or not asked, progress=progress
    )
    results = before | sections
    results["experiment"] = experiment_section(spec, rollouts, layers, before["experiment"])
    results["warnings"] = [*before["behaviour"].get("warnings", []), *warnings]
    results["controls"]["negative_control"] = _control(folder, overrides, offline=offline, progress=progress)
    validate_results(results)
    return results


def _write(folder: RunFolder, spec: Experiment, results: dict[str, Any], scratch: Path, out: Path) -> None:
    if (scratch / READOUTS).exists():
        write_atomic(out / READOUTS, (scratch / READOUTS).read_text(encoding="utf-8"))
    for name in (VERDICTS_FILE, MANIFEST):
        if (folder.path / name).exists():
            write_atomic(out / name, read_at_most(folder.path / name, MAX_VERDICTS).decode("utf-8"))
    write_atomic(out / MARKER, spec.to_yaml())
    write_json(out / "results.json", results)
    write_report(out)


def _control(folder: RunFolder, overrides: Sequence[str], *, offline: bool, progress: Progress) -> dict[str, Any]:
    """The run's negative control, probed in the same way."""
    if not (folder.path / CONTROL / READOUTS).exists() or "organism" not in folder.results["controls"][CONTROL]:
        return Estimate.undefined("this run has no negative control").to_json()

    def control_progress(stage: str, done: int, total: int) -> None:
        progress(f"negative control: {stage}", done, total)

    return negative_control_section(
        fit_again(folder.path / CONTROL, overrides, offline=offline, progress=control_progress)
    )
