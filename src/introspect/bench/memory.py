"""Peak memory of a piece of work, measured in a process of its own.

`ru_maxrss` will not do: it never falls, so that loading a model hides what comes after it, and a child starts with its
parent's. Linux keeps the peak of a process's present memory (`VmHWM`) and sets it back to what is in use on request. So
a child loads what it needs, reads every weight once (they are mapped from their file page by page), runs one small
warm-up, gives freed memory back, sets the peak back, works, and reads the peak.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RunError

Prepare = Callable[..., Callable[[], object]]
"""Loads what the work needs, and gives the work."""


class Memory(NamedTuple):
    """Bytes in use before the work, and at most during it."""

    before: int
    peak: int

    @property
    def growth(self) -> int:
        """Bytes that the work took beyond what was there."""
        return self.peak - self.before


def peak_of(work: Callable[[], object]) -> Memory:
    """Peak memory of this process during the work.

    Raises:
        RunError: this system does not tell.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        raise RunError("peak memory is measured with Linux's /proc/self/clear_refs: use a Linux machine") from None
    before = peak_bytes("self")
    work()
    return Memory(before or 0, peak_bytes("self") or 0)


def in_child(target: str, arguments: Mapping[str, Any]) -> Memory:
    """Peak memory of the work that a function prepares, in a process of its own.

    Args:
        target: `package.module:function`, a `Prepare`; arguments: JSON values for it.

    Raises:
        RunError: the process failed. Says what it printed last.
    """
    code = "from introspect.bench.memory import answer; answer()"
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code, target, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(),
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [""]
    if done.returncode:
        raise RunError(f"the process that measures {target} failed ({lines[-1] or done.returncode}): run it by itself")
    return Memory(*json.loads(lines[-1]))


def answer() -> None:
    """What the child does: prepare, measure, and print both numbers as its last line."""
    module, _, function = sys.argv[1].partition(":")
    prepare: Prepare = getattr(importlib.import_module(module), function)
    found = peak_of(prepare(**json.loads(sys.argv[2])))
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def watch(command: Sequence[str], every: float = 0.05) -> tuple[int, float, int, str]:
    """Run a command to its end: exit code, seconds, peak bytes of its own process, and what it said on stderr."""
    begun = time.perf_counter()
    peak = 0
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=child_environment()
    ) as process:
        said = ""
        while True:
            peak = max(peak, peak_bytes(str(process.pid)) or 0)
            try:
                said = process.communicate(timeout=every)[1]
                break
            except subprocess.TimeoutExpired:
                continue
    return process.returncode, time.perf_counter() - begun, peak, said


def child_environment() -> dict[str, str]:
    """This process's environment, with its import path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def peak_bytes(process: str) -> int | None:
    """Bytes at most in use so far; None when the process has ended or the system does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, flags=re.MULTILINE)
    return None if found is None else int(found[1]) * 1024
