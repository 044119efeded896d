"""The card of a run's probe: what results.json, manifest and spec say of it, and nothing that was not measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EstimateError, RunError
from ..experiment import MEANS
from ..link.draws import set_level
from ..manifest import earlier_versions, package_versions
from ..probes.by_estimator import ESTIMATORS
from ..results import read_run_manifest
from ..rollout import Rollout
from ..stats import auroc_estimate
from ..tasks.registry import find_task
from .marks import group_mark, prompt_mark
from .source import Fitted, Source

SPANS = {"last_prompt": "prompt", "before_answer": "answer", "answer_token": "answer", **MEANS}
"""Position -> the span that it falls in; any other: think."""
ANYWHERE = ("text_whole_chain", "text_prompt_whole_chain", "option_order", "condition", "prior")
"""Baselines that do not depend on the position."""
NOT_MEASURED = {"value": None, "reason": "not measured for this probe: it is not the headline of its run"}
VERSIONS = ("introspect", "torch", "scikit-learn", "numpy")


def make_card(source: Source, fitted: Fitted, name: str, place: tuple[int, str], headline: bool) -> dict[str, Any]:
    """The card of a probe at a layer and position, without `format` and `tensors`.

    Args:
        name: of the estimator.
        headline: whether it is the run's headline probe, of which results.json says the most.
    """
    recorded, results, split = source.recorded, source.results, source.split
    spec, (layer, position) = recorded.spec, place
    task = find_task(spec.task)
    model = _model(source)
    whose = model["adapter"] or model["name"]
    head = results["probe"]["headline"]
    auroc = auroc_estimate(
        fitted.scores[split.test],
        recorded.acted[split.test],
        recorded.groups[split.test],
        n=spec.probe.bootstrap,
        seed=spec.seed,
    )
    others = {key: _estimate(value) for key, value in head.items() if isinstance(value, dict) and "value" in value}
    return {
        "summary": f"predicts that {whose} {task.policy}: {name}, {source.site} {layer}, {position}",
        "predicts": {"task": task.name, "label": results["probe"]["label"], "policy": task.policy},
        "estimator": {
            "name": name,
            "penalty": getattr(fitted.estimator, "penalty_", getattr(fitted.estimator, "shrinkage_", None)),
            "candidates": _candidates(name, spec.probe.penalties),
            "folds": split.n_folds,
            "seed": spec.seed,
        },
        "model": model,
        "place": {
            "site": source.site,
            "layer": layer,
            "position": position,
            "span": SPANS.get(position, "think"),
        },
        "threshold": (_link_threshold(results["link"]) if headline else None) or _threshold(source, fitted.scores),
        "training": _training([recorded.probed.rollouts[i] for i in split.dev]),
        "origin": {
            "experiment": spec.name,
            "spec_digest": spec.digest(),
            "chosen": "inner folds" if headline else "by hand",
            "n_test": len(split.test),
            "n_test_groups": len(set(recorded.groups[split.test])),
        },
        "metrics": (others if headline else {}) | {"auroc": auroc.to_json()},
        "baselines": _baselines(results, position, headline),
        "controls": _controls(results["controls"], headline),
        "versions": _versions(),
    }


def _model(source: Source) -> dict[str, Any]:
    """The run's model; folders of this machine by their last name only."""
    manifest = read_run_manifest(source.recorded.run / "manifest.json")
    info = (manifest or {}).get("model")
    if not isinstance(info, dict):
        raise RunError(f"{source.recorded.run} has no manifest.json that names its model: run the experiment again")
    kept = ("revision", "weight_digest", "adapter_digest", "dtype", "n_layers", "width")
    local = info.get("kind") in ("local", "gguf")
    adapter = info.get("adapter")
    return {
        "name": Path(str(info.get("name"))).name if local else info.get("name"),
        "adapter": None if adapter is None else Path(str(adapter)).name,
        **{key: info.get(key) for key in kept},
    }


def _candidates(name: str, penalties: Iterable[float]) -> list[float]:
    known = ESTIMATORS[name].penalties
    return list(penalties if known is None else known)


def _link_threshold(link: Mapping[str, Any]) -> dict[str, Any] | None:
    """The headline's common threshold as the run's link has it; None where the link has none."""
    if "threshold" not in link:
        return None
    told = f"the common threshold of the run's link: {link['threshold_from']}"
    found = {"value": link["threshold"], "fpr": link["threshold_fpr"]}
    families = link.get("thresholds")
    if families is None:
        return found | {"from": told}
    own = sum(each["set_on"] == "own" for each in families if each["conditions"] != "all")
    if own:
        told += f"; {own} of {len(families)} kinds of hint have their own there"
    return found | {
        "from": told,
        "n_not_acted": sum(each["n_not_acted"] for each in families),
        "n_aligned": sum(each["not_acted"].get("aligned", 0) for each in families),
    }


def _threshold(source: Source, scores: np.ndarray) -> dict[str, Any]:
    """By the link's rule, on the rows that were fitted: no aligned rollout is among them, whatever their condition."""
    dev, fpr = source.split.dev, source.recorded.spec.link.fpr
    negatives = scores[dev[~source.recorded.acted[dev]]]
    groups = source.recorded.groups[dev[~source.recorded.acted[dev]]]
    try:
        threshold = set_level(negatives, groups, fpr).threshold
    except EstimateError as error:
        return {"value": None, "fpr": fpr, "reason": str(error)}
    what = (
        "out-of-fold scores of development rollouts that did not act on the policy, without aligned rollouts, one "
        "threshold for all conditions"
    )
    found = {"value": threshold, "fpr": fpr, "from": what}
    return found | {"n_not_acted": len(negatives), "n_aligned": 0}


def _training(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """What was fitted, without its texts."""
    items = sorted({rollout.item_id for rollout in rollouts})
    return {
        "n_rows": len(rollouts),
        "n_acted": sum(bool(rollout.acted) for rollout in rollouts),
        "n_groups": len({rollout.group for rollout in rollouts}),
        "items_digest": hashlib.sha256("\n".join(items).encode()).hexdigest(),
        "groups": sorted({group_mark(rollout) for rollout in rollouts}),
        "prompts": sorted({prompt_mark(rollout) for rollout in rollouts}),
    }


def _estimate(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """An estimate of results.json as a card has it."""
    if value is None or value.get("value") is None:
        return {"value": None, "reason": str((value or {}).get("reason") or "not measured")}
    return {key: value[key] for key in ("value", "ci95", "n", "method")}


def _baselines(results: Mapping[str, Any], position: str, headline: bool) -> dict[str, Any]:
    """Baselines of the headline; of another probe, those that there are at its position, or that have none."""
    listed = {name: each for name, each in results["baselines"].items() if "auroc" in each}
    if headline:
        return {
            name: {"what": each["what"], "auroc": _estimate(each["auroc"]), "increment": _estimate(each["increment"])}
            for name, each in listed.items()
        }
    here: Mapping[str, Any] = next((row for row in results["probe"]["positions"] if row["position"] == position), {})
    found = {name: here.get(name) or (each["auroc"] if name in ANYWHERE else None) for name, each in listed.items()}
    return {
        name: {"what": listed[name]["what"], "auroc": _estimate(auroc), "increment": NOT_MEASURED}
        for name, auroc in found.items()
        if auroc is not None
    }


def _controls(controls: Mapping[str, Any], headline: bool) -> dict[str, Any]:
    shuffled = controls["shuffled_labels"]
    negative = controls.get("negative_control", {})
    at_headline = {
        "selectivity": controls.get("control_task", {}).get("selectivity"),
        "random_direction": controls.get("random_direction", {}).get("auroc"),
    }
    return {
        "shuffled_labels": {
            "q95": shuffled["q95"],
            "p_value": shuffled["p_value"] if headline else None,
            "n_permutations": shuffled["n_permutations"],
        },
        **{name: _estimate(value if headline else NOT_MEASURED) for name, value in at_headline.items()},
        "negative_control": _estimate(negative.get("auroc", negative)),
    }


def _versions() -> dict[str, str]:
    installed = earlier_versions(package_versions())
    return {name: installed[name] for name in VERSIONS}
