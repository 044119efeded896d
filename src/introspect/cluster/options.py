"""What a user says of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SpecError

LOCAL, RUNNING = "local", "auto"


@dataclass(frozen=True)
class ClusterOptions:
    """Which cluster, and how much of it.

    Raises:
        SpecError: a number is none that can be.
    """

    address: str = LOCAL
    """`local`: this machine alone, for the run; `auto`: the cluster that this machine is of; or its `host:port`."""
    workers: int | None = None
    """Models at work, this process's among them; None: one for each share of GPUs that there is, and without GPUs one a
    machine, or two on a single one."""
    gpus: int | None = None
    """GPUs a worker has, all in one machine; None: one where there are any, else none."""
    threads: int | None = None
    """Of a worker; None: its machine's cores, dealt out evenly."""
    bucket: str | None = None
    """Where machines meet that share no folder: a URL of fsspec; None: in the folder that is written into."""
    here: bool = True
    """Whether this process does pieces too."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("gpus", 0), ("threads", 1)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise SpecError(f"--ray-{name} {given} is none: give {least} or more")
