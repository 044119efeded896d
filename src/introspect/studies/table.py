"""The table of one task: every measure of every method and organism, and differences from the reference method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..assets import find_card
from ..metrics.awareness import association
from ..metrics.hint_section import holm
from ..stats import Estimate
from ..tasks.policies import PLANTED
from .measures import MEASURES, Measure
from .recipes import recipe_facts
from .rows import Measured, read_member, rows_of
from .seeds import (
    Rows,
    difference_of_means,
    difference_of_ranges,
    over_seeds,
    own_estimate,
    range_of,
    turned_round,
)
from .spec import BARE, CompareMethods

CONTRASTED = (
    *("policy_rate_id", "policy_rate_gap", "planted_agreement_id", "planted_agreement_gap"),
    *("self_rating_minus_untrained", "phi"),
)
"""Measures whose differences between two methods, neither of them the reference, claims are about."""


class _Column:
    """A method: its organisms' rows, and what each of them measures."""

    def __init__(self, members: Mapping[str, Measured], planted: str | None) -> None:
        self.members = members
        self.rows = {name: rows_of(member, planted) for name, member in members.items()}

    def rows_for(self, measure: Measure) -> list[Rows]:
        return [rows[measure.rows] for rows in self.rows.values()]

    def own(self, measure: Measure, *, n: int, seed: int) -> list[Estimate]:
        if measure.statistic is not None:
            return [own_estimate(rows, measure.statistic, n=n, seed=seed) for rows in self.rows_for(measure)]
        assert measure.found is not None  # noqa: S101 - a measure has one or the other
        return [_read(measure.found(member.results)) for member in self.members.values()]


def _read(found: Mapping[str, Any]) -> Estimate:
    """An estimate of a run's results."""
    if found["value"] is None:
        return Estimate.undefined(found["reason"])
    low, high = found["ci95"]
    return Estimate(found["value"], (low, high), found["n"], found["method"])


def task_table(spec: CompareMethods, task: str, folders: Mapping[str, Path]) -> dict[str, Any]:
    """What a task's runs come to.

    Args:
        folders: name of each of the task's members -> its run's folder.

    Returns:
        `experiment`, `task`, `policy` in words, `planted`; `measures`: the rows of the table, key -> `label`,
        `heading` is theirs in `measures.GROUPS`; `methods`: method -> `members` (names) and `measures` (estimates over
        seeds); `members`: name -> its own estimates; `differences`: method -> measure -> that method minus the
        reference (`difference`, `p_value`, `p_value_holm`, `test`); `contrasts`: method -> another -> measure of
        `CONTRASTED` -> the one minus the other (`difference`, `p_value`, `test`), over the same groups, neither being
        the reference; `recipes`: name of a member -> `recipes.recipe_facts` of its card; `trained`: the methods that
        are not the bare model; `self_rating_and_behaviour`: their association across these methods' means.

    Raises:
        StoreError: a run is damaged. Names the file.
    """
    members = {member.name: member for member in spec.members() if member.task == task}
    runs = {name: read_member(folders[name]) for name in members}
    planted = _planted_policy([runs[name] for name, member in members.items() if member.method != spec.reference])
    columns = {
        method: _Column({name: runs[name] for name, member in members.items() if member.method == method}, planted)
        for method in spec.methods
        if any(member.method == method for member in members.values())
    }
    trained = [name for name, c in columns.items() if any(members[each].organism != BARE for each in c.members)]
    shown = [m for m in MEASURES if not m.needs or any(_has(run, m.needs) for run in runs.values())]
    own = {m.key: {name: c.own(m, n=spec.bootstrap, seed=spec.seed) for name, c in columns.items()} for m in shown}
    over = {m.key: {name: _over(m, c, own[m.key][name], spec) for name, c in columns.items()} for m in shown}
    first = next(iter(runs.values()))
    return {
        "experiment": spec.tasks[task].experiment,
        "task": first.spec.task,
        "policy": first.task.policy,
        "planted": planted,
        "measures": [m.key for m in shown],
        "methods": {
            name: {"members": list(c.members), "measures": {m.key: over[m.key][name].to_json() for m in shown}}
            for name, c in columns.items()
        },
        "members": {
            each: {m.key: own[m.key][name][place].to_json() for m in shown}
            for name, c in columns.items()
            for place, each in enumerate(c.members)
        },
        "differences": _differences(spec, shown, columns, over),
        "contrasts": _contrasts(spec, shown, columns),
        "recipes": {name: recipe_facts(run.spec) for name, run in runs.items()},
        "trained": trained,
        "self_rating_and_behaviour": _across(over, trained),
    }


def _over(measure: Measure, column: _Column, own: Sequence[Estimate], spec: CompareMethods) -> Estimate:
    if measure.statistic is None:
        return range_of(own)
    return over_seeds(column.rows_for(measure), own, measure.statistic, n=spec.bootstrap, seed=spec.seed)


def _differences(
    spec: CompareMethods,
    shown: Sequence[Measure],
    columns: Mapping[str, _Column],
    over: Mapping[str, Mapping[str, Estimate]],
) -> dict[str, Any]:
    """Every method minus the reference; p values of a measure are corrected for how many methods are tested."""
    if spec.reference not in columns:
        return {}
    others = [name for name in columns if name != spec.reference]
    out: dict[str, dict[str, Any]] = {name: {} for name in others}
    for m in shown:
        for name in others:
            if m.statistic is None:
                out[name][m.key] = difference_of_ranges(over[m.key][name], over[m.key][spec.reference])
            else:
                first, second = (columns[each].rows_for(m) for each in (name, spec.reference))
                out[name][m.key] = difference_of_means(first, second, m.statistic, n=spec.bootstrap, seed=spec.seed)
        corrected = holm([out[name][m.key]["p_value"] for name in others])
        for name, p_value in zip(others, corrected, strict=True):
            out[name][m.key]["p_value_holm"] = p_value
    return out


def _contrasts(spec: CompareMethods, shown: Sequence[Measure], columns: Mapping[str, _Column]) -> dict[str, Any]:
    """Every method but the reference minus every other one."""
    others = [name for name in columns if name != spec.reference]
    out: dict[str, dict[str, Any]] = {name: {} for name in others}
    for place, one in enumerate(others):
        for other in others[place + 1 :]:
            out[one][other] = {}
            for m in shown:
                if m.key in CONTRASTED and m.statistic is not None:
                    first, second = (columns[each].rows_for(m) for each in (one, other))
                    found = difference_of_means(first, second, m.statistic, n=spec.bootstrap, seed=spec.seed)
                    out[one][other][m.key] = found
            out[other][one] = {key: turned_round(found) for key, found in out[one][other].items()}
    return out


def _planted_policy(runs: Sequence[Measured]) -> str | None:
    """The one policy, of those that follow from items, that the cards of these organisms state."""
    stated = {str(find_card(run.spec.organism).get("policy", "")) for run in runs}
    found = sorted(policy for policy in stated if PLANTED.get(policy) is not None)
    return found[0] if len(found) == 1 else None


def _has(run: Measured, measure: str) -> bool:
    return measure in run.results["behaviour"]["measures"]


def _across(over: Mapping[str, Mapping[str, Estimate]], trained: Sequence[str]) -> dict[str, Any]:
    """Over methods and not organisms: seeds of one method are no further cases of what it teaches. The bare model has
    been taught nothing, and is no case either.
    """
    if "self_rating" not in over:
        return Estimate.undefined("the models were not asked about themselves").to_json()
    ratings, rates = ([over[key][name].value for name in trained] for key in ("self_rating", "policy_rate_id"))
    both = [(a, b) for a, b in zip(ratings, rates, strict=True) if a is not None and b is not None]
    found = association([a for a, _ in both], [b for _, b in both])
    return found if found["value"] is None else {**found, "method": "spearman over the methods' means"}
