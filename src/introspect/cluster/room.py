"""Whether a machine's memory holds what all of its workers may need: each of them sees the same free memory."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Need:
    """What a process may need."""

    machine: str
    """As `this_machine` names it there."""
    host: str
    needed: int
    """Bytes that its pieces may take at once."""
    free: int
    """Bytes free there, as it sees them."""


def this_machine() -> str:
    """What tells machines apart, and containers that have memory of their own."""
    try:
        boot = BOOT.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}"


def check_together(needs: Sequence[Need]) -> None:
    """Refuse processes that share a machine whose memory does not hold what they may need at once.

    Raises:
        RunError: names the machine, both sizes and the remedy.
    """
    for machine in {each.machine for each in needs}:
        there = [each for each in needs if each.machine == machine]
        needed, free = sum(each.needed for each in there), min(each.free for each in there)
        if len(there) > 1 and needed > free:  # one alone has looked for itself
            raise RunError(
                f"{len(there)} workers on {there[0].host} share {free / 1e9:.1f} GB of free memory, and their "
                f"activations may take {needed / 1e9:.1f} GB at once: set fewer --ray-workers, a smaller "
                "generation.part_size, or fewer capture.layers or sites"
            )
