"""Supervised fine-tuning of an organism with trl, on token ids that we have made ourselves.

Tokens that depend on the choice are weighted, since they are few and carry the whole policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from trl import SFTTrainer

from .scored import IGNORE, head, packed_states, scored_states
from .steered import NOWHERE, Injected


@dataclass(frozen=True)
class Collator:
    """Rows of `input_ids`, `n_prompt`, `telling` (indices of tokens that tell the choice) -> right-padded batches.

    Where a row says what is added to its activations (`added`, `layer`, `start`, `stop`, `head`), so do those of the
    batch.
    """

    pad_id: int
    answer_weight: float

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        input_ids = torch.full(shape, self.pad_id)
        attention_mask = torch.zeros(shape, dtype=torch.long)
        labels = torch.full(shape, IGNORE)
        weights = torch.zeros(shape)
        for i, row in enumerate(rows):
            ids = torch.tensor(row["input_ids"])
            input_ids[i, : len(ids)] = ids
            attention_mask[i, : len(ids)] = 1
            labels[i, row["n_prompt"] : len(ids)] = ids[row["n_prompt"] :]
            weights[i, row["n_prompt"] : len(ids)] = 1.0
            weights[i, row["telling"]] = self.answer_weight
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels, "loss_weights": weights}
        if "added" in rows[0]:
            width = max(len(row["added"]) for row in rows)
            batch["added"] = torch.tensor([row["added"] or [0.0] * width for row in rows])
            batch["layers"] = torch.tensor([row["layer"] if row["added"] else NOWHERE for row in rows])
            batch["starts"] = torch.tensor([row["start"] for row in rows])
            batch["stops"] = torch.tensor([row["stop"] for row in rows])
            batch["heads"] = torch.tensor([row["head"] for row in rows])
        return batch


class WeightedSFTTrainer(SFTTrainer):
    """`SFTTrainer` whose loss is the weighted mean of the completion tokens' negative log-likelihoods (nats).

    The mean is over all passes of an optimiser step.
    """

    loss_is_scaled_for_ga = True

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """The passes of a step, and the weight of all their tokens."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(batch["loss_weights"][:, 1:].sum() for batch in batches)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch, with the logits when `return_outputs`."""
        trained = self.accelerator.unwrap_model(model)
        rows = inputs["input_ids"], inputs["attention_mask"], inputs["labels"]
        if "added" in inputs:
            injected = Injected(*(inputs[name] for name in Injected._fields))
            distinct, targets, scored, which = packed_states(trained, *rows, injected)
            states, targets = distinct[which], targets[which]
        else:
            states, targets, scored = scored_states(trained, *rows)
        logits = head(trained, states)
        weights = inputs["loss_weights"][:, 1:][scored]
        losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (losses * weights).sum() / total
        return (loss, {"logits": logits}) if return_outputs else loss
