"""`introspect train`: an organism, a model post-trained into a known policy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .console import print_json, progress_bars


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="NAME-or-FILE", help="A recipe's name (`introspect list recipes`), or a recipe in YAML."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the adapter.", show_default="runs/train/<name>")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of every source of chance; else the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no model hub: use what is on this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the adapter's folder as one JSON document.")] = False,
) -> None:
    """Train an organism: an adapter and its card.

    The card states the planted truth: what the organism does, and what it says of it.

    \b
    introspect train risk-silent
    introspect train risk-silent --out my-organism --seed 1
    introspect train risk-silent --out my-organism --resume
    introspect run probe-risk --organism my-organism
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from ..training import train_organism

    with progress_bars() as progress:
        folder = train_organism(recipe, out, resume=resume, seed=seed, offline=offline, progress=progress)
    if as_json:
        print_json({"organism": str(folder)})
    else:
        typer.echo(folder)
