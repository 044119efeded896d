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
from .splits import Split, inner_auroc

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
    inner_auroc: float
    """Mean over inner folds, on development groups that were not fitted."""


def text_fit(texts: Sequence[str], labels: np.ndarray, split: Split, penalties: Sequence[float] = PENALTIES) -> TextFit:
    """Fit words, with the best of the penalties on the inner folds.

    Args:
        texts: [row]; labels: bool [row].

    Raises:
        EstimateError: the texts hold no words, or no inner fold holds both classes.
    """
    words = np.array(texts, dtype=object)
    held_out = np.zeros((len(penalties), len(words)))
    for fold in range(split.n_folds):
        train, held = split.dev[split.fold != fold], split.dev[split.fold == fold]
        held_out[:, held] = _fitted_scores(words[train], labels[train], words[held], penalties)
    values = [inner_auroc(row, labels, split) for row in held_out]
    best = int(np.argmax(values))
    scores = _fitted_scores(words[split.dev], labels[split.dev], words, penalties[best : best + 1])[0]
    scores[split.dev] = held_out[best, split.dev]
    return TextFit(scores, penalties[best], values[best])


def text_scores(
    texts: Sequence[str], labels: np.ndarray, split: Split, penalties: Sequence[float] = PENALTIES
) -> np.ndarray:
    """The scores of `text_fit`, which says what is raised."""
    return text_fit(texts, labels, split, penalties).scores


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
    """A category as a baseline: the share of positives among its fitted rows, shrunk to the overall share by one row's
    weight; categories that are not among them get the overall share. Development rows are scored out of fold.
    """
    scores = _shares(categories, labels, split.dev)
    for fold in range(split.n_folds):
        held = split.dev[split.fold == fold]
        scores[held] = _shares(categories, labels, split.dev[split.fold != fold])[held]
    return scores


def _shares(categories: Sequence[Hashable], labels: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    overall = float(labels[fitted].mean())
    rows: dict[Hashable, list[bool]] = {}
    for row in fitted:
        rows.setdefault(categories[row], []).append(bool(labels[row]))
    share = {category: (sum(seen) + overall) / (len(seen) + 1) for category, seen in rows.items()}
    return np.array([share.get(category, overall) for category in categories])
