"""`introspect push`: a run or a probe, to the hub or any folder or bucket."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import note, print_columns, print_json, progress_bars


def push(
    what: Annotated[str, typer.Argument(metavar="RUN-or-PROBE", help="Folder of a run, or a probe's folder or name.")],
    dest: Annotated[
        str, typer.Argument(metavar="DEST", help="hf://user/name, s3://bucket/name, file:///..., a folder.")
    ],
    public: Annotated[bool, typer.Option("--public", help="Make a repository of the hub that everybody sees.")] = False,
    keep_paths: Annotated[
        bool, typer.Option("--keep-paths", help="Leave paths of this machine as they are, instead of shortening them.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be pushed, with bytes, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was pushed as one JSON document.")] = False,
) -> None:
    """Push a run or a probe, with a card and digests.

    The folder is verified first. Links, keys and hidden files never go along, and paths of this machine are shortened
    in what is pushed. What is there already is never written over; a push that was interrupted goes on by the same
    command. Repositories of the hub are private unless --public is given; the token is that of `hf auth login`, or
    HF_TOKEN. Other places use fsspec: `pip install s3fs` for s3://, gcsfs for gs://.

    \b
    introspect push runs/probe-risk hf://me/probe-risk --dry-run
    introspect push runs/probe-risk hf://me/probe-risk
    introspect push my-probe s3://bucket/probes/my-probe
    introspect push risk-silent /mnt/shared/risk-silent
    """
    from ..interchange.file_index import CARD
    from ..interchange.push import push as pushing

    with progress_bars() as progress:
        done = pushing(what, dest, public=public, keep_paths=keep_paths, dry_run=dry_run, progress=progress)
    cargo = done.cargo
    if as_json:
        print_json(
            {
                "what": what,
                "kind": cargo.index.kind,
                "address": done.address,
                "pushed": not dry_run and not done.was_there,
                "bytes": cargo.index.n_bytes,
                "files": {path: entry.bytes for path, entry in cargo.index.files.items()},
                "shortened": cargo.shortened,
                "left": list(cargo.left),
            }
        )
        return
    if dry_run:
        own = {CARD: "the card", **dict.fromkeys(cargo.shortened, "paths shortened")}
        files = cargo.index.files.items()
        print_columns({path: f"{entry.bytes:>15,} bytes  {own.get(path, '')}" for path, entry in files}, indent="")
    elif cargo.shortened:
        note(f"paths of this machine were shortened in {', '.join(cargo.shortened)}")
    if cargo.left:
        note(f"not pushed: {', '.join(cargo.left)}")
    said = "would be pushed to" if dry_run else ("were there already:" if done.was_there else "pushed to")
    typer.echo(f"{len(cargo.index.files)} files, {cargo.index.n_bytes:,} bytes, {said} {done.address}")
