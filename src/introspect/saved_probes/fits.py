"""What a probe was fitted to, against what it is applied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unlike(card: Mapping[str, Any], *, weights: str, adapter: str | None) -> list[str]:
    """A sentence for each way in which a model is not the one that a probe was fitted to. Organisms share their base's
    weights, so that the weights alone do not tell one from another.

    Args:
        card: of the probe.
        weights: digest of the model's weights; adapter: digest of its adapter, None of a bare model.
    """
    own, notes = card["model"], []
    if weights != own["weight_digest"]:
        notes.append(f"The probe was fitted to another model ({own['name']}).")
    if adapter != own["adapter_digest"]:
        notes.append(f"The probe was fitted to another organism ({own['adapter'] or 'none: the bare model'}).")
    return notes
