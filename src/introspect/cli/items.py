"""`introspect items`: a task's items made again or grown, and questions of one's own or published ones as items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SpecError
from .console import note

if TYPE_CHECKING:
    from ..tasks.item import Item


def items(
    source: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A task with a generator (risk, bias, reward_hacking, sampling, pressure), a file of questions (.csv, "
            ".tsv, .jsonl), or a published set: mmlu, "
            "gpqa, gpqa-diamond, arc-easy, arc-challenge, commonsense-qa.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Generators: the same seed gives the same file, byte for byte.")] = 0,
    id_repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Generators: in-distribution items a cell, such as a noun, frame and option order."),
    ] = None,
    ood_repeats: Annotated[int | None, typer.Option(min=1, help="Generators: the same, in every other domain.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Published sets: at most so many, spread evenly over the set.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Published sets: branch, tag or commit; without it, the newest.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Published sets: which split; without it, the one to test on.")
    ] = None,
    copy: Annotated[
        Path | None, typer.Option("--source", help="Published sets: a folder with a copy, in place of the hub.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Published sets: ask no hub, use what is on this machine.")
    ] = False,
) -> None:
    """Write items: a task's, your own questions, or a published set.

    A CSV file has the columns question, A, B, C, D (or fewer, or more), answer (a letter or a text), and, if you like,
    subject, level (1 to 3), split (id or ood) and id. A line of a JSONL file has question, options and answer.
    Questions with the same wording are merged. The defaults of a generator rebuild the shipped file.

    \b
    introspect items risk --out risk.jsonl
    introspect items risk --out more.jsonl --id-repeats 6 --ood-repeats 3 --seed 1
    introspect items my-questions.csv --out mine.jsonl
    introspect items mmlu --out mmlu.jsonl --limit 300
    introspect items arc-challenge --out arc.jsonl --revision main --split validation
    introspect run probe-risk --set items=more.jsonl
    """
    from ..atomic import write_atomic
    from ..tasks.choice_files import SUFFIXES, read_questions
    from ..tasks.choice_hub import DATASETS, load_hub
    from ..tasks.item import items_text

    made: list[Item]
    notes: list[str] = []
    if source in DATASETS:
        made, notes = load_hub(source, revision=revision, split=split, limit=limit, offline=offline, source=copy)
    else:
        options = {"--limit": limit, "--revision": revision, "--split": split, "--source": copy, "--offline": offline}
        unfit = next((option for option, value in options.items() if value), None)
        if unfit is not None:
            raise SpecError(f"{unfit} is for published sets ({', '.join(DATASETS)}), not {source!r}; leave it out")
        if source.lower().endswith(SUFFIXES) or Path(source).is_file():
            made, notes = read_questions(Path(source))
        else:
            made = _generated(source, seed, {"id_repeats": id_repeats, "ood_repeats": ood_repeats})
    write_atomic(out, items_text(made))
    for line in notes:
        note(line)
    typer.echo(f"{out}: {len(made)} items")


def _generated(task: str, seed: int, repeats: dict[str, int | None]) -> list[Item]:
    from ..tasks.registry import find_task

    make_items = find_task(task).make_items
    if make_items is None:
        raise SpecError(f"the items of {task} were written by hand: data/README.md says which file holds them")
    return make_items(seed=seed, **{name: many for name, many in repeats.items() if many is not None})
