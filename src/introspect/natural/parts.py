"""Parts of results.json: tables, figures and findings. Labels of figures are plain words, since plotly reads markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..report import number
from ..stats import Estimate

How = Literal["number", "share"]
NOT_PLAIN = re.compile(r"[^A-Za-z0-9 .,:()%+'-]")
SUPPORTED, NOT, UNKNOWN, UNTESTED = "supported", "not supported", "cannot tell", "not tested"


def table(title: str, note: str, columns: Sequence[tuple[str, How]], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A table: columns by label and how they are shown, rows as of `line_of`."""
    return {
        "title": title,
        "note": note,
        "columns": [{"label": label, "how": how} for label, how in columns],
        "rows": list(rows),
    }


def line_of(label: str, estimates: Sequence[Estimate], note: str = "") -> dict[str, Any]:
    """A row of a table."""
    return {"label": label, "note": note, "cells": [each.to_json() for each in estimates]}


def figure(
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Mapping[Any, Estimate]],
    *,
    kind: Literal["lines", "points"] = "lines",
    at: float | None = None,
) -> dict[str, Any]:
    """A figure: estimates with their intervals, along numbers (`lines`) or for names (`points`).

    Args:
        axes: titles of x and y.
        series: label -> x -> estimate.
        at: where a dashed line says what chance or nothing would be; None: none.
    """
    return {
        "title": title,
        "kind": kind,
        "x_title": plain(axes[0]),
        "y_title": plain(axes[1]),
        "at": at,
        "series": [
            {
                "label": plain(label),
                "x": [plain(x) if isinstance(x, str) else x for x in found],
                "estimates": [each.to_json() for each in found.values()],
            }
            for label, found in series.items()
        ],
    }


def finding(criterion: str, found: str, reason: str) -> dict[str, str]:
    """A line of the verdict."""
    return {"criterion": criterion, "finding": found, "reason": reason}


def above(estimates: Sequence[Estimate], level: float = 0.0) -> str:
    """Whether all intervals lie above a level; undecided where one is missing, and no other reaches down to it."""
    bounds = [each.ci95 for each in estimates]
    if not bounds:
        return UNTESTED
    if any(each is not None and each[0] <= level for each in bounds):
        return NOT
    return UNKNOWN if any(each is None for each in bounds) else SUPPORTED


def coarse(dtype: str) -> list[str]:
    """A warning where log-probabilities come from 16-bit logits; none where they do not."""
    if dtype not in ("bfloat16", "float16"):
        return []
    return [f"Logits in {dtype} come in steps of up to 1/8: small differences are lost in them. Set dtype=float32."]


def said(estimate: Estimate) -> str:
    """An estimate in words: its value and interval, or why there is none."""
    return number(estimate.to_json())


def plain(text: str) -> str:
    """A text as a label of a figure."""
    return NOT_PLAIN.sub(" ", text)[:120] or " "
