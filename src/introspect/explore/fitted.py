"""A run's own probes at any position and layer, fitted again from its activations: same rows, split and penalties.

What is on file are scores, not weights, and both may be a stranger's: where a score of the probe stands in
readouts.jsonl it is held against it, and what does not give it is not shown. Rollouts are held without their texts and
tokens while rows are chosen, and activations of one row a rollout while a probe is fitted; neither is kept.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..errors import EstimateError, StoreError
from ..experiment import MEANS
from ..lines import read_lines
from ..readout import Readout
from ..rollout import Rollout
from .heavy import load_heavy
from .index import READOUTS, ROLLOUTS
from .later import Later
from .opened import Opened, holding_together

TOLERANCE = 0.02
"""How far a score may be from the one on file, in standard deviations of scores: solvers stop at 1e-3 of it."""


class Probe(NamedTuple):
    """A direction at one place."""

    weight: np.ndarray
    """[width]"""
    bias: float
    scale: float
    """Log-odds that 5% of rollouts have or pass, which get the full colour; NaN: not known."""

    def score(self, activations: np.ndarray) -> np.ndarray:
        """Log-odds [row] of activations [row, width]; not finite where these are not."""
        with np.errstate(invalid="ignore", over="ignore"):
            return activations.astype(np.float64) @ self.weight + self.bias


@dataclass(frozen=True)
class Rows:
    """The rollouts that the run's probes were fitted and tested on, [row] each."""

    numbers: np.ndarray
    acted: np.ndarray
    groups: list[Hashable]
    ood: np.ndarray
    tokens: dict[str, np.ndarray]
    """Position -> absolute index of its token; of a mean, its span's last."""


class OwnProbes:
    """The probes of a run; each is fitted once, in a thread of its own, one after the other."""

    def __init__(self, run: Opened) -> None:
        self._run = run
        self._fits = Later("fitting")

    @cached_property
    def refused(self) -> str | None:
        """Why there are none; None: there are."""
        if self._run.spec is None:
            return "no experiment was asked of these transcripts, so no probe was fitted"
        if self._run.results is None:
            return f"the run is not finished: `introspect run ... --out {self._run.path} --resume`"
        probe = self._run.results["probe"]
        if "headline" not in probe:
            return str(probe.get("reason", "no reason given"))
        label = self._run.spec.probe.label
        return None if label == "acted" else f"its probe predicts {label}; one of acting can be shown"

    @property
    def positions(self) -> list[str]:
        """Where they can be fitted, the headline's first."""
        if self.refused or self._run.results is None:
            return []
        probe = self._run.results["probe"]
        return list(dict.fromkeys([probe["headline"]["position"], *(row["position"] for row in probe["positions"])]))

    def find(self, position: str, layer: int, wait: float | None) -> Probe | None:
        """The probe of a place; None: it is still being fitted after so many seconds.

        Raises:
            EstimateError: nothing can be fitted.
            StoreError: the run is damaged, or the probe does not give the scores on file.
        """
        return self._fits.get((position, layer), lambda: self._fit(position, layer), wait)

    def close(self) -> None:
        """Give up what waits."""
        self._fits.close()

    @cached_property
    def _rows(self) -> Rows:
        load_heavy()
        from ..features import choose_probed
        from ..tasks.registry import find_task

        spec, path = self._run.spec, self._run.path / ROLLOUTS
        if spec is None:
            raise EstimateError(f"{self._run.path}: {self.refused}")
        alike: dict[str, Any] = {}
        words: dict[str, str] = {}
        lean = [_lean(rollout, alike, words) for _, rollout in read_lines(path, Rollout)]
        probed = choose_probed(find_task(spec.task).counted(lean), spec.probe.positions)
        return Rows(
            np.array([each.rollout for each in probed.rollouts], dtype=np.int64),
            np.array([bool(each.acted) for each in probed.rollouts]),
            [each.group for each in probed.rollouts],
            np.array([each.split != "id" for each in probed.rollouts]),
            dict(probed.tokens),
        )

    def _fit(self, position: str, layer: int) -> Probe:
        import torch

        from ..probes import split_groups
        from ..probes.by_estimator import fit_cells

        rows, spec, results = self._rows, self._run.spec, self._run.results
        if spec is None or results is None or position not in rows.tokens:
            raise EstimateError(f"{self._run.path} does not probe {position}; choose another position")
        order = np.flatnonzero(~rows.ood)
        split = split_groups(
            np.array([rows.groups[i] for i in order]),
            rows.acted[order],
            test_fraction=spec.probe.test_fraction,
            inner_folds=spec.probe.inner_folds,
            seed=spec.seed,
        ).within(order)
        with holding_together(self._run):
            site = results["probe"]["headline"]["site"]
            best = {row["position"]: row for row in results["probe"]["positions"]}[position]
            penalties = (best["penalty"],) if layer == best["layer"] and best["penalty"] else spec.probe.penalties
            if not all(math.isfinite(each) and each > 0 for each in penalties):
                raise ValueError(f"a penalty is {penalties[0]}")
        values = {position: self._gathered(rows, position, site, layer)[None]}
        if not np.isfinite(values[position]).all():
            raise EstimateError(f"{self._run.path}: activations of layer {layer} at {position} are not all finite")
        try:
            cell = fit_cells(spec.probe.estimator, values, (layer,), rows.acted, split, penalties)[0]
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            said = str(error).partition("\n")[0][:200]
            raise EstimateError(
                f"{self._run.path}: no probe can be fitted at {position}, layer {layer} ({said})"
            ) from None
        if layer == best["layer"]:
            self._check(cell.scores, rows, position)
        scale = max(float(np.quantile(np.abs(cell.scores), 0.95)), 1e-9)
        return Probe(np.asarray(cell.direction.weight, dtype=np.float64), float(cell.direction.bias), scale)

    def _gathered(self, rows: Rows, position: str, site: str, layer: int) -> np.ndarray:
        """Activations of one token of each rollout, or of a mean's row, [row, width], a part of the store at a time."""
        from ..spans import SPAN_CODES

        store, wanted, column = self._run.store, rows.tokens[position], "position"
        if position in MEANS:
            wanted, column = np.full(len(wanted), SPAN_CODES[MEANS[position]]), "span"
        values = np.empty((len(wanted), store.spec.width), np.float32)
        missing = np.ones(len(wanted), dtype=bool)
        order = np.argsort(rows.numbers)
        for first, columns in self._run.parts():
            at = np.searchsorted(rows.numbers, columns["rollout"], sorter=order)
            row = order[np.minimum(at, len(order) - 1)]
            own = (rows.numbers[row] == columns["rollout"]) & ((columns["position"] < 0) == (column == "span"))
            hit = np.flatnonzero(own & (wanted[row] == columns[column]))
            if len(hit):
                values[row[hit]] = store.read(site, layer, first + hit)
                missing[row[hit]] = False
        if missing.any():
            lost = int(rows.numbers[missing][0])
            if position in MEANS:
                raise EstimateError(
                    f"{self._run.path} keeps no mean over the {MEANS[position]} span of rollout {lost}: record the run "
                    f"again with {position} in probe.positions"
                )
            raise EstimateError(f"{position} of rollout {lost} was not recorded: record the run again")
        return values

    def _check(self, scores: np.ndarray, rows: Rows, position: str) -> None:
        """Refuse scores that are not those of readouts.jsonl."""
        path = self._run.path / READOUTS
        on_file = {line.rollout: line.along.get(position, math.nan) for _, line in read_lines(path, Readout)}
        kept = np.array([on_file.get(number, math.nan) for number in rows.numbers.tolist()])
        furthest = float(np.abs(kept - scores).max())
        if not furthest <= TOLERANCE * float(kept.std()) + 1e-6:
            raise StoreError(
                f"{path} does not hold what the activations give at {position} (a score is off by {furthest:.3g}); run "
                "the experiment again"
            )


SHARED = ("group", "task", "condition", "split", "domain", "think_status", "finish", "answer")
ALIKE = ("options", "fields", "facts", "outcome")


def _lean(rollout: Rollout, alike: dict[str, Any], words: dict[str, str]) -> Rollout:
    """What rows are chosen by: no texts, lengths in place of tokens, and one copy of what many rollouts have alike.

    Args:
        alike: of fields that hold several things, by how they are written.
        words: of those that hold one.
    """
    held = {name: getattr(rollout, name) for name in ALIKE}
    said = {name: word for name in SHARED if (word := getattr(rollout, name)) is not None}
    return rollout.model_copy(
        update={
            **{name: alike.setdefault(repr(value), value) for name, value in held.items()},
            **{name: words.setdefault(word, word) for name, word in said.items()},
            **dict.fromkeys(("prompt_text", "chain_text", "think_text", "completion_text"), ""),
            "option_logprobs": [],
            "prompt_ids": range(len(rollout.prompt_ids)),
            "completion_ids": range(len(rollout.completion_ids)),
        }
    )
