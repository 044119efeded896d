"""The rows of stated confidence as columns: ratings, the pass that answered, and what a reader sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from ..cells import Row

if TYPE_CHECKING:
    from .confidence import ConfidenceStudy


class Answers:
    """The rows of questions that gave numbers throughout, as columns."""

    def __init__(self, study: ConfidenceStudy, rows: list[Row]) -> None:
        self.spec, self.rows = study.spec, rows
        self.groups = [row["group"] for row in rows]
        self.subjects = [row["subject"] for row in rows]
        self.correct = np.array([row["correct"] for row in rows], dtype=bool)
        self.ratings = np.array([row["ratings"] for row in rows], dtype=float)
        self.stated = self.ratings.mean(axis=(1, 2))
        self.p = np.array([row["p"] for row in rows])
        self.norms = np.array([row["norms"] for row in rows])
        self.kept = np.array([row["kept"] for row in rows], dtype=float)
        n_layers = self.norms.shape[1]
        middle = n_layers // 2
        names = {"answer's own probability": self.p}
        names["certainty: minus the entropy over options"] = -np.array([row["entropy"] for row in rows])
        names["margin between the two best options"] = np.array([row["margin"] for row in rows])
        names["stability: share of noisy passes that keep the answer"] = self.kept.mean(axis=(1, 2))
        for at, layer in enumerate(study.noisy):
            for size, noise in enumerate(self.spec.noise.sizes):
                names[f"stability, noise of {noise:g} at layer {layer}"] = self.kept[:, at, size]
        names[f"norm at layer {middle}"] = self.norms[:, middle]
        names[f"norm at layer {n_layers - 1}"] = self.norms[:, -1]
        self.variables = names
        self.middle = middle

    @property
    def shown(self) -> np.ndarray:
        """What a reader sees at a glance, [row, column]: the letter that was answered, and the length in tokens."""
        length = rankdata([row["n_tokens"] for row in self.rows])
        return np.column_stack([length, *_dummies([row["answer"] for row in self.rows])])

    @property
    def given(self) -> np.ndarray:
        """Covariates [row, covariate]: being right, length, letter, subject."""
        return np.column_stack([self.correct.astype(float), self.shown, *_dummies(self.subjects)])

    @property
    def inside(self) -> np.ndarray:
        """What a predictor gets besides words, [row, column]."""
        chosen = list(self.variables)[:4]
        columns = [self.variables[name] for name in chosen]
        return np.column_stack([*columns, self.norms[:, self.middle], self.norms[:, -1]])

    @property
    def texts(self) -> list[str]:
        """What the rating's turn shows: the question and the answer."""
        return [f"{row['text']}\nanswered {row['answer']}" for row in self.rows]


def _dummies(names: Sequence[str]) -> list[np.ndarray]:
    """A column for each name but one, 1 where a row has it."""
    return [np.array([each == name for each in names], dtype=float) for name in sorted(set(names))[1:]]
