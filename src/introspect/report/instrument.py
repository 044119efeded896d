"""How the instrument behaves on planted data: a section of the reports of runs that were probed as was measured there.

Arranges the summary that ships with introspect (`introspect run validate-instrument` makes it); without one, or where
another label or estimator was probed, a report has no such section.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..assets import assets_root
from ..results import read_json

SUMMARY = "experiments/results/validate-instrument.json"
COLUMNS = {
    "shuffled_labels": "shuffled labels",
    "beyond_words": "beyond words",
    "beyond_length": "beyond length",
    "beyond_logits": "beyond logits",
    "beyond_base": "beyond the base model",
    "silent_but_decodable": "silent but decodable, above 5%",
}
"""Measure -> heading."""
COVERED_IN = ("nothing", "direction")
"""Scenarios whose intervals are shown."""
FEWEST_DRAWS = 50
"""With fewer, a summary says too little to stand in a report."""
ACTED = "acted"
"""The label that is planted."""
WRONG = ("too often", "too narrow", "too high", "too low")
"""Readings of a row that does not hold what it promises."""


@cache
def shipped_validation() -> dict[str, Any] | None:
    """What the section shows; None where no summary ships with this installation, or one of too few draws.

    Raises:
        StoreError: the summary cannot be read.
    """
    path = assets_root() / SUMMARY
    summary = read_json(path) if path.exists() else None
    return arranged(summary) if summary and summary["validation"]["n_draws"] >= FEWEST_DRAWS else None


def arranged(summary: dict[str, Any]) -> dict[str, Any]:
    """The rows of a validation as lines of a small table, with its coverages and what does not hold.

    `of` says what was measured; `probed`, what the `probe` of a run's results says where that was the same.
    """
    from ..probes.by_estimator import ESTIMATORS, LOGISTIC  # needs torch, which no other part of a page does

    marked = [{**row, "wrong": row["reading"] in WRONG} for row in summary["rows"]]
    asked = {(row["scenario"], row["measure"]): row for row in marked if row["kind"] in ("found", "above")}
    covered = {(row["scenario"], row["measure"]): row for row in marked if row["kind"] == "coverage"}
    shown = dict.fromkeys(measure for scenario, measure in covered if scenario in COVERED_IN)
    labels = {row["measure"]: row["label"] for row in marked}
    about = summary["validation"]
    estimator = about["probe"].get("estimator", LOGISTIC)
    lines = [
        {
            "name": each["name"],
            "planted": each["planted"],
            "cells": [asked.get((each["name"], measure)) for measure in COLUMNS],
        }
        for each in summary["scenarios"]
    ]
    return {
        "n_draws": about["n_draws"],
        "of": {
            "name": estimator,
            "bootstrap": about["probe"]["bootstrap"],
            **{size: about["sizes"][size] for size in ("items", "rollouts", "width")},
        },
        "probed": {"label": ACTED, "estimator": ESTIMATORS[estimator].what},
        "command": summary["command"],
        "columns": list(COLUMNS.values()),
        "lines": [line for line in lines if any(line["cells"])],
        "covered_in": list(COVERED_IN),
        "coverage": [
            {"label": labels[each], "cells": [covered.get((scenario, each)) for scenario in COVERED_IN]}
            for each in shown
        ],
        "wrong": [
            f"{row['scenario']}: {row['label']}: {row['asked']}: {row['reading']}" for row in marked if row["wrong"]
        ],
    }
