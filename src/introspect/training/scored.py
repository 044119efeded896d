"""Log-probabilities of the tokens that a loss is about, and of no others.

Four things make a step of a small adapter on a processor several times cheaper than a stock trainer's. The LM head runs
on scored positions only; what rows have in common at their beginning is computed once (`packing`); LoRA's matrix
products run in the base model's bfloat16 (weights, gradients and optimiser stay in float32); and nothing of size
[sequence, vocabulary] is kept.

Known trade-off: the decoder and the head are called apart, past any distributed wrapper, so one process trains.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from types import MethodType
from typing import Any, NamedTuple, TypeAlias

import torch
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from .packing import pack
from .steered import Injected, steered

IGNORE = -100
SCALES: dict[str, Callable[[float], float]] = {
    "logit_scale": float,
    "output_multiplier": float,
    "lm_head_multiplier": float,
    "logits_scaling": lambda factor: 1 / factor,
}
"""Field of a config -> what logits are multiplied by: Cohere, Muse, Falcon-H1; Granite and MiniCPM3 divide."""
AT_ONCE = 512
"""Tokens whose logits are in memory at a time."""
SAME = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.5}
"""Nats by which a token may differ from what it should be: rounding, and nothing else."""

Model: TypeAlias = PreTrainedModel | PeftModel


def hidden_states(model: Model, **inputs: torch.Tensor) -> torch.Tensor:
    """What the decoder leaves for the head, [row, token, width]."""
    base = base_model(model)
    with ExitStack() as stack:
        _in_own_precision(model, stack)
        return getattr(base, base.base_model_prefix)(**inputs, use_cache=False).last_hidden_state


def head(model: Model, hidden: torch.Tensor) -> torch.Tensor:
    """Logits [token, vocabulary] of hidden states [token, width], scaled and capped as the model does."""
    config = base_model(model).config.get_text_config()
    with ExitStack() as stack:
        _in_own_precision(model, stack)
        logits = base_model(model).get_output_embeddings()(hidden)
        for name, scale in SCALES.items():
            factor = getattr(config, name, None)
            if factor is not None:
                logits = logits * scale(factor)
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap


def scored_states(
    model: Model, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the head makes the logits of the scored tokens of: those whose label is not `IGNORE`.

    Args:
        input_ids, attention_mask, labels: [row, token]; the label of a token is the token itself.

    Returns:
        Hidden states [scored token, width]; targets [scored token]; and which are scored, [row, token - 1].
    """
    targets = labels[:, 1:]
    scored = targets != IGNORE
    hidden = hidden_states(model, input_ids=input_ids, attention_mask=attention_mask)
    return hidden[:, :-1][scored], targets[scored], scored


def packed_states(
    model: Model,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    injected: Injected | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `scored_states`, with common beginnings computed once.

    Args:
        injected: what is added to the activations of rows; common beginnings then end before it, in every row.

    Returns:
        Hidden states [distinct token, width]; targets [distinct token]; which are scored, [row, token - 1]; and for
        every scored token, in order, which of the distinct ones it is.
    """
    scored = labels[:, 1:] != IGNORE
    rows, heads, sources, targets = [], [], [], []
    for ids, mask, chosen in zip(input_ids.cpu(), attention_mask.cpu().bool(), scored.cpu(), strict=True):
        at = torch.cumsum(mask.long(), 0) - 1
        before = at[:-1][chosen]
        rows.append(ids[mask].tolist())
        heads.append(int(before[0]) + 1 if len(before) else len(rows[-1]))
        sources.append(before)
        targets.append(ids[1:][chosen])
    packed = pack(rows, heads) if injected is None else pack(rows, injected.heads.tolist(), beyond=False)
    flat = [places[source] for places, source in zip(packed.places, sources, strict=True)]
    pairs = torch.stack([torch.cat(flat), torch.cat(targets)])
    distinct, which = torch.unique(pairs, dim=1, return_inverse=True)
    device, dtype = input_ids.device, base_model(model).get_input_embeddings().weight.dtype
    blocked = torch.zeros(packed.sees.shape, dtype=dtype).masked_fill(~packed.sees, torch.finfo(dtype).min)
    with nullcontext() if injected is None else steered(base_model(model), injected, packed):
        hidden = hidden_states(
            model,
            input_ids=packed.input_ids.to(device),
            position_ids=packed.position_ids.to(device),
            attention_mask=blocked[:, None].to(device),
        )
    return hidden.flatten(0, 1)[distinct[0].to(device)], distinct[1].to(device), scored, which.to(device)


class TokenScores(NamedTuple):
    """Of scored tokens, [token]; all but the first without gradient."""

    log_prob: torch.Tensor
    entropy: torch.Tensor
    mean_logit: torch.Tensor
    is_top: torch.Tensor


class CheapHead:
    """Log-probabilities of labels, as trl's trainers ask for them."""

    def __init__(self, model: Model, temperature: float = 1.0) -> None:
        self.model, self.temperature = model, temperature
        self.packs: bool | None = None
        """Whether packing gives this model's numbers; None: not yet tried."""

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
    ) -> FusedCausalLMOutput:
        """Log-probabilities of the labels, and what trl logs beside them: [row, token - 1], 0 where none is scored."""
        if self.packs is None:
            self.packs = self._try(input_ids, attention_mask, labels)
        return self.score(input_ids, attention_mask, labels, packed=self.packs)

    def score(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, *, packed: bool
    ) -> FusedCausalLMOutput:
        """As a call, with or without packing."""
        if packed:
            states, targets, scored, which = packed_states(self.model, input_ids, attention_mask, labels)
        else:
            states, targets, scored = scored_states(self.model, input_ids, attention_mask, labels)
            which = torch.arange(len(targets), device=targets.device)
        parts = [
            checkpoint(self._score, *part, use_reentrant=False)
            for part in zip(states.split(AT_ONCE), targets.split(AT_ONCE), strict=True)
        ]
        scores = TokenScores(*(torch.cat(values) for values in zip(*parts, strict=True)))

        def spread(values: torch.Tensor) -> torch.Tensor:
            empty = torch.zeros(scored.shape, dtype=values.dtype, device=values.device)
            return empty.masked_scatter(scored, values[which])

        return FusedCausalLMOutput(
            loss=-scores.log_prob[which].mean(),
            log_probs=spread(scores.log_prob),
            entropy=spread(scores.entropy),
            mean_logits=spread(scores.mean_logit),
            is_top1=spread(scores.is_top),
        )

    def _score(self, states: torch.Tensor, targets: torch.Tensor) -> TokenScores:
        logits = head(self.model, states).float()
        if self.temperature != 1.0:
            logits = logits / self.temperature
        normaliser = logits.logsumexp(dim=-1)
        log_prob = logits.gather(1, targets[:, None])[:, 0] - normaliser
        with torch.no_grad():
            probabilities = (logits - normaliser[:, None]).exp_()
            entropy = normaliser - torch.linalg.vecdot(probabilities, logits)
            return TokenScores(log_prob, entropy, logits.mean(dim=-1), logits.argmax(dim=-1) == targets)

    @torch.no_grad()
    def _try(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> bool:
        """Whether packed rows get the numbers of rows alone. Where layers see a window only, none is tried."""
        if not sees_all(base_model(self.model)):
            return False
        few = slice(0, 4)
        alone, packed = (
            self.score(input_ids[few], attention_mask[few], labels[few], packed=packed).log_probs
            for packed in (False, True)
        )
        assert alone is not None and packed is not None  # noqa: S101 - for the type checker
        dtype = base_model(self.model).get_input_embeddings().weight.dtype
        return bool((alone - packed).abs().max() < SAME[dtype])


def sees_all(model: PreTrainedModel) -> bool:
    """Whether every layer sees all tokens, rather than a window."""
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    named = getattr(config, "layer_types", None) is not None
    return set(layers) == {"full_attention"} and (named or window is None)


def score_cheaply(model: Model, *, temperature: float = 1.0) -> None:
    """Make `model(..., labels=labels, fused_lm_head=True)`, by which trl's trainers ask for log-probabilities, use a
    `CheapHead`. To be called once trl has put its own version there.
    """
    base, cheap = base_model(model), CheapHead(model, temperature)
    original = base.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return original(*args, **kwargs)
        return cheap(kwargs["input_ids"], kwargs["attention_mask"], kwargs["labels"])

    base.forward = MethodType(forward, base)


def base_model(model: Model) -> PreTrainedModel:
    """The model without what peft has put around it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _in_own_precision(model: Model, stack: ExitStack) -> None:
    """Adapter and head compute in the model's own 16-bit format, where it has one."""
    weights = base_model(model).get_input_embeddings().weight
    if weights.dtype != torch.float32:
        stack.enter_context(torch.autocast(weights.device.type, weights.dtype))
        if isinstance(model, PeftModel):
            stack.enter_context(disable_input_dtype_casting(model))
