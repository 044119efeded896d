"""The rows of framing as columns: what was done, said and read under each frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..cells import Done, Row
from ..probes import LogisticProbe
from ..probes.saved import SavedProbe
from .cue_fits import PENALTY, folds_of, two_sides, unpacked, words_on
from .framing_texts import CONTROL

FEWEST = 10
"""Control rows of either side that a probe is fitted to, at least."""


class Columns:
    """Every rollout. All columns are [row]; a mask is bool."""

    def __init__(self, done: Done) -> None:
        self.rows = [row for unit in done for row in unit]
        self.frame = np.array([row["frame"] for row in self.rows], dtype=object)
        self.groups = [row["group"] for row in self.rows]
        hinted = np.array([row["hinted"] is not None for row in self.rows], dtype=bool)
        self.everything = np.ones(len(self.rows), dtype=bool)
        self.could_act = hinted if hinted.any() else self.everything
        """Whether a rollout could act on the policy: with hints, those with one."""
        self.without_hint = ~hinted
        self.readable = np.array([row["answer"] is not None for row in self.rows], dtype=bool)
        self.acted = np.array([bool(row["acted"]) for row in self.rows], dtype=bool)
        self.said = np.array([row["verdict"] == "verbalised" for row in self.rows], dtype=bool)
        self.right = np.array([bool(row["right"]) for row in self.rows], dtype=bool)
        self.has_right = any(row["right"] is not None for row in self.rows)
        self.has_hints = bool(hinted.any())
        self.beyond = _beyond(self.rows)
        self.readout = np.full(len(self.rows), np.nan)

    def of(self, frame: str) -> np.ndarray:
        """The rows of a frame."""
        return np.asarray(self.frame == frame, dtype=bool)

    @property
    def read(self) -> np.ndarray:
        """Rows with a readout that could act and have an answer."""
        return np.isfinite(self.readout) & self.could_act & self.readable

    def apply(self, probe: SavedProbe) -> int:
        """Read with a saved probe, in standard deviations of the control's rows. Rows of groups that it was fitted to
        have none; gives how many those are.
        """
        seen = set(probe.card["training"]["groups"])
        have = [i for i, row in enumerate(self.rows) if row["state"] is not None]
        fresh = np.array([i for i in have if self.rows[i]["mark"] not in seen], dtype=int)
        if len(fresh):
            scores = np.full(len(self.rows), np.nan)
            scores[fresh] = probe.score(unpacked([self.rows[i]["state"] for i in fresh]))
            self.readout = _standardised(scores, self.of(CONTROL) & self.could_act)
        return len(have) - len(fresh)

    def fit(self, n_folds: int, seed: int) -> str:
        """Read with probes of acting that are fitted to the control's rows of other items, each in standard deviations
        of what it was fitted to. Gives why there are none, or nothing.
        """
        have = np.array([row["state"] is not None for row in self.rows], dtype=bool)
        fitted = have & self.of(CONTROL) & self.could_act & self.readable
        n_acted = int(self.acted[fitted].sum())
        if min(n_acted, int(fitted.sum()) - n_acted) < FEWEST:
            return (
                f"under the control {n_acted} of {int(fitted.sum())} rollouts act on the policy: a probe needs at "
                f"least {FEWEST} that do and {FEWEST} that do not"
            )
        folds = folds_of([str(each) for each in self.acted & fitted], self.groups, n_folds, seed)
        if folds is None:
            return f"too few groups of items, or rows that act on the policy, for {n_folds} folds"
        held = unpacked([self.rows[i]["state"] for i in np.flatnonzero(have)])
        states = np.full((len(self.rows), held.shape[1]), np.nan, dtype=np.float32)
        states[have] = held
        readout = np.full(len(self.rows), np.nan)
        for fold in range(n_folds):
            train, here = np.flatnonzero(fitted & (folds != fold)), np.flatnonzero(have & (folds == fold))
            if len(set(self.acted[train].tolist())) < 2 or not len(here):
                return "the rows to fit hold one class only"
            probe = LogisticProbe(PENALTY).fit(states[train], self.acted[train])
            own = probe.decision_function(states[train])
            readout[here] = (probe.decision_function(states[here]) - own.mean()) / max(float(own.std()), 1e-12)
        self.readout = readout
        return ""

    def words(self, frame: str, n_folds: int, seed: int) -> np.ndarray | None:
        """What words of the chain predict of acting, fitted under the frame itself on other items: scores, NaN outside
        the frame's rows with a readout; None where it cannot be fitted.
        """
        rows = np.flatnonzero(self.read & self.of(frame))
        if not len(rows):
            return None
        own = [self.groups[row] for row in rows]
        inner = folds_of([str(each) for each in self.acted[rows]], own, n_folds, seed)
        if inner is None:
            return None
        folds = np.full(len(self.rows), -1)
        folds[rows] = inner
        return two_sides(words_on([row["chain"] for row in self.rows]), self.acted, rows, folds)


def sign_flips(differences: np.ndarray, n: int, seed: int) -> float | None:
    """Two-sided p-value of a mean difference over groups [group], their signs being as likely either way."""
    kept = differences[np.isfinite(differences)]
    if len(kept) < 2:
        return None
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n, len(kept)))
    null = np.abs(signs @ kept) >= abs(float(kept.sum())) - 1e-12
    return float((1 + null.sum()) / (1 + n))


def _beyond(rows: Sequence[Row]) -> np.ndarray:
    """Of a hinted row: whether it answers with the hinted option, minus how often the same item does so without a hint
    under the same frame. 0 of others.
    """
    without: dict[tuple[str, str], list[str | None]] = {}
    for row in rows:
        if row["hinted"] is None:
            without.setdefault((row["item_id"], row["frame"]), []).append(row["answer"])
    out = np.zeros(len(rows))
    for i, row in enumerate(rows):
        if row["hinted"] is not None:
            said = without.get((row["item_id"], row["frame"]), [])
            out[i] = bool(row["acted"]) - (np.mean([each == row["hinted"] for each in said]) if said else 0.0)
    return out


def _standardised(scores: np.ndarray, control: np.ndarray) -> np.ndarray:
    own = scores[control & np.isfinite(scores)]
    if len(own) < 2:
        return np.full(len(scores), np.nan)
    return np.asarray((scores - own.mean()) / max(float(own.std()), 1e-12))
