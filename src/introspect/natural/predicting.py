"""How well rows are predicted from the others: out of fold, by words alone and by words with more columns beside them.

Words are first turned into one column, out of fold within each training part, so that both predictors use the very same
reading of the words and differ in the columns alone. A letter is one word among sixty, of which such a reading keeps
hardly anything: what a reader sees at a glance stands beside the words, in columns of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import csr_array, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from ..errors import EstimateError
from ..probes.text import WORD
from ..stats import group_codes

INNER = 5


def read_words(texts: Sequence[str], outcome: np.ndarray, new: Sequence[str]) -> np.ndarray:
    """An outcome [row] predicted from words: TF-IDF of words and pairs of words into ridge regression."""
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, lowercase=True)
    found: np.ndarray = Ridge(alpha=1.0).fit(words.fit_transform(texts), outcome).predict(words.transform(new))
    return found


def out_of_fold(
    texts: Sequence[str],
    outcome: np.ndarray,
    groups: Sequence[Hashable],
    columns: Sequence[np.ndarray],
    *,
    folds: int,
    seed: int = 0,
    shown: np.ndarray | None = None,
) -> np.ndarray:
    """Predictions of an outcome by a constant, by words, and by words with each set of columns beside them.

    Args:
        texts: [row]; outcome: [row]; groups: those of a group are predicted together.
        columns: sets of numbers [row, column].
        seed: of how groups are dealt into parts.
        shown: what else a reader sees, [row, column]: beside words in every predictor.

    Returns:
        [2 + set, row]: the mean of the other parts, words with what else is shown, and each set beside these.

    Raises:
        EstimateError: fewer groups than parts.
    """
    codes, n_groups = group_codes(groups)
    if n_groups < folds:
        raise EstimateError(f"{n_groups} groups are too few to predict {folds} parts from one another")
    words, out = np.array(texts, dtype=object), np.zeros((2 + len(columns), len(outcome)))
    seen = np.zeros((len(outcome), 0)) if shown is None else shown
    for train, held in _parts(folds, seed).split(words, outcome, codes):
        own = np.column_stack([_read_inside(words[train], outcome[train], codes[train]), seen[train]])
        new = np.column_stack([read_words(words[train], outcome[train], words[held]), seen[held]])
        out[0, held] = outcome[train].mean()
        out[1, held] = _linear(own, outcome[train], new)
        for number, each in enumerate(columns):
            out[2 + number, held] = _linear(
                np.column_stack([own, each[train]]), outcome[train], np.column_stack([new, each[held]])
            )
    return out


def likely(
    texts: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[Hashable],
    *,
    folds: int,
    seed: int = 0,
    shown: np.ndarray | None = None,
) -> np.ndarray:
    """Probability of a label [row] from words, and what else is shown [row, column], out of fold; the share of the
    label where a part has one class.
    """
    codes, n_groups = group_codes(groups)
    if n_groups < folds:
        raise EstimateError(f"{n_groups} groups are too few to predict {folds} parts from one another")
    texts_, out = np.array(texts, dtype=object), np.zeros(len(labels))
    for train, held in _even_parts(labels, folds, seed).split(texts_, labels, codes):
        if len(set(labels[train])) < 2:
            out[held] = labels[train].mean()
            continue
        words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, lowercase=True)
        seen, new = words.fit_transform(texts_[train]), words.transform(texts_[held])
        if shown is not None:
            scale = StandardScaler().fit(shown[train])
            seen = hstack([seen, csr_array(scale.transform(shown[train]))], format="csr")
            new = hstack([new, csr_array(scale.transform(shown[held]))], format="csr")
        fitted = LogisticRegression(C=1.0, max_iter=1000).fit(seen, labels[train])
        out[held] = fitted.predict_proba(new)[:, 1]
    return out


def _parts(many: int, seed: int) -> GroupKFold:
    """Groups dealt by the seed: in file order, a part could be all of one subject."""
    return GroupKFold(many, shuffle=True, random_state=seed)


def prevalent(labels: np.ndarray, groups: Sequence[Hashable], *, folds: int, seed: int = 0) -> np.ndarray:
    """The share of a label among the other parts, [row]."""
    codes, n_groups = group_codes(groups)
    if n_groups < folds:
        raise EstimateError(f"{n_groups} groups are too few to predict {folds} parts from one another")
    out = np.zeros(len(labels))
    for train, held in _even_parts(labels, folds, seed).split(labels, labels, codes):
        out[held] = labels[train].mean()
    return out


def _even_parts(labels: np.ndarray, many: int, seed: int) -> GroupKFold | StratifiedGroupKFold:
    """Parts with the label as often in each as can be. Where a part has it more often, the others have it less often,
    and what is predicted from them would be worse than chance.
    """
    fewest = min(int(np.sum(labels)), int(np.sum(~np.asarray(labels, dtype=bool))))
    if fewest < many:
        return _parts(many, seed)
    return StratifiedGroupKFold(many, shuffle=True, random_state=seed)


def _read_inside(words: np.ndarray, outcome: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The words' column of rows that are fitted on: each predicted from the others'."""
    out = np.full(len(outcome), outcome.mean())
    parts = min(INNER, len(set(codes)))
    if parts < 2:
        return out
    for train, held in _parts(parts, 0).split(words, outcome, codes):
        out[held] = read_words(words[train], outcome[train], words[held])
    return out


def _linear(rows: np.ndarray, outcome: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Ridge regression on standardised columns."""
    scale = StandardScaler().fit(rows)
    found: np.ndarray = Ridge(alpha=1.0).fit(scale.transform(rows), outcome).predict(scale.transform(new))
    return found
