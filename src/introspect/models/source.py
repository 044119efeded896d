"""What a model's name means, found out without reading weights.

A name is, in this order: an embedded model, a `.gguf` file, a folder that exists, or a hub id.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from ..assets import user_path
from ..errors import ModelError
from .adapter import AdapterSource, check_base, find_adapter
from .digests import weight_files
from .embedded import EMBEDDED, embedded_folder, find_gguf
from .hub import find_snapshot

Kind = Literal["embedded", "hub", "local", "gguf"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded, as far as that can be told without reading its weights."""

    name: str
    """As the user typed it."""
    kind: Kind
    path: Path
    """Its folder (embedded: where the conversion is or will be; hub: the snapshot), or the GGUF file."""
    revision: str | None = None
    """Commit hash of a hub model."""
    weight_digest: str | None = None
    """Where it is known beforehand: embedded models."""
    adapter: AdapterSource | None = None


def resolve(
    name: str, *, adapter: str | Path | None = None, revision: str | None = None, offline: bool = False
) -> ModelSource:
    """Find a model, and check that the adapter is made for it. Reads configs, no weights.

    Raises:
        ModelError: there is no such model or adapter, it is of a kind that is not loaded, or they do not fit.
    """
    source = _find_model(name, revision, offline=offline or hub_is_off())
    if revision is not None and source.kind != "hub":
        raise ModelError(f"{name} is not a hub model and has no revision {revision!r}: leave the revision out")
    if adapter is None:
        return source
    found = find_adapter(adapter)
    check_base(found, source.name, source.path, requested=revision, commit=source.revision, digest=source.weight_digest)
    return replace(source, adapter=found)


def hub_is_off() -> bool:
    """Whether the environment forbids asking the hub, now (the hub's own client reads it once, at import)."""
    flags = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(flag.upper() in {"1", "ON", "YES", "TRUE"} for flag in flags)


def _find_model(name: str, revision: str | None, *, offline: bool) -> ModelSource:
    path = user_path(name)
    if name in EMBEDDED:
        folder = embedded_folder(name)
        if not folder.exists():
            find_gguf(name)
        return ModelSource(name, "embedded", folder, weight_digest=EMBEDDED[name].sha256)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"there is no file {name}: check the path")
        return ModelSource(name, "gguf", path)
    if path.is_dir():
        check_model_folder(path)
        weight_files(path)
        return ModelSource(name, "local", path)
    if path.exists():
        raise ModelError(f"{name} is a file: give a model's folder, a .gguf file or a hub id")
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"there is no model folder {name}: check the path, or give a hub id like Qwen/Qwen3-0.6B")
    if near := get_close_matches(name, EMBEDDED, n=1, cutoff=0.75):
        raise ModelError(f"there is no model {name!r}: did you mean {near[0]!r}, or give a folder or a hub id")
    snapshot = find_snapshot(name, revision, offline=offline)
    check_model_folder(snapshot)
    return ModelSource(name, "hub", snapshot, revision=snapshot.name)


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that is no model, or one that transformers would load with code or weights of its own choosing.

    Raises:
        ModelError: says which, and what to do.
    """
    config_path = folder / "config.json"
    is_adapter = (folder / "adapter_config.json").exists()
    if not config_path.exists():
        if is_adapter:
            raise ModelError(f"{folder} is an adapter, not a model: give its base as the model and it as the organism")
        raise ModelError(f"{folder} has no config.json, so it is no model folder: check the path")
    if is_adapter:
        raise ModelError(f"{folder} holds a model and an adapter_config.json: move the adapter to a folder of its own")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        model_type = config["model_type"]
        weights = config.get("transformers_weights")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{config_path} is damaged or names no model_type: save the model again") from None
    if weights is not None:
        raise ModelError(f"{config_path} names weights of its own ({weights!r}): remove transformers_weights from it")
    _check_known(model_type, folder, needs_code="auto_map" in config)


def _check_known(model_type: object, folder: Path, *, needs_code: bool) -> None:
    from transformers import CONFIG_MAPPING

    if model_type in CONFIG_MAPPING:
        return
    if needs_code:
        raise ModelError(
            f"{folder} brings its own Python code (auto_map), which is never run: "
            "choose a model that transformers itself has"
        )
    raise ModelError(f"transformers does not know the architecture {model_type!r} of {folder}: update transformers")
