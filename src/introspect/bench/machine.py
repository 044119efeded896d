"""The machine that a measurement was made on, and everything else that its seconds depend on."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..manifest import machine_facts, package_versions
from ..models.precision import choose_dtype
from .setting import Setting


def describe_machine(scratch: Path, setting: Setting) -> dict[str, Any]:
    """Processor, cores, threads, memory, disk, number format, model and versions.

    Args:
        scratch: the folder that is written to.
    """
    facts = machine_facts()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "platform": facts["platform"],
        "processor": processor_name(),
        "instructions": facts["processor"],
        "cores": os.cpu_count(),
        "threads": facts["threads"],
        "memory (GB)": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "accelerator": facts["accelerator"],
        "load before": round(os.getloadavg()[0], 2),
        "file system": file_system(scratch),
        "dtype": str(choose_dtype("auto")).removeprefix("torch."),
        "model": setting.model,
        "organism": setting.organism,
        "versions": package_versions(),
    }


def processor_name() -> str | None:
    """As the kernel calls it; None where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def file_system(folder: Path) -> str | None:
    """The kind of file system that a folder is on (ext4, tmpfs, ...); None where the kernel does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    holding = [(len(place), kind) for _, place, kind, *_ in mounts if folder.resolve().is_relative_to(place)]
    return max(holding)[1] if holding else None
