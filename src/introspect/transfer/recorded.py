"""A finished run as arrays: what its rollouts did, and activations at one place of each.

Rows are the rollouts that could act on the policy, have a valid answer and have every position; nothing else of a run
is needed to carry probes from one to another and to set their directions against each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from ..errors import EstimateError, RunError
from ..experiment import Experiment, load_experiment
from ..features import Probed, choose_probed, gather, streamed
from ..probes import Streamed
from ..results import read_results, read_run_manifest
from ..rollout import read_rollouts
from ..store import StoreReader
from ..tasks.policies import PLANTED
from ..tasks.registry import find_task
from .cosines import Labelled

MARKER = "experiment.yaml"


@dataclass(frozen=True)
class Recorded:
    """The rows of a run, and where their activations lie."""

    run: Path
    spec: Experiment
    layers: tuple[int, ...]
    """Those that were recorded."""
    width: int
    """Numbers in one activation."""
    probed: Probed
    acted: np.ndarray
    """bool [row]"""
    groups: np.ndarray
    """str [row]"""
    ood: np.ndarray
    """bool [row]"""
    facts: tuple[str, ...] | None = None
    """What of a condition, beside the item, makes two questions the same; None: all of it."""

    @property
    def keys(self) -> list[Hashable]:
        """What each row was asked: equal in runs of the same items."""
        if self.facts is None:
            return [(r.item_id, r.condition, r.sample) for r in self.probed.rollouts]
        return [(r.item_id, *(r.facts.get(name) for name in self.facts), r.sample) for r in self.probed.rollouts]

    def only(self, rows: np.ndarray) -> Self:
        """Some of its rows, by their indices."""
        chosen = [self.probed.rollouts[row] for row in rows]
        tokens = {name: each[rows] for name, each in self.probed.tokens.items()}
        probed = replace(self.probed, rollouts=chosen, tokens=tokens)
        return replace(self, probed=probed, acted=self.acted[rows], groups=self.groups[rows], ood=self.ood[rows])

    @property
    def whole_texts(self) -> list[str]:
        """The prompt and the whole chain of each row, up to its answer."""
        return [f"{r.prompt_text}\n{r.chain_text}" for r in self.probed.rollouts]

    def visible_texts(self, position: str) -> list[str]:
        """The prompt of each row, and its completion up to the token at a position: what a probe there could see.

        Completion tokens stand as made-up words, one a token: a run keeps their ids, and no tokenizer to cut its text.
        """
        ends = self.probed.tokens[position]
        return [
            f"{r.prompt_text}\n{_as_words(r.token_ids[len(r.prompt_ids) : end + 1])}"
            for r, end in zip(self.probed.rollouts, ends, strict=True)
        ]

    @property
    def has_base(self) -> bool:
        """Whether the same tokens went through the untrained model too."""
        return (self.run / "base_activations").exists()

    def values(
        self, site: str, layers: Sequence[int], positions: Sequence[str], *, base: bool = False
    ) -> dict[str, np.ndarray]:
        """Activations: position -> float32 [layer, row, width].

        Args:
            base: of the untrained model.

        Raises:
            StoreError: the store is damaged, or holds no such layer.
            EstimateError: it holds no such position.
        """
        store = StoreReader(self.run / ("base_activations" if base else "activations"))
        return gather(store, replace(self.probed, positions=tuple(positions)), site, layers)

    def streamed(self, site: str, positions: Sequence[str]) -> Streamed:
        """The same, read as it is needed."""
        return streamed(StoreReader(self.run / "activations"), replace(self.probed, positions=tuple(positions)), site)

    def at(self, site: str, layer: int, position: str, *, base: bool = False) -> np.ndarray:
        """Activations at one place of each row, float32 [row, width]; errors as `values`."""
        return self.values(site, (layer,), (position,), base=base)[position][0]

    def labelled(self, values: np.ndarray, labels: np.ndarray | None = None) -> Labelled:
        """Activations [row, width] of the in-distribution rows, with what those did, or other labels, bool [row]."""
        rows, keys = np.flatnonzero(~self.ood), self.keys
        labels = self.acted if labels is None else labels
        return Labelled(values[rows], labels[rows], self.groups[rows], [keys[row] for row in rows])

    def planted(self, policy: str) -> np.ndarray:
        """What a planted policy says of each row's item, bool [row], whatever was done.

        Raises:
            EstimateError: the policy is no function of the item, or of a field that these items lack.
        """
        says = PLANTED.get(policy)
        if says is None:
            raise EstimateError(f"the policy {policy!r} is no function of the item")
        try:
            return np.array([says(r.about) for r in self.probed.rollouts], dtype=bool)
        except KeyError as error:
            raise EstimateError(f"the policy {policy!r} depends on a field that these items lack: {error}") from None


def _as_words(token_ids: Sequence[int]) -> str:
    """A word a token, in letters only, such as no text has."""
    return " ".join("zzq" + "".join(chr(ord("a") + int(digit)) for digit in str(each)) for each in token_ids)


def read_recorded(run: Path, positions: Sequence[str] | None = None) -> Recorded:
    """The rows of a finished run.

    Args:
        positions: which a row must have; None: those that the run's spec probes.

    Raises:
        RunError: the folder is no run of an experiment, or its probe predicts something else than acting.
        StoreError: it is not finished, or something of it is damaged.
        EstimateError: no rollout has a valid answer, or no position is left.
    """
    if not (run / MARKER).is_file():
        raise RunError(f"{run} is no run of an experiment: it has no {MARKER}; give the folder of one")
    spec = load_experiment(run / MARKER)
    if spec.probe.label != "acted":
        raise RunError(
            f"{run}: its probe predicts {spec.probe.label}; give a run whose probe predicts acting (probe.label acted)"
        )
    read_results(run / "results.json")
    rollouts = find_task(spec.task).counted(read_rollouts(run / "rollouts.jsonl"))
    probed = choose_probed(rollouts, spec.probe.positions if positions is None else positions)
    stored = StoreReader(run / "activations").spec
    return Recorded(
        run=run,
        spec=spec,
        layers=tuple(stored.layers),
        width=stored.width,
        probed=probed,
        acted=np.array([bool(r.acted) for r in probed.rollouts]),
        groups=np.array([r.group for r in probed.rollouts], dtype=np.str_),
        ood=np.array([r.split == "ood" for r in probed.rollouts], dtype=bool),
    )


def check_one_model(first: Recorded, other: Recorded) -> None:
    """Refuse a run of another model than the first one's: of other weights, by their digests in the manifests.

    Where a manifest states none, the specs' names and revisions are compared instead.

    Raises:
        RunError: the model is another.
        StoreError: a manifest is damaged.
    """
    ours, theirs = _weights(first.run), _weights(other.run)
    if ours is None or theirs is None:
        said = [f"{each.spec.model}, revision {each.spec.revision or 'not given'}" for each in (first, other)]
        same = said[0] == said[1]
    else:
        said, same = [f"one of weights {each[:12]}" for each in (ours, theirs)], ours == theirs
    if not same:
        raise RunError(
            f"{other.run}: the model is {said[1]}, and {said[0]} in {first.run}; give runs of one model, since a probe "
            "carries over between those only"
        )


def _weights(run: Path) -> str | None:
    """The digest of the model's weights, without adapter; None where the run does not state it."""
    model = (read_run_manifest(run / "manifest.json") or {}).get("model")
    digest = model.get("weight_digest") if isinstance(model, dict) else None
    return digest if isinstance(digest, str) else None
