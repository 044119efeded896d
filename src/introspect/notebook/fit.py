"""`introspect.probe`: a label of one's own, read from activations, with what a probe number needs beside it.

Groups are held out whole; the penalty is chosen on inner folds; the test groups are looked at once. In the same table:
words (where texts are given), the increment beyond them, shuffled labels, random directions, random labels of groups.
A choice of layer by eye, over several calls, is not in these numbers: a run's spec chooses inside its folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from ..errors import EstimateError, SpecError
from ..experiment import ProbeSpec
from ..probes import (
    Direction,
    Split,
    control_task,
    fit_grid,
    random_directions,
    shuffled_null,
    split_groups,
    text_scores,
)
from ..report import number
from ..stats import Estimate, auroc_estimate, increment_estimate, permutation_p
from .activations import Activations

N_CONTROLS = 20
Column = pd.Series | np.ndarray | Sequence[Any]
"""A value a row of the activations; a pandas Series goes by rollout."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A probe and its controls; prints as a table."""

    direction: Direction = field(repr=False)
    """Weight [dim] and bias in raw activation space: log-odds = activation . weight + bias."""
    site: str
    layer: int
    where: str
    penalty: float
    scores: pd.Series = field(repr=False)
    """Log-odds of each row; on development rows out of fold."""
    split: Split = field(repr=False)
    auroc: Estimate
    """On the test groups."""
    words: Estimate
    increment: Estimate
    """AUROC beyond words, paired."""
    null_q95: float
    p_value: float | None
    random: Estimate
    """Random directions, 95% range."""
    control: Estimate
    """Random labels of groups, 95% range."""
    selectivity: Estimate
    notes: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a measure; estimates with their 95% intervals."""
        p_value = "not tested" if self.p_value is None else f"p = {self.p_value:.3g}"
        rows = {
            "probe": (number(self.auroc.to_json()), f"{self.auroc.n} test rows"),
            "words": (number(self.words.to_json()), "TF-IDF of the texts given"),
            "probe beyond words": (number(self.increment.to_json()), "paired over test groups"),
            "shuffled labels, 95%": (f"{self.null_q95:.2f}", p_value),
            "random directions": (number(self.random.to_json()), "mean and 95% range"),
            "random labels of groups": (number(self.control.to_json()), "control task, mean and 95% range"),
            "selectivity": (number(self.selectivity.to_json()), "the labels minus the control, same rows"),
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=["AUROC [95%]", "how"])

    @property
    def title(self) -> str:
        """What was predicted from what, in a line."""
        return (
            f"Activations ({self.site}, layer {self.layer}, {self.where}) predict the label on "
            f"{len(self.split.test)} rows of held-out groups, fitted on {len(self.split.dev)}; C = {self.penalty:g}"
        )

    def __str__(self) -> str:
        return "\n".join([self.title, self.table.to_string(), *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in self.notes)
        return f"<p>{escape(self.title)}</p>{self.table.to_html(border=0)}{notes}"


def probe(
    acts: Activations,
    labels: Column,
    groups: Column | None = None,
    *,
    texts: Column | None = None,
    test_fraction: float = 0.4,
    inner_folds: int = 5,
    penalties: Sequence[float] = (0.001, 0.01, 0.1),
    permutations: int = 100,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Fitted:
    """Fit a probe to labels, and the controls beside it.

    `introspect.probe(acts, labels=run.rollouts.acted, groups=run.rollouts.group, texts=run.rollouts.chain_text)`

    Args:
        acts: [row, dim] of one layer, from `Run.activations` or `Recording.activations`.
        labels: bool, or 0 and 1, a row. Rows without a label (None, NaN) are left out, and counted.
        groups: unit of the split and of every interval; None: those of the rollouts (their items' groups).
        texts: what a reader without activations could see of each row; None: no text baseline is made.
        penalties: inverse strengths of the L2 penalty to choose from (scikit-learn's C).
        permutations: shuffles of the labels; bootstrap: resamples of the groups.

    Raises:
        EstimateError: labels are not of two classes, groups or rows of a class are too few, or a row of the activations
            holds numbers that are not finite (names its rollout).
        SpecError: a column does not fit the activations' rows, or a setting is none.
    """
    try:
        settings = ProbeSpec(
            test_fraction=test_fraction,
            inner_folds=inner_folds,
            penalties=tuple(penalties),
            permutations=permutations,
            bootstrap=bootstrap,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {first['input']!r}") from None
    found = _column(labels, acts, "labels")
    names = acts.groups if groups is None else _column(groups, acts, "groups")
    said = None if texts is None else _column(texts, acts, "texts")
    rows = np.flatnonzero(~pd.isna(found))
    y = _two_classes(found[rows])
    notes = [f"{len(found) - len(rows)} rows have no label and are left out."] if len(rows) < len(found) else []
    kept = acts[~pd.isna(found)]
    _check_finite(kept)
    group = _no_missing(names[rows], "groups", kept)
    split = split_groups(group, y, test_fraction=test_fraction, inner_folds=inner_folds, seed=seed)
    values = {acts.where: kept.values[None]}
    cell = fit_grid(values, (acts.layer,), y, split, settings.penalties)[0]
    null = shuffled_null(values, y, group, split, penalty=cell.penalty, n=permutations, seed=seed)
    boot = {"n": bootstrap, "seed": seed}
    test = split.test
    observed = auroc_estimate(cell.scores[test], y[test], group[test], **boot)
    words, increment = Estimate.undefined("no texts given"), Estimate.undefined("no texts given")
    if said is not None:
        text = [str(each) for each in _no_missing(said[rows], "texts", kept)]
        try:
            read = text_scores(text, y, split)
            words = auroc_estimate(read[test], y[test], group[test], **boot)
            increment = increment_estimate(cell.scores[test], read[test], y[test], group[test], **boot)
        except EstimateError as error:
            words = increment = Estimate.undefined(str(error))
    else:
        notes.append("Without texts nothing says whether words would do as well: texts=run.rollouts.chain_text.")
    maxima = null.maxima()
    control, selectivity = _control(kept.values, y, group, split, cell.penalty, seed)
    random = random_directions(kept.values, y, split, n=N_CONTROLS, seed=seed)
    return Fitted(
        direction=cell.direction,
        site=acts.site,
        layer=acts.layer,
        where=acts.where,
        penalty=cell.penalty,
        scores=pd.Series(cell.scores, index=kept.index, name="score"),
        split=split,
        auroc=observed,
        words=words,
        increment=increment,
        null_q95=float(np.quantile(maxima, 0.95)),
        p_value=None if observed.value is None else permutation_p(observed.value, maxima),
        random=_spread(random),
        control=control,
        selectivity=selectivity,
        notes=tuple(notes),
    )


def _column(given: Column, acts: Activations, name: str) -> np.ndarray:
    """A value a row, as objects."""
    if isinstance(given, pd.Series):
        if given.index.has_duplicates:
            raise SpecError(f"{name} have a rollout twice in their index; give one value a rollout")
        wanted = acts.rollouts if given.index.nlevels == 1 else acts.index
        absent = wanted.difference(given.index)
        if len(absent):
            raise SpecError(
                f"{name} say nothing of rollout {absent[0]}: their index has to hold the rollouts of the activations, "
                "as columns of `rollouts` do"
            )
        return given.reindex(wanted).astype(object).to_numpy()
    values = np.empty(len(given), dtype=object)
    values[:] = list(given)
    if len(values) != len(acts):
        raise SpecError(f"{len(values)} {name} do not fit {len(acts)} rows of activations; give one a row")
    return values


def _two_classes(found: np.ndarray) -> np.ndarray:
    """Whether each row is of the positive class, bool [row]."""
    kinds = list(dict.fromkeys(found.tolist()))
    if not all(kind in (True, False) and not isinstance(kind, str) for kind in kinds):
        shown = ", ".join(map(repr, kinds[:4])) + (", ..." if len(kinds) > 4 else "")
        raise EstimateError(f"labels are {shown}; a probe reads a yes or no: compare, as in labels == {kinds[0]!r}")
    if len(kinds) < 2:
        raise EstimateError(f"{len(found)} labels are all {kinds[0] if kinds else 'missing'}; there is nothing to tell")
    return found.astype(bool)


def _check_finite(acts: Activations) -> None:
    wrong = np.flatnonzero(~np.isfinite(acts.values).all(axis=1))
    if len(wrong):
        raise EstimateError(
            f"the activations of rollout {acts.rollouts[wrong[0]]} are not finite ({len(wrong)} rows); leave them out "
            "with acts[mask], or record in float32"
        )


def _no_missing(found: np.ndarray, name: str, acts: Activations) -> np.ndarray:
    absent = np.flatnonzero(pd.isna(found))
    if len(absent):
        raise SpecError(f"{name} are missing for rollout {acts.rollouts[absent[0]]}; fill them in or leave it out")
    return found.astype(np.str_)


def _control(
    values: np.ndarray, y: np.ndarray, group: np.ndarray, split: Split, penalty: float, seed: int
) -> tuple[Estimate, Estimate]:
    try:
        tasks = control_task(values, y, group, split, penalty=penalty, n=N_CONTROLS, seed=seed)
    except EstimateError as error:
        undefined = Estimate.undefined(str(error))
        return undefined, undefined
    return _spread(tasks.control), _spread(tasks.probe - tasks.control)


def _spread(values: np.ndarray) -> Estimate:
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(float(values.mean()), (float(low), float(high)), len(values), "mean and 95% range")
