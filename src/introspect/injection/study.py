"""Every kind of study of injected concepts, run in its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..cell_folder import CellFolder
from ..progress import Progress, silent
from .cells import Study
from .intentional import Intentional
from .page import render
from .prefill import Prefill
from .results import INJECTION
from .spec import MARKER, Injection, Kind
from .subject import prepare_subject
from .thought import Thought
from .thought_text import ThoughtText

STUDIES: dict[Kind, type[Study]] = {
    "inject-thought": Thought,
    "inject-thought-vs-text": ThoughtText,
    "inject-prefill": Prefill,
    "inject-intentional-control": Intentional,
}

NAMED = ("part", "word", "category", "kind", "ask", "as")
FOLDER = CellFolder(
    INJECTION, render, MARKER, "trials.jsonl", NAMED, "cell", "set a smaller text.batch_size or --limit"
)


def run_injection(
    spec: Injection, out: Path, *, resume: bool = False, offline: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Run a study into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.

    Returns:
        The content of `results.json`.

    Raises:
        IntrospectError: as of `CellFolder.run`; or a template leaves an injection no place.
    """
    return FOLDER.run(
        spec,
        out,
        lambda: STUDIES[spec.study](prepare_subject(spec, offline=offline)),
        resume=resume,
        progress=progress,
    )
