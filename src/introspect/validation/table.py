"""From draws to the table: how often each measure was right, with how many draws that rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import beta

from ..stats import Z95, Estimate
from .checks import Check
from .measures import MEASURES
from .scenarios import SCENARIOS

NOMINAL_COVERAGE = 0.95
NOMINAL_SIZE = 0.05
NOMINAL_SIDE = 0.025
"""How often a 95% interval should lie above what is true, at most."""
ESTIMATED_AS = {"silent_at_fpr": "silent_but_decodable", "silent_uncorrected": "silent_but_decodable"}
"""Measure -> the estimate whose interval is held against its truth, where that has another name."""
SHUFFLED = "shuffled_labels"
"""The test that every draw with a probe has."""
Draw = dict[str, Any]


def table(scenarios: Sequence[str], draws: Sequence[Draw], fpr: float) -> list[dict[str, Any]]:
    """A row for each check of each scenario.

    Args:
        fpr: the rate that thresholds are set for.
    """
    rows = []
    for name in scenarios:
        own = [each for each in draws if each["scenario"] == name]
        rows += [_row(name, check, own, fpr) for check in SCENARIOS[name].checks]
    return rows


def _row(scenario: str, check: Check, draws: Sequence[Draw], fpr: float) -> dict[str, Any]:
    fitted = [each for each in draws if "undefined" not in each]
    asked, nominal, values = _counted(check, fitted, fpr)
    kept = [value for value in values if value is not None]
    found = _mean(kept) if check.kind in ("rate", "bias") else exact_share(int(sum(kept)), len(kept))
    return {
        "scenario": scenario,
        "measure": check.measure,
        "label": MEASURES[check.measure].label,
        "asked": asked,
        "kind": check.kind,
        "there": check.there,
        "nominal": nominal,
        "found": found.to_json(),
        "n_undefined": len(draws) - len(kept),
        "reading": _reading(check, nominal, found),
        "note": check.note,
        **({"misses": _misses(check.measure, fitted)} if check.kind == "coverage" else {}),
    }


def _misses(measure: str, draws: Sequence[Draw]) -> dict[str, int]:
    """How many intervals lie wholly below the truth, and above it: on which side a narrow one errs."""
    pairs = [pair for pair in _pairs(measure, draws) if pair is not None]
    return {
        "below": sum(estimate[2] < truth for estimate, truth in pairs),
        "above": sum(estimate[1] > truth for estimate, truth in pairs),
    }


def _pairs(measure: str, draws: Sequence[Draw]) -> list[tuple[Sequence[float], float] | None]:
    """The estimate, as value, low and high, and the truth of each draw; None where it gives none."""
    source = ESTIMATED_AS.get(measure, measure)
    pairs = [(each["estimates"].get(source), each["truth"].get(measure)) for each in draws]
    return [(a, b) if a is not None and b is not None else None for a, b in pairs]


def _counted(check: Check, draws: Sequence[Draw], fpr: float) -> tuple[str, float | None, list[float | None]]:
    """What is asked of each draw, what the answer should be, and the answers; None where a draw gives none."""
    measure = check.measure
    if check.kind == "found":
        p_values = [each["p_value"] if measure == SHUFFLED else each.get("p_values", {}).get(measure) for each in draws]
        rejected = [None if p is None else float(p <= NOMINAL_SIZE) for p in p_values]
        return "p at most .05", _unless(check, NOMINAL_SIZE), rejected
    if check.kind == "above":
        estimates = [each["estimates"].get(ESTIMATED_AS.get(measure, measure)) for each in draws]
        own = MEASURES[measure].level
        level = fpr if own is None else own
        above = [None if each is None else float(each[1] > level) for each in estimates]
        return f"interval above {level:g}", _unless(check, NOMINAL_SIDE), above
    if check.kind == "rate":
        return "mean in the population", fpr, [each["truth"].get(measure) for each in draws]
    pairs = _pairs(measure, draws)
    if check.kind == "bias":
        return "mean of estimate minus truth", 0.0, [None if each is None else each[0][0] - each[1] for each in pairs]
    covered = [None if each is None else float(each[0][1] <= each[1] <= each[0][2]) for each in pairs]
    return "95% interval holds the truth", NOMINAL_COVERAGE, covered


def _unless(check: Check, nominal: float) -> float | None:
    """A nominal rate holds where there is nothing to find."""
    return nominal if check.there is False else None


def exact_share(successes: int, n: int) -> Estimate:
    """A share with its Clopper-Pearson interval (1934), which holds at any number of draws."""
    if n == 0:
        return Estimate.undefined("no draw gave it")
    low = float(beta.ppf(0.025, successes, n - successes + 1)) if successes else 0.0
    high = float(beta.ppf(0.975, successes + 1, n - successes)) if successes < n else 1.0
    return Estimate(successes / n, (low, high), n, "clopper-pearson")


def _mean(values: Sequence[float]) -> Estimate:
    if len(values) < 2:
        return Estimate.undefined("fewer than two draws gave it")
    mean, half = float(np.mean(values)), Z95 * float(np.std(values, ddof=1)) / float(np.sqrt(len(values)))
    return Estimate(mean, (mean - half, mean + half), len(values), "mean over draws, normal interval")


def _reading(check: Check, nominal: float | None, found: Estimate) -> str:
    """In a word or two: whether what was found can be what was promised. "compatible" is not refuted, and no proof."""
    if found.ci95 is None:
        return "not estimated"
    if nominal is None or check.there is not False:
        return "power" if check.there else "for comparison"
    low, high = found.ci95
    if check.kind == "bias":
        return "compatible" if low <= nominal <= high else "too high" if low > nominal else "too low"
    if check.kind == "coverage":
        return "too narrow" if high < nominal else "wide" if low > nominal else "compatible"
    return "too often" if low > nominal else "compatible"
