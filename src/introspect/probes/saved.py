"""A probe in a folder: `probe.safetensors` (its direction) and `probe.json` (its card); see `card_folder`.

The card says what the direction was fitted to, where it reads, what it predicts, how well it did on groups that it had
not seen, and what the baselines and controls did there: a probe is loaded with its card or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..card_folder import MAX_NUMBER, CardFolder
from ..errors import EstimateError, StoreError
from ..probe_folders import CARD
from .linear import not_finite

__all__ = ["CARD", "MAX_NUMBER", "TENSORS", "SavedProbe", "card_schema", "load_probe", "read_card", "save_probe"]

TENSORS = "probe.safetensors"
REMEDY = "get the probe again, or make one with `introspect probe save`"


@dataclass(frozen=True)
class SavedProbe:
    """A direction in raw activation space and its card."""

    weight: np.ndarray
    """float32 or float64 [width]"""
    bias: float
    card: dict[str, Any]
    """As in probe.schema.json."""

    @property
    def site(self) -> str:
        return str(self.card["place"]["site"])

    @property
    def layer(self) -> int:
        return int(self.card["place"]["layer"])

    @property
    def position(self) -> str:
        return str(self.card["place"]["position"])

    @property
    def threshold(self) -> float | None:
        """Score above which a readout is `policy`."""
        value = self.card["threshold"]["value"]
        return None if value is None else float(value)

    def score(self, activations: np.ndarray, names: Any = None) -> np.ndarray:
        """Scores [row] of activations [row, width], in float64: `activations . weight + bias`.

        Args:
            names: what the rows are called, in their order.

        Raises:
            EstimateError: another width, or rows or scores that are not finite.
        """
        if activations.shape[-1] != len(self.weight):
            raise EstimateError(
                f"the probe has a width of {len(self.weight)} and the activations {activations.shape[-1]}: it reads "
                f"{self.card['model']['name']} only"
            )
        bad = not_finite(activations, names)
        if bad:
            raise EstimateError(f"activations of rollouts {bad} hold NaN or infinity: record the run again")
        with np.errstate(over="ignore", invalid="ignore"):
            scores = activations.astype(np.float64) @ self.weight.astype(np.float64) + self.bias
        if not np.isfinite(scores).all():
            raise EstimateError(
                f"the probe ({self.card['summary']}) gives NaN or infinity as the score of rollouts "
                f"{not_finite(scores[:, None], names)}: its weights are too large for these activations; {REMEDY}"
            )
        return scores


@cache
def card_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of probe.json."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "probe.schema.json").read_text(encoding="utf-8"))
    return content


def save_probe(folder: Path, weight: np.ndarray, bias: float, card: Mapping[str, Any]) -> SavedProbe:
    """Write a probe to a folder that is new or empty, and read it back.

    Args:
        weight: [width], float32 or float64, kept bit for bit.
        card: without `format` and `tensors`, which follow from the rest.

    Raises:
        RunError: the folder holds something, or cannot be written to.
        StoreError: the card or the direction is none that could be read back.
    """
    tensors = {"weight": weight, "bias": np.array([bias], dtype=weight.dtype)}
    FOLDER.save(folder, tensors, weight.shape[0], card)
    return load_probe(folder)


def load_probe(folder: Path) -> SavedProbe:
    """Read a probe that may come from a stranger.

    Raises:
        StoreError: a file is missing, a link, too large, damaged, or does not fit the schema or the other. Names it.
    """
    tensors, card = FOLDER.load(folder)
    return SavedProbe(tensors["weight"], float(tensors["bias"][0]), card)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a probe alone; errors as `load_probe`."""
    return FOLDER.read_card(folder)


def _check(card: dict[str, Any], source: str) -> None:
    if card["place"]["layer"] >= card["model"]["n_layers"] or card["tensors"]["width"] != card["model"]["width"]:
        raise StoreError(f"{source}: the direction's layer or width is none of its model's; {REMEDY}")
    for where, estimate in _estimates(card):
        low, high = estimate.get("ci95", (0, 0))
        if low > high:
            raise StoreError(f"{source}: {where}.ci95: [{low}, {high}] begins above its end; {REMEDY}")


def _estimates(card: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every estimate of a card that fits the schema, and where it stands."""
    for name, estimate in card["metrics"].items():
        yield f"metrics.{name}", estimate
    for name, baseline in card["baselines"].items():
        yield from ((f"baselines.{name}.{key}", baseline[key]) for key in ("auroc", "increment"))
    for name in ("selectivity", "random_direction", "negative_control"):
        yield f"controls.{name}", card["controls"][name]


FOLDER = CardFolder(
    card=CARD,
    tensors=TENSORS,
    schema=card_schema,
    shapes=lambda card: {"weight": (card["tensors"]["width"],), "bias": (1,)},
    check=_check,
    remedy=REMEDY,
)
