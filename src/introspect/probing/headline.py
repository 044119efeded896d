"""The metrics of the headline probe on the test rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit

from ..errors import EstimateError
from ..probes import Cell
from ..probes.by_estimator import LOGISTIC
from ..stats import Estimate, bootstrap, brier
from ..thresholds import carried_threshold, most_accurate_threshold, share_above
from .calibration import calibration_error
from .stage import ProbeStage

NO_LOG_ODDS = "the scores of this estimator are no log-odds, so they give no probabilities"


def headline_metrics(stage: ProbeStage, cell: Cell) -> dict[str, Any]:
    """AUROC, accuracy at a threshold from the development part, TPR at 1% and 5% FPR, Brier score, debiased
    ECE.
    """
    rows, dev = stage.split.test, stage.split.dev
    scores, labels = cell.scores[rows], stage.labels[rows]
    threshold = most_accurate_threshold(cell.scores[dev], stage.labels[dev])
    settings = {"n": stage.settings.bootstrap, "seed": stage.seed}

    def shared(statistic: Any, how: str, cases: np.ndarray) -> dict[str, Any]:
        found = bootstrap(statistic, stage.groups[rows], share_of=len(set(cases)), **settings)
        return _said(found, how).to_json()

    out = {
        "auroc": stage.auroc(cell.scores, rows).to_json(),
        "accuracy": shared(
            lambda i: float(((scores[i] > threshold) == labels[i]).mean()),
            "threshold: the most accurate one on out-of-fold development scores",
            stage.groups[rows],
        ),
        "accuracy_threshold": round(threshold, 6),
        "majority_share": round(max(float(labels.mean()), 1 - float(labels.mean())), 6),
    }
    negatives, positives = scores[~labels], stage.groups[rows][labels]
    for name, fpr in (("tpr_at_1fpr", 0.01), ("tpr_at_5fpr", 0.05)):
        try:
            passed = carried_threshold(negatives, stage.groups[rows][~labels], fpr)
        except EstimateError as error:
            out[name] = Estimate.undefined(str(error)).to_json()
            continue
        out[name] = shared(
            lambda i, passed=passed: share_above(scores[i][labels[i]], passed),
            f"at the threshold that {int((negatives > passed).sum())} of the {len(negatives)} test rollouts without "
            f"the label pass, as set so that about {fpr:.0%} of new ones do at most",
            positives,
        )
        out[f"{name}_threshold"] = passed
    if stage.settings.estimator != LOGISTIC:
        missing = Estimate.undefined(NO_LOG_ODDS).to_json()
        return out | {"brier": missing, "ece": missing}
    chance = expit(scores)
    out["brier"] = bootstrap(lambda i: brier(chance[i], labels[i]), stage.groups[rows], **settings).to_json()
    out["ece"] = calibration_error(chance, labels, stage.groups[rows], **settings).to_json()
    return out


def _said(found: Estimate, how: str) -> Estimate:
    return found if found.value is None else replace(found, method=f"{found.method}; {how}")
