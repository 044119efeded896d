"""What stays in memory between two computations: blocks that are free, and kernels made for a shape.

glibc gives large blocks back to the operating system as soon as they are free, and a model's forward pass frees and
asks for the same ones layer by layer, so each is faulted in anew: on two virtual cores a fifth of a prefill's time, and
another share every time. Nothing is kept beyond what the process has already needed at once.

That holds where shapes repeat. Steps of a training have batches of different lengths, whose blocks do not fit into each
other's places: kept from step to step, they add up to twice what a step needs.

oneDNN, which computes bfloat16 products on a processor, makes a kernel for every shape it meets and keeps 1024 of them;
torch keeps 1024 more beside them. Where nearly every batch has a shape of its own that is 2 MB a shape, for each matrix
of a layer. The layers of a model have the same shapes, so few kernels serve one pass through it, at the same speed.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 1 << 30
"""Bytes; up to here blocks come from memory that the process keeps."""
KERNELS = 128
"""Kept by either cache: a pass forward and back through a block of any model takes fewer."""
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Environment variables, read when the first kernel is made: oneDNN's own, and torch's for what it prepares for it."""


def keep_freed_memory() -> bool:
    """Set it for this process. Returns whether the C library knows how; others are left as they are."""
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, -1))


def give_back_freed_memory() -> bool:
    """Give back, once, every page that is free by now. Returns whether the C library knows how."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)
    return trim is not None


def keep_few_kernels() -> None:
    """Set it for this process, before its first product; what the user's environment says is left as it is."""
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KERNELS))


def _of_glibc(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
