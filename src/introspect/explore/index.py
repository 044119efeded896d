"""Where each rollout of a run lies, and what a list can be filtered by: a few bytes a rollout, and no text.

One pass over `readouts.jsonl`, `verdicts.jsonl` and `rollouts.jsonl`, in a thread of its own: pages show what has been
read so far, and say how much that is. Known trade-off: every line is validated in that pass, so a run of gigabytes is
listed whole only after some seconds; its first view and its rollouts found so far do not wait for that.
"""

from __future__ import annotations

import hashlib
import os
import threading
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import IntrospectError, StoreError
from ..lines import read_lines
from ..readout import Readout
from ..rollout import RolloutSummary
from ..verdicts import VERDICTS
from ..verdicts.line import VerdictLine

ROLLOUTS, READOUTS, VERDICTS_FILE = "rollouts.jsonl", "readouts.jsonl", "verdicts.jsonl"
ACTED = ("yes", "no", "no valid answer")
SAID = (*VERDICTS, "unusable")
READ = ("policy", "none", "no threshold")
PARTS = ("dev", "test", "ood")
MISSING = -1
"""Code of what a rollout does not have."""
MOST_CLASSIFIERS, MOST_CONDITIONS = 16, 4096
KINDS = {
    "number": "q",
    "offset": "q",
    "item": "q",
    "twin": "q",
    "acted": "b",
    "condition": "i",
    "readout": "b",
    "part": "b",
    "score": "d",
}
"""Column -> type of its numbers, as `array` has it."""


@dataclass(frozen=True)
class Columns:
    """What is known of the rollouts read so far, [rollout] each, in the order of the file."""

    values: Mapping[str, np.ndarray]
    said: Mapping[str, np.ndarray]
    """Classifier -> code of what it says, into `SAID`."""
    conditions: Sequence[str]
    verdicts: np.ndarray
    """Of each line of verdicts.jsonl its rollout's number, ascending, and the byte at which it begins, [2, line]."""
    share: float
    """Of the file that has been read."""

    def __len__(self) -> int:
        return len(self.values["number"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    @property
    def whole(self) -> bool:
        return self.share >= 1

    @cached_property
    def by_number(self) -> np.ndarray:
        """Rows in the order of their numbers."""
        return np.argsort(self["number"], kind="stable")

    def verdicts_of(self, number: int) -> list[int]:
        """Where the lines of a rollout's verdicts begin, in the order of the file."""
        first, last = np.searchsorted(self.verdicts[0], [number, number + 1])
        return self.verdicts[1, first:last].tolist()

    def row_of(self, number: int) -> int | None:
        """The row of a rollout, by its number."""
        at = int(np.searchsorted(self["number"], number, sorter=self.by_number))
        found = at < len(self) and int(self["number"][self.by_number[at]]) == number
        return int(self.by_number[at]) if found else None


class Index:
    """The rollouts of a run, read in the background from when it is made."""

    def __init__(self, run: Path, headline: str | None = None) -> None:
        """Args: headline: the classifier whose verdicts come first."""
        self._run, self._headline = run, headline
        self._columns = {name: array(kind) for name, kind in KINDS.items()}
        self._said: dict[str, array[int]] = {}
        self._verdicts = np.empty((2, 0), np.int64)
        self._conditions: dict[str, int] = {}
        self._read, self._size = 0, 1
        self._lock, self._done = threading.Lock(), threading.Event()
        self._failed: IntrospectError | None = None
        self._whole: Columns | None = None
        self._started = False

    def start(self) -> None:
        """Begin to read, once."""
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._build, name=f"index of {self._run.name}", daemon=True).start()

    def columns(self, wait: float | None = None) -> Columns:
        """What has been read, after at most so many seconds; None: all of it.

        Raises:
            StoreError: a file is damaged.
        """
        self.start()
        self._done.wait(wait)
        with self._lock:
            if not self._done.is_set():
                return self._snapshot(min(self._read / self._size, 0.99))
        if self._failed is not None:
            raise type(self._failed)(str(self._failed))
        if self._whole is None:
            raise StoreError(f"{self._run / ROLLOUTS} could not be read to its end; start the explorer again")
        return self._whole

    def _snapshot(self, share: float) -> Columns:
        values = {name: np.array(column) for name, column in self._columns.items()}
        said = {name: np.array(column) for name, column in self._said.items()}
        return Columns(values, said, list(self._conditions), self._verdicts, share)

    def _build(self) -> None:
        try:
            self._read_all()
            whole = self._snapshot(1.0)
            numbers = whole["number"][whole.by_number]
            twice = numbers[1:][numbers[1:] == numbers[:-1]]
            if len(twice):
                raise StoreError(
                    f"{self._run / ROLLOUTS} has rollout {twice[0]} twice; record the run again into another --out"
                )
            self._whole = whole
        except IntrospectError as error:
            self._failed = error
        except OSError as error:
            self._failed = StoreError(f"cannot read {self._run}: {error.strerror}")
        finally:
            with self._lock:
                self._columns = {name: array(kind) for name, kind in KINDS.items()}
                self._said = {}
                self._done.set()

    def _read_all(self) -> None:
        readouts, (verdicts, lines) = _readouts(self._run), _verdicts(self._run, self._headline)
        none: dict[str, float] = {"readout": MISSING, "part": MISSING, "score": float("nan")}
        with self._lock:
            self._said = {name: array("b") for name in verdicts}
            self._verdicts = lines
        path = self._run / ROLLOUTS
        self._size = max(path.stat().st_size, 1)
        for begin, rollout in read_lines(path, RolloutSummary):
            asked = f"{rollout.item_id}\0{rollout.condition}\0{rollout.sample}"
            row: dict[str, float] = {
                "number": rollout.rollout,
                "offset": begin,
                "item": item_code(rollout.item_id),
                "twin": item_code(asked),
                "acted": {True: 0, False: 1, None: 2}[rollout.acted],
            }
            read = readouts.get(rollout.rollout)
            row.update(none if read is None else zip(none, read, strict=True))
            with self._lock:
                row["condition"] = self._conditions.setdefault(rollout.condition, len(self._conditions))
                if len(self._conditions) > MOST_CONDITIONS:
                    raise StoreError(f"{path} has more than {MOST_CONDITIONS} conditions; it is none of ours")
                try:
                    for name, column in self._columns.items():
                        column.append(row[name])  # type: ignore[arg-type] # whole numbers where the column has them
                except OverflowError:
                    raise StoreError(f"{path} has a rollout numbered {str(rollout.rollout)[:24]}...") from None
                for name, codes in self._said.items():
                    codes.append(verdicts[name].get(rollout.rollout, MISSING))
                self._read = begin


def item_code(text: str) -> int:
    """A text as a number of 63 bits: equal for equal texts, and for others with a chance of 1e-11 in 10,000."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1


def _readouts(run: Path) -> dict[int, tuple[int, int, float]]:
    """Rollout -> codes of its readout and part, and the headline probe's score; empty where nothing was probed."""
    path = run / READOUTS
    if not os.path.lexists(path):
        return {}
    found = {}
    for _, line in read_lines(path, Readout):
        code = len(READ) - 1 if line.readout is None else READ.index(line.readout)
        found[line.rollout] = code, PARTS.index(line.part), line.headline
    return found


def _verdicts(run: Path, headline: str | None) -> tuple[dict[str, dict[int, int]], np.ndarray]:
    """Classifier -> rollout -> code of what it says, the headline's first, and where lines begin, as `Columns` has it;
    empty where none was asked.
    """
    path = run / VERDICTS_FILE
    found: dict[str, dict[int, int]] = {}
    lines = array("q")
    for begin, line in read_lines(path, VerdictLine) if os.path.lexists(path) else ():
        said = found.setdefault(line.classifier, {})
        if len(found) > MOST_CLASSIFIERS:
            raise StoreError(f"{path} has more than {MOST_CLASSIFIERS} classifiers; `introspect score` writes it again")
        said[line.rollout] = SAID.index(line.verdict or SAID[-1])
        try:
            lines.extend((line.rollout, begin))
        except OverflowError:
            raise StoreError(f"{path} has a rollout numbered {str(line.rollout)[:24]}...") from None
    both = np.array(lines, dtype=np.int64).reshape(-1, 2).T
    ordered = both[:, np.argsort(both[0], kind="stable")]
    return dict(sorted(found.items(), key=lambda each: (each[0] != headline, each[0]))), ordered
