"""A saved probe applied to a run: scores of its activations, and how well they predict what that run did.

Nothing is fitted and nothing is turned round: direction, sign and threshold are the probe's own. Rollouts whose group
or prompt the direction was fitted to are left out, so that a figure is about items that it has not seen. What the run's
own probe and baselines reached stands beside the figure: a transferred readout means little without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import EstimateError, ModelError, RunError, SpecError
from ..link import check_out
from ..link.aligned import aligned_rollouts
from ..probes.saved import SavedProbe
from ..results import read_results
from ..rollout import read_rollouts
from ..stats import Estimate, auroc_estimate, bootstrap
from ..store import StoreReader, StoreSpec
from ..tasks.registry import find_task
from ..transfer.recorded import Recorded, read_recorded
from ..verdicts.sheet import guard
from .fits import unlike
from .marks import group_mark, prompt_mark


@dataclass(frozen=True)
class Applied:
    """What a probe says of a run."""

    summary: dict[str, Any]
    """JSON: the probe, the run, rows, AUROC, shares above the threshold, what stands beside them, notes."""
    rows: pd.DataFrame
    """A row a rollout: `rollout, item_id, group, split, acted, score, above, seen`."""


def apply_probe(probe: SavedProbe, run: Path, *, other_model: bool = False, base: bool = False) -> Applied:
    """Score a finished run's rollouts with a probe that was fitted elsewhere.

    Args:
        other_model: accept activations of a model with other weights, of the same width.
        base: read the activations of the model before post-training, over the same tokens.

    Raises:
        ModelError: the run's model has another width, or other weights.
        RunError: no finished run, or it has not recorded the site, layer or position.
        EstimateError: activations are not finite, the rollouts are of one class, or all were seen in training.
        StoreError: what the run holds is damaged.
    """
    recorded = read_recorded(run, (probe.position,))
    if base and not recorded.has_base:
        raise RunError(f"{run} has no activations of a base model: run an organism with --set base_baseline=true")
    stored = StoreReader(run / ("base_activations" if base else "activations")).spec
    _check_model(probe, run, stored, other_model)
    _check_place(probe, run, stored)
    rollouts = recorded.probed.rollouts
    scores = probe.score(_activations(probe, recorded, base), [rollout.rollout for rollout in rollouts])
    seen = _seen(probe, recorded)
    fresh = np.flatnonzero(~seen)
    groups, acted = recorded.groups, recorded.acted
    n_overlap = len(set(groups[seen]))
    if not len(fresh):
        raise EstimateError(f"{run}: all {n_overlap} groups were seen in training: apply the probe to other items")
    if len(set(acted[fresh])) < 2:
        did = "acted" if acted[fresh][0] else "did not act"
        raise EstimateError(
            f"{run}: all {len(fresh)} rollouts with a valid answer {did} on the policy; an AUROC needs both: give "
            "a run of more items"
        )
    above = None if probe.threshold is None else scores > probe.threshold
    summary = {
        "probe": {key: probe.card[key] for key in ("summary", "place", "threshold")}
        | {"auroc": probe.card["metrics"]["auroc"]},
        "run": _about(recorded, stored),
        "rows": {
            "n_rollouts": len(rollouts),
            "n_scored": len(fresh),
            "n_groups": len(set(groups[fresh])),
            "n_groups_seen": n_overlap,
        },
        "auroc": _auroc(recorded, scores, fresh).to_json(),
        "auroc_by_split": {
            name: _auroc(recorded, scores, fresh[recorded.ood[fresh] == is_ood]).to_json()
            for name, is_ood in (("id", False), ("ood", True))
        },
        "above_threshold": None
        if above is None
        else {
            "acted": _share(recorded, above, fresh[acted[fresh]]).to_json(),
            "not_acted": _share(recorded, above, fresh[~acted[fresh]]).to_json(),
            "all": _share(recorded, above, fresh).to_json(),
        },
        "beside": _beside(probe, read_results(run / "results.json")),
        "notes": _notes(probe, recorded, stored, n_overlap, base),
    }
    rows = pd.DataFrame(
        {
            "rollout": [rollout.rollout for rollout in rollouts],
            "item_id": [guard(rollout.item_id) for rollout in rollouts],
            "group": [guard(rollout.group) for rollout in rollouts],
            "split": [rollout.split for rollout in rollouts],
            "acted": acted,
            "score": scores,
            "above": pd.array([pd.NA] * len(scores) if above is None else above, dtype="boolean"),
            "seen": seen,
        }
    )
    return Applied(summary, rows)


def check_scores_path(path: Path, run: Path) -> None:
    """Refuse a file that scores cannot be written to, before anything is computed.

    Raises:
        SpecError: it is inside the run, which stays as it is, or neither CSV nor parquet.
        RunError: there is something already.
    """
    if path.resolve().is_relative_to(run.resolve()):
        raise SpecError(f"--out {path} is inside the run, which stays as it is: name a file elsewhere")
    check_out(path)


def _check_model(probe: SavedProbe, run: Path, stored: StoreSpec, other_model: bool) -> None:
    card = probe.card["model"]
    theirs, weights = _word(stored.meta.get("model")), _word(stored.meta.get("weights"))
    if stored.width != card["width"]:
        raise ModelError(
            f"{run}: its model {theirs} has a width of {stored.width}, and the probe was fitted at {card['width']} to "
            f"{card['name']}: apply it to runs of that model"
        )
    if weights != card["weight_digest"] and not other_model:
        raise ModelError(
            f"{run}: its model {theirs} has the weights {weights[:12]}, and the probe was fitted to {card['name']}, "
            f"{card['weight_digest'][:12]}: apply it to runs of that model, or give --other-model to compare models of "
            "equal width"
        )


def _check_place(probe: SavedProbe, run: Path, stored: StoreSpec) -> None:
    if probe.site not in stored.sites:
        raise RunError(
            f"{run} has recorded {', '.join(stored.sites)} and not {probe.site}, which the probe reads: record it "
            f"again with --set capture.sites=[{probe.site}]"
        )
    if probe.layer not in stored.layers:
        listed = ", ".join(map(str, stored.layers))
        raise RunError(
            f"{run} has recorded layers {listed} and not {probe.layer}, which the probe reads: record it again with "
            f"--set capture.layers=[{probe.layer}]"
        )


def _activations(probe: SavedProbe, recorded: Recorded, base: bool) -> np.ndarray:
    """What the probe reads, [row, width]."""
    try:
        return recorded.at(probe.site, probe.layer, probe.position, base=base)
    except EstimateError:
        raise RunError(
            f"{recorded.run} has not recorded {probe.position} of every rollout, which the probe reads: record it "
            f"again with --set probe.positions=[{probe.position}]"
        ) from None


def _seen(probe: SavedProbe, recorded: Recorded) -> np.ndarray:
    """Whether the direction was fitted to rows of the row's group, or asked the same as one of its rows; bool [row]."""
    training = probe.card["training"]
    groups, prompts = set(training["groups"]), set(training["prompts"])
    hit = [group_mark(r) in groups or prompt_mark(r) in prompts for r in recorded.probed.rollouts]
    return np.isin(recorded.groups, recorded.groups[np.array(hit, dtype=bool)])


def _auroc(recorded: Recorded, scores: np.ndarray, rows: np.ndarray) -> Estimate:
    spec = recorded.spec
    return auroc_estimate(
        scores[rows], recorded.acted[rows], recorded.groups[rows], n=spec.probe.bootstrap, seed=spec.seed
    )


def _share(recorded: Recorded, above: np.ndarray, rows: np.ndarray) -> Estimate:
    spec, groups = recorded.spec, recorded.groups[rows]
    return bootstrap(
        lambda drawn: float(above[rows][drawn].mean()),
        groups,
        n=spec.probe.bootstrap,
        seed=spec.seed,
        share_of=len(set(groups)),
    )


def _about(recorded: Recorded, stored: StoreSpec) -> dict[str, Any]:
    spec, task = recorded.spec, find_task(recorded.spec.task)
    return {
        "folder": str(recorded.run),
        "experiment": spec.name,
        "task": task.name,
        "policy": task.policy,
        "model": spec.model,
        "organism": spec.organism,
        "weight_digest": _word(stored.meta.get("weights")),
        "adapter_digest": stored.meta.get("adapter"),
    }


def _beside(probe: SavedProbe, results: Mapping[str, Any]) -> dict[str, Any]:
    """What the run states of its own probe at this place, and of its baselines, on its own test groups."""
    grid = results["probe"].get("grid", [])
    own = [cell["auroc"] for cell in grid if (cell["position"], cell["layer"]) == (probe.position, probe.layer)]
    baselines = {
        name: each["auroc"] for name, each in results["baselines"].items() if isinstance(each, dict) and "auroc" in each
    }
    missing = Estimate.undefined(results["probe"].get("reason") or "this run has no probe at this place").to_json()
    return {"own_probe": own[0] if own else missing, "baselines": baselines}


def _notes(probe: SavedProbe, recorded: Recorded, stored: StoreSpec, n_overlap: int, base: bool) -> list[str]:
    card, task = probe.card, find_task(recorded.spec.task)
    notes = []
    if base:
        notes.append(
            "The activations are those of the model before post-training, over the same tokens. Nothing is refitted: "
            "this is the probe's own direction on them, not the best one that there is."
        )
    if recorded.spec.steering:
        notes.append("The run was recorded under steering: what is read may be what was done to the activations.")
    if n_overlap:
        notes.append(f"{n_overlap} groups of this run were seen in training and are left out.")
    n_aligned = _n_aligned(recorded)
    if n_aligned:
        notes.append(
            f"{n_aligned} aligned rollouts (they give the hinted answer, as they did without the hint) are left out, "
            "and one threshold is used for all conditions. The run's own link counts them among those that did not "
            "act, and may set a threshold for each kind of hint: its rates are others."
        )
    adapter = card["model"]["adapter_digest"] if base else stored.meta.get("adapter")
    notes += unlike(card, weights=_word(stored.meta.get("weights")), adapter=adapter)
    if task.policy != card["predicts"]["policy"]:
        notes.append(f"The probe was fitted to another label: {card['predicts']['policy']}.")
    return notes


def _n_aligned(recorded: Recorded) -> int:
    """Aligned rollouts at the same position: the link of a run with hints counts them, and `Recorded` does not."""
    if not any("hint" in rollout.facts for rollout in recorded.probed.rollouts):
        return 0
    everything = read_rollouts(recorded.run / "rollouts.jsonl")
    return len(aligned_rollouts(everything, recorded.probed).rollouts)


def _word(value: object) -> str:
    return value if isinstance(value, str) else "unknown"
