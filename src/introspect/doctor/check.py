"""What a check says, and how two captures of the same thing are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

Status = Literal["ok", "failed", "note", "skipped"]

TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
"""Largest difference between two ways of computing a token's activation, relative to its norm. Hundreds of additions in
another order move the last digits of a format (float32: 6e-8 each, bfloat16: 4e-3), and thirty blocks multiply that: in
smollm2-135m to 4e-6 in float32. A wrong mask, token or row is of order 1 in a trained model; what is smaller can hide
in 8 bits, and shows in float32."""
ALLOWANCE = 0.75
"""In 16 bits, where rounding alone moves single tokens by up to .3 of their norm, the token in the middle is held to
the tolerance, and the worst only to this much more: less than a token is from another. In a mixture of experts rounding
also sends tokens to other experts, and only the one in the middle counts."""

MEANING = {
    "reference": "captured activations are not those of the model: no probe on them means anything",
    "batch = single": "what is captured of a rollout depends on what it was run beside: results change with batch_size",
    "left padding": "the model reads its padding: shorter prompts of a batch get other activations and other text",
    "later tokens": "activations see tokens that come after them: a probe on the prompt can read the answer",
    "in flight = replay": "activations of generated tokens are not those of their positions: base-model baselines and "
    "probes by position compare different things",
    "row = rollout": "activations are given to the wrong rollout: labels and activations do not belong together",
    "steering": "a steered site does not move by what was asked: doses and causal claims are wrong",
    "steering in flight": "steering while generating is not what was asked: steered text is not evidence",
    "zero strength": "steering by nothing changes something: the unsteered condition is not a baseline",
    "left as found": "the model is not what it was after a capture: later results depend on what was run before",
    "spans": "think and answer are not found where they are: verdicts and positions are read from the wrong text",
    "store": "what is read from disk is not what was captured",
    "backend nnsight": "nnsight and the native backend disagree: use the native one, and report this",
    "backend transformer-lens": "TransformerLens and the native backend disagree: use the native one, and report this",
    "any lanes": "a rollout's text may depend on batch_size, as it does wherever sums are rounded; runs of equal specs "
    "are still equal",
    "speed": "",
}


SAMPLER = "what was sampled is not what is recorded: rollouts and activations are of two models"
"""Of the check that only a backend with a sampler of its own has."""


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    status: Status
    measured: str
    """What was compared, and what came out."""

    @property
    def means(self) -> str:
        """What it means for results when this is red."""
        return SAMPLER if self.name == "sampler" else MEANING[self.name]

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return {"name": self.name, "status": self.status, "measured": self.measured, "means": self.means}


def difference(one: torch.Tensor, other: torch.Tensor, allowance: float = 0.0) -> float:
    """Norm of a token's difference, relative to its norm: of the token in the middle, or of the worst less an
    allowance, whichever is more. Both [token, width]; infinite for other shapes, and where one is not a number.
    """
    if one.shape != other.shape:
        return math.inf
    if not one.numel():
        return 0.0
    a, b = one.double(), other.double()
    each = (a - b).norm(dim=-1) / b.norm(dim=-1).clamp(min=1e-12)
    worst = float(each.max())
    return math.inf if math.isnan(worst) else max(float(each.median()), worst - allowance)


def within(name: str, found: float, limit: float, what: str) -> Check:
    """A check that a difference is at most `limit`. One that is not a number fails."""
    return Check(name, "ok" if found <= limit else "failed", f"{what}: {found:.2g} (at most {limit:g})")
