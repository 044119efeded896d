"""The summary of a validation that ships: its parts that need no draws are what they would be today."""

from __future__ import annotations

from pathlib import Path

from introspect.results import read_json
from introspect.validation.organisms import organisms

SHIPPED = Path(__file__).parents[1] / "experiments" / "results" / "validate-instrument.json"


def test_its_organisms_are_those_of_the_summary_that_ships_beside_it():
    section = read_json(SHIPPED)["organisms"]
    assert section["rows"] and section == organisms(())
