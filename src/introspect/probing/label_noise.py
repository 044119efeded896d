"""Label noise: what a probe of verdicts would score had a second classifier given the labels.

Of rows labelled yes the second classifier calls a part alpha no, and of rows labelled no a part beta yes. Where these
errors do not depend on the activations, the AUROC seen is that of the second one's labels drawn towards chance ::

    AUROC seen - 1/2  =  (1 - alpha - beta) (AUROC - 1/2)

(Menon et al. 2015, ICML, corollary 3). In every bootstrap replicate groups are drawn anew, and alpha
and beta from Beta(1/2 + errors, 1/2 + agreements), with groups for cases. Beside it stands the AUROC of the same scores
on the second one's own labels, where it has read enough rows: errors that do depend on the activations show as a
difference of the two.

Where alpha and beta come to 1 or more, labels say nothing and the AUROC may be anything: such a replicate counts as 0
at the lower end and as 1 at the upper one, and with too many of them nothing is given. A corrected value beyond 0 or 1
stands at that end, with an interval that has a width; nothing is given where the whole interval lies beyond it: so many
errors, were they unrelated to the activations, would leave less to be seen than is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..stats import (
    CHANCE,
    MIN_GROUPS,
    Estimate,
    auroc,
    auroc_estimate,
    auroc_replicates,
    bootstrap_counts,
    group_codes,
    interval,
    newcombe_interval,
)
from .stage import ProbeStage, SecondLabels

MIN_READ = 10
"""Fewest rows of either label that the second classifier has read."""
MOST_UNDEFINED = 0.1
METHOD = "bootstrap over groups; error rates from Beta(1/2 + k, 1/2 + n - k)"


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
    labels = stage.labels[test]
    seen = auroc(scores[test], labels)
    value = CHANCE + (seen - CHANCE) / (1 - errors)
    replicates = auroc_replicates(scores[test], labels, bootstrap_counts(n_groups, n, stage.seed)[:, codes])
    nothing = np.isnan(replicates) | (drawn >= 1)
    if nothing.mean() > MOST_UNDEFINED:
        return Estimate.undefined(
            f"in more than a tenth of the replicates {second.classifier} contradicts the labels, or one class only is "
            "drawn: too little data"
        )
    corrected = CHANCE + (replicates - CHANCE) / np.where(nothing, 1.0, 1 - drawn)
    low, _ = interval(np.where(nothing, 0.0, corrected), n_groups)
    _, high = interval(np.where(nothing, 1.0, corrected), n_groups)
    method = METHOD
    if low <= 0 or high >= 1:
        of_seen = newcombe_interval(seen, len(set(codes[labels])), len(set(codes[~labels])))
        wide = [CHANCE + (limit - CHANCE) / (1 - errors) for limit in of_seen]
        low, high, method = min(low, wide[0]), max(high, wide[1]), f"{METHOD}, widened by newcombe's"
    if low > 1 or high < 0:
        return Estimate.undefined(
            f"errors as frequent as {second.classifier} finds them leave an AUROC of at most {_farthest(errors):.2f} "
            f"where they are unrelated to the activations, and {max(seen, 1 - seen):.2f} is seen: they are related"
        )
    value, low, high = (float(np.clip(each, 0, 1)) for each in (value, min(low, value), max(high, value)))
    return Estimate(value, (low, high), len(test), method)


def _farthest(errors: float) -> float:
    """The largest AUROC that can be seen with such errors."""
    return CHANCE + (1 - errors) / 2
