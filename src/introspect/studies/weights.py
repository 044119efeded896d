"""Which weights the runs of a comparison stand on, so that going on with it mixes no two trainings.

A run's folder belongs to a spec, and a spec names its organism; what is kept under that name may have been trained
again since. A finished run's manifest has the digests of what it was run on. For runs that are not finished, the study
keeps a record of them, written before anything is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..atomic import write_atomic
from ..errors import RunError
from ..models import ModelSource
from ..models.digests import digest_files, weight_files
from ..models.quantise import quantised_digest
from ..results import read_json, read_run_manifest

RECORD = "weights.json"
ADAPTER, MODEL = "adapter_digest", "weight_digest"
Weights = Mapping[str, str | None]
"""`adapter_digest` (null: no adapter) and `weight_digest` of the model; null where it is not known yet."""


def weights_of(source: ModelSource, quantization: str | None = None) -> dict[str, str | None]:
    """The digests of a model and its adapter as they are now, loaded in so many bits. A hub model's revision says
    enough, and is not read.

    Raises:
        ModelError: a file cannot be read.
    """
    model = source.weight_digest
    if model is None and source.kind in ("local", "gguf"):
        model = digest_files([source.path] if source.kind == "gguf" else weight_files(source.path))
    own = None if model is None else quantised_digest(model, quantization)
    return {ADAPTER: None if source.adapter is None else source.adapter.digest(), MODEL: own}


def run_weights(folder: Path) -> dict[str, str | None] | None:
    """What a run was run on, by its manifest; None while it has none.

    Raises:
        StoreError: the manifest cannot be read.
    """
    manifest = read_run_manifest(folder / "manifest.json")
    return None if manifest is None else _digests(manifest.get("model"))


def check_weights(out: Path, folders: Mapping[str, Path], now: Mapping[str, Weights]) -> None:
    """Refuse to go on with runs of other weights, then record those of now.

    Args:
        out: the study's folder; folders: member -> its run's; now: member -> its weights.

    Raises:
        RunError: names the member and the remedy.
        StoreError: the record or a manifest cannot be read.
    """
    path = out / RECORD
    recorded = read_json(path) if path.exists() else {}
    for name, folder in folders.items():
        if folder.exists():
            check_same(name, folder, run_weights(folder) or _digests(recorded.get(name)), now[name])
    write_atomic(path, json.dumps(now, indent=2) + "\n")


def check_same(name: str, folder: Path, then: Weights, now: Weights) -> None:
    """Refuse a run that stands on other weights than its organism has now.

    Raises:
        RunError: names the member and the remedy.
    """
    for key, what in ((ADAPTER, "adapter"), (MODEL, "model")):
        was, is_ = then[key], now[key]
        if was is not None and is_ is not None and was != is_:
            raise RunError(
                f"{name}: {folder} was run on another {what} than is there now under that name ({was[:12]}, now "
                f"{is_[:12]}): remove that folder to run it again, or choose another --out"
            )


def _digests(found: object) -> dict[str, str | None]:
    """The digests of a section that may be a stranger's."""
    section = found if isinstance(found, dict) else {}
    return {key: each if isinstance(each := section.get(key), str) else None for key in (ADAPTER, MODEL)}
