"""`--ray` and what is said with it: work that is spread over a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SpecError

if TYPE_CHECKING:
    from ..cluster.crew import Crew
    from ..progress import Progress

FLAG, ALONE = "--ray", "local"

Ray = Annotated[
    str | None,
    typer.Option(
        FLAG,
        metavar="[ADDRESS]",
        help="Spread the work over workers that Ray starts: on this machine, in the cluster it is part of (auto), or "
        "in the one at host:port. The folder has to be one that all of them see, unless there is a --ray-bucket.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--ray-workers",
        help="Models at work, this process's among them; as many as the cluster has GPUs for when not given, and "
        "without GPUs one a machine, or two on one.",
        show_default=False,
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--ray-gpus", help="GPUs a worker, all in one machine; one, or none where there are none.", show_default=False
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--ray-threads", help="Threads a worker; its machine's cores, dealt out evenly.", show_default=False),
]
Bucket = Annotated[
    str | None,
    typer.Option(
        "--ray-bucket",
        metavar="URL",
        help="Where workers put what they make, for machines that share no folder: a bucket that all reach, such as "
        "s3://bucket/name. This process takes it from there into --out.",
        show_default=False,
    ),
]

Asked = tuple[str | None, int | None, int | None, int | None, str | None]
"""All of them, as they were given."""


def with_address(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line, with the address that a bare `--ray` stands for."""
    out: list[str] = []
    for place, each in enumerate(arguments):
        out.append(each)
        follows = arguments[place + 1] if place + 1 < len(arguments) else "-"
        if each == FLAG and follows.startswith("-"):
            out.append(ALONE)
    return out


def check_asked(asked: Asked) -> None:
    """Refuse options that mean nothing without `--ray`.

    Raises:
        SpecError: names the first.
    """
    ray, *others = asked
    named = zip(("--ray-workers", "--ray-gpus", "--ray-threads", "--ray-bucket"), others, strict=True)
    for flag, value in named:
        if ray is None and value is not None:
            raise SpecError(f"{flag} is about workers of a cluster: give it with {FLAG}, or leave it out")


@contextmanager
def crew_of(
    ray: str | None,
    workers: int | None,
    gpus: int | None,
    threads: int | None,
    bucket: str | None,
    *,
    out: Path,
    offline: bool,
    progress: Progress,
) -> Iterator[Crew | None]:
    """The crew that was asked for; None without `--ray`.

    Raises:
        SpecError, RunError: there is no such cluster, or it has no room; or an option means nothing without `--ray`.
    """
    check_asked((ray, workers, gpus, threads, bucket))
    if ray is None:
        yield None
        return
    from ..cluster.crew import Crew
    from ..cluster.options import ClusterOptions

    options = ClusterOptions(ray, workers, gpus, threads, bucket)
    with Crew(options, out, offline=offline, progress=progress) as crew:
        yield crew
