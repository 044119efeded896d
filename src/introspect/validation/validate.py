"""A validation in its directory: its draws, a line each as they come, and the table that is made of them.

Every draw has a seed of its own that follows from its scenario and number, and lines stand in one order, so a file that
a kill cut short is the beginning of the whole one: `resume` goes on after its last whole line.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..atomic import write_atomic, write_json
from ..errors import RunError, StoreError
from ..features import memory_budget
from ..lock import only_writer
from ..manifest import ABSENT, other_versions, package_versions
from ..progress import Progress, silent
from ..results import read_json, read_run_manifest
from ..run_folder import check_folder, make_folder
from .facts import Found, draw
from .measures import truths, without_truth
from .organisms import organisms
from .page import render
from .results import VALIDATION
from .scenarios import SCENARIOS
from .sentences import found_wrong
from .spec import MARKER, ValidateInstrument
from .table import table

DRAWS = "draws.jsonl"
VERSIONS = "versions.json"
"""What draws were made with; they stand in one file only if it was the same."""
WHOLE = ("estimates", "truth")
"""Objects in each draw that was fitted."""
SCRATCH = ".draw-"
FEW_DRAWS = 100
"""With fewer, an interval on a coverage is more than ten points wide."""


@dataclass(frozen=True)
class Cost:
    """What a validation would take."""

    n_scenarios: int
    n_draws: int
    """Of each scenario; of those that put numbers to one measure alone, more."""
    seconds: float
    """On this machine, from one draw of each sort that was timed."""


def run_validation(
    spec: ValidateInstrument, out: Path, *, resume: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Run a validation into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.

    Returns:
        The content of `results.json`.

    Raises:
        SpecError: `INTROSPECT_MEMORY_GB` is no number above 0.
        RunError: `out` holds something else or cannot be written.
        StoreError: draws.jsonl is not this validation's or was made with other versions, or a run that is given holds
            no results.
    """
    memory_budget()
    lasting = spec.lasting()
    check_folder(out, MARKER, lasting.to_yaml(), what="another validation", links=[DRAWS], resume=resume)
    planted = organisms(spec.runs)
    make_folder(out)
    with only_writer(out / ".lock", out):
        write_atomic(out / MARKER, lasting.to_yaml())
        draws = _draws(spec, out, progress)
        rows = table(spec.scenarios, draws, spec.link.fpr)
        results = {
            "schema_version": 1,
            "validation": _about(spec),
            "scenarios": [
                {
                    "name": name,
                    "planted": SCENARIOS[name].planted,
                    "alone": SCENARIOS[name].alone,
                    "n_draws": n_draws(spec, name),
                    "not_fitted": _not_fitted(name, draws),
                }
                for name in spec.scenarios
            ],
            "rows": rows,
            "truths": truths({row["measure"] for row in rows}),
            "without_truth": without_truth(),
            "organisms": planted,
            "warnings": [*_few(spec), *found_wrong(rows)],
        }
        write_json(out / "manifest.json", VALIDATION.manifest(spec))
        VALIDATION.write(out, results, render)
    return results


def n_draws(spec: ValidateInstrument, scenario: str) -> int:
    """Draws of a scenario: where numbers are put to one measure alone, more than of others."""
    return SCENARIOS[scenario].many * spec.n_draws


def with_provenance(results: dict[str, Any], out: Path) -> dict[str, Any]:
    """Results as a summary that can stand alone: before them the command, versions and machine that made them."""
    manifest = read_run_manifest(out / "manifest.json") or {}
    return {key: manifest.get(key) for key in ("command", "versions", "machine")} | results


def validation_cost(spec: ValidateInstrument, *, progress: Progress = silent) -> Cost:
    """What it would take, from one draw of each sort of scenario that is made and thrown away."""
    timed: dict[object, float] = {}
    seconds = 0.0
    for number, name in enumerate(spec.scenarios):
        progress("a draw of each sort", number, len(spec.scenarios))
        about = SCENARIOS[name]
        sort = name if about.alone else (about.times, bool(about.hints))
        if sort not in timed:
            timed[sort] = _timed(spec, name)
        seconds += timed[sort] * n_draws(spec, name)
    progress("a draw of each sort", len(spec.scenarios), len(spec.scenarios))
    return Cost(len(spec.scenarios), spec.n_draws, seconds / spec.workers)


def _timed(spec: ValidateInstrument, name: str) -> float:
    """Seconds that a draw takes."""
    with TemporaryDirectory(prefix=SCRATCH) as folder, _one_thread():
        started = time.perf_counter()
        draw(spec, name, 0, Path(folder))
        return time.perf_counter() - started


def _draws(spec: ValidateInstrument, out: Path, progress: Progress) -> list[Found]:
    """All draws, those on file first; each is written as it comes."""
    for stale in out.glob(f"{SCRATCH}*"):
        shutil.rmtree(stale, ignore_errors=True)
    most = max(n_draws(spec, name) for name in spec.scenarios)
    wanted = [(name, number) for number in range(most) for name in spec.scenarios if number < n_draws(spec, name)]
    found = _kept(out / DRAWS, wanted)
    if found:
        _refuse_other_versions(out)
    else:
        write_json(out / VERSIONS, package_versions())
    progress("draws", len(found), len(wanted))
    with (out / DRAWS).open("a", encoding="utf-8", newline="\n") as file:
        for each in _made(spec, wanted[len(found) :], out):
            file.write(json.dumps(each, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            found.append(each)
            progress("draws", len(found), len(wanted))
    return found


def _kept(path: Path, wanted: list[tuple[str, int]]) -> list[Found]:
    """The draws on file, of which a kill may have cut the last one short; what it left of that is taken away.

    Raises:
        StoreError: a line is none of the draws that stand there.
    """
    if not path.exists():
        return []
    whole = path.read_bytes().split(b"\n")[:-1]
    try:
        found = [json.loads(line) for line in whole]
        if [(each["scenario"], each["draw"]) for each in found] != wanted[: len(found)]:
            raise ValueError("other draws")
        if not all(_is_whole(each) for each in found):
            raise ValueError("draws without what they found")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(f"{path} does not hold this validation's draws; choose another --out") from None
    write_atomic(path, b"".join(line + b"\n" for line in whole))
    return found


def _is_whole(found: Found) -> bool:
    """Whether a draw says all that the table asks of it."""
    return "undefined" in found or ("p_value" in found and all(isinstance(found[key], dict) for key in WHOLE))


def _refuse_other_versions(out: Path) -> None:
    """Draws of different versions are different draws.

    Raises:
        StoreError: the draws on file were made with other versions than are installed, or do not say with which.
    """
    path, installed = out / VERSIONS, package_versions()
    made = read_json(path) if path.exists() else {}
    other = [f"{name} {made[name]}, now {installed.get(name, ABSENT)}" for name in other_versions(made, installed)]
    if other or not made:
        said = "; ".join(other) if made else f"there is no {VERSIONS}"
        raise StoreError(f"{out / DRAWS} was not made with what is installed ({said}); choose another --out")


def _made(spec: ValidateInstrument, wanted: list[tuple[str, int]], out: Path) -> Iterator[Found]:
    """The draws that are wanted, in order."""
    if spec.workers == 1:
        with _one_thread():
            for name, number in wanted:
                yield _draw(spec, name, number, out)
        return
    names, numbers = [name for name, _ in wanted], [number for _, number in wanted]
    pool = ProcessPoolExecutor(spec.workers, get_context("spawn"), torch.set_num_threads, (1,))
    try:
        yield from pool.map(_draw, repeat(spec), names, numbers, repeat(out))
    except BrokenProcessPool:
        raise RunError(f"a process that made draws has died; go on with --resume, or set workers=1 ({out})") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _draw(spec: ValidateInstrument, name: str, number: int, out: Path) -> Found:
    with TemporaryDirectory(prefix=SCRATCH, suffix=".tmp", dir=out) as folder:
        return draw(spec, name, number, Path(folder))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices of a draw are too small for several threads, and last bits may depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _not_fitted(name: str, draws: list[Found]) -> dict[str, int]:
    """Reasons why draws of a scenario have no probe, and of how many."""
    reasons = [each["undefined"] for each in draws if each["scenario"] == name and "undefined" in each]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def _few(spec: ValidateInstrument) -> list[str]:
    least = min(n_draws(spec, name) for name in spec.scenarios)
    if least >= FEW_DRAWS:
        return []
    return [f"{least} draws of a scenario are few: whether a rate is the nominal one cannot be told."]


def _about(spec: ValidateInstrument) -> dict[str, Any]:
    return {
        "kind": spec.study,
        "name": spec.name,
        "question": spec.question,
        "digest": spec.digest(),
        "seed": spec.seed,
        "n_draws": spec.n_draws,
        "sizes": spec.sizes.model_dump(mode="json"),
        "probe": spec.probe.model_dump(mode="json"),
        "fpr": spec.link.fpr,
    }
