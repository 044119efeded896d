"""Probes carried over from one organism, or kind of rollout, to another, with the words carried over beside them.

The words are those that a probe at its place could see (prompt, and chain up to it), and those of the prompt and the
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

Place = tuple[str, int]
"""Position and layer."""
Part = Callable[[Organism], np.ndarray]
"""Organism -> some of its rows."""
TEXTS = ("text", "text_visible")
"""Which words: of the prompt and the whole chain; of the prompt and the tokens up to the place."""


def fit_at(organism: Organism, values: np.ndarray, place: Place, penalties: Sequence[float]) -> Cell:
    """The organism's probe at one place, of activations there [row, width]."""
    position, layer = place
    return fit_grid({position: values[None]}, (layer,), organism.recorded.acted, organism.split, penalties)[0]


def carried_words(
    organisms: Mapping[str, Organism], name: str, texts: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray] | str:
    """Words fitted on one organism: scored organism -> log-odds [row]; or why there are none.

    Args:
        name: the organism that they are fitted on; texts: organism -> text of each row.
    """
    every = [text for each in organisms for text in texts[each]]
    labels = np.concatenate([each.recorded.acted for each in organisms.values()])
    sizes = [len(each.recorded.acted) for each in organisms.values()]
    begins = dict(zip(organisms, np.cumsum([0, *sizes]), strict=False))
    split = organisms[name].split
    try:
        scores = text_scores(every, labels, Split(split.dev + begins[name], split.test + begins[name], split.fold))
    except EstimateError as error:
        return str(error)
    return {other: scores[begins[other] : begins[other] + size] for other, size in zip(organisms, sizes, strict=True)}


def scored(cell: Cell, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name -> log-odds [row] by a probe, of activations [row, width]."""
    return {name: cell.direction.score(each) for name, each in values.items()}


@dataclass(frozen=True)
class Row:
    """What is carried from one organism to the others."""

    place: Place
    cell: Cell
    """Its probe there."""
    scores: Mapping[str, np.ndarray]
    """Tested on -> log-odds by the probe, [row]."""
    texts: Mapping[str, dict[str, np.ndarray] | str]
    """Of `TEXTS` -> as `carried_words`."""


@dataclass(frozen=True)
class Carried:
    """Everything that is fitted, and what it is tested on."""

    organisms: Mapping[str, Organism]
    rows: Mapping[str, Row]
    """Fitted on -> what is carried; without organisms that nothing is fitted on."""
    n: int
    seed: int

    def matrix(self, part: Part) -> dict[str, dict[str, dict]]:
        """Row -> column -> estimates, on one part of the column's rows."""
        return {
            row: {column: self.pair(row, column, part(self.organisms[column])) for column in self.organisms}
            for row in self.organisms
        }

    def pair(self, row: str, column: str, rows: np.ndarray) -> dict:
        """Estimates of what is fitted on `row`, on some rows of `column`."""
        if row not in self.rows:
            undefined = Estimate.undefined(f"no probe is fitted on {row}: {self.organisms[row].reason}").to_json()
            return {"probe": undefined, **dict.fromkeys(TEXTS, undefined), "best_text": None, "increment": undefined}
        check_apart(self.organisms[row], self.organisms[column], rows)
        scores = self.scores(row, column)
        out = {"probe": self.auroc(column, scores, rows)}
        found: dict[str, np.ndarray] = {}
        for name, words in self.rows[row].texts.items():
            if isinstance(words, str):
                out[name] = Estimate.undefined(words).to_json()
                continue
            out[name] = self.auroc(column, words[column], rows)
            if out[name]["value"] is not None:
                found[name] = words[column]
        best = max(found, key=lambda name: out[name]["value"], default=None)
        if best is None:
            return {**out, "best_text": None, "increment": Estimate.undefined(out["text"]["reason"]).to_json()}
        return {**out, "best_text": best, "increment": self.increment(column, scores, found[best], rows)}

    def scores(self, row: str, column: str) -> np.ndarray:
        """Log-odds [row of the column] by the row's probe."""
        return self.rows[row].scores[column]

    def base(self, name: str, ours: np.ndarray, values: np.ndarray | None, penalties: Sequence[float]) -> dict:
        """An organism against the untrained model on the same tokens; activations of both at its place, [row, width].

        Args:
            values: the untrained model's; None: there are none.
        """
        if values is None or name not in self.rows:
            return {"reason": "there is no untrained model beside this run" if values is None else "no probe is fitted"}
        organism, row = self.organisms[name], self.rows[name]
        rows = organism.split.test
        own = fit_at(organism, values, row.place, penalties)
        labelled = (organism.recorded.labelled(each) for each in (ours, values))
        return {
            "probe": self.auroc(name, row.cell.direction.score(values), rows),
            "own": self.auroc(name, own.scores, rows),
            "beyond": self.increment(name, row.cell.scores, own.scores, rows),
            "cosine": cosine_estimate(*labelled).to_json(),
        }

    def auroc(self, name: str, scores: np.ndarray, rows: np.ndarray) -> dict:
        """Of scores [row] on some rows of an organism."""
        each = self.organisms[name].recorded
        return auroc_estimate(scores[rows], each.acted[rows], each.groups[rows], n=self.n, seed=self.seed).to_json()

    def increment(self, name: str, scores: np.ndarray, baseline: np.ndarray, rows: np.ndarray) -> dict:
        """AUROC of scores [row] beyond a baseline's, on some rows of an organism."""
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
