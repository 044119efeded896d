"""What increments over baselines are worth in the population: of the very probe and baselines that were fitted."""

from __future__ import annotations

from ..probe_report import ProbeOutcome, ProbeStage
from ..stats import CHANCE, auroc

BEYOND = {
    "beyond_length": "length",
    "beyond_logits": "logits",
    "beyond_order": "option_order",
    "beyond_embedding": "embedding_prompt_chain",
    "beyond_base": "base_model",
}
"""Measure -> the baseline that it is beyond."""


def increments(stage: ProbeStage, outcome: ProbeOutcome) -> dict[str, float]:
    """Measure -> AUROC of the headline probe in the population, minus that of a baseline or of chance.

    The best baseline is the one that was chosen on the development groups; the largest of all is the one that is
    largest in the population. Neither looks at the base model, as in a report.
    """
    rows, labels = stage.ood, stage.labels[stage.ood]
    probe = auroc(outcome.headline.scores[rows], labels)
    beyond = {
        name: probe - max(auroc(scores[rows], labels), CHANCE) for name, scores in outcome.baseline_scores.items()
    }
    found = {measure: beyond[name] for measure, name in BEYOND.items() if name in beyond}
    best = outcome.baselines["best"]["name"]
    found["beyond_best"] = beyond[best]
    found["beyond_every"] = min(each for name, each in beyond.items() if name != "base_model")
    return found
