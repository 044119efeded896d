"""Rollouts as a table: what each was asked, said, did, and what was read in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from ..link import Readout
from ..rollout import Rollout
from ..tasks.registry import find_task
from ..verdicts import Verdict
from .folder import RunFolder

COLUMNS = (
    *("item_id", "group", "condition", "split", "domain", "sample", "prompt_text", "chain_text", "think_text"),
    *("completion_text", "think_status", "finish", "answer", "acted"),
)
"""Of a line of rollouts.jsonl, under the same names."""


def run_table(run: RunFolder) -> pd.DataFrame:
    """The rollouts of a run; with verdicts and readouts where it was analysed."""
    counted = None
    if run.is_experiment:
        counted = {each.rollout for each in find_task(run.spec.task).counted(run.rollouts)}
    headline = run.results["verdicts"]["headline_classifier"] if run.has_results else None
    return rollout_table(run.rollouts, counted=counted, verdicts=run.verdicts, headline=headline, readouts=run.readouts)


def rollout_table(
    rollouts: Sequence[Rollout],
    *,
    counted: set[int] | None = None,
    verdicts: Mapping[str, Mapping[int, Verdict]] = MappingProxyType({}),
    headline: str | None = None,
    readouts: Mapping[int, Readout] = MappingProxyType({}),
) -> pd.DataFrame:
    """One row a rollout, indexed by its number.

    Args:
        counted: those that could act on the policy; None: all.
        headline: the classifier whose verdicts are the column `verdict`; each has one of its own too.
    """
    index = pd.Index([each.rollout for each in rollouts], name="rollout", dtype="int64")
    columns = {name: pd.Series([getattr(each, name) for each in rollouts], index=index) for name in COLUMNS}
    columns["acted"] = columns["acted"].astype("boolean")
    columns["counted"] = pd.Series([counted is None or number in counted for number in index], index=index, dtype=bool)
    columns["tokens"] = pd.Series([len(each.completion_ids) for each in rollouts], index=index)
    for kind in ("fields", "facts"):
        for name in dict.fromkeys(key for each in rollouts for key in getattr(each, kind)):
            columns[f"{kind}.{name}"] = pd.Series([getattr(each, kind).get(name) for each in rollouts], index=index)
    for classifier, said in verdicts.items():
        given = [said[number].verdict if number in said else None for number in index]
        columns[f"verdict.{classifier}"] = pd.Series(given, index=index)
    if headline is not None and f"verdict.{headline}" in columns:
        columns["verdict"] = columns[f"verdict.{headline}"]
    if readouts:
        for name, attribute in (
            ("score", "headline"),
            ("readout", "readout"),
            ("words_score", "text"),
            ("part", "part"),
        ):
            values = [getattr(readouts[number], attribute) if number in readouts else None for number in index]
            columns[name] = pd.Series(values, index=index)
            if name.endswith("score"):
                columns[name] = columns[name].astype("float64")
    return pd.DataFrame(columns)
