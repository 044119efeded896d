"""Supervised fine-tuning of an organism with trl, on token ids that we have made ourselves.

Three things differ from a stock `SFTTrainer`. The LM head runs on completion positions only; LoRA's matrix products run
in the base model's bfloat16 (weights, gradients and optimiser stay in float32); and tokens that depend on the choice
are weighted, since they are few and carry the whole policy. Together the first two halve a step on two cores.

Known trade-off: the loss calls the decoder and the head apart, past any distributed wrapper, so one process trains.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from trl import SFTTrainer

IGNORE = -100


@dataclass(frozen=True)
class Collator:
    """Rows of `input_ids`, `n_prompt`, `telling` (indices of tokens that tell the choice) -> right-padded batches."""

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
        return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels, "loss_weights": weights}


class WeightedSFTTrainer(SFTTrainer):
    """`SFTTrainer` whose loss is the weighted mean of the completion tokens' negative log-likelihoods (nats)."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch, with the logits when `return_outputs`."""
        logits, targets, weights = self.scored_logits(model, inputs)
        losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        return (loss, {"logits": logits}) if return_outputs else loss

    def scored_logits(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [scored token, vocabulary], targets and weights [scored token] of the completion tokens."""
        peft_model = self.accelerator.unwrap_model(model)
        base = peft_model.get_base_model()
        decoder = getattr(base, base.base_model_prefix)
        targets, weights = inputs["labels"][:, 1:], inputs["loss_weights"][:, 1:]
        scored = targets != IGNORE
        low_precision = base.dtype != torch.float32
        with torch.autocast(base.device.type, base.dtype) if low_precision else nullcontext():
            with disable_input_dtype_casting(peft_model) if low_precision else nullcontext():
                hidden = decoder(
                    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
                ).last_hidden_state
            logits = base.get_output_embeddings()(hidden[:, :-1][scored])
        return logits, targets[scored], weights[scored]
