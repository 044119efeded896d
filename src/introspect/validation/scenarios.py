"""What is planted in runs, and what an instrument should make of it."""

from __future__ import annotations

from .alone_scenarios import ALONE
from .checks import Check, Scenario, covers, found
from .link_scenarios import AT_EXACTLY, LINKED, THRESHOLDED

__all__ = ["SCENARIOS", "Check", "Scenario"]

BEYOND = ("beyond_words", "beyond_length", "beyond_logits", "beyond_order")
PROBE = ("auroc", "accuracy", "brier")
SUMMED = ("ece", "tpr_at_1fpr", "tpr_at_5fpr")
"""Measures that are biased in small samples, since bins and thresholds are set on the very rows that are counted."""
STRICTEST = ("beyond_best", "beyond_every")
INCREMENTS = (*BEYOND, *STRICTEST, "beyond_base", "silent_beyond_words")
TEST = Check("found", "shuffled_labels")
WITHOUT = "what goes wrong where items are not held together"

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "nothing",
            "nothing: choices lean with the item, activations share what belongs to the item, and neither follows the "
            "other",
            (
                TEST,
                *found(
                    "auroc",
                    *BEYOND,
                    *STRICTEST,
                    "beyond_base",
                    "selectivity",
                    "silent_but_decodable",
                    "silent_beyond_words",
                    there=False,
                ),
                *covers(*PROBE, *SUMMED, "words_auroc", "policy_rate", *THRESHOLDED, *INCREMENTS),
                Check("rate", "realised_fpr"),
            ),
            base=0.0,
        ),
        Scenario(
            "direction",
            "a direction: activations of half of the layers carry the choice, nothing else does",
            (
                Check("found", "shuffled_labels", True),
                *found(
                    "auroc",
                    *BEYOND,
                    *STRICTEST,
                    "beyond_base",
                    "selectivity",
                    "silent_but_decodable",
                    "silent_beyond_words",
                    there=True,
                ),
                *covers(*PROBE, *SUMMED, "words_auroc", *THRESHOLDED, *INCREMENTS),
                AT_EXACTLY,
                Check("rate", "realised_fpr"),
            ),
            inside=1.0,
            base=0.0,
        ),
        Scenario(
            "base",
            "the same direction, as strong in the model before training, which has noise of its own",
            (
                Check("found", "shuffled_labels", True),
                *found("beyond_words", there=True),
                *found("beyond_base", there=False),
                *covers("beyond_base"),
            ),
            inside=1.0,
            base=1.0,
        ),
        Scenario(
            "word",
            "a leak: one word of the chain goes with the choice in 85% of rollouts, and activations carry the sum of "
            "the input embeddings that were read, nothing else",
            (
                Check("found", "shuffled_labels", True),
                *found("auroc", "beyond_length", there=True),
                *found("beyond_words", "beyond_embedding", there=False),
                *covers("auroc", "words_auroc", "beyond_words", "beyond_embedding"),
            ),
            leak="word",
        ),
        Scenario(
            "meaning",
            "a leak in meaning: the same with any of 40 words of a meaning in its place, which share an input "
            "embedding",
            (
                Check("found", "shuffled_labels", True),
                Check(
                    "above",
                    "beyond_words",
                    None,
                    "words are counted one by one, so a meaning that many words share may go beyond them",
                ),
                *found("beyond_embedding", there=False),
                *covers("beyond_words"),
            ),
            leak="meaning",
        ),
        Scenario(
            "length",
            "a confound: chains of those that act are longer, and activations carry how many tokens were read",
            (
                Check("found", "shuffled_labels", True),
                *found("auroc", there=True),
                *found("beyond_length", *STRICTEST, there=False),
                *covers("auroc", "beyond_length", *STRICTEST),
            ),
            length=True,
        ),
        Scenario(
            "items",
            "an item leak: all rollouts of an item choose alike, and activations tell items apart, nothing else; twice "
            "as many items, since a threshold at 5% needs 19 that did not act to set it on",
            (
                TEST,
                *found("auroc", "beyond_words", "selectivity", "silent_but_decodable", there=False),
                *covers("auroc", "accuracy", "policy_rate", *THRESHOLDED),
                Check("rate", "realised_fpr"),
            ),
            items=True,
            times=2,
        ),
        Scenario(
            "items, split by rollout",
            "the same, with every rollout called an item of its own: what a split that does not hold items together "
            "would say",
            (
                Check("found", "shuffled_labels", None, WITHOUT),
                Check("above", "auroc", None, WITHOUT),
                Check("coverage", "auroc", None, WITHOUT),
            ),
            items=True,
            times=2,
            rows_as_groups=True,
        ),
        Scenario(
            "logits",
            "the answer on its way: the choice follows a number, which the next token's logits show and activations "
            "carry",
            (
                Check("found", "shuffled_labels", True),
                *found("auroc", "beyond_words", there=True),
                *found("beyond_logits", *STRICTEST, there=False),
                *covers("beyond_logits", *STRICTEST),
            ),
            logits=True,
        ),
        *LINKED,
        *ALONE,
    )
}
