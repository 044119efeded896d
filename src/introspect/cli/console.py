"""How verbs print: results on stdout, notes and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..progress import Progress


def print_json(document: Any) -> None:
    """One JSON document on stdout. A value that is not finite is a bug, and raises ValueError."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_columns(rows: Mapping[str, str], indent: str = "  ") -> None:
    """Names on the left, descriptions on the right."""
    width = max((len(name) for name in rows), default=0)
    for name, description in rows.items():
        typer.echo(f"{indent}{name:<{width}}  {description}".rstrip())


def print_table(rows: Mapping[str, Sequence[str]]) -> None:
    """A measure a line, with a column for each of its values."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for measure, values in rows.items():
        table.add_row(Text(measure, style="dim"), *(Text(value) for value in values))
    Console().print(table)


def print_rows(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a title and names of its columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in head:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    typer.echo(title)
    Console().print(table)


MARKS = {"ok": ("ok", "green"), "failed": ("FAILED", "bold red"), "note": ("note", "yellow"), "skipped": ("-", "dim")}


def print_marks(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """A line for each (status, name, what was measured, what a failure means), coloured on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for status, name, measured, means in rows:
        mark, style = MARKS[status]
        said = Text(measured)
        if status in ("failed", "note") and means:
            said.append(f"\n{means}", style=style)
        table.add_row(Text(mark, style=style), Text(name), said)
    Console().print(table)


def print_cost(cost: Any, in_words: Mapping[str, str], as_json: bool) -> None:
    """What something would take, a dataclass: as one JSON document, or in words."""
    if as_json:
        print_json(asdict(cost))
    else:
        print_columns(in_words, indent="")


def minutes(seconds: float) -> str:
    """A time that was estimated."""
    return f"about {max(1, round(seconds / 60))} min"


def weights_line(in_memory: int, if_quantised: Mapping[str, int]) -> dict[str, str]:
    """The line of a cost that says what a model's weights take; none where that is not known."""
    if not in_memory:
        return {}
    others = ", ".join(f"{size / 1e9:.2f} in {name}" for name, size in if_quantised.items())
    return {"weights": f"{in_memory / 1e9:.2f} GB in memory{f' ({others})' if others else ''}"}


def print_found(results: dict[str, Any], sentences: Iterable[str], folder: Path, as_json: bool) -> None:
    """What was found: as one JSON document, or in sentences and with the page's path."""
    if as_json:
        print_json(results)
        return
    for sentence in sentences:
        typer.echo(sentence)
    typer.echo(f"\n{folder / 'report.html'}")


def note(line: str) -> None:
    """Something the user should know that is not a result."""
    typer.echo(f"note: {line}", err=True)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A bar for every stage that reports itself, on stderr; silent when that is not a terminal."""
    if not sys.stderr.isatty():
        from ..progress import silent

        yield silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    stages: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done, total=total)

        yield advance
