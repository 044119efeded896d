"""The page of a study, from its results. Arranges; computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..atomic import write_atomic
from ..errors import RunError, StoreError
from ..report import FAULTS, fill, number, share
from ..report.measures import measure_tables
from ..results import read_run_manifest
from .figures import caption, study_figures
from .measures import GROUPS
from .results import read_study
from .sentences import headline


def report_study(out: Path) -> Path:
    """Write the page of a study again, from its results.

    Raises:
        RunError: the study has no results yet.
    """
    if not (out / "results.json").exists():
        raise RunError(f"{out} has no results.json; finish the study with `introspect run ... --out {out} --resume`")
    return write_page(out)


def write_page(out: Path) -> Path:
    """Write `report.html` of a study from its `results.json` and `manifest.json`.

    Raises:
        StoreError: results.json is missing or not one of ours.
    """
    results, manifest = read_study(out / "results.json"), read_run_manifest(out / "manifest.json")
    try:
        page = render(results, manifest)
    except FAULTS as error:
        raise StoreError(f"{out / 'results.json'} does not hold together ({error!r}); run the study again") from None
    path = out / "report.html"
    write_atomic(path, page)
    return path


def render(results: dict[str, Any], manifest: dict[str, Any] | None) -> str:
    """The page. Equal input gives equal bytes."""
    drawn = study_figures(results)
    ids = {f"figure-{place}": name for place, name in enumerate(drawn)}
    return fill(
        "study.html.j2",
        {each: drawn[name] for each, name in ids.items()},
        results=results,
        manifest=manifest,
        sentences=headline(results),
        captions={each: caption(name) for each, name in ids.items()},
        tables={name: _table(task) for name, task in results.get("tasks", {}).items()},
        along=_along(results.get("trajectory", {})),
    )


def _along(trajectory: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of a trajectory that its drawing does not show in full."""
    shown = {name: tree for name, tree in trajectory.items() if name not in ("sentences", "training")}
    return measure_tables({"along the training": shown}) if shown else []


def _table(task: dict[str, Any]) -> dict[str, Any]:
    """Rows for the page: a heading's measures with a cell a method, the differences, and why cells are empty."""
    reasons: dict[str, int] = {}

    def shown(estimate: dict[str, Any], percent: bool) -> str:
        if estimate["value"] is None:
            return f"none ({reasons.setdefault(estimate['reason'], len(reasons) + 1)})"
        return share(estimate) if percent else number(estimate)

    groups = []
    for heading, measures in GROUPS.items():
        rows = [
            {
                "label": measure.label,
                "cells": [
                    {
                        "text": shown(method["measures"][measure.key], measure.percent),
                        "how": method["measures"][measure.key].get("method", ""),
                        "seeds": [
                            shown(task["members"][name][measure.key], measure.percent) for name in method["members"]
                        ],
                    }
                    for method in task["methods"].values()
                ],
                "differences": [
                    {
                        "text": shown(each[measure.key]["difference"], False),
                        "p": each[measure.key]["p_value"],
                        "p_holm": each[measure.key]["p_value_holm"],
                        "test": each[measure.key]["test"],
                    }
                    for each in task["differences"].values()
                ],
            }
            for measure in measures
            if measure.key in task["measures"]
        ]
        if rows:
            groups.append({"heading": heading, "rows": rows})
    return {"groups": groups, "reasons": list(reasons)}
