"""The folder of a run, which may be a stranger's: each file is read strictly, when it is first asked for.

Nothing is followed out of the folder (no links), nothing of it is run, and what does not fit together is refused with
one line. Known trade-off: all rollouts are held once they are asked for, as they were when the run was analysed; of the
activations, never more than one layer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ModelError, RunError, StoreError
from ..experiment import Experiment, load_experiment
from ..link import READOUTS, Readout, read_readouts
from ..link.stored import CONTROL, VERDICTS_FILE, read_verdicts
from ..models import ModelInfo
from ..results import read_results, read_run_manifest
from ..rollout import Rollout, read_rollouts
from ..run import MARKER, MARKERS, STORES
from ..store import StoreReader
from ..verdicts import Verdict

ROLLOUTS, ACTIVATIONS = "rollouts.jsonl", "activations"


class RunFolder:
    """The files of a run.

    Raises:
        RunError: the folder is no run.
        StoreError: something of it is damaged, or a link.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not any((path / marker).exists() for marker in MARKERS):
            raise RunError(f"{path} is not a run directory: it has no {' or '.join(MARKERS)}; give the folder of a run")
        for name in (*MARKERS, ROLLOUTS, *STORES, CONTROL):
            if (path / name).is_symlink():
                raise StoreError(f"{path / name} is a link, and is not followed; copy what it points to into the run")
        for name, there in ((ROLLOUTS, (path / ROLLOUTS).is_file()), (ACTIVATIONS, (path / ACTIVATIONS).is_dir())):
            if not there:
                raise RunError(f"{path} has no {name}; finish the run with `introspect run ... --out {path} --resume`")

    def open(self) -> None:
        """Read what everything else stands on: the spec, and which parts of the store there are.

        Raises:
            SpecError: the spec is none.
            StoreError: the store is none, or lacks a part.
        """
        if self.is_experiment:
            _ = self.spec
        _ = self.store

    @cached_property
    def spec(self) -> Experiment:
        """What was asked.

        Raises:
            RunError: the run is one of transcripts, of which nothing was asked.
        """
        if not (self.path / MARKER).is_file():
            raise RunError(f"{self.path} holds transcripts: no experiment was asked of them, so there are no results")
        return load_experiment(self.path / MARKER)

    @property
    def is_experiment(self) -> bool:
        """Whether a spec made it, rather than transcripts."""
        return (self.path / MARKER).is_file()

    @property
    def has_results(self) -> bool:
        """Whether it was analysed."""
        return self.is_experiment and (self.path / "results.json").exists()

    @cached_property
    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        _ = self.spec
        return read_results(self.path / "results.json")

    @cached_property
    def model(self) -> dict[str, Any]:
        """What the manifest says of the model: `name`, `revision` and `n_layers` among it.

        Raises:
            StoreError: it says nothing of the kind.
        """
        path = self.path / "manifest.json"
        said = (read_run_manifest(path) or {}).get("model")
        kinds: dict[str, type | tuple[type, ...]] = {"name": str, "revision": (str, type(None)), "n_layers": int}
        if not isinstance(said, dict) or any(not isinstance(said.get(key), kind) for key, kind in kinds.items()):
            raise StoreError(f"{path} is missing or does not say which model was run; finish the run with --resume")
        return said

    @cached_property
    def store(self) -> StoreReader:
        """The activations."""
        return StoreReader(self.path / ACTIVATIONS)

    @cached_property
    def rollouts(self) -> list[Rollout]:
        """Every rollout, its numbers and spans checked against its tokens."""
        path = self.path / ROLLOUTS
        found = read_rollouts(path)
        twice = [number for number, times in Counter(each.rollout for each in found).items() if times > 1]
        if twice:
            raise StoreError(f"{path} has rollout {twice[0]} twice; record the run again into another --out")
        for each in found:
            if not _fits(each):
                raise StoreError(
                    f"{path}: the spans or the answer of rollout {each.rollout} are outside its tokens; record the run "
                    "again into another --out"
                )
        return found

    @cached_property
    def verdicts(self) -> Mapping[str, Mapping[int, Verdict]]:
        """Classifier -> rollout -> verdict; empty where none was asked."""
        path = self.path / VERDICTS_FILE
        return read_verdicts(path) if os.path.lexists(path) else {}

    @cached_property
    def readouts(self) -> dict[int, Readout]:
        """Rollout -> what was read in it; empty where no probe was fitted."""
        there = os.path.lexists(self.path / READOUTS)
        return {line.rollout: line for line in read_readouts(self.path)} if there else {}


def check_same_weights(run: Path, model: Mapping[str, Any], info: ModelInfo) -> None:
    """Refuse a model that was loaded and is not the one that was run.

    Args:
        run: its folder; model: what its manifest says of the model.

    Raises:
        ModelError: other weights, or another organism's.
    """
    for what, part, ours in (
        ("weight_digest", "the model", info.weight_digest),
        ("adapter_digest", "the organism", info.adapter_digest),
    ):
        theirs = model.get(what)
        if theirs != ours:
            raise ModelError(
                f"{run} was made with other weights of {part} than are here ({_short(theirs)}, not {_short(ours)}): "
                "put those back, or run the experiment again"
            )


def _short(digest: object) -> str:
    return digest[:12] if isinstance(digest, str) else "none"


def _fits(rollout: Rollout) -> bool:
    n_prompt, n_tokens = len(rollout.prompt_ids), len(rollout.token_ids)
    spans = (rollout.spans.prompt, rollout.spans.think, rollout.spans.answer)
    at = rollout.answer_position
    inside = all(0 <= begin <= stop <= n_tokens for begin, stop in spans)
    return inside and rollout.spans.prompt == (0, n_prompt) and (at is None or n_prompt <= at < n_tokens)
