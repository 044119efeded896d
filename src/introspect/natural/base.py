"""What a kind of study of natural states is: units of work in an order, and what is made of their rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from ..cells import MOST_BYTES, Done, Row
from ..errors import SpecError, StoreError
from .subject import Subject

FILE = "units.jsonl"
"""Where a study keeps its rows: a line a row, committed unit by unit."""


class Unit(NamedTuple):
    """Work that is committed together."""

    kind: str
    """What is done in it."""
    number: int
    """Which, among units of its kind."""


class Work(NamedTuple):
    """What a study asks of the model."""

    passes: int
    """Sequences that are run through the model."""
    tokens: int
    """Their tokens."""
    generated: int
    """Tokens that are sampled one by one, at most."""


class NaturalStudy(ABC):
    """One kind of study, on a subject. Its cells are units."""

    METHOD: ClassVar[int] = 1
    SMALLER: ClassVar[str] = "a smaller limit"
    """What makes its rows take less room."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.loaded, self.backend = subject, subject.loaded, subject.backend
        self._n_checked = 0

    @abstractmethod
    def materials(self) -> str:
        """SHA-256 (64 hex digits) of the texts that it is made of."""

    def beside(self) -> dict[str, Any]:
        """What else rows depend on, such as another model that is asked; rows of another one are refused."""
        return {}

    def made_with(self) -> dict[str, Any]:
        """What rows depend on besides the model."""
        return {"texts": self.materials(), "beside": self.beside()}

    @abstractmethod
    def cells(self) -> list[Unit]:
        """In the order in which they are run. The spec and the texts decide them, and nothing else."""

    @abstractmethod
    def run(self, unit: Unit, done: Done) -> list[Row]:
        """Run a unit and give its rows, one or more, of what JSON can say."""

    def run_cell(self, cell: Unit, done: Done) -> list[Row]:
        """Run a unit and give its rows, which say whose they are.

        Raises:
            StoreError: rows that are there are not those of the units before it.
        """
        self._check(done)
        return [{"kind": cell.kind, "number": cell.number, **row} for row in self.run(cell, done)]

    def _check(self, done: Done) -> None:
        """Compare what rows say of themselves with the plan, each unit once."""
        cells = self.cells()
        for at in range(self._n_checked, len(done)):
            if at >= len(cells):
                raise StoreError(
                    f"{FILE} holds {len(done)} units, and the study has {len(cells)}; choose another --out"
                )
            for row in done[at]:
                if (row["kind"], row.get("number")) != cells[at]:
                    raise StoreError(
                        f"{FILE}: unit {at} is {row['kind'][:40]!r} {row.get('number')!r} there, and "
                        f"{cells[at].kind!r} {cells[at].number} in this study; choose another --out"
                    )
        self._n_checked = len(done)

    def n_kept(self) -> int:
        """How many activations [width] its rows keep, all units together."""
        return 0

    def check_size(self) -> None:
        """Refuse a study whose rows could not be read again.

        Raises:
            SpecError: says how large they would be, and the remedy.
        """
        many, width = self.n_kept(), self.loaded.info.width
        needed = many * 4 * -(-4 * width // 3)
        if needed > MOST_BYTES:
            raise SpecError(
                f"{self.subject.spec.name}: {many} activations of width {width} take {needed / 1e9:.1f} GB in {FILE}, "
                f"which can hold {MOST_BYTES / 1e9:.1f} GB: set {self.SMALLER}"
            )

    @abstractmethod
    def work(self) -> Work:
        """What all units together ask of the model, before any of them is run."""

    @abstractmethod
    def results(self, done: Done) -> dict[str, Any]:
        """What was found: `facts`, `tables`, `figures`, `verdict`, `counts`, `sentences`, `warnings` of results.json.

        Equal rows give equal results; the model is not asked again.
        """

    def summary(self, done: Done) -> dict[str, Any]:
        """The content of results.json.

        Raises:
            StoreError: rows are not those of this study's units.
        """
        self._check(done)
        return {"schema_version": 1, "natural": self.subject.spec.about(), **self.results(done)}
