"""The summary of a validation that ships: its parts that need no draws are what they would be today."""

from __future__ import annotations

from pathlib import Path

from introspect.results import read_json
from introspect.validation.measures import truths, without_truth
from introspect.validation.organisms import organisms
from introspect.validation.scenarios import SCENARIOS

SHIPPED = Path(__file__).parents[1] / "experiments" / "results" / "validate-instrument.json"


def test_its_organisms_are_those_of_the_summary_that_ships_beside_it():
    section = read_json(SHIPPED)["organisms"]
    assert section["rows"] and section == organisms(())


def test_its_rows_are_those_that_are_asked_today_with_what_is_true_of_them():
    summary = read_json(SHIPPED)
    asked = [(name, each.measure, each.kind, each.there) for name, about in SCENARIOS.items() for each in about.checks]
    rows = summary["rows"]
    assert [(row["scenario"], row["measure"], row["kind"], row["there"]) for row in rows] == asked
    assert [(each["name"], each["planted"]) for each in summary["scenarios"]] == [
        (name, about.planted) for name, about in SCENARIOS.items()
    ]
    assert summary["truths"] == truths({row["measure"] for row in rows})
    assert summary["without_truth"] == without_truth()


def test_no_row_is_of_more_draws_than_its_scenario_and_few_that_are_fewer_go_unsaid():
    summary = read_json(SHIPPED)
    drawn = {each["name"]: each["n_draws"] for each in summary["scenarios"]}
    sizes = [((row["found"].get("n") or 0) + row["n_undefined"], drawn[row["scenario"]]) for row in summary["rows"]]
    assert all(n <= most for n, most in sizes)
    fewer = any(n < summary["validation"]["n_draws"] for n, _ in sizes)
    assert fewer == any("rows are of fewer draws" in warning for warning in summary["warnings"])
