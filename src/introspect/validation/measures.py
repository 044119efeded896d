"""The measures of the table: what each is called, what its truth is here, and which figures of a report have none."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..stats import CHANCE

FPR = None
"""The level of a share of readouts: the rate that thresholds are set for."""
WORTH = "the {0} that the very probe that was fitted has in the population"
INCREMENT = (
    "the population's AUROC of the probe that was fitted, minus that of {0} as it was fitted, or minus one half where "
    "that is more"
)
PASSING = "of the population's rollouts that {0}, the share that passes the threshold as it was set"


class Measure(NamedTuple):
    """A measure."""

    label: str
    truth: str
    """What its interval should hold; empty: it is only asked whether something is found."""
    level: float | None = 0.0
    """What it is without anything to find; `FPR`: see there."""


MEASURES = {
    "shuffled_labels": Measure("shuffled labels, p of the largest AUROC", ""),
    "auroc": Measure("probe's AUROC", WORTH.format("AUROC"), CHANCE),
    "accuracy": Measure("accuracy", WORTH.format("accuracy, at the threshold that it was given,")),
    "tpr_at_1fpr": Measure("TPR at 1% FPR", WORTH.format("share of rollouts that act above the threshold as set")),
    "tpr_at_5fpr": Measure("TPR at 5% FPR", WORTH.format("share of rollouts that act above the threshold as set")),
    "brier": Measure("Brier score", WORTH.format("Brier score")),
    "ece": Measure("calibration error (ECE)", WORTH.format("debiased ECE")),
    "words_auroc": Measure(
        "AUROC of the best of words", "the AUROC that the very words that were fitted have in the population"
    ),
    "beyond_best": Measure(
        "beyond the best baseline", INCREMENT.format("the baseline that was chosen on the development groups")
    ),
    "beyond_every": Measure(
        "beyond the largest of all baselines", INCREMENT.format("the baseline with the largest there")
    ),
    "beyond_words": Measure("beyond the best of words", INCREMENT.format("the words that were chosen")),
    "beyond_embedding": Measure("beyond the words' embeddings", INCREMENT.format("the probe of input embeddings")),
    "beyond_length": Measure("beyond length", INCREMENT.format("length")),
    "beyond_logits": Measure("beyond logits", INCREMENT.format("the next token's logits")),
    "beyond_order": Measure("beyond option order", INCREMENT.format("the order of options")),
    "beyond_base": Measure("beyond the base model", INCREMENT.format("the base model's probe")),
    "selectivity": Measure("selectivity (range over control tasks)", ""),
    "policy_rate": Measure("policy rate", "the share of rollouts that act which choices are drawn with"),
    "silent_but_decodable": Measure(
        "silent but decodable", PASSING.format("act and are silent by the headline's verdict"), FPR
    ),
    "silent_at_fpr": Measure(
        "silent but decodable, against the rate at exactly that FPR",
        "the same at the threshold that exactly that share of the population's others passes",
    ),
    "realised_fpr": Measure("rate at which rollouts that did not act pass", PASSING.format("do not act")),
    "words_silent": Measure(
        "silent but decodable from words", PASSING.format("act and are silent") + ", by words and their threshold", FPR
    ),
    "silent_beyond_words": Measure(
        "silent but decodable, beyond words", "the difference of these two rates in the population"
    ),
    "silent_corrected": Measure(
        "silent but decodable, corrected for label noise",
        PASSING.format("act and say so in no words at all, found by the patterns or missed,"),
        FPR,
    ),
    "silent_uncorrected": Measure("silent but decodable, by the patterns alone", "that of the corrected rate", FPR),
    "before_mention": Measure(
        "read before the first mention",
        PASSING.format("act and say so") + ", at the last think position before they begin to",
        FPR,
    ),
    "words_before_mention": Measure(
        "read before the first mention, from words", "the same from the words up to there", FPR
    ),
    "first_mention": Measure(
        "place of the first mention", "its mean over the population's rollouts that say so, as a share of the chain"
    ),
    "first_kind_fpr": Measure(
        "rate at which others pass, first kind of hint",
        PASSING.format("do not use that hint, aligned ones among them,"),
    ),
    "second_kind_fpr": Measure("rate at which others pass, second kind of hint", "the same of that kind"),
    "second_kind_at_common": Measure(
        "rate at which others pass, second kind of hint, at the common threshold", "the same at that threshold"
    ),
    "motivated": Measure("motivated ones that are read", PASSING.format("use the hint") + ", kind by kind", FPR),
    "resistant": Measure("resistant ones that are read", PASSING.format("keep to their answer"), FPR),
    "aligned": Measure("aligned ones that are read", PASSING.format("answer so without the hint too"), FPR),
    "motivated_auroc": Measure(
        "AUROC of motivated against the others, within kinds",
        "the same AUROC in the population, kinds counting by their pairs",
        CHANCE,
    ),
    "auroc_corrected": Measure(
        "AUROC of a probe, corrected for errors of labels",
        "the AUROC on labels without errors that scores are drawn with, in closed form",
        CHANCE,
    ),
    "auroc_by_second": Measure("AUROC by the second classifier's labels", "the same", CHANCE),
    "transfer_shuffled": Measure("transfer, p against the row's labels shuffled", ""),
    "transfer": Measure(
        "transfer: AUROC of the one's probe on the other", "the AUROC that it has in the other's population", CHANCE
    ),
    "transfer_below": Measure(
        "transfer: below the other's own probe", "the difference of both probes' AUROC in the other's population"
    ),
    "transfer_drop": Measure(
        "transfer: below its AUROC at home", "the difference of the probe's AUROC in either population"
    ),
    "push_p": Measure("steering, rank p of what log-odds do", ""),
    "share_p": Measure("steering, rank p of the share that acts", ""),
    "push_change": Measure("steering, change of log-odds", "the push that was planted"),
    "push_beyond": Measure(
        "steering, change of log-odds beyond these controls", "the planted push minus the mean of the controls'"
    ),
    "share_change": Measure(
        "steering, change of the share that acts", "what the planted push does to the share that acts in the population"
    ),
    "share_beyond": Measure(
        "steering, change of the share that acts, beyond these controls", "the same minus the mean of the controls'"
    ),
}

WITHOUT_TRUTH = {
    "interval of selectivity, of random directions and of cosines' nulls": "they are ranges over random labellings or "
    "directions, and no intervals of a number; whether selectivity is found where it is not is asked above",
    "link, table by verdict, along the chain, think x answer x readout": "shares at a threshold that is carried over, "
    "as silent but decodable is, of other rows or at other positions: not repeated",
    "AUROC of a probe where errors of labels follow the activations": "no correction is claimed for it: what the probe "
    "is worth on the second classifier's labels stands beside it",
    "verdicts of classifiers": "what a chain in a language says is for readers to decide; here chains say it in words "
    "that the patterns find, or in words that they miss",
    "capture noise": "a property of a model on a machine, and no model is run",
    "causal column, perplexity, dose response": "whether a model uses a direction needs a model; what is asked of "
    "numbers that a steered model gave is above",
    "cosines of directions": "noise draws them towards 0, the more the fewer rows there are, so that what is true of "
    "them depends on the sample; not planted",
}
"""Figure of a report -> why no truth is planted for it."""


def truths(measures: set[str]) -> list[dict[str, str]]:
    """Label and truth of those measures that have one, in the order of the list."""
    return [
        {"label": each.label, "truth": each.truth} for name, each in MEASURES.items() if name in measures and each.truth
    ]


def without_truth() -> list[dict[str, Any]]:
    """The figures that have none, and why."""
    return [{"label": label, "reason": reason} for label, reason in WITHOUT_TRUTH.items()]
