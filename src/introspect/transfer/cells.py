"""The cells of a transfer matrix: an AUROC, and what stands beside it on the same rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..probes.splits import MIN_PER_CLASS
from ..stats import Estimate
from .carried import TEXTS, Carried
from .common_split import Organism
from .differences import Scored, auroc_difference
from .shuffled import Drawn, against

NO_BASE = "there is no untrained model beside these rollouts"
ITSELF = "the row's own rollouts"
CARRIED = ("probe", *TEXTS, "increment")
ESTIMATES = (*CARRIED, "base", "beyond_base", "ceiling", "below_ceiling", "drop")
"""Estimates of a cell."""


def untested(organism: Organism, rows: np.ndarray) -> str | None:
    """Why nothing is tested on these rows."""
    n_acted = int(organism.recorded.acted[rows].sum())
    if min(n_acted, len(rows) - n_acted) >= MIN_PER_CLASS:
        return None
    return (
        f"of the column's rollouts in groups that no probe was fitted on, {n_acted} acted on the policy and "
        f"{len(rows) - n_acted} did not; a test needs {MIN_PER_CLASS} of each"
    )


@dataclass(frozen=True)
class Cells:
    """Cells of the matrix, with what stands beside them."""

    study: Carried
    bases: Mapping[str, Mapping[str, np.ndarray]]
    """Fitted on -> tested on -> log-odds [row] by the same probe of the untrained model; empty where there is none."""
    shuffled: Mapping[str, Mapping[str, Drawn] | str]
    """Fitted on -> as `shuffled_aurocs`."""

    def matrix(self) -> dict[str, dict[str, Any]]:
        """Row -> column -> `n_rows`, `n_groups`, `best_text`, `shuffled` and `ESTIMATES`."""
        names = list(self.study.organisms)
        return {row: {column: self._cell(row, column) for column in names} for row in names}

    def ood(self) -> dict[str, Any]:
        """The same, of estimates `CARRIED` only, on out-of-distribution rollouts that were kept apart."""
        names = list(self.study.organisms)
        if not any(len(each.ood) for each in self.study.organisms.values()):
            return Estimate.undefined("no out-of-distribution rollouts were kept apart").to_json()
        return {row: {column: self._cell(row, column, ood=True) for column in names} for row in names}

    def _cell(self, row: str, column: str, *, ood: bool = False) -> dict[str, Any]:
        organism = self.study.organisms[column]
        rows = organism.ood if ood else organism.split.test
        sizes = {"n_rows": len(rows), "n_groups": len(organism.groups_of(rows))}
        reason = self._no_probe(row) or untested(organism, rows)
        if reason is not None:
            nothing = dict.fromkeys(CARRIED if ood else ESTIMATES, Estimate.undefined(reason).to_json())
            return {**sizes, "best_text": None, "shuffled": {"reason": reason}, **nothing}
        found = sizes | self.study.pair(row, column, rows)
        drawn = self.shuffled[row]
        found["shuffled"] = (
            {"reason": drawn}
            if isinstance(drawn, str)
            else against(found["probe"]["value"], drawn[column].ood if ood else drawn[column].test)
        )
        return found if ood else found | self._untrained(row, column, rows) | self._own(row, column, rows)

    def _no_probe(self, name: str) -> str | None:
        if name in self.study.rows:
            return None
        return f"no probe is fitted on {name}: {self.study.organisms[name].reason}"

    def _untrained(self, row: str, column: str, rows: np.ndarray) -> dict[str, Any]:
        if row not in self.bases:
            return dict.fromkeys(("base", "beyond_base"), Estimate.undefined(NO_BASE).to_json())
        scores = self.bases[row][column]
        return {
            "base": self.study.auroc(column, scores, rows),
            "beyond_base": self.study.increment(column, self.study.scores(row, column), scores, rows),
        }

    def _own(self, row: str, column: str, rows: np.ndarray) -> dict[str, Any]:
        """Beside the column's own probe on the same rollouts, and the row's on its own."""
        here = self._scored(row, column, rows)
        reason = self._no_probe(column)
        itself = Estimate.undefined(ITSELF).to_json()
        ceiling = below = Estimate.undefined(reason or ITSELF).to_json()
        if reason is None:
            ceiling = self.study.auroc(column, self.study.scores(column, column), rows)
            below = self._difference(self._scored(column, column, rows), here)
        home = self._scored(row, row, self.study.organisms[row].split.test)
        return {
            "ceiling": ceiling,
            "below_ceiling": itself if row == column else below,
            "drop": itself if row == column else self._difference(home, here),
        }

    def _scored(self, row: str, column: str, rows: np.ndarray) -> Scored:
        each = self.study.organisms[column].recorded
        return Scored(self.study.scores(row, column)[rows], each.acted[rows], each.groups[rows])

    def _difference(self, first: Scored, second: Scored) -> dict[str, Any]:
        return auroc_difference(first, second, n=self.study.n, seed=self.study.seed).to_json()
