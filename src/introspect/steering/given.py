"""Directions by a path: our folders, probes, and the files of other tools; the ending says which."""

from __future__ import annotations

import os
from pathlib import Path

from ..assets import user_path
from ..errors import RunError, SpecError
from .direction import Direction
from .exchange import from_gguf, from_tensors, tensor_places, to_gguf, to_tensors
from .saved import read_direction, save_direction

GGUF, TENSORS = ".gguf", ".safetensors"
NAME = "direction"
"""Of the tensor that is written."""


def read_given(
    name_or_path: str | Path, *, layer: int | None = None, site: str | None = None, tensor: str | None = None
) -> Direction:
    """The direction that is meant: see `read_direction`, and besides a .gguf control vector or a .safetensors file.

    Args:
        layer: of a control vector, which of its layers; of a tensor, the layer that it is of, where the file does not
            say so.
        site: of a tensor, in the same way; resid_post when nobody says.
        tensor: the name of a tensor; None: the only one.

    Raises:
        SpecError: there is no such direction, it is not said which, or what is said contradicts the file.
        StoreError: the file or folder is damaged.
    """
    path = user_path(name_or_path)
    if layer is not None and layer < 0:
        raise SpecError(f"--layer {layer}: layers of a file are counted from 0")
    if path.suffix in (GGUF, TENSORS) and not os.path.lexists(path):
        raise SpecError(f"there is no file {path}")
    if path.suffix == GGUF and not path.is_dir():
        if site is not None or tensor is not None:
            raise SpecError(f"{path} is a control vector, of resid_post: leave --site and --tensor out")
        return _of_layer(path, from_gguf(path), layer)
    if path.suffix == TENSORS and not path.is_dir():
        return _tensor(path, layer, site, tensor)
    if path.is_file():
        raise SpecError(f"{path} is no direction: give a folder, a {GGUF} control vector or a {TENSORS} file")
    if (layer, site, tensor) != (None, None, None):
        raise SpecError("--direction has a layer of its own: leave --layer, --site and --tensor out")
    return read_direction(name_or_path)


def _of_layer(path: Path, found: list[Direction], layer: int | None) -> Direction:
    layers = [each.layer for each in found]
    if layer is None and len(found) == 1:
        return found[0]
    if layer not in layers:
        listed = ", ".join(map(str, layers))
        raise SpecError(f"{path} holds directions of layers {listed}: name one with --layer")
    return found[layers.index(layer)]


def _tensor(path: Path, layer: int | None, site: str | None, tensor: str | None) -> Direction:
    places = tensor_places(path)
    name = next(iter(places)) if tensor is None and len(places) == 1 else tensor
    place = places.get(name or "")
    if place is not None and (site not in (None, place[0]) or layer not in (None, place[1])):
        raise SpecError(f"{path}: tensor {name!r} is of {place[0]}, layer {place[1]}: leave --site and --layer out")
    if place is None and layer is None:
        # A tensor that is not there is the first thing to say.
        from_tensors(path, site="resid_post", layer=0, name=name)
        raise SpecError(f"{path} does not say which layer it is of: say so with --layer, and --site if not resid_post")
    own = place or (site or "resid_post", layer or 0)
    return from_tensors(path, site=own[0], layer=own[1], name=name)


def check_new(path: Path) -> None:
    """Refuse a place that a direction cannot be written to.

    Raises:
        RunError: something is there.
    """
    if os.path.lexists(path) and (not path.is_dir() or path.suffix in (GGUF, TENSORS) or any(path.iterdir())):
        raise RunError(f"{path} is there: name a new folder, or a new {GGUF} or {TENSORS} file")


def write_given(path: Path, direction: Direction, *, hint: str = "unknown") -> None:
    """Write a direction to a new place: a folder of ours, a .gguf control vector or a .safetensors file.

    Args:
        hint: see `to_gguf`.

    Raises:
        RunError: something is there, or it cannot be written.
        SpecError: such a file does not hold such a direction.
    """
    check_new(path)
    if path.suffix == GGUF:
        to_gguf(path, [direction], hint=hint)
    elif path.suffix == TENSORS:
        to_tensors(path, {NAME: direction})
    else:
        save_direction(path, direction)
