"""The cells of a study of injected concepts, spread over a crew: here, and at a worker."""

from __future__ import annotations

import json
from typing import Any

from ..cells import Cells, Row
from ..doctor import self_test
from ..hands import Hands
from ..injection.cells import Study
from ..injection.spec import Injection
from ..injection.study import make_study
from ..run_folder import enough_memory
from .crew import Crew
from .errand import Errand, Work, facts_of, use_threads

KIND = f"{__name__}:CellWork"


def spread_cells(crew: Crew, spec: Injection, study: Study, done: Cells, *, offline: bool) -> Hands[list[Row]]:
    """Who runs the cells of a study.

    Args:
        study: the same here; done: the cells that are done, of which a worker is told those that its own looks at.
    """
    cells = study.cells()
    return crew.hands(
        Errand(
            KIND,
            {"spec": spec.model_dump_json(), "offline": offline},
            _facts(study),
            read=lambda rows: rows,
            name=lambda index: f"cell {index} ({cells[index]})",
            tell=lambda index: done.cells[: study.after(index)],
        )
    )


class CellWork:
    """Cells of a study. Their rows come back."""

    memory = 0

    def __init__(self, setting: dict[str, Any], held: list[Work | None], threads: int) -> None:
        use_threads(threads)
        held.clear()
        self.study = make_study(Injection.model_validate_json(setting["spec"]), offline=setting["offline"])
        self_test(self.study.loaded, self.study.backend)
        self.cells = self.study.cells()
        self.facts = _facts(self.study)

    def do(self, index: int, told: list[list[Row]]) -> list[Row]:
        """Run a cell; told are the rows of those that it looks at."""
        with enough_memory("a cell of the study on this machine", "set a smaller text.batch_size or --limit"):
            rows: list[Row] = json.loads(json.dumps(self.study.run_cell(self.cells[index], told)))
        return rows


def _facts(study: Study) -> dict[str, str | None]:
    return facts_of(study.loaded.info, study.backend.name, study.digest())
