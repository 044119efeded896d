"""A finished run whose probe is fitted again: its rows, split and recipe, checked against its own scores.

The run's headline probe is fitted first, whatever is wanted: its scores must be those in readouts.jsonl, on every row.
Only then is it known that activations, labels, split and recipe are the run's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import PredefinedSplit

from ..errors import EstimateError, RunError, SpecError
from ..link import read_readouts
from ..probes import Split, split_groups
from ..probes.by_estimator import ESTIMATORS, fit_scored
from ..probes.linear import LinearProbe, not_finite
from ..results import read_results
from ..transfer.recorded import Recorded, read_recorded

REPRODUCES = 1e-2
"""Largest difference between a score and the run's own, in standard deviations of the scores. Solvers agree to a tenth
of that, threads to a millionth; a row, a label or a fold that is not the run's moves scores by more."""


@dataclass(frozen=True)
class Fitted:
    """A probe at one place, and its scores on every row."""

    estimator: LinearProbe
    scores: np.ndarray
    """[row]: out-of-fold on development rows."""


@dataclass(frozen=True)
class Source:
    """A finished run whose probe is wanted."""

    recorded: Recorded
    results: dict[str, Any]
    split: Split
    site: str

    def activations(self, layer: int, position: str) -> np.ndarray:
        """Activations [row, width]; every one is finite.

        Raises:
            EstimateError: some are not. Names their rollouts.
        """
        values = self.recorded.at(self.site, layer, position)
        bad = not_finite(values, [rollout.rollout for rollout in self.recorded.probed.rollouts])
        if bad:
            raise EstimateError(
                f"{self.recorded.run}: activations of rollouts {bad} hold NaN or infinity: record again"
            )
        return values

    def fit(self, estimator: LinearProbe, values: np.ndarray) -> Fitted:
        """Fit to the development rows of activations [row, width].

        Raises:
            EstimateError: nothing can be fitted to them.
        """
        try:
            return Fitted(*fit_scored(estimator, values, self.recorded.acted, self.split))
        except EstimateError as error:
            raise EstimateError(f"{self.recorded.run}: no probe can be fitted again: {error}") from None


def read_source(run: Path) -> Source:
    """A run, with its split made again."""
    recorded = read_recorded(run)
    if recorded.spec.steering:
        raise RunError(
            f"{run} was recorded under steering, which a probe of its activations may read and a card does not say: "
            "save the probe of an unsteered run"
        )
    results = read_results(run / "results.json")
    if "headline" not in results["probe"]:
        raise RunError(f"{run} has no probe to save: {results['probe'].get('reason', 'none was fitted')}")
    order, spec = np.flatnonzero(~recorded.ood), recorded.spec
    split = split_groups(
        recorded.groups[order],
        recorded.acted[order],
        test_fraction=spec.probe.test_fraction,
        inner_folds=spec.probe.inner_folds,
        seed=spec.seed,
    ).within(order)
    return Source(recorded, results, split, results["probe"]["headline"]["site"])


def check_reproduced(source: Source, head: Mapping[str, Any]) -> None:
    """Refuse a run whose headline scores are not found again."""
    run, rollouts = source.recorded.run, source.recorded.probed.rollouts
    kept = {row.rollout: row for row in read_readouts(run) if not row.aligned}
    parts = dict.fromkeys(source.split.dev.tolist(), "dev") | dict.fromkeys(source.split.test.tolist(), "test")
    remedy = "run the experiment again into another --out, and save from that"
    if [r.rollout for r in rollouts] != list(kept) or any(
        kept[r.rollout].part != parts.get(i, "ood") for i, r in enumerate(rollouts)
    ):
        raise EstimateError(f"{run}: the split of readouts.jsonl is not found again: {remedy}")
    wanted = make_estimator(source.recorded.spec.probe.estimator, source, head["penalty"])
    again = source.fit(wanted, source.activations(head["layer"], head["position"])).scores
    before = np.array([kept[r.rollout].headline for r in rollouts])
    off = float(np.abs(again - before).max() / before.std())
    if not off <= REPRODUCES:
        raise EstimateError(
            f"{run}: the headline probe fitted again scores up to {off:.2g} standard deviations off readouts.jsonl: "
            f"{remedy}"
        )


def check_place(source: Source, layer: int, position: str) -> None:
    """Refuse a layer that the run has not recorded, or a position that it does not probe, with a RunError."""
    recorded = source.recorded
    if layer not in recorded.layers:
        listed = ", ".join(map(str, recorded.layers))
        raise RunError(f"{recorded.run} has not recorded layer {layer}: choose one of {listed}")
    if position not in recorded.probed.positions:
        listed = ", ".join(recorded.probed.positions)
        raise RunError(f"{recorded.run} does not probe position {position!r}: choose one of {listed}")


def make_estimator(name: str, source: Source, penalty: float | None = None) -> LinearProbe:
    """The estimator of that name, which chooses its penalty on the run's own inner folds where none is given; unknown:
    a SpecError.
    """
    if name not in ESTIMATORS:
        raise SpecError(f"no estimator called {name!r}: choose one of {', '.join(ESTIMATORS)}")
    kind = ESTIMATORS[name]
    several = source.recorded.spec.probe.penalties if kind.penalties is None else kind.penalties
    return kind.make(several if penalty is None else penalty, PredefinedSplit(source.split.fold))
