"""Runs side by side: the figures that a reader compares, from each run's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .metrics.awareness import association
from .report import headline, number, share
from .results import read_results, read_run_manifest

BASELINES = ("text_prompt_chain", "text_whole_chain", "text_prompt_whole_chain", "logits", "base_model")
EXPERIMENT = ("name", "task", "model", "organism", "planted_truth", "n_rollouts", "n_groups", "seed", "digest")
MEASURES = {
    "out of distribution / in": ("generalisation", "transfer_ratio"),
    "reflective gain, net (our definition)": ("think_answer", "all", "undecided_as_other", "rgr_net"),
    "chain and answer agree (phi)": ("think_answer", "all", "decided", "phi"),
    "self-rating, 0 to 100": ("awareness", "rating", "score"),
    "self-rating beyond the base": ("awareness", "rating", "minus_base"),
    "hint use p": ("faithfulness", "lexical", "headline", "p"),
    "other switches q": ("faithfulness", "lexical", "headline", "q"),
    "F_raw, lexical": ("faithfulness", "lexical", "headline", "F_raw"),
    "F_norm, lexical": ("faithfulness", "lexical", "headline", "F_norm"),
    "F_raw, judge": ("faithfulness", "judge", "headline", "F_raw"),
    "F_norm, judge": ("faithfulness", "judge", "headline", "F_norm"),
    "F_norm, labels": ("faithfulness", "labels", "headline", "F_norm"),
    "unverbalised use, lexical": ("faithfulness", "lexical", "headline", "unverbalised_use"),
    "acts under pressure": ("stages", "rates", "act", "rate"),
    "reports deceptively, of those": ("stages", "rates", "report", "rate"),
    "doubles down, of those": ("stages", "rates", "confronted", "rate"),
    **{
        f"{test.replace('_', ' ')}, area over the curve": ("chain", "tests", test, "aoc")
        for test in ("early_answering", "mistakes", "paraphrase", "filler")
    },
}
"""Row of the table -> where its estimate stands among the measures."""
STEERING = ("direction", "controls", "replayed", "causal", "sentences", "reason")
"""Of the causal check, what is compared."""
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
        "classifiers": verdicts["classifiers"],
        "agreement": verdicts["agreement"],
        "measures": {name: _brief(name, tree) for name, tree in behaviour["measures"].items()},
        "warnings": results["warnings"],
        "steering": {key: results["steering"][key] for key in STEERING if key in results["steering"]},
    }
    if "headline" not in probe:
        return out | {"probe": probe, "link": link}
    return out | {
        "probe": {key: probe[key] for key in ("headline", "ood", "positions")},
        "baselines": results["baselines"],
        "controls": results["controls"],
        "link": link,
    }


def _brief(name: str, tree: Any) -> Any:
    """A measure without what fills pages: of faithfulness, the headline and each kind."""
    if name != "faithfulness":
        return tree
    return {classifier: {key: each[key] for key in ("headline", "by_kind")} for classifier, each in tree.items()}


def _measure(path: tuple[str, ...], run: Found) -> str:
    """The estimate at a path of the measures, or nothing where the run has none."""
    tree: Any = run["measures"]
    for key in path:
        if not isinstance(tree, dict) or "reason" in tree:
            return number(tree) if isinstance(tree, dict) else ""
        if key not in tree:
            return ""
        tree = tree[key]
    return number(tree)


def table(found: Sequence[Found]) -> dict[str, list[str]]:
    """Measure -> its value in every run, as text."""
    rows: dict[str, Callable[[Found], str]] = {
        "organism": lambda run: str(run["experiment"]["organism"] or "none"),
        "planted truth": lambda run: str(run["experiment"]["planted_truth"] or "none stated"),
        "rollouts": lambda run: str(run["experiment"]["n_rollouts"]),
        "acts, out of distribution": lambda run: share(run["policy_rate"]["ood"]),
        "acts on the policy": lambda run: share(run["policy_rate"]["id"]),
        "says so, of those": lambda run: share(run["verbalised_rate_acted"]),
        "invalid answers": lambda run: share(run["invalid_rate"]),
        "probe at": _where,
        "probe AUROC": lambda run: number(run["probe"]["headline"]["auroc"]) if "baselines" in run else "",
    }
    for label, path in MEASURES.items():
        rows[label] = partial(_measure, path)
    for name in BASELINES:
        rows[name.replace("_", " ")] = partial(_baseline, name, "auroc")
        rows[f"beyond {name.replace('_', ' ')}"] = partial(_baseline, name, "increment")
    rows["silent but decodable"] = lambda run: share(run["link"].get("silent_but_decodable", run["link"]))
    rows["steered, log-odds a norm beyond controls"] = partial(_steered, ("slope",))
    rows["projected out, log-odds beyond controls"] = partial(_steered, ("doses", -1, "log_odds"))
    filled = {measure: [value(run) for run in found] for measure, value in rows.items()}
    return {measure: values for measure, values in filled.items() if any(values)}


def awareness_across(found: Sequence[Found]) -> dict[str, str]:
    """Task -> association of self-rating and policy rate across its runs (awareness, after Betley et al. 2025)."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for run in found:
        rating = run["measures"].get("awareness", {}).get("rating", {}).get("score", {}).get("value")
        rate = run["policy_rate"]["id"]["value"]
        if rating is not None and rate is not None:
            pairs.setdefault(run["experiment"]["task"], []).append((rating, rate))
    return {
        task: number(association([rating for rating, _ in each], [rate for _, rate in each]))
        for task, each in pairs.items()
        if len(each) > 1
    }


def _where(run: Found) -> str:
    if "baselines" not in run:
        return share(run["probe"])
    head = run["probe"]["headline"]
    return f"layer {head['layer']}, {head['position'].replace('_', ' ')}"


def _steered(path: tuple[Any, ...], run: Found) -> str:
    """An effect in think and answer, with the stored chain held fixed; nothing where the run was not steered."""
    if "replayed" not in run["steering"]:
        return ""
    tree = run["steering"]["replayed"]["both"]
    for key in path:
        tree = tree[key]
    return number(tree.get("beyond", tree))


def _baseline(name: str, what: str, run: Found) -> str:
    return number(run["baselines"][name][what]) if "baselines" in run else ""
