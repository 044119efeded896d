"""Runs side by side: the figures that a reader compares, from each run's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .report import headline, number, share
from .results import read_results, read_run_manifest

BASELINES = ("text_prompt_chain", "text_whole_chain", "text_prompt_whole_chain", "logits", "base_model")
EXPERIMENT = ("name", "model", "organism", "planted_truth", "n_rollouts", "n_groups", "seed", "digest")
Found = dict[str, Any]


def summarise(runs: Sequence[Path]) -> list[Found]:
    """What each run, and its negative control if it has one, found.

    Returns:
        For each, the command that made it, and its figures; every estimate is as in results.json.

    Raises:
        StoreError: a run has no results, or they are not ours.
    """
    controls = [run / "negative_control" for run in runs]
    folders = [folder for pair in zip(runs, controls, strict=True) for folder in pair]
    return [_summary(folder) for folder in folders if folder in runs or (folder / "results.json").exists()]


def _summary(run: Path) -> Found:
    results = read_results(run / "results.json")
    manifest = read_run_manifest(run / "manifest.json") or {}
    behaviour, verdicts, probe, link = (results[key] for key in ("behaviour", "verdicts", "probe", "link"))
    out = {
        "command": manifest.get("command"),
        "versions": manifest.get("versions"),
        "machine": manifest.get("machine"),
        "sentences": headline(results),
        "experiment": {key: results["experiment"][key] for key in EXPERIMENT},
        "policy_rate": behaviour["policy_rate"],
        "invalid_rate": behaviour["invalid_rate"],
        "planted_policy_accuracy": behaviour["planted_policy_accuracy"],
        "verbalised_rate_acted": verdicts["classifiers"][verdicts["headline_classifier"]]["verbalised_rate_acted"],
        "warnings": results["warnings"],
    }
    if "headline" not in probe:
        return out | {"probe": probe, "link": link}
    return out | {
        "probe": {key: probe[key] for key in ("headline", "ood", "positions")},
        "baselines": results["baselines"],
        "controls": results["controls"],
        "link": link,
    }


def table(found: Sequence[Found]) -> dict[str, list[str]]:
    """Measure -> its value in every run, as text."""
    rows: dict[str, Callable[[Found], str]] = {
        "organism": lambda run: str(run["experiment"]["organism"] or "none"),
        "planted truth": lambda run: str(run["experiment"]["planted_truth"] or "none stated"),
        "rollouts": lambda run: str(run["experiment"]["n_rollouts"]),
        "acts on the policy": lambda run: share(run["policy_rate"]["id"]),
        "says so, of those": lambda run: share(run["verbalised_rate_acted"]),
        "invalid answers": lambda run: share(run["invalid_rate"]),
        "probe at": _where,
        "probe AUROC": lambda run: number(run["probe"]["headline"]["auroc"]) if "baselines" in run else "",
    }
    for name in BASELINES:
        rows[name.replace("_", " ")] = partial(_baseline, name, "auroc")
        rows[f"beyond {name.replace('_', ' ')}"] = partial(_baseline, name, "increment")
    rows["silent but decodable"] = lambda run: share(run["link"].get("silent_but_decodable", run["link"]))
    return {measure: [value(run) for run in found] for measure, value in rows.items()}


def _where(run: Found) -> str:
    if "baselines" not in run:
        return share(run["probe"])
    head = run["probe"]["headline"]
    return f"layer {head['layer']}, {head['position'].replace('_', ' ')}"


def _baseline(name: str, what: str, run: Found) -> str:
    return number(run["baselines"][name][what]) if "baselines" in run else ""
