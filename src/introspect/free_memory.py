"""How much memory this process may still take: of the machine, and of the control groups that it is in.

A container shows the whole machine's free memory and is killed at its own limit, so the least of them counts. Pages of
files that have not been used for a while are given back when memory is short, and count as free, as they do in what the
machine says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


class _Files(NamedTuple):
    """Where a version of control groups says what."""

    limit: str
    used: str
    reclaimable: str
    """Key in memory.stat."""


FIRST = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
SECOND = _Files("memory.max", "memory.current", "inactive_file")


def free_memory() -> int:
    """Bytes that this process may still take."""
    return min([int(psutil.virtual_memory().available), *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """What each control group of this process, and each that one is in, leaves it; those without a limit are left out.

    A line of `/proc/self/cgroup` is `number:controllers:path`: version 2 has no controllers there, and version 1 keeps
    `memory` in a tree of its own. In a container the path may be the host's, of which only the root is seen.
    """
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        root, files = (GROUPS / "memory", FIRST) if controllers else (GROUPS, SECOND)
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            left = _left(root / group, files)
            if left is not None:
                yield left


def _left(group: Path, files: _Files) -> int | None:
    """What one group leaves; None where it says no limit."""
    try:
        limit = int((group / files.limit).read_text(encoding="utf-8"))
        used = int((group / files.used).read_text(encoding="utf-8"))
        said = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        return max(0, limit - used + int(said.get(files.reclaimable, 0)))
    except (OSError, ValueError):
        return None
