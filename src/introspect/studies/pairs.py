"""Probes carried between organisms, and cosines of directions: pair by pair, and over the pairs of two methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..stats import Estimate

Directions = Mapping[str, Any]
"""As `directions.transfer` gives them, where something can be said."""
AUROCS = {"auroc": "", "auroc_ood": "ood_"}
COSINES = {"raw": "cosine", "whitened": "whitened", "base": "base_cosine"}
ESTIMATES = (
    *("probe", "text", "text_visible", "increment", "ood_probe", "ood_text", "ood_text_visible", "ood_increment"),
    *("cosine", "base_cosine", "beyond_base", "whitened"),
)
"""Names of what a pair has, in the order of a table."""
NULLS = ("unrelated", "random_labels")
"""Of raw cosines."""
ALONE = "there is no cosine of two organisms here"
ITSELF, OTHERS = "itself", "another organism"
WHAT = (
    "over the pairs of an organism of one method (fitted on) and one of another (tested on): mean, lowest and highest; "
    "an organism with itself apart, where the cosine is the split-half reliability of its direction"
)


def pair(directions: Directions, row: str, column: str) -> dict[str, dict[str, Any]]:
    """Everything of one ordered pair: `ESTIMATES`, and `unrelated` and `random_labels`, the nulls of its raw cosine.

    Of an organism with itself, the cosines are split-half reliabilities, and there are no nulls.
    """
    out = {
        prefix + name: each
        for part, prefix in AUROCS.items()
        for name, each in directions[part][row][column].items()
        if prefix + name in ESTIMATES
    }
    cells = {space: _cell(directions["cosines"][space], row, column) for space in COSINES}
    for space, name in COSINES.items():
        cell = cells[space]
        out[name] = cell.get("reliability", cell)
    missing = Estimate.undefined(ALONE if row == column else cells["raw"].get("reason", ALONE)).to_json()
    for name in ("beyond_base", *NULLS):
        out[name] = cells["raw"].get(name, missing)
    return out


def by_method(directions: Directions, method_of: Mapping[str, str]) -> dict[str, Any]:
    """The mean and range of every estimate over the pairs of two methods.

    Args:
        method_of: organism -> its method.

    Returns:
        `what`, and `rows`: `fitted` and `tested` (methods), `pairs` (`itself` or `another organism`), and for each of
        `ESTIMATES` `mean`, `lowest`, `highest`, `n` (pairs that have it) and `of` (pairs); without any, a `reason`.
    """
    names = list(directions["organisms"])
    together: dict[tuple[str, str, str], list[dict[str, dict[str, Any]]]] = {}
    for row in names:
        for column in names:
            key = (method_of[row], method_of[column], ITSELF if row == column else OTHERS)
            together.setdefault(key, []).append(pair(directions, row, column))
    rows = [
        {
            "fitted": fitted,
            "tested": tested,
            "pairs": which,
            **{name: _spread([each[name] for each in pairs]) for name in ESTIMATES},
        }
        for (fitted, tested, which), pairs in together.items()
    ]
    return {"what": WHAT, "rows": rows}


def _cell(matrix: Mapping[str, Any], row: str, column: str) -> dict[str, Any]:
    if "value" in matrix:
        return dict(matrix)
    missing = Estimate.undefined("one of the two has no direction here").to_json()
    cell: dict[str, Any] = matrix.get(row, {}).get(column, missing)
    return cell


def _spread(estimates: list[dict[str, Any]]) -> dict[str, Any]:
    values = [each["value"] for each in estimates if each["value"] is not None]
    if not values:
        return {"reason": estimates[0]["reason"], "of": len(estimates)}
    return {
        "mean": round(sum(values) / len(values), 6),
        "lowest": min(values),
        "highest": max(values),
        "n": len(values),
        "of": len(estimates),
    }
