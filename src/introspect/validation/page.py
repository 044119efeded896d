"""The page of a validation, from its results. Arranges; computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..atomic import write_atomic
from ..errors import RunError, StoreError
from ..report import FAULTS, fill
from ..report.instrument import WRONG
from ..results import read_run_manifest
from .organisms import UNMET
from .results import read_validation
from .sentences import headline, promised


def report_validation(out: Path) -> Path:
    """Write the page of a validation again, from its results.

    Raises:
        RunError: it has no results yet.
    """
    if not (out / "results.json").exists():
        raise RunError(f"{out} has no results.json; finish it with `introspect run ... --out {out} --resume`")
    return write_page(out)


def write_page(out: Path) -> Path:
    """Write `report.html` of a validation from its `results.json` and `manifest.json`.

    Raises:
        StoreError: results.json is missing or not one of ours.
    """
    results, manifest = read_validation(out / "results.json"), read_run_manifest(out / "manifest.json")
    try:
        page = render(results, manifest)
    except FAULTS as error:
        raise StoreError(f"{out / 'results.json'} does not hold together ({error!r}); validate again") from None
    path = out / "report.html"
    write_atomic(path, page)
    return path


def render(results: dict[str, Any], manifest: dict[str, Any] | None) -> str:
    """The page. Equal input gives equal bytes."""
    rows = results["rows"]
    return fill(
        "validation.html.j2",
        {},
        results=results,
        manifest=manifest,
        sentences=headline(results),
        wrong=WRONG,
        unmet=UNMET,
        promised=promised,
        scenarios=[(each, [row for row in rows if row["scenario"] == each["name"]]) for each in results["scenarios"]],
    )
