"""The C allocator, told to keep what a model frees.

glibc gives large blocks back to the operating system as soon as they are free, and a model's forward pass frees and
asks for the same ones layer by layer, so each is faulted in anew: on two virtual cores a fifth of a prefill's time, and
another share every time. Nothing is kept beyond what the process has already needed at once.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 1 << 30
"""Bytes; up to here blocks come from memory that the process keeps."""


def keep_freed_memory() -> bool:
    """Set it for this process. Returns whether the C library knows how; others are left as they are."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, -1))
