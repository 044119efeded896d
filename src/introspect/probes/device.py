"""Where many probes are fitted at once: on a GPU where there is one with room for them, else on the processor.

Fits are taken to the same tolerance on any device (see `newton`), so a device decides no more of a number than a
processor's own number formats do. float64, which little is computed in but all ends in, is what asks for CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from ..errors import SpecError
from ..surroundings import AUTO, CPU, surroundings

COPIES = 16
"""Memory that one site's rows take while they are fitted, as multiples of them in float32."""
FITS = 2 << 30
"""Bytes that fits side by side take at the most, beside the rows (see `site`)."""

Found = TypeVar("Found")


def probe_device(n_bytes: int = 0) -> torch.device:
    """The device to fit probes on: as asked for, or the current GPU where there is one with room.

    Args:
        n_bytes: of one site's rows in float32.

    Raises:
        SpecError: the GPU that is asked for is not here.
    """
    asked = surroundings().probe_device
    if asked == CPU:
        return torch.device(CPU)
    many = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked != AUTO:
        named = torch.device(asked)
        if (named.index or 0) >= many:
            here = f"{many} of them" if many else "none"
            raise SpecError(f"probe-device names {asked}, and this machine has {here}: choose auto or cpu")
        return named
    return torch.device("cuda" if many and _room() >= COPIES * n_bytes + FITS else CPU)


def on_device(work: Callable[[torch.Tensor], Found], x: torch.Tensor) -> Found:
    """What `work` finds in the activations of one site [row, width], on the device that these are fitted on.

    Where nobody has asked for a GPU and one runs out of memory, the site is worked on by the processor.

    Raises:
        SpecError: the GPU that is asked for is not here, or has no room.
    """
    device = probe_device(x.nbytes)
    if device.type == CPU:
        return work(x)
    try:
        return work(x.to(device))
    except torch.OutOfMemoryError:
        if surroundings().probe_device != AUTO:
            raise SpecError(
                f"{device} has no room for probes on {len(x)} rows of width {x.shape[1]}: choose probe-device auto or "
                "cpu"
            ) from None
    torch.cuda.empty_cache()
    return work(x)


def _room() -> int:
    """Bytes of the current GPU that are free, or that torch has taken and uses for nothing."""
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
