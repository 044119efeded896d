"""Label noise: what a probe of verdicts would score had a second classifier given the labels.

Of rows labelled yes the second classifier calls a part alpha no, and of rows labelled no a part beta yes. Where these
errors do not depend on the activations, the AUROC seen is that of the second one's labels drawn towards chance ::

    AUROC seen - 1/2  =  (1 - alpha - beta) (AUROC - 1/2)

(Menon et al. 2015, ICML, corollary 3). In every bootstrap replicate groups are drawn anew, and alpha
and beta from Beta(1/2 + errors, 1/2 + agreements), with groups for cases. Beside it stands the AUROC of the same scores
on the second one's own labels, where it has read enough rows: errors that do depend on the activations show as a
difference of the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..stats import (
    MIN_GROUPS,
    Estimate,
    auroc,
    auroc_estimate,
    auroc_replicates,
    bootstrap_counts,
    group_codes,
    interval,
)
from .stage import ProbeStage, SecondLabels

MIN_READ = 10
"""Fewest rows of either label that the second classifier has read."""


def label_noise(stage: ProbeStage, scores: np.ndarray) -> dict[str, Any]:
    """The `label_noise` control of scores [row]; undefined without a second classifier."""
    second = stage.second
    if isinstance(second, str):
        return Estimate.undefined(second).to_json()
    in_distribution = np.setdiff1d(np.arange(len(stage.labels)), stage.ood)
    read = in_distribution[second.read[in_distribution]]
    labels = stage.labels[read]
    if min(int(labels.sum()), int((~labels).sum())) < MIN_READ:
        return Estimate.undefined(
            f"{second.classifier} has read {int(labels.sum())} rows with the label and {int((~labels).sum())} without "
            f"(at least {MIN_READ} of each)"
        ).to_json()
    test = np.intersect1d(stage.split.test, read)
    n, seed = stage.settings.bootstrap, stage.seed
    own = auroc_estimate(scores[test], second.labels[test], stage.groups[test], n=n, seed=seed)
    return {
        "second": second.classifier,
        "n_read": len(read),
        "called_no_of_yes": round(float((~second.labels[read][labels]).mean()), 6),
        "called_yes_of_no": round(float(second.labels[read][~labels].mean()), 6),
        "auroc_by_second": own.to_json(),
        "auroc_corrected": _corrected(stage, scores, second, read).to_json(),
    }


def _corrected(stage: ProbeStage, scores: np.ndarray, second: SecondLabels, read: np.ndarray) -> Estimate:
    """The AUROC had the second classifier labelled every row, errors being unrelated to the activations."""
    test, n = stage.split.test, stage.settings.bootstrap
    codes, n_groups = group_codes(stage.groups[test])
    if n_groups < MIN_GROUPS:
        return Estimate.undefined(f"{n_groups} groups are too few for an interval (at least {MIN_GROUPS})")
    rng = np.random.default_rng(stage.seed)
    errors, drawn = 0.0, np.zeros(n)
    for label in (True, False):
        rows = read[stage.labels[read] == label]
        wrong = float((second.labels[rows] != label).mean())
        cases = len(set(stage.groups[rows]))
        errors += wrong
        drawn += rng.beta(0.5 + wrong * cases, 0.5 + (1 - wrong) * cases, size=n)
    if errors >= 1:
        return Estimate.undefined(f"{second.classifier} contradicts the labels: nothing can be corrected by it")
    seen = auroc(scores[test], stage.labels[test])
    replicates = auroc_replicates(scores[test], stage.labels[test], bootstrap_counts(n_groups, n, stage.seed)[:, codes])
    kept = np.where(drawn < 1, 1 - drawn, np.nan)
    limits = interval(np.clip(0.5 + (replicates - 0.5) / kept, 0, 1), n_groups)
    value = float(np.clip(0.5 + (seen - 0.5) / (1 - errors), 0, 1))
    limits = min(limits[0], value), max(limits[1], value)
    return Estimate(value, limits, len(test), "bootstrap over groups; error rates from Beta(1/2 + k, 1/2 + n - k)")
