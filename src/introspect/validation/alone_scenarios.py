"""What is planted for measures that need no run around them: numbers are put to each as its stage does."""

from __future__ import annotations

from .checks import Check, Scenario, covers, found

TRANSFER = ("transfer", "transfer_below", "transfer_drop")
PUSHED = ("push_change", "push_beyond", "share_change", "share_beyond")

ALONE = (
    Scenario(
        "labels with errors",
        "a probe of labels of which 15% are wrong, whatever the activations; a second classifier has read half of the "
        "rows without an error",
        (
            *found("auroc_corrected", "auroc_by_second", there=True),
            *covers("auroc_corrected", "auroc_by_second"),
            Check("bias", "auroc_corrected"),
        ),
        alone=True,
        many=10,
    ),
    Scenario(
        "labels with errors, nothing there",
        "the same, of scores that have nothing to do with what the second classifier says",
        (
            *found("auroc_corrected", "auroc_by_second", there=False),
            *covers("auroc_corrected", "auroc_by_second"),
        ),
        alone=True,
        many=10,
    ),
    Scenario(
        "transfer, one direction",
        "two organisms that answer the same items and carry the choice along one direction",
        (
            Check("found", "transfer_shuffled", True),
            *found("transfer", there=True),
            *found("transfer_drop", "transfer_below", there=False),
            *covers(*TRANSFER),
        ),
        alone=True,
        many=5,
    ),
    Scenario(
        "transfer, two directions",
        "the same, with a direction of its own for each, drawn apart",
        (
            Check("found", "transfer_shuffled"),
            *found("transfer_drop", "transfer_below", there=True),
            *covers(*TRANSFER),
        ),
        alone=True,
        many=5,
    ),
    Scenario(
        "steering, a push like others",
        "a direction that is steered among 40 controls, and does what one of them might",
        (
            Check("found", "push_p"),
            Check("found", "share_p"),
            *covers(*PUSHED),
        ),
        alone=True,
        many=10,
    ),
    Scenario(
        "steering, a push",
        "the same, with a direction that does four times what is usual for a control",
        (
            Check("found", "push_p", True),
            Check("found", "share_p", True),
            *found("push_change", "push_beyond", "share_change", "share_beyond", there=True),
            *covers(*PUSHED),
        ),
        alone=True,
        many=10,
    ),
)
