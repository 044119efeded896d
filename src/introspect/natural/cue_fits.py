"""What activations and words predict of a row, fitted on other items: classes, and one side against the other.

Rows are scored out of fold; no group of items is both fitted and scored.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ..errors import StoreError
from ..probes import LogisticProbe
from ..probes.text import WORD
from ..stats import group_codes
from .cue_measures import Groups
from .text_labels import tfidf_logistic

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Rows to fit, their labels (bool), and rows to score -> scores, larger for True."""
PENALTY = 0.01
"""Inverse strength of a probe's L2 penalty: fixed, so that nothing is chosen on rows that are scored."""


def packed(values: np.ndarray) -> str:
    """Activations [width] as text: base64 of float32, lowest byte first."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii")


def unpacked(texts: Sequence[str]) -> np.ndarray:
    """Activations of texts as `packed` makes them, float32 [row, width].

    Raises:
        StoreError: a text is none, or they differ in length, or hold NaN or infinity.
    """
    try:
        found = np.stack([np.frombuffer(base64.b64decode(each, validate=True), dtype="<f4") for each in texts])
        if not np.isfinite(found).all():
            raise ValueError
    except (binascii.Error, ValueError, TypeError):
        raise StoreError("units.jsonl holds activations that cannot be read; choose another --out") from None
    return found


def probe_on(states: np.ndarray) -> Fit:
    """A logistic probe on activations [row, width]."""

    def fit(train: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.asarray(LogisticProbe(PENALTY).fit(states[train], labels).decision_function(states[new]))

    return fit


def words_on(texts: Sequence[str]) -> Fit:
    """TF-IDF of words and pairs of words into a logistic regression."""

    def fit(train: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
        seen = [texts[row] for row in train]
        if not any(re.search(WORD, each) for each in seen):
            return np.zeros(len(new))
        return tfidf_logistic(seen, labels, [texts[row] for row in new])

    return fit


def folds_of(labels: Sequence[str], groups: Groups, n_folds: int, seed: int) -> np.ndarray | None:
    """The fold of each row, by groups and as balanced in labels as can be; None where there are too few groups, or
    fewer rows of a label than folds.
    """
    codes, n_groups = group_codes(groups)
    kinds, _ = group_codes(labels)
    if n_groups < n_folds or min(np.bincount(kinds)) < n_folds:
        return None
    folds = np.zeros(len(codes), dtype=int)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(codes, kinds, codes)):
        folds[held] = number
    return folds


def two_sides(fit: Fit, labels: np.ndarray, rows: np.ndarray, folds: np.ndarray) -> np.ndarray | None:
    """Out-of-fold scores of some rows, NaN of the others [row]; None where a fold's fitted rows are of one side.

    Args:
        labels: bool [row]; rows: numbers of the rows that are fitted and scored.
    """
    out = np.full(len(labels), np.nan)
    for fold in sorted(set(folds[rows].tolist())):
        train, held = rows[folds[rows] != fold], rows[folds[rows] == fold]
        if len(set(labels[train].tolist())) < 2:
            return None
        out[held] = fit(train, labels[train], held)
    return out


def classes(fit: Fit, labels: Sequence[str], folds: np.ndarray) -> list[str]:
    """Out-of-fold class of every row: of one class against the rest each, the one that scores highest."""
    names, given = sorted(set(labels)), np.array(labels, dtype=object)
    rows = np.arange(len(given))
    scores = np.full((len(given), len(names)), -np.inf)
    for column, name in enumerate(names):
        mine = given == name
        for fold in sorted(set(folds.tolist())):
            train, held = rows[folds != fold], rows[folds == fold]
            if 0 < mine[train].sum() < len(train):
                scores[held, column] = fit(train, mine[train], held)
    return [names[int(each)] for each in scores.argmax(axis=1)]
