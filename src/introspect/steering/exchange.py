"""Directions of other tools: GGUF control vectors (llama.cpp, repeng) and plain safetensors tensors.

A control vector has a float32 tensor `direction.N` a layer: what is added to the output of block N, counted from 0, at
every token (llama.cpp, `build_cvec` after a block's last sum; its loader refuses N = 0). That is `resid_post` of layer
N here. Its metadata say little, and its loader reads none of it: `controlvector.model_hint` is an architecture.

The `gguf` package's reader trusts lengths in the file, and does not end on some that are made up; so a stranger's file
is read here, by a reader that knows nothing but what a control vector holds.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, from_numpy

from ..atomic import read_at_most, write_atomic
from ..card_folder import MAX_NUMBER, MAX_WIDTH
from ..errors import SpecError, StoreError
from .direction import Direction, ModelMark

ARCHITECTURE = "controlvector"
MAX_BYTES = 256 << 20
MAX_ENTRIES = 4096
"""Of metadata, and of tensors."""
FLOAT32 = 0
"""Of GGML's tensor types."""
STRING, ARRAY = 8, 9
SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by GGUF's type."""
_PLACE = re.compile(r"(resid_post|resid_mid|attn_out|mlp_out) (0|[1-9][0-9]{0,3})")
_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,3})")


def to_gguf(path: Path, directions: Sequence[Direction], *, hint: str = "unknown") -> None:
    """Write a control vector of one direction a layer; `llama-cli --control-vector-scaled FILE:STRENGTH` adds them.

    Args:
        hint: the model's architecture in llama.cpp's words, such as `llama`.

    Raises:
        SpecError: a direction is not of `resid_post`, of layer 0 (llama.cpp cannot add there), or of the layer or of
            another width than one before it.
        RunError: the file cannot be written.
    """
    layers = [each.layer for each in directions]
    wrong = next((each for each in directions if each.site != "resid_post" or each.layer == 0), None)
    if wrong is not None or not directions:
        said = "there is none" if wrong is None else f"one is of {wrong.site}, layer {wrong.layer}"
        raise SpecError(f"a control vector holds directions of resid_post, layer 1 or later: {said}")
    if len(set(layers)) < len(layers) or len({each.width for each in directions}) > 1:
        raise SpecError(f"a control vector holds one direction a layer, all of one width: layers are {layers}")
    from gguf import GGUFWriter

    with tempfile.TemporaryDirectory() as folder:
        writer = GGUFWriter(Path(folder) / "vector.gguf", ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", hint)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(directions))
        for each in sorted(directions, key=lambda each: each.layer):
            writer.add_tensor(f"direction.{each.layer}", np.array(each.vector))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_atomic(path, (Path(folder) / "vector.gguf").read_bytes())


def from_gguf(path: Path, *, model: ModelMark | None = None) -> list[Direction]:
    """The directions of a control vector that may come from a stranger, by layer.

    Args:
        model: whose directions they are, where that is known: the file does not say it.

    Raises:
        StoreError: no such file, a link, too large, damaged, or no control vector. Names it.
    """
    try:
        content = read_at_most(path, MAX_BYTES)
        found = _read_gguf(content)
    except (OSError, ValueError, struct.error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"{path} is no GGUF control vector ({why}); export it again") from None
    return [
        Direction(vector, "resid_post", layer, "imported", f"direction.{layer} of {path.name}", {}, model)
        for layer, vector in sorted(found.items())
    ]


def to_tensors(path: Path, directions: Mapping[str, Direction]) -> None:
    """Write vectors to a plain safetensors file, float32 [width] each, under these names; `metadata` has their places.

    Raises:
        SpecError: there is none.
        RunError: the file cannot be written.
    """
    if not directions:
        raise SpecError("there is no direction to write")
    metadata = {name: f"{each.site} {each.layer}" for name, each in directions.items()}
    write_atomic(path, save({name: from_numpy(each.vector.copy()) for name, each in directions.items()}, metadata))


def from_tensors(
    path: Path, *, site: str, layer: int, name: str | None = None, model: ModelMark | None = None
) -> Direction:
    """One tensor [width], or [1, width], of a plain safetensors file that may come from a stranger.

    Args:
        site, layer: of which it is a direction; a file does not say it in a way that others would know.
        name: of the tensor; None: the only one.

    Raises:
        StoreError: no such file, a link, too large or damaged, or the tensor is not a list of finite numbers.
        SpecError: the file holds no tensor of that name, or several and no name was given.
    """
    found = _loaded(path, _content(path))
    if name is None and len(found) == 1:
        (name,) = found
    if name is None or name not in found:
        listed = ", ".join(sorted(found)[:20]) or "no tensor"
        raise SpecError(f"{path} holds {listed[:400]}: name one of them")
    tensor = found[name]
    if not tensor.is_floating_point() or tensor.dim() not in (1, 2) or tensor.shape[:-1].numel() != 1:
        raise StoreError(f"{path}: tensor {name!r} is {tensor.dtype} {tuple(tensor.shape)}, not numbers [width]")
    vector = tensor.flatten().double().numpy()
    try:
        _check_vector(vector)
    except ValueError as error:
        raise StoreError(f"{path}: tensor {name!r}: {error}") from None
    return Direction(vector, site, layer, "imported", f"{name} of {path.name}", {}, model)


def tensor_places(path: Path) -> dict[str, tuple[str, int] | None]:
    """Tensor -> its site and layer as `to_tensors` writes them; None where the file does not say.

    Raises:
        StoreError: as `from_tensors`.
    """
    content = _content(path)
    names = list(_loaded(path, content))
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    matches = {name: _PLACE.fullmatch(str(metadata.get(name, ""))) for name in names}
    return {name: None if found is None else (found[1], int(found[2])) for name, found in matches.items()}


def _content(path: Path) -> bytes:
    try:
        return read_at_most(path, MAX_BYTES)
    except OSError as error:
        raise StoreError(f"{path} is no safetensors file ({error.strerror}); export it again") from None


def _loaded(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(f"{path} is no safetensors file ({str(error)[:200]}); export it again") from None


def _check_vector(vector: np.ndarray) -> None:
    if not 1 <= len(vector) <= MAX_WIDTH:
        raise ValueError(f"a direction has {len(vector)} numbers, not 1 to {MAX_WIDTH}")
    if not np.isfinite(vector).all() or np.abs(vector).max() > MAX_NUMBER:
        raise ValueError(f"a direction holds numbers that are not finite, or above {MAX_NUMBER:g}")


class _Reader:
    """Walks through a GGUF file; whatever reaches beyond its end is a ValueError."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, many: int) -> bytes:
        if many > len(self.content) - self.at:
            raise ValueError(f"it ends before byte {self.at + many}")
        self.at += many
        return self.content[self.at - many : self.at]

    def number(self, code: str) -> int:
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))
        return int(value)

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> str | int | None:
        """A string, an unsigned 32-bit number, or None for what matters to nobody here."""
        if kind == STRING:
            return self.text()
        if kind == 4:
            return self.number("I")
        if kind == ARRAY:
            inner, many = self.number("I"), self.number("Q")
            if inner in SCALARS:
                self.take(SCALARS[inner] * many)
                return None
            if inner == STRING and many <= len(self.content):
                for _ in range(many):
                    self.text()
                return None
        if kind in SCALARS:
            self.take(SCALARS[kind])
            return None
        raise ValueError(f"it holds metadata of kind {kind}")


def _read_gguf(content: bytes) -> dict[int, np.ndarray]:
    """Layer -> float32 [width]."""
    reader = _Reader(content)
    if reader.take(4) != b"GGUF" or reader.number("I") not in (2, 3):
        raise ValueError("it is no GGUF file of version 2 or 3")
    n_tensors, n_metadata = reader.number("Q"), reader.number("Q")
    if max(n_tensors, n_metadata) > MAX_ENTRIES or not n_tensors:
        raise ValueError(f"it has {n_tensors} tensors and {n_metadata} entries of metadata")
    metadata = {}
    for _ in range(n_metadata):
        key = reader.text()
        metadata[key] = reader.value(reader.number("I"))
    if metadata.get("general.architecture") != ARCHITECTURE:
        raise ValueError(f"its architecture is not {ARCHITECTURE}")
    places: dict[int, tuple[int, int]] = {}
    for _ in range(n_tensors):
        name, n_dims = reader.text(), reader.number("I")
        match = _NAME.fullmatch(name)
        if match is None or n_dims != 1 or int(match[1]) in places:
            raise ValueError("its tensors are not one direction.N [width] a layer")
        width, kind = reader.number("Q"), reader.number("I")
        if kind != FLOAT32:
            raise ValueError(f"{name} is not of float32")
        places[int(match[1])] = (reader.number("Q"), width)
    if len({width for _, width in places.values()}) > 1:
        raise ValueError("its directions are of different widths")
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16:
        raise ValueError("its alignment is none")
    start = -(-reader.at // alignment) * alignment
    found = {}
    for layer, (offset, width) in places.items():
        reader.at = start + offset
        vector = np.frombuffer(reader.take(4 * width), dtype="<f4")
        _check_vector(vector)
        found[layer] = vector
    return found
