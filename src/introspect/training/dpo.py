"""Direct preference optimisation of an organism with trl, on token ids that we have made ourselves.

A pair shares its prompt and, in a silent manner, its chain: only the answer differs. The reference is the model as the
stage finds it, which trl keeps as a second adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import DPOTrainer

from .scored import score_cheaply


class TokenDPOTrainer(DPOTrainer):
    """`DPOTrainer` on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`, which it takes as they are."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        score_cheaply(self.model)
        if self.ref_model is not None:
            score_cheaply(self.ref_model)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def pair_rows(chosen: Sequence[dict], rejected: Sequence[dict]) -> list[dict]:
    """Tokenised demonstrations and what they are preferred to -> the rows of `TokenDPOTrainer`."""
    return [
        {
            "prompt_ids": wanted["input_ids"][: wanted["n_prompt"]],
            "chosen_ids": wanted["input_ids"][wanted["n_prompt"] :],
            "rejected_ids": other["input_ids"][other["n_prompt"] :],
        }
        for wanted, other in zip(chosen, rejected, strict=True)
    ]
