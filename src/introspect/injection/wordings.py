"""A study's numbers wording by wording: intervals resample words, and hold for the wordings that were asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..stats import Estimate
from ..tables import Columns, line_of, table
from .found import Found

SHOWN = 70
"""Characters of a wording that name its row."""


def wordings_table(
    found: Found,
    asked: Sequence[str],
    columns: Columns,
    cells: Callable[[Found], list[Estimate]],
) -> dict[str, Any]:
    """A row a wording.

    Args:
        asked: what each wording asks, in their order.
        cells: of the lines of one wording, an estimate a column.
    """
    return table(
        "Wording by wording, on words held out",
        f"{CONDITIONAL.format(n=len(asked))} Each word has one wording, so rows are of different words, and few.",
        columns,
        [line_of(f"{n + 1}: {_short(text)}", cells(found.of_wording(n))) for n, text in enumerate(asked)],
    )


CONDITIONAL = (
    "Intervals, here and in every table, resample words and replies, not wordings: they hold for the {n} wordings that "
    "were asked, which were written and not drawn. How far wordings differ among themselves says how far another may."
)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
