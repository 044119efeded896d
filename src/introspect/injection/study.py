"""Every kind of study of injected concepts, run in its directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cell_folder import CellFolder, CellHands
from ..cells import Cells, Row
from ..hands import Hands, in_turn
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

if TYPE_CHECKING:
    from ..cluster.crew import Crew

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


def make_study(spec: Injection, *, offline: bool) -> Study:
    """The study of a spec, its model loaded."""
    return STUDIES[spec.study](prepare_subject(spec, offline=offline))


def run_injection(
    spec: Injection,
    out: Path,
    *,
    resume: bool = False,
    offline: bool = False,
    progress: Progress = silent,
    crew: Crew | None = None,
) -> dict[str, Any]:
    """Run a study into `out` and return its results.

    Args:
        resume: go on with what `out` holds; without it, `out` must be new or empty.
        crew: workers who run cells beside this process; None: it runs them alone.

    Returns:
        The content of `results.json`.

    Raises:
        IntrospectError: as of `CellFolder.run`; or a template leaves an injection no place.
    """
    return FOLDER.run(
        spec,
        out,
        lambda: make_study(spec, offline=offline),
        resume=resume,
        progress=progress,
        by=CellHands(lambda study, done: _hands(crew, spec, study, done, offline=offline), Study.after),
    )


def _hands(crew: Crew | None, spec: Injection, study: Study, done: Cells, *, offline: bool) -> Hands[list[Row]]:
    if crew is None:
        return in_turn
    from ..cluster.injecting import spread_cells

    return spread_cells(crew, spec, study, done, offline=offline)
