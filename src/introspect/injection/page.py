"""The page of a study of injected concepts, from its results. Arranges; computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..report import fill
from .figures import captions, injection_figures
from .results import INJECTION


def report_injection(out: Path) -> Path:
    """Draw the page of a study of injected concepts again; see `FolderResults.report`."""
    return INJECTION.report(out, render)


def render(results: dict[str, Any], manifest: dict[str, Any] | None) -> str:
    """The page. Equal input gives equal bytes."""
    return fill(
        "injection.html.j2",
        injection_figures(results),
        results=results,
        manifest=manifest,
        captions=captions(results),
    )
