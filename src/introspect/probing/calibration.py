"""Expected calibration error (ECE) without what chance adds to it.

The plug-in value, the mean |confidence - frequency| over bins (Nixon et al. 2019), is above 0 by chance too, the more
the fewer rows a bin has, and its bootstrap is further above (Kumar, Liang & Ma 2019, arXiv 1909.10155): no percentile
interval holds. So what was seen is held against what would be seen under calibration errors c times as large::

    E(c) = sum over bins of |c line_b + noise_b|

The debiased value is that of the c at which E(c) is on average what was seen, or 0; the interval has every c at which
what was seen lies within the central 95% (expanded as in `stats.interval`). `line` follows the gaps of bins, ordered by
confidence, by a straight line (as Cox's 1958 recalibration does), which noise bends less than it does ten gaps. `noise`
is a bin's sum over groups of what remains, each group with a weight of N(0, 1), over a chi of G - 1 degrees of freedom:
rows of a group err together (a multiplier bootstrap over clusters; Cameron, Gelbach & Miller 2008).

Known trade-off: where errors do not follow a line over confidence, the interval is too short. In simulations with 16
groups of 4 rows it holds in 92 to 96% of logistic probes' errors, in 97% of calibrated probabilities and in 88% of
log-odds three times too large, where the upper end is too low; the value is then too low too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ..stats import MIN_GROUPS, Estimate, expanded_tail, group_codes

BINS = 10
STEPS, LARGEST = 120, 3.0
"""The calibration errors that are tried, as multiples of the one that was seen."""
METHOD = f"{BINS} bins of equal mass, debiased; from calibration errors under which it would be seen, over groups"


def calibration_error(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[Hashable] | np.ndarray,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The debiased ECE with its interval.

    Args:
        probabilities: [row]; labels: bool [row]; groups: the group of each row.
        n: draws of the noise.
    """
    codes, n_groups = group_codes(groups)
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
    weighted, spread = _bins(np.asarray(probabilities, float), np.asarray(labels, float), codes, n_groups)
    seen = float(np.abs(weighted.sum(axis=0)).sum())
    line = _line(weighted.sum(axis=0), seen)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, n_groups)) @ spread
    noise *= np.sqrt((n_groups - 1) / rng.chisquare(n_groups - 1, size=(n, 1)))
    factors = np.linspace(0, LARGEST, STEPS + 1)
    drawn = np.stack([np.abs(factor * line + noise).sum(axis=1) for factor in factors])
    tail = expanded_tail(n_groups)
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=1)
    value = float(np.interp(seen, drawn.mean(axis=1), factors)) * seen
    held = factors[(low <= seen) & (seen <= high)] * seen
    limits = (float(held[0]), float(held[-1])) if len(held) else (value, value)
    limits = min(limits[0], value), max(limits[1], value)
    return Estimate(value, limits, len(codes), METHOD)


def _bins(
    probabilities: np.ndarray, labels: np.ndarray, codes: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence minus outcome, as a share of all rows, summed by group and bin: as it is, and about the bins' means.
    [group, bin]
    """
    n = len(labels)
    gaps = probabilities - labels
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(BINS, n))
    raw, about = np.zeros((n_groups, len(parts))), np.zeros((n_groups, len(parts)))
    for b, rows in enumerate(parts):
        # About a mean of m rows, residuals are too small by (m - 1) / m.
        own = (gaps[rows] - gaps[rows].mean()) * np.sqrt(len(rows) / max(len(rows) - 1, 1))
        np.add.at(raw[:, b], codes[rows], gaps[rows] / n)
        np.add.at(about[:, b], codes[rows], own / n)
    return raw, about * np.sqrt(n_groups / (n_groups - 1))


def _line(gaps: np.ndarray, seen: float) -> np.ndarray:
    """A straight line through the gaps of bins, as large in all as they are."""
    places = np.arange(len(gaps))
    line = np.polyval(np.polyfit(places, gaps, 1), places) if len(gaps) > 1 else gaps
    size = float(np.abs(line).sum())
    return line * (seen / size) if size > 0 else np.full(len(gaps), seen / len(gaps))
