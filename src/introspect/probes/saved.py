"""A probe in a folder: `probe.safetensors` (its direction) and `probe.json` (its card).

The card says what the direction was fitted to, where it reads, what it predicts, how well it did on groups that it had
not seen, and what the baselines and controls did there: a probe is loaded with its card or not at all. `probe.json` is
written last, so a folder that has one is whole. Whatever is read may come from a stranger: sizes are bounded before
anything is read, numbers must be finite, no key may be unknown, and the direction must be the one that the card was
written for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..atomic import read_at_most, write_atomic
from ..errors import EstimateError, RunError, StoreError
from ..probe_folders import CARD
from ..results import read_json
from .linear import not_finite

FORMAT = 1
TENSORS = "probe.safetensors"
MAX_CARD_BYTES = 16 << 20
MAX_WIDTH = 1 << 20
MAX_TENSOR_BYTES = 8 * (MAX_WIDTH + 1) + (64 << 10)
MAX_NUMBER = 1e30
"""Largest size of a number of the direction: no score of float32 activations comes near the end of float64."""
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
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise RunError(f"{folder} is there already and not empty: choose another --out, or remove it")
    weight = np.ascontiguousarray(weight)
    content = save({"weight": weight, "bias": np.array([bias], dtype=weight.dtype)})
    tensors = {"sha256": hashlib.sha256(content).hexdigest(), "dtype": str(weight.dtype), "width": weight.shape[0]}
    whole = {"format": FORMAT, **card, "tensors": tensors}
    _check_card(whole, str(folder / CARD))
    _read_tensors(content, whole, folder / TENSORS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {folder}: {error.strerror}; choose another --out") from None
    write_atomic(folder / TENSORS, content)
    write_atomic(folder / CARD, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return load_probe(folder)


def load_probe(folder: Path) -> SavedProbe:
    """Read a probe that may come from a stranger.

    Raises:
        StoreError: a file is missing, a link, too large, damaged, or does not fit the schema or the other. Names it.
    """
    card = read_card(folder)
    path = folder / TENSORS
    try:
        content = read_at_most(path, MAX_TENSOR_BYTES)
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error.strerror}); {REMEDY}") from None
    if hashlib.sha256(content).hexdigest() != card["tensors"]["sha256"]:
        raise StoreError(f"{path} is not the file that its card was written for; {REMEDY}")
    weight, bias = _read_tensors(content, card, path)
    return SavedProbe(weight, bias, card)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a probe alone; errors as `load_probe`."""
    path = folder / CARD
    try:
        card = read_json(path, MAX_CARD_BYTES)
    except StoreError as error:
        raise StoreError(f"{str(error).split(';')[0]}; {REMEDY}") from None
    _check_card(card, str(path))
    return card


def _check_card(card: dict[str, Any], source: str) -> None:
    try:
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(card_schema()).iter_errors(card))
    except RecursionError:
        raise StoreError(f"{source}: nested too deep; {REMEDY}") from None
    if error is not None:
        where = ".".join(str(part)[:80] for part in error.absolute_path) or "the card"
        said = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
        raise StoreError(f"{source}: {where}: {said}; {REMEDY}")
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


def _read_tensors(content: bytes, card: Mapping[str, Any], path: Path) -> tuple[np.ndarray, float]:
    try:
        found = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(f"{path} is no safetensors file ({str(error)[:200]}); {REMEDY}") from None
    expected = {"weight": (card["tensors"]["width"],), "bias": (1,)}
    if {name: tensor.shape for name, tensor in found.items()} != expected:
        raise StoreError(f"{path} holds other tensors than weight {expected['weight']} and bias (1,); {REMEDY}")
    if any(str(tensor.dtype) != card["tensors"]["dtype"] for tensor in found.values()):
        raise StoreError(f"{path} holds other numbers than {card['tensors']['dtype']}; {REMEDY}")
    if not all(np.isfinite(tensor).all() for tensor in found.values()):
        raise StoreError(f"{path} holds numbers that are not finite; {REMEDY}")
    if any(np.abs(tensor).max() > MAX_NUMBER for tensor in found.values()):
        raise StoreError(f"{path} holds numbers above {MAX_NUMBER:g}; {REMEDY}")
    return found["weight"], float(found["bias"][0])
