"""Probes carried over from one organism to another at one place, with the words carried over beside them.

The words are those that a probe at the place could see (prompt, and chain up to it), and those of the prompt and the
whole chain, which a monitor reads. A probe is held against the better of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EstimateError
from ..probes import Cell, Split, fit_grid, text_scores
from ..stats import Estimate, auroc_estimate, increment_estimate
from .common_split import Organism
from .cosines import cosine_estimate
from .recorded import Recorded

Place = tuple[str, int]
"""Position and layer."""
Part = Callable[[Organism], np.ndarray]
"""Organism -> some of its rows."""


def fit_at(organism: Organism, values: np.ndarray, place: Place, penalties: Sequence[float]) -> Cell:
    """The organism's probe at one place, of activations there [row, width]."""
    position, layer = place
    return fit_grid({position: values[None]}, (layer,), organism.recorded.acted, organism.split, penalties)[0]


def text_columns(
    organisms: Mapping[str, Organism], wanted: Sequence[str], texts_of: Callable[[Recorded], Sequence[str]]
) -> dict[str, dict[str, np.ndarray] | str]:
    """Fitted on -> scored: log-odds [row] of words, or why there are none."""
    texts = [text for each in organisms.values() for text in texts_of(each.recorded)]
    labels = np.concatenate([each.recorded.acted for each in organisms.values()])
    sizes = [len(each.recorded.acted) for each in organisms.values()]
    begins = dict(zip(organisms, np.cumsum([0, *sizes]), strict=False))
    out: dict[str, dict[str, np.ndarray] | str] = {}
    for name in wanted:
        split = organisms[name].split
        moved = Split(split.dev + begins[name], split.test + begins[name], split.fold)
        try:
            scores = text_scores(texts, labels, moved)
        except EstimateError as error:
            out[name] = str(error)
            continue
        out[name] = {
            other: scores[begins[other] : begins[other] + size] for other, size in zip(organisms, sizes, strict=True)
        }
    return out


@dataclass(frozen=True)
class Carried:
    """Everything fitted at the common place."""

    organisms: Mapping[str, Organism]
    values: Mapping[str, np.ndarray]
    cells: Mapping[str, Cell]
    texts: Mapping[str, Mapping[str, dict[str, np.ndarray] | str]]
    """Which words (`text`: prompt and whole chain; `text_visible`: up to the place) -> as `text_columns`."""
    n: int
    seed: int

    def matrix(self, part: Part) -> dict[str, dict[str, dict]]:
        """Row -> column -> estimates, on one part of the column's rows."""
        return {
            row: {column: self._pair(row, column, part(self.organisms[column])) for column in self.organisms}
            for row in self.organisms
        }

    def _pair(self, row: str, column: str, rows: np.ndarray) -> dict:
        if row not in self.cells:
            undefined = Estimate.undefined(f"no probe is fitted on {row}: {self.organisms[row].reason}").to_json()
            return {
                "probe": undefined,
                **dict.fromkeys(self.texts, undefined),
                "best_text": None,
                "increment": undefined,
            }
        check_apart(self.organisms[row], self.organisms[column], rows)
        scores = self.cells[row].direction.score(self.values[column])
        out = {"probe": self._auroc(column, scores, rows)}
        found: dict[str, np.ndarray] = {}
        for name, by_row in self.texts.items():
            words = by_row[row]
            if isinstance(words, str):
                out[name] = Estimate.undefined(words).to_json()
                continue
            out[name] = self._auroc(column, words[column], rows)
            if out[name]["value"] is not None:
                found[name] = words[column]
        best = max(found, key=lambda name: out[name]["value"], default=None)
        if best is None:
            return {**out, "best_text": None, "increment": Estimate.undefined(out["text"]["reason"]).to_json()}
        return {**out, "best_text": best, "increment": self._increment(column, scores, found[best], rows)}

    def base(self, name: str, values: np.ndarray | None, place: Place, penalties: Sequence[float]) -> dict:
        """An organism against the untrained model on the same tokens."""
        if values is None or name not in self.cells:
            return {"reason": "there is no untrained model beside this run" if values is None else "no probe is fitted"}
        organism, cell = self.organisms[name], self.cells[name]
        rows = organism.split.test
        own = fit_at(organism, values, place, penalties)
        ours = (organism.recorded.labelled(each) for each in (self.values[name], values))
        return {
            "probe": self._auroc(name, cell.direction.score(values), rows),
            "own": self._auroc(name, own.scores, rows),
            "beyond": self._increment(name, cell.scores, own.scores, rows),
            "cosine": cosine_estimate(*ours).to_json(),
        }

    def _auroc(self, name: str, scores: np.ndarray, rows: np.ndarray) -> dict:
        each = self.organisms[name].recorded
        return auroc_estimate(scores[rows], each.acted[rows], each.groups[rows], n=self.n, seed=self.seed).to_json()

    def _increment(self, name: str, scores: np.ndarray, baseline: np.ndarray, rows: np.ndarray) -> dict:
        each = self.organisms[name].recorded
        estimate = increment_estimate(
            scores[rows], baseline[rows], each.acted[rows], each.groups[rows], n=self.n, seed=self.seed
        )
        return estimate.to_json()


def check_apart(fitted: Organism, tested: Organism, rows: np.ndarray) -> None:
    """Refuse to test a probe on groups that it was fitted on, be it in another organism.

    Raises:
        ValueError: it would be.
    """
    both = fitted.groups_of(fitted.split.dev) & tested.groups_of(rows)
    if both:
        raise ValueError(f"a probe would be tested on groups that it was fitted on: {', '.join(sorted(both)[:3])}")
