"""`introspect pull`: a run or a probe that somebody pushed."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpecError
from .console import print_json, progress_bars

GB = 10**9


def pull(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="hf://user/name[@revision], s3://bucket/name, a folder, ...")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the run or probe; new.")],
    max_gb: Annotated[float, typer.Option("--max-gb", help="Refuse to fetch more than this.", min=0)] = 100.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched, with bytes, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was pulled as one JSON document.")] = False,
) -> None:
    """Pull a run or a probe, and check every digest.

    It may come from anybody: only files that a run or a probe has are fetched, no larger than their index says, no link
    is followed, and nothing gets its name before all of it is verified. A pull that was interrupted goes on by the same
    command. Digests show that files are those that were pushed, not who pushed them.

    \b
    introspect pull hf://me/probe-risk runs/theirs --dry-run
    introspect pull hf://me/probe-risk@4a1b9d7 runs/theirs
    introspect pull s3://bucket/probes/my-probe my-probe
    """
    if not isfinite(max_gb):
        raise SpecError(f"--max-gb {max_gb} is no size; give a number of gigabytes")
    from ..interchange.pull import pull as pulling

    with progress_bars() as progress:
        done = pulling(source, out, most=int(max_gb * GB), dry_run=dry_run, progress=progress)
    index = done.index
    if as_json:
        print_json(
            {
                "address": done.address,
                "out": str(out),
                "kind": index.kind,
                "pulled": not dry_run,
                "bytes": index.n_bytes,
                "fetched": done.fetched,
                "files": {path: entry.bytes for path, entry in index.files.items()},
            }
        )
        return
    what = f"a {index.kind} of {len(index.files)} files, {index.n_bytes:,} bytes"
    if dry_run:
        typer.echo(f"{done.address}: {what}; nothing was fetched")
        return
    typer.echo(f"{out}: {what}, from {done.address}; every file matches its digest")
