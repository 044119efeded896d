"""The folder of a study that asks one model, cell by cell: rows as they come, what was found, and the page."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from .asked_spec import AskedSpec
from .atomic import write_atomic, write_json
from .backends import ModelBackend
from .cells import Cells, Done, Row
from .doctor import self_test
from .errors import RunError, StoreError
from .folder_results import FolderResults, Render
from .hands import Hands, in_order, in_turn
from .lock import only_writer
from .manifest import ABSENT, other_versions
from .models import LoadedModel
from .progress import Progress
from .report import FAULTS
from .results import read_run_manifest
from .run_folder import check_folder, enough_memory, make_folder


class CellStudy(Protocol):
    """A study on a model that is loaded."""

    METHOD: ClassVar[int]
    """Raised with every change of what a row means: rows of two methods do not stand in one file."""
    loaded: LoadedModel
    backend: ModelBackend

    def made_with(self) -> dict[str, Any]:
        """What else its rows depend on, such as the digest of its texts. JSON values."""

    def cells(self) -> Sequence[Any]:
        """In the order in which they are run. The spec and the texts decide them, and nothing else."""

    def run_cell(self, cell: Any, done: Done) -> list[Row]:
        """Run a cell and give its rows, one or more, of what JSON can say.

        Args:
            done: of the cells before it, or of as many of them as it looks at.
        """

    def summary(self, done: Done) -> dict[str, Any]:
        """The content of results.json. Equal rows give equal results; the model is not asked again."""


S = TypeVar("S", bound=CellStudy)


@dataclass(frozen=True)
class CellHands(Generic[S]):
    """Who runs cells, and when they can be."""

    hands: Callable[[S, Cells], Hands[list[Row]]]
    """Given the study here, and the cells that are done."""
    after: Callable[[S, int], int]
    """How many of the first cells the one of an index looks at, which have to be done before it."""


ALONE: CellHands[Any] = CellHands(lambda study, done: in_turn, lambda study, index: index)
"""One cell after another, here; each may look at all before it."""


@dataclass(frozen=True)
class CellFolder:
    """The folders of one kind of study."""

    results: FolderResults
    render: Render
    marker: str
    """The file that says which study a folder holds."""
    file: str
    """Where rows are kept."""
    named: tuple[str, ...]
    """Keys under which every row has a text."""
    cell: str
    """What a cell is called."""
    less: str
    """What to do where memory runs out."""

    def run(
        self,
        spec: AskedSpec,
        out: Path,
        make: Callable[[], S],
        *,
        resume: bool,
        progress: Progress,
        by: CellHands[S] = ALONE,
    ) -> dict[str, Any]:
        """Run a study into `out` and return the content of its results.json.

        Args:
            make: loads the model; called once it is known that `out` may hold this study.
            resume: go on with what `out` holds; without it, `out` must be new or empty.
            by: who runs the cells.

        Raises:
            SpecError: the spec names what there is not.
            ModelError: the model or its adapter cannot be loaded.
            RunError: `out` holds something else, was made with other versions or weights, or cannot be written; or the
                model fails its self-test.
            StoreError: the rows that are there are damaged, or are no rows of this study.
        """
        check_folder(out, self.marker, spec.to_yaml(), what="another study", links=[self.file], resume=resume)
        study = make()
        checks = self_test(study.loaded, study.backend)
        make_folder(out)
        with only_writer(out / ".lock", out):
            write_atomic(out / self.marker, spec.to_yaml())
            done = Cells(out / self.file, self.named)
            manifest = self.results.manifest(spec) | {
                "method": study.METHOD,
                "model": study.loaded.info.to_json(),
                "backend": study.backend.name,
                "doctor": [check.to_json() for check in checks],
                **study.made_with(),
            }
            if done.cells:
                same = ("method", "model", "backend", *study.made_with())
                _refuse_other(read_run_manifest(out / "manifest.json"), manifest, same, out)
            else:
                write_json(out / "manifest.json", manifest)
            with enough_memory(f"a {self.cell} of the study", self.less), _as_ours(done.path, found=bool(done.cells)):
                self._run_cells(study, done, progress, by)
                results = study.summary(done.cells)
            self.results.write(out, results, self.render)
        return results

    def _run_cells(self, study: S, done: Cells, progress: Progress, by: CellHands[S]) -> None:
        """The cells that are left, in waves of those that look only at what is done; committed in their order."""
        cells = study.cells()
        progress(f"{self.cell}s", len(done.cells), len(cells))

        def run(index: int) -> list[Row]:
            return study.run_cell(cells[index], done.cells[: by.after(study, index)])

        def commit(index: int, rows: list[Row]) -> None:
            done.commit(rows)
            progress(f"{self.cell}s", len(done.cells), len(cells))

        while (begun := len(done.cells)) < len(cells):
            wave = list(itertools.takewhile(lambda index: by.after(study, index) <= begun, range(begun, len(cells))))
            by.hands(study, done)(wave, run, in_order(wave, commit))


def _refuse_other(before: dict[str, Any] | None, now: dict[str, Any], same: Sequence[str], out: Path) -> None:
    """Rows of different versions or weights do not stand in one file.

    Raises:
        RunError: names what differs.
    """
    if before is None:
        raise RunError(f"{out} has rows and no manifest.json that says what they were made with; choose another --out")
    made = before.get("versions")
    if not isinstance(made, dict) or not made:
        raise RunError(f"{out}/manifest.json does not say which versions made the rows there; choose another --out")
    if other := other_versions(made, now["versions"]):
        there, here = made[other[0]], now["versions"].get(other[0], ABSENT)
        raise RunError(
            f"the rows in {out} were made with other versions ({other[0]} {str(there)[:40]}, now {here}): install what "
            "they were made with, or choose another --out"
        )
    for key in same:
        if before.get(key) != now[key]:
            raise RunError(f"the rows in {out} were made with another {key}; choose another --out")


@contextmanager
def _as_ours(path: Path, *, found: bool) -> Iterator[None]:
    """Work with rows. Where some of them were found on disk, they may be a stranger's: what they lack, or say at odds
    with one another, is damage. A fault in rows that were all just made is ours, and goes on.

    Raises:
        StoreError: names the file, and the fault.
    """
    try:
        yield
    except FAULTS as error:
        if not found:
            raise
        fault = f"{type(error).__name__}: {str(error)[:200]!r}"
        raise StoreError(f"the rows of {path} do not hold together ({fault}); choose another --out") from error
