"""What the environment says of this machine: where the weights of models go, and where probes are fitted.

It decides no number, and is no part of any spec: the same spec runs on a machine with two GPUs and on one with a disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import SpecError

DEVICE_MAP, MEMORY, OFFLOAD_FOLDER = "INTROSPECT_DEVICE_MAP", "INTROSPECT_MEMORY", "INTROSPECT_OFFLOAD_FOLDER"
MEMORY_GB = "INTROSPECT_MEMORY_GB"
"""What activations that are probed may take."""
PROBE_DEVICE = "INTROSPECT_PROBE_DEVICE"
AUTO, CPU = "auto", "cpu"


@dataclass(frozen=True)
class Surroundings:
    """What stands where a call says nothing."""

    device_map: str | None
    memory: dict[str, str]
    """Device -> the most that weights may take there."""
    offload_folder: str | None
    probe_device: str
    """Where probes are fitted: `auto`, `cpu`, or a GPU such as `cuda:1`."""


def surroundings() -> Surroundings:
    """As the environment says now.

    Raises:
        SpecError: INTROSPECT_MEMORY or INTROSPECT_PROBE_DEVICE cannot be read.
    """
    given = {name: os.environ.get(name) or None for name in (DEVICE_MAP, MEMORY, OFFLOAD_FOLDER, PROBE_DEVICE)}
    return Surroundings(
        given[DEVICE_MAP],
        read_memory(given[MEMORY] or ""),
        given[OFFLOAD_FOLDER],
        read_probe_device(given[PROBE_DEVICE] or AUTO),
    )


def to_send() -> dict[str, str]:
    """What the environment says now: for a process on another machine."""
    names = (DEVICE_MAP, MEMORY, OFFLOAD_FOLDER, MEMORY_GB)
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def take_over(elsewhere: Mapping[str, str]) -> None:
    """Let this process go by what was said in another; an offload folder that is named here already is this machine's
    own, and stays.
    """
    own = OFFLOAD_FOLDER if os.environ.get(OFFLOAD_FOLDER) else None
    os.environ.update({name: value for name, value in elsewhere.items() if name != own})


def read_memory(text: str) -> dict[str, str]:
    """`0=40GB,cpu=60GB` as device -> size.

    Raises:
        SpecError: a part is none.
    """
    found = {}
    for part in filter(None, text.split(",")):
        device, equals, size = (each.strip() for each in part.partition("="))
        if not (device and equals and size) or device in found:
            raise SpecError(f"memory {text!r} cannot be read: write it as 0=40GB,cpu=60GB, each device once")
        found[device] = size
    return found


def read_probe_device(text: str) -> str:
    """Where probes are fitted, as it is written.

    Raises:
        SpecError: it is no such device.
    """
    if text not in (AUTO, CPU) and not re.fullmatch(r"cuda(:\d{1,3})?", text):
        raise SpecError(f"probe-device {text!r} is not known: choose auto, cpu, or a GPU such as cuda:0")
    return text
