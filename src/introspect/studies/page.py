"""The page of a study, from its results. Arranges; computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..report import fill, number, share
from ..report.measures import measure_tables
from .figures import caption, study_figures
from .measures import GROUPS
from .pairs import COSINES, ESTIMATES, ITSELF, NULLS, pair
from .results import STUDY
from .seeds import COVERAGE
from .sentences import headline

RANGES = "from the lowest to the highest end of the seeds' own 95% intervals"
"""What stands in place of an interval where rows cannot be resampled across runs."""
COLUMNS = (
    *("probe, AUROC", "words, AUROC", "words up to the place", "probe beyond the better words"),
    *(f"the same out of distribution: {name}" for name in ("probe", "words", "words up to the place", "beyond")),
    *("cosine, raw", "the same labels in the untrained model", "cosine beyond that", "cosine, whitened"),
)
"""Headings of `pairs.ESTIMATES`."""
BESIDE = {
    "probe": "its probe on the untrained model's activations",
    "own": "a probe fitted on those",
    "beyond": "its probe beyond that",
    "cosine": "cosine with the untrained model's direction",
}
"""What an organism has beside the untrained model -> heading."""


def report_study(out: Path) -> Path:
    """Draw the page of a study of several runs again; see `FolderResults.report`."""
    return STUDY.report(out, render)


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
        carried={name: _directions(task["directions"]) for name, task in results.get("tasks", {}).items()},
        coverage=COVERAGE,
        along=_along(results.get("trajectory", {})),
    )


def _along(trajectory: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of a trajectory that its drawing does not show in full."""
    shown = {name: tree for name, tree in trajectory.items() if name not in ("sentences", "training")}
    return measure_tables({"along the training": shown}) if shown else []


class _Shown:
    """Estimates as text; why there is none is numbered, and told once."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}

    def __call__(self, estimate: dict[str, Any], *, percent: bool = False) -> str:
        if estimate["value"] is None:
            return self.none(estimate["reason"])
        return share(estimate) if percent else number(estimate)

    def none(self, reason: str) -> str:
        """A cell that is empty."""
        return f"none ({self.reasons.setdefault(reason, len(self.reasons) + 1)})"

    def null(self, null: dict[str, Any]) -> str:
        """What cosines a null gives, and how the cosine stands to it."""
        if "mean" not in null:
            return self.none(null["reason"])
        return f"{null['mean']:.2f} [{null['low']:.2f}, {null['high']:.2f}], p = {null['p_value']:.3g}"

    def spread(self, spread: dict[str, Any]) -> str:
        """A mean over pairs with its range."""
        if "mean" not in spread:
            return self.none(spread["reason"])
        of = f" of {spread['of']}" if spread["n"] < spread["of"] else ""
        return f"{spread['mean']:.2f} ({spread['lowest']:.2f} to {spread['highest']:.2f}; {spread['n']}{of})"


def _table(task: dict[str, Any]) -> dict[str, Any]:
    """Rows for the page: a heading's measures with a cell a method, the differences, and why cells are empty."""
    shown = _Shown()
    groups = []
    for heading, measures in GROUPS.items():
        rows = [
            {
                "label": measure.label,
                "cells": [
                    {
                        "text": shown(method["measures"][measure.key], percent=measure.percent),
                        "how": method["measures"][measure.key].get("method", ""),
                        "seeds": [
                            shown(task["members"][name][measure.key], percent=measure.percent)
                            for name in method["members"]
                        ],
                    }
                    for method in task["methods"].values()
                ],
                "differences": [
                    {
                        "text": shown(each[measure.key]["difference"]),
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
            ranges = all(measure.statistic is None for measure in measures)
            groups.append({"heading": heading, "interval": RANGES if ranges else "", "rows": rows})
    return {"groups": groups, "reasons": list(shown.reasons)}


def _directions(directions: dict[str, Any]) -> dict[str, Any] | None:
    """Rows of what probes are worth on other organisms, with their controls; None where nothing can be said."""
    if "auroc" not in directions:
        return None
    shown = _Shown()
    about, place, split = directions["organisms"], directions["place"], directions["split"]
    pairs = []
    for row in about:
        for column in about:
            found, itself = pair(directions, row, column), row == column
            cells = [_cell(shown(found[name]), itself and name in COSINES.values()) for name in ESTIMATES]
            nulls = ["" if itself else shown.null(found[name]) for name in NULLS]
            sizes = f"{about[row]['n_train']} / {about[column]['n_test']} / {about[column]['n_ood']}"
            pairs.append(
                {"fitted": row, "tested": column, "cells": [*cells, *nulls, _place(place), sizes]},
            )
    methods = [
        {
            **{key: each[key] for key in ("fitted", "tested", "pairs")},
            "cells": [
                _cell(shown.spread(each[name]), each["pairs"] == ITSELF and name in COSINES.values())
                for name in ESTIMATES
            ],
        }
        for each in directions["by_method"]["rows"]
    ]
    untrained = [
        {
            "organism": name,
            "cells": [shown(each[key]) for key in BESIDE] if "probe" in each else [shown.none(each["reason"])] * 4,
        }
        for name, each in directions["base"].items()
    ]
    return {
        "place": _place(place),
        "chosen": place["chosen"],
        "groups": [len(split[part]) for part in ("train_groups", "test_groups", "ood_groups")],
        "what": directions["what"],
        "over": directions["by_method"]["what"],
        "cosines": directions["cosines"]["what"],
        "columns": COLUMNS,
        "beside": list(BESIDE.values()),
        "pairs": pairs,
        "methods": methods,
        "untrained": untrained,
        "reasons": list(shown.reasons),
    }


def _place(place: dict[str, Any]) -> str:
    return f"{place['position']}, layer {place['layer']}"


def _cell(text: str, reliability: bool) -> str:
    return f"split-half reliability {text}" if reliability else text
