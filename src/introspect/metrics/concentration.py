"""How concentrated answers are on few options: the share of the most frequent one, and entropy.

Both have an end, at answers spread evenly, which what is counted lies to one side of however many answers there are, so
a bootstrap's interval never holds it. The interval is had by inverting a test instead: it holds the values under which
what was counted is not among the 2.5% furthest to either side. The distributions tested are those on the way from the
shares seen to equal ones, and from the shares seen to the modal answer alone; counts are multinomial, of as many
answers as would, were they independent, spread as the groups' do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from ..stats import MIN_GROUPS, Estimate
from .resampling import DRAWS, Interval

TAIL = 0.025
METHOD = "inverted multinomial test over groups"
PRECISION = 1e-4
Statistic = Callable[[np.ndarray], np.ndarray]
"""Counts or shares [..., option] -> [...], at its one end for equal shares and at its other for one option alone."""


def normalised_entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy of counts or shares [..., option] over ln of the number of options: 0 to 1."""
    shares = counts / counts.sum(axis=-1, keepdims=True)
    terms = np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1.0)), shares)
    out: np.ndarray = -terms.sum(axis=-1) / np.log(counts.shape[-1])
    return out


def modal_share(counts: np.ndarray) -> np.ndarray:
    """Share of the most frequent option, of counts or shares [..., option]."""
    out: np.ndarray = counts.max(axis=-1) / counts.sum(axis=-1)
    return out


def effective_answers(table: np.ndarray) -> float:
    """How many independent answers spread as these do, from counts [group, option] with at least one answer.

    As many as there are, over the design effect: the mean over options of the variance between groups over the
    multinomial one (Rao & Scott 1981); where all answers are the same, as many as there are groups.
    """
    table = table[table.sum(axis=1) > 0]
    sizes, n = table.sum(axis=1), table.sum()
    shares = table.sum(axis=0) / n
    seen = shares > 0
    if seen.sum() == 1:
        return float(n**2 / (sizes**2).sum())
    spread = ((table - sizes[:, None] * shares) ** 2).sum(axis=0)[seen] / n**2
    return float((seen.sum() - 1) / max((spread / shares[seen]).sum(), (seen.sum() - 1) / n))


def entropy_estimate(table: np.ndarray, *, n: int = DRAWS, seed: int = 0) -> Estimate:
    """Normalised entropy of answers, less its bias (Miller & Madow 1955) with the effective number of answers.

    Args:
        table: counts [group, option].
        n: counts drawn for each distribution that is tested.
    """

    def corrected(counts: np.ndarray, size: float) -> float:
        bias = ((counts > 0).sum() - 1) / (2 * size * np.log(len(counts)))
        return float(min(normalised_entropy(counts) + bias, 1.0))

    return _estimate(table, normalised_entropy, corrected, n, seed)


def modal_share_estimate(table: np.ndarray, *, n: int = DRAWS, seed: int = 0) -> Estimate:
    """Share of the most frequent option, as counted; see `entropy_estimate`."""
    return _estimate(table, modal_share, lambda counts, size: float(modal_share(counts)), n, seed)


def _estimate(
    table: np.ndarray, statistic: Statistic, point: Callable[[np.ndarray, float], float], n: int, seed: int
) -> Estimate:
    counts = table.sum(axis=0)
    if not counts.sum():
        return Estimate.undefined("no answers")
    n_groups = int((table.sum(axis=1) > 0).sum())
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
    size = effective_answers(table)
    value, limits = point(counts, size), inverted(counts / counts.sum(), size, statistic, n=n, seed=seed)
    limits = min(limits[0], value), max(limits[1], value)
    return Estimate(value, limits, int(counts.sum()), METHOD)


def inverted(shares: np.ndarray, size: float, statistic: Statistic, *, n: int = DRAWS, seed: int = 0) -> Interval:
    """The values of a statistic under which `shares` of `size` answers would not be unusual.

    Args:
        n: counts drawn for each distribution that is tested.
    """
    even = np.full(len(shares), 1 / len(shares))
    alone = np.eye(len(shares))[int(np.argmax(shares))]
    seen, answers = float(statistic(shares)), max(1, round(size))
    upwards = float(statistic(even)) > float(statistic(alone))

    def excess(step: float) -> float:
        """How much likelier than TAIL it is, at a step from -1 (one alone) to 1 (all equal), to be as far back."""
        end = even if step > 0 else alone
        drawn = statistic(np.random.default_rng(seed).multinomial(answers, _between(shares, end, abs(step)), size=n))
        back = drawn <= seen + 1e-9 if (step > 0) == upwards else drawn >= seen - 1e-9
        return float(back.mean()) - TAIL

    ends = []
    for end, sign in ((alone, -1), (even, 1)):
        step = 1.0 if excess(sign) >= 0 else abs(_crossing(excess, sign))
        ends.append(float(statistic(_between(shares, end, step))))
    return min(ends), max(ends)


def _between(start: np.ndarray, end: np.ndarray, step: float) -> np.ndarray:
    return np.asarray((1 - step) * start + step * end)


def _crossing(excess: Callable[[float], float], sign: int) -> float:
    """Where it falls below 0 on the way from 0; 0 where it is not above 0 there."""
    if excess(sign * 1e-9) <= 0:
        return 0.0
    return float(brentq(excess, sign * 1e-9, sign, xtol=PRECISION))
