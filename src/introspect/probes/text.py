"""Text baselines: what the tokens that a probe could see predict without any activations.

TF-IDF of unigrams and bigrams (every run of letters or digits is a word, single ones too) into a logistic regression,
fitted on the development rows only, with the penalty chosen on the same inner folds as the probe's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from ..errors import EstimateError
from ..stats import auroc
from .splits import Split

PENALTIES = (0.1, 1.0, 10.0, 100.0)
WORD = r"[A-Za-z]+|[0-9]+"


def text_scores(texts: Sequence[str], labels: np.ndarray, split: Split) -> np.ndarray:
    """Log-odds [row] from words: out-of-fold on development rows, by the model fitted on all of them elsewhere.

    Raises:
        EstimateError: the texts hold no words.
    """
    words = np.array(texts, dtype=object)
    if not any(any(character.isalnum() for character in text) for text in texts):
        raise EstimateError("no text is visible at this position")
    tried = [_held_out(words, labels, split, c) for c in PENALTIES]
    best = max(range(len(PENALTIES)), key=lambda i: tried[i][0])
    scores = _model(PENALTIES[best]).fit(words[split.dev], labels[split.dev]).decision_function(words)
    scores[split.dev] = tried[best][1]
    return scores


def _held_out(words: np.ndarray, labels: np.ndarray, split: Split, c: float) -> tuple[float, np.ndarray]:
    """Mean AUROC over inner folds, and the out-of-fold scores [development row]."""
    scores = np.empty(len(split.dev))
    values = []
    for fold in range(split.n_folds):
        train, held = split.dev[split.fold != fold], split.fold == fold
        scores[held] = _model(c).fit(words[train], labels[train]).decision_function(words[split.dev[held]])
        if len(set(labels[split.dev[held]])) == 2:
            values.append(auroc(scores[held], labels[split.dev[held]]))
    if not values:
        raise EstimateError("no inner fold holds both classes: there are too few groups")
    return float(np.mean(values)), scores


def column_scores(column: np.ndarray, labels: np.ndarray, split: Split) -> np.ndarray:
    """A single number as a baseline: the column, turned to the side that predicts better on the development rows."""
    return column if auroc(column[split.dev], labels[split.dev]) >= 0.5 else -column


def _model(c: float) -> Pipeline:
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, lowercase=True)
    return make_pipeline(vectoriser, LogisticRegression(C=c, max_iter=2000))
