"""What is planted, and what an instrument should make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["coverage", "above", "found", "rate", "bias"]
"""How often an interval holds the truth; how often it lies above chance, zero or the nominal rate; how often a test
rejects at 5%; the mean rate in the population; the mean of estimate minus truth."""


@dataclass(frozen=True)
class Check:
    """A row of the table: one measure of one scenario over all draws."""

    kind: Kind
    measure: str
    """A key of a draw's facts."""
    there: bool | None = False
    """Of what is found: whether it was planted, so that finding it is right; None: a limit, shown as it is."""
    note: str = ""
    """What a reader should know of this row."""


@dataclass(frozen=True)
class Scenario:
    """A source of rollouts."""

    name: str
    planted: str
    """What is planted, in words."""
    checks: tuple[Check, ...]
    inside: float = 0.0
    """How far activations of those that act lie from the others, in units of the spec's strength."""
    base: float | None = None
    """The same of the model before training; None: it is not recorded."""
    leak: Literal["", "word", "meaning"] = ""
    """Whether one word, or one of many words of a meaning, goes with the choice."""
    length: bool = False
    """Whether chains of those that act are longer."""
    items: bool = False
    """Whether all rollouts of an item choose alike, and their activations share nearly everything."""
    times: int = 1
    """Items of the sample, as a multiple of the spec's."""
    rows_as_groups: bool = False
    """Whether every rollout is called an item of its own, which lets items stand on both sides of the split."""
    logits: bool = False
    """Whether the choice follows a number that the next token's logits show."""
    spoken: float = 0.0
    """Share of those that act that say so."""
    carried: float = 1.0
    """Share of those that act without saying so whose activations carry it."""


def _found(*measures: str, there: bool) -> tuple[Check, ...]:
    return tuple(Check("above", measure, there) for measure in measures)


def _covers(*measures: str) -> tuple[Check, ...]:
    return tuple(Check("coverage", measure) for measure in measures)


BEYOND = ("beyond_words", "beyond_length", "beyond_logits", "beyond_order")
PROBE = ("auroc", "accuracy", "brier")
THRESHOLDED = ("silent_but_decodable", "realised_fpr")
SUMMED = ("ece", "tpr_at_5fpr")
"""Measures that are biased in small samples, since bins and thresholds are set on the very rows that are counted."""
AT_EXACTLY = Check(
    "coverage",
    "silent_at_fpr",
    None,
    "thresholds pass at most that rate, and mostly less, so what is estimated is less than is read at exactly it",
)
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
                *_found(
                    "auroc",
                    *BEYOND,
                    "beyond_best",
                    "beyond_every",
                    "beyond_base",
                    "selectivity",
                    "silent_but_decodable",
                    there=False,
                ),
                *_covers(*PROBE, *SUMMED, "words_auroc", "policy_rate", *THRESHOLDED),
                Check("rate", "realised_fpr"),
            ),
            base=0.0,
        ),
        Scenario(
            "direction",
            "a direction: activations of half of the layers carry the choice, nothing else does",
            (
                Check("found", "shuffled_labels", True),
                *_found(
                    "auroc",
                    *BEYOND,
                    "beyond_best",
                    "beyond_every",
                    "beyond_base",
                    "selectivity",
                    "silent_but_decodable",
                    there=True,
                ),
                *_covers(*PROBE, *SUMMED, "words_auroc", "beyond_words", *THRESHOLDED),
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
                *_found("beyond_words", there=True),
                *_found("beyond_base", there=False),
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
                *_found("auroc", "beyond_length", there=True),
                *_found("beyond_words", "beyond_embedding", there=False),
                *_covers("auroc", "words_auroc", "beyond_words"),
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
                *_found("beyond_embedding", there=False),
                *_covers("beyond_words"),
            ),
            leak="meaning",
        ),
        Scenario(
            "length",
            "a confound: chains of those that act are longer, and activations carry how many tokens were read",
            (
                Check("found", "shuffled_labels", True),
                *_found("auroc", there=True),
                *_found("beyond_length", "beyond_best", "beyond_every", there=False),
                *_covers("auroc"),
            ),
            length=True,
        ),
        Scenario(
            "items",
            "an item leak: all rollouts of an item choose alike, and activations tell items apart, nothing else; twice "
            "as many items, since a threshold at 5% needs 19 that did not act to set it on",
            (
                TEST,
                *_found("auroc", "beyond_words", "selectivity", "silent_but_decodable", there=False),
                *_covers("auroc", "accuracy", "policy_rate", *THRESHOLDED),
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
                *_found("auroc", "beyond_words", there=True),
                *_found("beyond_logits", "beyond_best", "beyond_every", there=False),
            ),
            logits=True,
        ),
        Scenario(
            "silent",
            "the link: 40% of those that act say so; of the silent ones, activations of one half carry the choice, and "
            "those of the other half are like those of rollouts that do not act",
            (
                Check("found", "shuffled_labels", True),
                *_found("silent_but_decodable", "silent_beyond_words", there=True),
                *_found("words_silent", there=False),
                *_covers("silent_but_decodable", "realised_fpr", "words_silent"),
                AT_EXACTLY,
                Check("bias", "silent_but_decodable"),
                Check("rate", "realised_fpr"),
            ),
            inside=2.0,
            spoken=0.4,
            carried=0.5,
        ),
    )
}
