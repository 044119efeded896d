"""Which files hold a model's weights, and the digest that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from ..errors import ModelError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CHUNK = 1 << 22


def digest_files(paths: Iterable[Path]) -> str:
    """SHA-256, as hex, over the bytes of the files one after another. Of one file: its own SHA-256.

    Raises:
        ModelError: a file cannot be read.
    """
    sha = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    sha.update(chunk)
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}; check the file and its permissions") from None
    return sha.hexdigest()


def weight_names(folder: Path) -> list[str]:
    """Names of the safetensors files that make up the model, as its index has them; sorted.

    Raises:
        ModelError: the folder has no safetensors weights, or an index that cannot be believed.
    """
    if (folder / SINGLE).exists():
        return [SINGLE]
    if not (folder / INDEX).exists():
        if any(folder.glob("*.bin")):
            raise ModelError(
                f"{folder} has only .bin weights, which are pickles and not read: convert them with "
                "`save_pretrained(...)` of a current transformers, which writes safetensors"
            )
        raise ModelError(f"{folder} has no {SINGLE}: give the folder of a model, or download it again")
    try:
        names = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{folder / INDEX} is damaged: download or save the model again") from None
    strange = [name for name in names if not _is_plain_safetensors(name)]
    if strange or not names:
        raise ModelError(f"{folder / INDEX} names no safetensors files of its own folder: save the model again")
    return sorted(names)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model, in name order; all of them exist.

    Raises:
        ModelError: weights are missing, or are not safetensors.
    """
    paths = [folder / name for name in weight_names(folder)]
    for path in paths:
        if not path.is_file():
            raise ModelError(f"{path} is missing: download or save the model again")
    return paths


def _is_plain_safetensors(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name
