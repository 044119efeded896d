"""`introspect items`: a task's items, made again or grown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def items(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task with a generator: risk.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file, byte for byte.")] = 0,
    id_repeats: Annotated[int, typer.Option(min=1, help="In-distribution items a noun, frame and option order.")] = 2,
    ood_repeats: Annotated[int, typer.Option(min=1, help="The same, in every other domain.")] = 1,
) -> None:
    """Make a task's items from its generator. The defaults rebuild the shipped file.

    \b
    introspect items risk --out risk.jsonl
    introspect items risk --out more.jsonl --id-repeats 6 --ood-repeats 3 --seed 1
    introspect run probe-risk --set items=more.jsonl
    """
    from ..atomic import write_atomic
    from ..tasks.item import items_text
    from ..tasks.registry import GENERATORS, find_task

    made = GENERATORS[find_task(task).name](seed=seed, id_repeats=id_repeats, ood_repeats=ood_repeats)
    write_atomic(out, items_text(made))
    typer.echo(f"{out}: {len(made)} items")
