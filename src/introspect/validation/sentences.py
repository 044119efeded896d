"""The answer of a validation in sentences, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..report import number, share
from ..report.instrument import WRONG

Row = dict[str, Any]


def headline(results: dict[str, Any]) -> list[str]:
    """What was found where it was planted, where it was not, how intervals hold, and what organisms say."""
    rows = [row for row in results["rows"] if row["reading"] != "not estimated"]
    tests = [row for row in rows if row["kind"] in ("found", "above") and row["there"] is False]
    too_often = [row for row in tests if row["reading"] in WRONG]
    covers = [row for row in rows if row["kind"] == "coverage" and row["there"] is False]
    too_narrow = [row for row in covers if row["reading"] in WRONG]
    powers = [row for row in rows if row["reading"] == "power" and row["measure"] == "shuffled_labels"]
    out = [
        f"{_draws(results)}: of {len(tests)} "
        f"measures of what is not there, {len(too_often)} are found more often than they may be; of {len(covers)} "
        f"intervals, {len(too_narrow)} hold the truth less often than they say, beyond what so many draws leave open."
    ]
    if powers:
        found = [f"{row['scenario']} {share(row['found'])}" for row in powers]
        out.append(f"What is planted is found by the test against shuffled labels: {', '.join(found)}.")
    readings = [row["reading"] for row in results["organisms"]["rows"] if row["reading"] != "not measured"]
    if readings:
        said = ", ".join(f"{readings.count(reading)} {reading}" for reading in dict.fromkeys(readings))
        out.append(f"Of {len(readings)} figures expected of the planted truth of organisms: {said}.")
    return out


def _draws(results: dict[str, Any]) -> str:
    """How many of which sort; a file of an earlier version has one sort only."""
    n = results["validation"]["n_draws"]
    sorts: dict[bool, list[int]] = {}
    for each in results["scenarios"]:
        sorts.setdefault(each.get("alone", False), []).append(each.get("n_draws", n))
    said = {False: "each analysed as a run is", True: "in each of which numbers are put to one measure"}
    parts = [
        f"{_span(counts)} draws of each of {len(counts)} scenarios, {said[sort]}" for sort, counts in sorts.items()
    ]
    return "; and ".join(parts)


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def found_wrong(rows: Sequence[Row]) -> list[str]:
    """A sentence for every measure that does not hold what it promises."""
    return [
        f"With {row['scenario']} planted, {row['label']}: {row['asked']} in {_value(row)}, against {promised(row)}: "
        f"{row['reading']}{_sides(row)}."
        for row in rows
        if row["reading"] in WRONG
    ]


def _sides(row: Row) -> str:
    """On which side of the truth intervals lie that do not hold it; a file of an earlier version does not say."""
    missed = row.get("misses")
    if not missed:
        return ""
    return f" ({missed['below']} lie below the truth, {missed['above']} above it)"


def promised(row: Row) -> str:
    """What a row should be, in words."""
    if row["kind"] == "bias":
        return "0"
    return f"{'' if row['kind'] == 'coverage' else 'at most '}{100 * row['nominal']:.3g}%"


def _value(row: Row) -> str:
    return number(row["found"]) if row["kind"] == "bias" else share(row["found"])
