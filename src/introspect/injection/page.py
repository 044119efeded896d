"""The page of a study of injected concepts, from its results. Arranges; computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..atomic import write_atomic
from ..errors import RunError, StoreError
from ..report import FAULTS, fill
from ..results import read_run_manifest
from .figures import captions, injection_figures
from .results import read_injection


def report_injection(out: Path) -> Path:
    """Write the page of a study again, from its results.

    Raises:
        RunError: it has no results yet.
        StoreError: results.json is damaged.
    """
    if not (out / "results.json").exists():
        raise RunError(f"{out} has no results.json; finish it with `introspect inject ... --out {out} --resume`")
    return write_page(out)


def write_page(out: Path) -> Path:
    """Write `report.html` of a study from its `results.json` and `manifest.json`.

    Raises:
        StoreError: results.json is missing or not one of ours.
    """
    results, manifest = read_injection(out / "results.json"), read_run_manifest(out / "manifest.json")
    try:
        page = render(results, manifest)
    except FAULTS as error:
        raise StoreError(f"{out / 'results.json'} does not hold together ({error!r}); run the study again") from None
    path = out / "report.html"
    write_atomic(path, page)
    return path


def render(results: dict[str, Any], manifest: dict[str, Any] | None) -> str:
    """The page. Equal input gives equal bytes."""
    return fill(
        "injection.html.j2",
        injection_figures(results),
        results=results,
        manifest=manifest,
        captions=captions(results),
    )
