"""Text baselines: what the tokens that a probe could see predict without any activations.

TF-IDF of unigrams and bigrams (every run of letters or digits is a word, single ones too) into a logistic regression,
fitted on the development rows only, with the penalty chosen on the same inner folds as the probe's.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ..errors import EstimateError
from ..stats import auroc
from .splits import Split

PENALTIES = (0.1, 1.0, 10.0, 100.0)
IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
WORD = rf"[{IDEOGRAPH}]|(?:(?![{IDEOGRAPH}])[^\W\d_])+|\d+"
"""A run of letters or of digits; each character of scripts that are written without spaces."""


class TextFit(NamedTuple):
    """What words score, and the penalty that was chosen for it."""

    scores: np.ndarray
    """Log-odds [row]: out-of-fold on development rows, by the model fitted on all of them elsewhere."""
    penalty: float
    """The inverse of its strength, C."""


def text_fit(texts: Sequence[str], labels: np.ndarray, split: Split, penalties: Sequence[float] = PENALTIES) -> TextFit:
    """Fit words, with the best of the penalties on the inner folds.

    Args:
        texts: [row]; labels: bool [row].

    Raises:
        EstimateError: the texts hold no words, or no inner fold holds both classes.
    """
    words = np.array(texts, dtype=object)
    held_out, values = _held_out(words, labels, split, penalties)
    best = int(values.argmax())
    scores = _fitted_scores(words[split.dev], labels[split.dev], words, penalties[best : best + 1])[0]
    scores[split.dev] = held_out[best]
    return TextFit(scores, penalties[best])


def text_scores(
    texts: Sequence[str], labels: np.ndarray, split: Split, penalties: Sequence[float] = PENALTIES
) -> np.ndarray:
    """The scores of `text_fit`, which says what is raised."""
    return text_fit(texts, labels, split, penalties).scores


def _held_out(
    words: np.ndarray, labels: np.ndarray, split: Split, penalties: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-fold scores [penalty, development row], and each penalty's mean AUROC over inner folds."""
    scores = np.empty((len(penalties), len(split.dev)))
    values = []
    for fold in range(split.n_folds):
        train, held = split.dev[split.fold != fold], split.fold == fold
        scores[:, held] = _fitted_scores(words[train], labels[train], words[split.dev[held]], penalties)
        if len(set(labels[split.dev[held]])) == 2:
            values.append([auroc(row[held], labels[split.dev[held]]) for row in scores])
    if not values:
        raise EstimateError("no inner fold holds both classes: there are too few groups")
    return scores, np.mean(values, axis=0)


def _fitted_scores(
    words: np.ndarray, labels: np.ndarray, new: np.ndarray, penalties: Sequence[float]
) -> list[np.ndarray]:
    """Log-odds of `new` texts [row] for each penalty; the vocabulary and its weights are those of `words`."""
    if not any(re.search(WORD, text) for text in words):
        raise EstimateError("no text is visible at this position")
    if len(set(labels)) < 2:
        raise EstimateError("the rows to fit hold one class only: there are too few groups")
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, lowercase=True)
    seen, unseen = vectoriser.fit_transform(words), vectoriser.transform(new)
    return [LogisticRegression(C=c, max_iter=2000).fit(seen, labels).decision_function(unseen) for c in penalties]


def column_scores(column: np.ndarray, labels: np.ndarray, split: Split) -> np.ndarray:
    """A single number as a baseline: the column, turned to the side that predicts better on the development rows."""
    return column if auroc(column[split.dev], labels[split.dev]) >= 0.5 else -column


def category_scores(categories: Sequence[Hashable], labels: np.ndarray, split: Split) -> np.ndarray:
    """A category as a baseline: the share of positives among its development rows, shrunk to the overall share by one
    row's weight; categories that are not among them get the overall share.
    """
    overall = float(labels[split.dev].mean())
    rows: dict[Hashable, list[bool]] = {}
    for row in split.dev:
        rows.setdefault(categories[row], []).append(bool(labels[row]))
    share = {category: (sum(seen) + overall) / (len(seen) + 1) for category, seen in rows.items()}
    return np.array([share.get(category, overall) for category in categories])
