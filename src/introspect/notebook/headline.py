"""A run's own probe, fitted again from its stored activations: same rows, split, penalties and seed.

results.json has a probe's figures and readouts.jsonl its scores, not its weights, and both may be a stranger's. So the
headline probe is fitted again and held against the scores on file: what is shown is that probe, or nothing is.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..errors import EstimateError, RunError, StoreError
from ..features import Probed, choose_probed, gather
from ..link import READOUTS
from ..probes import Cell, Direction, Split, split_groups
from ..probes.by_estimator import fit_cells
from ..tasks.registry import find_task
from .folder import RunFolder

TOLERANCE = 0.02
"""How far a score may be from the one on file, in standard deviations of scores: solvers stop at 1e-3 of it."""


class Headline:
    """The probes of a run at its headline position.

    Raises:
        EstimateError: no probe was fitted.
        RunError: the run is one of transcripts.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        probe = run.results["probe"]
        if "headline" not in probe:
            raise EstimateError(f"{run.path} has no probe: {probe.get('reason', 'no reason given')}")
        if run.spec.probe.label != "acted":
            raise EstimateError(f"{run.path}: its probe predicts {run.spec.probe.label}; one of acting can be shown")
        head = probe["headline"]
        self.site, self.layer, self.position, self.penalty = (
            head[key] for key in ("site", "layer", "position", "penalty")
        )
        self._cells: dict[int, Cell] = {}

    @cached_property
    def probed(self) -> Probed:
        """The rollouts that the run's probes were fitted and tested on."""
        spec = self.run.spec
        return choose_probed(find_task(spec.task).counted(self.run.rollouts), spec.probe.positions)

    @cached_property
    def labels(self) -> np.ndarray:
        """Whether each probed rollout acted, bool [row]."""
        return np.array([bool(each.acted) for each in self.probed.rollouts])

    @cached_property
    def split(self) -> Split:
        """Development and test rows."""
        spec, rollouts = self.run.spec, self.probed.rollouts
        order = np.array([i for i, each in enumerate(rollouts) if each.split == "id"])
        groups: list[Hashable] = [rollouts[i].group for i in order]
        return split_groups(
            np.array(groups),
            self.labels[order],
            test_fraction=spec.probe.test_fraction,
            inner_folds=spec.probe.inner_folds,
            seed=spec.seed,
        ).within(order)

    def direction(self, layer: int) -> Direction:
        """The probe of a layer at the headline position, in raw activation space.

        Raises:
            StoreError: at the headline's layer, its scores are not those on file.
            RunError: the run has no such layer.
        """
        if layer not in self._cells:
            layers = self.run.store.spec.layers
            if layer not in layers:
                raise RunError(f"{self.run.path} keeps layers {', '.join(map(str, layers))}, not {layer}")
            self._cells[layer] = self._fitted(layer)
        return self._cells[layer].direction

    def scale(self, layer: int) -> float:
        """The size that log-odds of the layer's probe have in 5% of the probed rollouts."""
        self.direction(layer)
        return spread(self._cells[layer].scores)

    def _fitted(self, layer: int) -> Cell:
        if self.position not in self.probed.positions:
            raise StoreError(
                f"{self.run.path / 'results.json'}: its headline is at {self.position}, which this run does not probe; "
                "run the experiment again"
            )
        values = gather(self.run.store, replace(self.probed, positions=(self.position,)), self.site, (layer,))
        penalties = (self.penalty,) if layer == self.layer else self.run.spec.probe.penalties
        estimator = self.run.spec.probe.estimator
        cell = fit_cells(estimator, values, (layer,), self.labels, self.split, penalties)[0]
        if layer == self.layer:
            self._check(cell)
        return cell

    def _check(self, cell: Cell) -> None:
        """Refuse scores that are not those of readouts.jsonl."""
        on_file, path = self.run.readouts, self.run.path / READOUTS
        numbers = [each.rollout for each in self.probed.rollouts]
        if not set(numbers) <= set(on_file):
            raise StoreError(f"{path} is not of the rollouts that were probed; run the experiment again")
        scores = np.array([on_file[number].headline for number in numbers])
        furthest = float(np.abs(scores - cell.scores).max())
        if furthest > TOLERANCE * float(scores.std()) + 1e-6:
            raise StoreError(
                f"{path} does not hold what the activations give (a score is off by {furthest:.3g}); run the "
                "experiment again"
            )


def spread(scores: np.ndarray) -> float:
    """The size that 5% of log-odds [row] have or pass; a penalty shrinks it, so it is no fixed number."""
    return max(float(np.quantile(np.abs(scores), 0.95)), 1e-9)
