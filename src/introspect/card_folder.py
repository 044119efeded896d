"""A folder that holds a few tensors and the card that they are read with: what is kept of probes and directions.

The card is written last, so a folder that has one is whole. Whatever is read may come from a stranger: sizes are
bounded before anything is read, numbers must be finite, no key may be unknown, and the tensors must be those that the
card was written for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .atomic import read_at_most, write_atomic
from .errors import RunError, StoreError
from .results import read_json

FORMAT = 1
MAX_CARD_BYTES = 16 << 20
MAX_WIDTH = 1 << 20
MAX_TENSOR_BYTES = 8 * (MAX_WIDTH + 1) + (64 << 10)
MAX_NUMBER = 1e30
"""Largest size of a number of a tensor: no score of float32 activations comes near the end of float64."""

Card = dict[str, Any]


@dataclass(frozen=True)
class CardFolder:
    """One kind of such folders."""

    card: str
    """Name of the card's file."""
    tensors: str
    """Name of the safetensors file, of which the card's `tensors` has sha256, dtype and width."""
    schema: Callable[[], dict[str, Any]]
    """JSON Schema of the card."""
    shapes: Callable[[Card], dict[str, tuple[int, ...]]]
    """What tensors there are, by the card."""
    check: Callable[[Card, str], None]
    """Refuses, with a StoreError, a card of which parts contradict each other, though it fits the schema."""
    remedy: str

    def save(self, folder: Path, tensors: Mapping[str, np.ndarray], width: int, card: Mapping[str, Any]) -> None:
        """Write to a folder that is new or empty.

        Args:
            tensors: of one dtype, kept bit for bit.
            card: without `format` and `tensors`, which follow from the rest.

        Raises:
            RunError: the folder holds something, or cannot be written to.
            StoreError: the card or a tensor is none that could be read back.
        """
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise RunError(f"{folder} is there already and not empty: choose another --out, or remove it")
        content = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        dtype = str(next(iter(tensors.values())).dtype)
        about = {"sha256": hashlib.sha256(content).hexdigest(), "dtype": dtype, "width": width}
        whole = {"format": FORMAT, **card, "tensors": about}
        self._check(whole, str(folder / self.card))
        self._read_tensors(content, whole, folder / self.tensors)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make {folder}: {error.strerror}; choose another --out") from None
        write_atomic(folder / self.tensors, content)
        write_atomic(folder / self.card, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def load(self, folder: Path) -> tuple[dict[str, np.ndarray], Card]:
        """Tensors and card of a folder that may come from a stranger.

        Raises:
            StoreError: a file is missing, a link, too large, damaged, or does not fit the schema or the other. Names
                it.
        """
        card = self.read_card(folder)
        path = folder / self.tensors
        try:
            content = read_at_most(path, MAX_TENSOR_BYTES)
        except OSError as error:
            raise StoreError(f"cannot read {path} ({error.strerror}); {self.remedy}") from None
        if hashlib.sha256(content).hexdigest() != card["tensors"]["sha256"]:
            raise StoreError(f"{path} is not the file that its card was written for; {self.remedy}")
        return self._read_tensors(content, card, path), card

    def read_card(self, folder: Path) -> Card:
        """The card alone; errors as `load`."""
        path = folder / self.card
        try:
            card = read_json(path, MAX_CARD_BYTES)
        except StoreError as error:
            raise StoreError(f"{str(error).split(';')[0]}; {self.remedy}") from None
        self._check(card, str(path))
        return card

    def _check(self, card: Card, source: str) -> None:
        try:
            error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(self.schema()).iter_errors(card))
        except RecursionError:
            raise StoreError(f"{source}: nested too deep; {self.remedy}") from None
        if error is not None:
            where = ".".join(str(part)[:80] for part in error.absolute_path) or "the card"
            said = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
            raise StoreError(f"{source}: {where}: {said}; {self.remedy}")
        self.check(card, source)

    def _read_tensors(self, content: bytes, card: Card, path: Path) -> dict[str, np.ndarray]:
        try:
            found = load(content)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise StoreError(f"{path} is no safetensors file ({str(error)[:200]}); {self.remedy}") from None
        expected = self.shapes(card)
        if {name: tensor.shape for name, tensor in found.items()} != expected:
            listed = " and ".join(f"{name} {shape}" for name, shape in expected.items())
            raise StoreError(f"{path} holds other tensors than {listed}; {self.remedy}")
        if any(str(tensor.dtype) != card["tensors"]["dtype"] for tensor in found.values()):
            raise StoreError(f"{path} holds other numbers than {card['tensors']['dtype']}; {self.remedy}")
        if not all(np.isfinite(tensor).all() for tensor in found.values()):
            raise StoreError(f"{path} holds numbers that are not finite; {self.remedy}")
        if any(np.abs(tensor).max() > MAX_NUMBER for tensor in found.values()):
            raise StoreError(f"{path} holds numbers above {MAX_NUMBER:g}; {self.remedy}")
        return found
