"""What the environment says of this machine, for models that it can hardly hold: where their weights go.

It decides no number, and is no part of any spec: the same spec runs on a machine with two GPUs and on one with a disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import SpecError

DEVICE_MAP, MEMORY, OFFLOAD_FOLDER = "INTROSPECT_DEVICE_MAP", "INTROSPECT_MEMORY", "INTROSPECT_OFFLOAD_FOLDER"
MEMORY_GB = "INTROSPECT_MEMORY_GB"
"""What activations that are probed may take."""


@dataclass(frozen=True)
class Surroundings:
    """What stands where a call says nothing."""

    device_map: str | None
    memory: dict[str, str]
    """Device -> the most that weights may take there."""
    offload_folder: str | None


def surroundings() -> Surroundings:
    """As the environment says now.

    Raises:
        SpecError: INTROSPECT_MEMORY cannot be read.
    """
    given = {name: os.environ.get(name) or None for name in (DEVICE_MAP, MEMORY, OFFLOAD_FOLDER)}
    return Surroundings(given[DEVICE_MAP], read_memory(given[MEMORY] or ""), given[OFFLOAD_FOLDER])


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
