"""Thresholds of scores: the most accurate one, one on the rows that are counted, one that is carried to new groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from .errors import EstimateError
from .stats import group_codes

ROUNDING = 1e-9
"""A product that is this close below a whole number is one."""


def most_accurate_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold above which calling a row positive is right most often; of equals, the middle one.

    Args:
        scores: [row]; labels: bool [row].
    """
    order = np.argsort(scores, kind="stable")
    ranked, labels = scores[order], np.asarray(labels, dtype=bool)[order]
    right = np.concatenate([[0], np.cumsum(~labels)]) + np.concatenate([np.cumsum(labels[::-1])[::-1], [0]])
    cuts = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = np.flatnonzero(cuts & (right == right[cuts].max()))
    cut = int(best[len(best) // 2])
    if cut in (0, len(ranked)):
        return float(np.nextafter(ranked[0], -np.inf) if cut == 0 else ranked[-1])
    return float((ranked[cut - 1] + ranked[cut]) / 2)


def threshold_at_fpr(negatives: np.ndarray, fpr: float) -> float:
    """The smallest threshold t such that at most `fpr` of these very negatives score strictly above t.

    For a rate on the rows that it is set on; of new ones more pass: `carried_threshold`.

    Raises:
        EstimateError: there are no negatives.
    """
    if not len(negatives):
        raise EstimateError("no negatives to set a threshold on")
    allowed = int(np.floor(fpr * len(negatives) + ROUNDING))
    return float(np.sort(negatives)[len(negatives) - 1 - allowed])


def fewest_groups(fpr: float) -> int:
    """Fewest groups with negatives on which a threshold can be set that new ones pass at a rate of at most `fpr`."""
    return int(np.ceil(1 / fpr - ROUNDING)) - 1


def allowed_above(negatives: np.ndarray, groups: Sequence[Hashable] | np.ndarray, fpr: float) -> int:
    """How many of these negatives may score above a threshold, for new ones of new groups to do so at most at `fpr`.

    With k allowed, each group is held against the threshold that the other groups set: the share of its negatives that
    pass is what a new group's would be. The largest k is taken at which these shares, of G groups, sum to at most
    fpr (G + 1). Where every negative is a group of its own, that is the rule (k + 1) / (n + 1) <= fpr of exchangeable
    scores; where those of a group are equal, the same rule with groups for rows. Exchangeable groups rather than rows:
    Lee, Barber & Willett 2023 (arXiv 2306.06342); left out in turn: Barber et al. 2021 (Annals of Statistics 49).

    Known trade-off: for a k chosen beforehand the rate holds whatever the scores; k is chosen on the same groups, so it
    holds up to some tenths of a percent (in simulations of 20 to 60 groups, 3.0 to 5.6% at `fpr` 5%).

    Returns:
        The number; -1: there are too few groups for any.
    """
    negatives = np.asarray(negatives)
    codes, n_groups = group_codes(groups)
    if n_groups < fewest_groups(fpr):
        return -1
    ranks, sizes = np.unique(negatives, return_inverse=True)[1], np.bincount(codes)
    of_group = codes * len(negatives) + ranks
    own = np.cumsum(sizes)[codes] - np.searchsorted(np.sort(of_group), of_group)
    others = len(negatives) - np.searchsorted(np.sort(ranks), ranks) - own
    order = np.argsort(others, kind="stable")
    shares = np.cumsum((1 / sizes[codes])[order])
    over = shares > fpr * (n_groups + 1) + ROUNDING
    return int(others[order][np.argmax(over)]) - 1 if over.any() else len(negatives) - 1


def carried_threshold(negatives: np.ndarray, groups: Sequence[Hashable] | np.ndarray, fpr: float) -> float:
    """The smallest of the negatives' scores that new negatives score strictly above at an expected rate of at most
    `fpr`: see `allowed_above`.

    Raises:
        EstimateError: they are of too few groups for any.
    """
    allowed = allowed_above(negatives, groups, fpr)
    if allowed < 0:
        raise EstimateError(
            f"negatives of {group_codes(groups)[1]} groups are too few for a threshold that {fpr:.3g} of new ones "
            f"pass: it needs {fewest_groups(fpr)} groups"
        )
    return float(np.sort(negatives)[len(negatives) - 1 - allowed])


def share_above(scores: np.ndarray, threshold: float) -> float:
    """Share of these scores that lie strictly above a threshold.

    Raises:
        EstimateError: there are none.
    """
    if not len(scores):
        raise EstimateError("no positives to find")
    return float((scores > threshold).mean())
