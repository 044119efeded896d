"""Tables of a results.json: labelled columns, and a labelled row of estimates each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from .stats import Estimate

How = Literal["number", "share"]
"""How the estimates of a column are written."""
Columns = Sequence[tuple[str, How]]
"""By label."""


def table(title: str, note: str, columns: Columns, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A table; rows as of `line_of`."""
    return {
        "title": title,
        "note": note,
        "columns": [{"label": label, "how": how} for label, how in columns],
        "rows": list(rows),
    }


def line_of(label: str, estimates: Sequence[Estimate], note: str = "") -> dict[str, Any]:
    """A row of a table."""
    return {"label": label, "note": note, "cells": [each.to_json() for each in estimates]}
