"""What words alone say of a label: classifiers that see the same labelled sentences as the model, and nothing else.

None has read anything before: a model that has can do better by what it has learnt of language, without any access to
its own activations. So a gain over these is no evidence of such access by itself; shuffled labels and a random
direction stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB

from ..probes.text import WORD

Scores = Callable[[Sequence[str], np.ndarray, Sequence[str]], np.ndarray]
"""Texts and their labels (bool), and new texts -> how far each is on the side of True; 0 is undecided."""


def tfidf_logistic(texts: Sequence[str], labels: np.ndarray, new: Sequence[str]) -> np.ndarray:
    """TF-IDF of words and pairs of words into a logistic regression."""
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, lowercase=True)
    fitted = LogisticRegression(C=10.0, max_iter=1000).fit(words.fit_transform(texts), labels)
    found: np.ndarray = fitted.decision_function(words.transform(new))
    return found


def bag_of_words(texts: Sequence[str], labels: np.ndarray, new: Sequence[str]) -> np.ndarray:
    """Counts of words into naive Bayes."""
    words = CountVectorizer(token_pattern=WORD, lowercase=True)
    fitted = MultinomialNB().fit(words.fit_transform(texts), labels)
    logs = fitted.predict_log_proba(words.transform(new))
    found: np.ndarray = logs[:, 1] - logs[:, 0]
    return found


def nearest_letters(texts: Sequence[str], labels: np.ndarray, new: Sequence[str]) -> np.ndarray:
    """Runs of 2 to 4 letters within words: nearer to the mean of which label."""
    runs = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=True)
    seen, unseen = runs.fit_transform(texts), runs.transform(new)
    means = [np.asarray(seen[np.flatnonzero(labels == side)].mean(axis=0)).ravel() for side in (False, True)]
    found: np.ndarray = unseen @ (means[1] - means[0])
    return found


CLASSIFIERS: dict[str, Scores] = {
    "words: TF-IDF and logistic regression": tfidf_logistic,
    "words: counts and naive Bayes": bag_of_words,
    "letters: nearest mean": nearest_letters,
}
"""How a reader calls them."""
