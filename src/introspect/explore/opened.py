"""A folder that is explored, which may be a stranger's: what it is, its results, its rollouts and its activations.

Opening reads what is small and refuses what is damaged there; the rest is read when a page asks for it. Links are not
followed out of the folder. What a run is, is told by the file that its command leaves in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from ..assets import user_path
from ..errors import RunError, StoreError
from ..experiment import Experiment, load_experiment
from ..lines import read_line
from ..results import check_schema, read_json, read_results, read_run_manifest
from ..rollout import Rollout
from ..store import StoreReader
from ..verdicts.line import VerdictLine
from .index import ROLLOUTS, VERDICTS_FILE, Columns, Index

RUN, TRANSCRIPTS, INJECTION = "experiment", "transcripts", "injection"
MARKERS = {"experiment.yaml": RUN, "transcripts.yaml": TRANSCRIPTS, "injection.yaml": INJECTION}
"""File -> what a folder with it is."""
ACTIVATIONS = "activations"
MOST_ID = 1 << 31
"""Token ids are below it: tokenizers count in 32 bits."""
NEVER_LINKS = (*MARKERS, "results.json", "manifest.json", ROLLOUTS, VERDICTS_FILE, "readouts.jsonl", ACTIVATIONS)


class Opened:
    """One folder.

    Raises:
        RunError: it is none that can be explored, or it was not finished.
        StoreError: something of it is damaged, or a link.
        SpecError: its spec is none.
    """

    def __init__(self, given: str | Path) -> None:
        self.path = user_path(given)
        found = [kind for marker, kind in MARKERS.items() if (self.path / marker).exists()]
        if not found:
            raise RunError(
                f"{self.path} is no run: it has none of {', '.join(MARKERS)}; give the folder of a run, or of a study "
                "of injected concepts"
            )
        self.kind = found[0]
        self.name = self.path.resolve().name
        for name in NEVER_LINKS:
            if (self.path / name).is_symlink():
                raise StoreError(
                    f"{self.path / name} is a link, and is not followed; copy what it points to into the run"
                )
        self.manifest = read_run_manifest(self.path / "manifest.json")
        self.results = self._results()
        if self.has_rollouts:
            for name, there in ((ROLLOUTS, (self.path / ROLLOUTS).is_file()), (ACTIVATIONS, self._stored.is_dir())):
                if not there:
                    raise RunError(f"{self.path} has no {name}; finish the run with `introspect run ... --resume`")
            _ = self.store, self.spec
        self._locating = RLock()

    def _results(self) -> dict[str, Any] | None:
        path = self.path / "results.json"
        if self.kind == INJECTION:
            content = read_json(path)
            schema = files("introspect.injection").joinpath("injection.schema.json").read_text(encoding="utf-8")
            check_schema(content, json.loads(schema), str(path))
            return content
        return read_results(path) if self.kind == RUN and path.exists() else None

    @property
    def has_rollouts(self) -> bool:
        return self.kind != INJECTION

    @property
    def _stored(self) -> Path:
        return self.path / ACTIVATIONS

    @cached_property
    def spec(self) -> Experiment | None:
        """What was asked; None: nothing was, of transcripts."""
        return load_experiment(self.path / "experiment.yaml") if self.kind == RUN else None

    @cached_property
    def store(self) -> StoreReader:
        """The activations."""
        return StoreReader(self._stored)

    @property
    def classifier(self) -> str | None:
        """The one whose verdicts are the headline's."""
        return self.results["verdicts"]["headline_classifier"] if self.kind == RUN and self.results else None

    @cached_property
    def index(self) -> Index:
        """Where the rollouts lie."""
        return Index(self.path, self.classifier)

    @property
    def model(self) -> dict[str, Any]:
        """What the manifest says of the model: `name`, `revision` and `n_layers` among it.

        Raises:
            StoreError: it says nothing of the kind.
        """
        said = (self.manifest or {}).get("model")
        kinds: dict[str, type | tuple[type, ...]] = {"name": str, "revision": (str, type(None)), "n_layers": int}
        if not isinstance(said, dict) or any(not isinstance(said.get(key), kind) for key, kind in kinds.items()):
            raise StoreError(
                f"{self.path / 'manifest.json'} is missing or does not say which model was run; finish the run with "
                "--resume"
            )
        return said

    def rollout(self, columns: Columns, row: int) -> Rollout:
        """One rollout, read from its place.

        Raises:
            StoreError: it is damaged, or the file was changed since it was read.
        """
        found = read_line(self.path / ROLLOUTS, int(columns["offset"][row]), Rollout)
        if found.rollout != columns["number"][row] or not _fits(found):
            raise StoreError(
                f"{self.path / ROLLOUTS}: the spans or the answer of rollout {found.rollout} are outside its tokens, "
                "its tokens are none, or the file was changed; start the explorer again"
            )
        return found

    def verdicts(self, columns: Columns, number: int) -> list[VerdictLine]:
        """What each classifier says of a rollout, in the order of the file, each read from its place.

        Raises:
            StoreError: a line is damaged, or the file was changed since it was read.
        """
        path = self.path / VERDICTS_FILE
        found = [read_line(path, begin, VerdictLine) for begin in columns.verdicts_of(number)]
        if any(line.rollout != number for line in found):
            raise StoreError(f"{path} was changed since it was read; start the explorer again")
        return found

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of rollouts, sorted, and the part that each is in."""
        numbers, parts = [], []
        for part in range(self.store.n_parts):
            here = np.unique(self.store.columns_of(part)[1]["rollout"])
            numbers.append(here)
            parts.append(np.full(len(here), part, dtype=np.int32))
        joined = np.concatenate(numbers) if numbers else np.empty(0, np.int64)
        order = np.argsort(joined, kind="stable")
        return joined[order], np.concatenate(parts)[order] if parts else np.empty(0, np.int32)

    def parts(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """First row and columns of each part of the store, one part at a time."""
        for part in range(self.store.n_parts):
            yield self.store.columns_of(part)

    def activations(self, rollout: Rollout, site: str, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions [row] of the tokens of a rollout that were recorded, ascending, and their activations [row, width].

        Raises:
            StoreError: a part is damaged, or rows are of other tokens than the rollout's.
        """
        with self._locating:
            numbers, parts = self._parts
        there = parts[np.searchsorted(numbers, rollout.rollout) : np.searchsorted(numbers, rollout.rollout, "right")]
        positions, rows, ids = [], [], np.array(rollout.token_ids, dtype=np.int64)
        for part in there.tolist():
            first, columns = self.store.columns_of(part)
            chosen = np.flatnonzero((columns["rollout"] == rollout.rollout) & (columns["position"] >= 0))
            at = columns["position"][chosen]
            if (at >= len(ids)).any() or (ids[at] != columns["token_id"][chosen]).any():
                raise StoreError(
                    f"{self.path} has activations of tokens that rollout {rollout.rollout} does not have; record the "
                    "run again into another --out"
                )
            positions.append(at)
            rows.append(first + chosen)
        if not rows:
            return np.empty(0, np.int64), np.empty((0, self.store.spec.width), np.float32)
        position, row = np.concatenate(positions), np.concatenate(rows)
        order = np.argsort(position, kind="stable")
        return position[order], self.store.read(site, layer, row[order])


@contextmanager
def holding_together(run: Opened) -> Iterator[None]:
    """Turn what results that fit the schema and yet contradict themselves raise into one line.

    Raises:
        StoreError: they do.
    """
    from ..report.page import FAULTS

    try:
        yield
    except FAULTS as error:
        raise StoreError(
            f"{run.path / 'results.json'} does not hold together ({error!r:.200}); run the experiment again"
        ) from None


def _fits(rollout: Rollout) -> bool:
    n_prompt, n_tokens = len(rollout.prompt_ids), len(rollout.token_ids)
    spans = (rollout.spans.prompt, rollout.spans.think, rollout.spans.answer)
    at = rollout.answer_position
    inside = all(0 <= begin <= stop <= n_tokens for begin, stop in spans)
    known = all(0 <= each < MOST_ID for each in rollout.token_ids)
    return inside and known and rollout.spans.prompt == (0, n_prompt) and (at is None or n_prompt <= at < n_tokens)
