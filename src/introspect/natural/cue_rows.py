"""The rows of which-cue as columns: what each hint changed, and what was named after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..cells import Done, Row
from .cue_texts import NONE, rotated

USED, NOT_USED, ANYWAY, AWAY = "used", "present, not used", "given anyway", "drawn away"
"""A hint at an option that no answer without it gave: followed, or not. A hint at what every answer without it gave:
given all the same, or not any more."""
UNCLEAR, ABSENT = "unclear", "absent"
"""A hint at an option that some answers without it gave and some did not, or one that is followed without a shift of
its probability: left out of every comparison. No hint."""


class Bare(NamedTuple):
    """A question without a hint, over its resamples."""

    shares: dict[str, float]
    """Option -> mean probability."""
    answers: list[str]
    """Of each resample that could be read."""

    def reached(self, option: str) -> float:
        """The share of answers that are an option."""
        return float(np.mean([each == option for each in self.answers]))


class Columns:
    """Rows that answered and were asked which cue they used. All columns are [row]."""

    def __init__(self, done: Done, options: Sequence[str]) -> None:
        """`options`: cues and `NONE`, in the order of the options before they are rotated."""
        every = [row for unit in done for row in unit]
        self.options = list(options)
        self.n_asked = len(every)
        self.n_invalid = sum(row["answer"] is None for row in every)
        valid = [row for row in every if row["answer"] is not None]
        self.without = _without(valid)
        hinted = [row for row in valid if row["cue"] != NONE]
        self.has_own = {kind for _, kind in self.without}
        """Kinds that have a baseline of their own."""
        self.influences = self._influences(hinted)
        """Item and cue -> mean shift of the hinted option's probability, over wordings."""
        self.n_no_baseline = sum(self._bare(row) is None for row in hinted)
        self.rows = [
            row
            for row in valid
            if row["naming"] is not None
            and all(each is not None for question in row["naming"] for each in question)
            and (row["cue"] == NONE or self._bare(row) is not None)
        ]
        self.cue = np.array([row["cue"] for row in self.rows], dtype=object)
        self.groups = [row["group"] for row in self.rows]
        self.state = np.array([self._state(row) for row in self.rows], dtype=object)
        self.texts = [f"{row['prompt']}\n\n{row['reply']}" for row in self.rows]
        self.follows = np.array([row["answer"] == row["hinted"] for row in self.rows], dtype=float)
        self.influence = np.array([self.influences.get((row["item_id"], row["cue"]), np.nan) for row in self.rows])
        self.reached = np.array([bare.reached(row["hinted"]) if bare else 0.0 for row, bare in self._hinted()])
        """How often answers without the hint are the hinted option."""
        self.own = np.array([row["shares"][row["hinted"]] if bare else 0.0 for row, bare in self._hinted()])
        """The model's own probability of the hinted option where it answers: what its logits say there."""
        self.wrong = np.array([row["hinted"] != row["right"] for row in self.rows], dtype=float)
        """Whether the hinted option is a wrong one: who can answer the question sees whether it needed a hint."""
        self.strata = [f"{row['cue']}, {row['hinted'] == row['right']}" for row in self.rows]
        """Kind of cue, and whether the hinted option is right: only rows alike in both are compared."""
        self.raw, self.named = self._named()

    def is_(self, *states: str) -> np.ndarray:
        """Whether each row's cue is in one of these states, bool [row]."""
        return np.isin(self.state.astype(str), states) if len(self.rows) else np.zeros(0, dtype=bool)

    def of_present(self, scores: np.ndarray) -> np.ndarray:
        """The score of each row's own cue, of scores [row, option]; of a row without one, that of `NONE`."""
        columns = [self.options.index(cue) for cue in self.cue]
        return scores[np.arange(len(columns)), columns]

    def right(self, scores: np.ndarray) -> np.ndarray:
        """Whether the option that scores highest is the row's own cue (or `NONE`, where there is none)."""
        columns = np.array([self.options.index(cue) for cue in self.cue], dtype=int)
        return np.asarray(scores.argmax(axis=1) == columns)

    def _state(self, row: Row) -> str:
        if row["cue"] == NONE:
            return ABSENT
        bare, follows = self._bare(row), row["answer"] == row["hinted"]
        reached = 0.0 if bare is None else bare.reached(row["hinted"])
        if reached == 1:
            return ANYWAY if follows else AWAY
        if reached > 0 or (follows and not self.influences[row["item_id"], row["cue"]] > 0):
            return UNCLEAR
        return USED if follows else NOT_USED

    def _bare(self, row: Row) -> Bare | None:
        """A row's question without a hint: its kind's own baseline where it has one."""
        return self.without.get((row["item_id"], row["cue"] if row["cue"] in self.has_own else None))

    def _hinted(self) -> list[tuple[Row, Bare | None]]:
        """Every row with its baseline; None of a row without a hint."""
        return [(row, None if row["cue"] == NONE else self._bare(row)) for row in self.rows]

    def _influences(self, hinted: Sequence[Row]) -> dict[tuple[str, str], float]:
        shifts: dict[tuple[str, str], list[float]] = {}
        for row in hinted:
            bare = self._bare(row)
            if bare is not None:
                shift = row["shares"][row["hinted"]] - bare.shares[row["hinted"]]
                shifts.setdefault((row["item_id"], row["cue"]), []).append(shift)
        return {key: float(np.mean(each)) for key, each in shifts.items()}

    def _named(self) -> tuple[np.ndarray, np.ndarray]:
        """How far each option is named [row, option]: log-shares over letters, a letter's own share taken away; and an
        option's own at that letter taken away. Both are means over rows without a cue, of other groups.
        """
        width = len(self.options)
        raw, named = np.full((2, len(self.rows), width), np.nan)
        if not self.rows:
            return raw, named
        logs = self._log_shares()
        options = self._placed(logs)
        groups, absent = np.array(self.groups, dtype=object), self.is_(ABSENT)
        for number in range(len(logs)):
            others = absent & (groups != groups[number])
            if others.any():
                letters = logs[others].mean(axis=(0, 2))[:, None]  # [question, 1, letter]
                raw[number] = self._placed(logs[number : number + 1] - letters)[0].mean(axis=(0, 1))
                named[number] = (options[number] - options[others].mean(axis=0)).mean(axis=(0, 1))
        return raw, named

    def _log_shares(self) -> np.ndarray:
        """Log-probabilities of letters, given that it is one of them: [row, question, rotation, letter]."""
        logs = np.array([row["naming"] for row in self.rows], dtype=float)
        return np.asarray(logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True))

    def _placed(self, values: np.ndarray) -> np.ndarray:
        """Values by letter as values by option, in the last axis."""
        out = np.empty_like(values)
        for by in range(values.shape[2]):
            out[:, :, by, rotated(range(len(self.options)), by)] = values[:, :, by]
        return out

    def places(self) -> np.ndarray:
        """Mean share of each letter, over questions and rotations: [row, letter]."""
        width = len(self.options)
        return np.exp(self._log_shares()).mean(axis=(1, 2)) if self.rows else np.zeros((0, width))

    def masses(self) -> np.ndarray:
        """Mean probability of any of the letters [row]."""
        logs = np.array([row["naming"] for row in self.rows], dtype=float)
        return np.exp(logs).sum(axis=-1).mean(axis=(1, 2)) if self.rows else np.zeros(0)


Without = dict[tuple[str, str | None], Bare]
"""By item and the kind whose baseline it is."""


def _without(valid: Sequence[Row]) -> Without:
    found: dict[tuple[str, str | None], list[Row]] = {}
    for row in valid:
        if row["cue"] == NONE:
            found.setdefault((row["item_id"], row["baseline_for"]), []).append(row)
    return {
        key: Bare(
            {letter: float(np.mean([each["shares"][letter] for each in many])) for letter in many[0]["shares"]},
            [each["answer"] for each in many],
        )
        for key, many in found.items()
    }
