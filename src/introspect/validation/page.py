"""The page of a validation, from its results. Arranges; computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..report import fill
from ..report.instrument import WRONG
from .organisms import UNMET
from .results import VALIDATION
from .sentences import headline, promised


def report_validation(out: Path) -> Path:
    """Draw the page of a validation again; see `FolderResults.report`."""
    return VALIDATION.report(out, render)


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
