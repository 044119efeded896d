"""A direction in a folder: `direction.safetensors` (its vector) and `direction.json` (its card); see `card_folder`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..assets import user_path
from ..card_folder import CardFolder
from ..errors import StoreError
from ..manifest import earlier_versions, package_versions
from ..probe_folders import CARD as PROBE_CARD
from ..probe_folders import probe_folder
from ..probes.saved import load_probe
from .direction import Direction, ModelMark
from .making import from_probe

CARD = "direction.json"
TENSORS = "direction.safetensors"
REMEDY = "get the direction again, or make and save it anew"
VERSIONS = ("introspect", "torch", "transformers", "numpy")


@cache
def card_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of direction.json."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "direction.schema.json").read_text(encoding="utf-8"))
    return content


def _check(card: dict[str, Any], source: str) -> None:
    if card["model"] is not None and card["place"]["layer"] >= card["model"]["n_layers"]:
        raise StoreError(f"{source}: the direction's layer is none of its model's; {REMEDY}")


FOLDER = CardFolder(
    card=CARD,
    tensors=TENSORS,
    schema=card_schema,
    shapes=lambda card: {"vector": (card["tensors"]["width"],)},
    check=_check,
    remedy=REMEDY,
)


def save_direction(folder: Path, direction: Direction) -> Direction:
    """Write a direction to a folder that is new or empty, and read it back.

    Raises:
        RunError: the folder holds something, or cannot be written to.
        StoreError: the direction is none that could be read back.
    """
    versions = earlier_versions(package_versions())
    card = {
        "recipe": direction.recipe,
        "made": direction.made,
        "counts": dict(direction.counts),
        "model": None if direction.model is None else asdict(direction.model),
        "place": {"site": direction.site, "layer": direction.layer},
        "norm": direction.norm,
        "versions": {name: versions[name] for name in VERSIONS},
    }
    FOLDER.save(folder, {"vector": direction.vector}, direction.width, card)
    return load_direction(folder)


def load_direction(folder: Path) -> Direction:
    """Read a direction that may come from a stranger.

    Raises:
        StoreError: a file is missing, a link, too large, damaged, or does not fit the schema or the other. Names it.
    """
    tensors, card = FOLDER.load(folder)
    vector = tensors["vector"]
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not math.isclose(norm, card["norm"], rel_tol=1e-6, abs_tol=1e-12):
        raise StoreError(f"{folder / CARD}: norm is {card['norm']:g}, and the vector's is {norm:g}; {REMEDY}")
    model = None if card["model"] is None else ModelMark(**card["model"])
    place = card["place"]
    return Direction(vector, place["site"], place["layer"], card["recipe"], card["made"], card["counts"], model)


def read_direction(name_or_folder: str | Path) -> Direction:
    """The direction that is meant: in a folder of its own, or the weight of a saved probe, by folder or shipped name.

    Raises:
        SpecError: there is no such folder, and no probe of that name.
        StoreError: what the folder holds is damaged.
    """
    folder = user_path(name_or_folder)
    if (folder / CARD).is_file() or (folder.is_dir() and not (folder / PROBE_CARD).exists()):
        return load_direction(folder)
    return from_probe(load_probe(probe_folder(name_or_folder)))
