"""What a study found, in a few sentences with their numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..report import number, share
from .claims import policy_measure

SAID = {
    "supports": "support",
    "contradicts": "contradict",
    "cannot decide": "cannot decide",
}


def headline(results: dict[str, Any]) -> list[str]:
    """A few sentences: of a comparison, two for each task and one about the claims; of a trajectory, its own."""
    if "trajectory" in results:
        return [str(each) for each in results["trajectory"].get("sentences", [])]
    out = [sentence for name, task in results["tasks"].items() for sentence in _task(name, task)]
    counts = Counter(each["verdict"] for each in results["claims"])
    if counts:
        said = ", ".join(f"{verb} {counts[verdict]}" for verdict, verb in SAID.items())
        out.append(f"Of {counts.total()} published claims these organisms {said}.")
    return out


def _task(name: str, task: dict[str, Any]) -> list[str]:
    within = policy_measure(task, "id")
    beyond = f"{within.removesuffix('_id')}_ood"
    said = [
        f"{method} {_share(found, within)} in distribution and {_share(found, beyond)} out of it"
        for method, found in task["methods"].items()
    ]
    does = f"the model {task['policy']}"
    if within != "policy_rate_id":
        does = f"answers agree with the planted policy ({task['planted']})"
    out = [f"{name}: {does} in these shares of answers: {'; '.join(said)}."]
    spoken = [f"{method} {_share(found, 'verbalised_acted')}" for method, found in task["methods"].items()]
    read = [f"{method} {_probe(found)}" for method, found in task["methods"].items()]
    out.append(
        f"{name}: the chain says so, of the rollouts that acted, in {', '.join(spoken)}; the activations predict the "
        f"choice with AUROC {', '.join(read)}."
    )
    return out


def _share(found: dict[str, Any], key: str) -> str:
    estimate = found["measures"][key]
    return share(estimate) if estimate["value"] is not None else "not estimated"


def _probe(found: dict[str, Any]) -> str:
    auroc = found["measures"]["probe_auroc"]
    if auroc["value"] is None:
        return "not estimated"
    return f"{number(auroc)} (beyond the best of words {_number(found, 'probe_beyond_text')})"


def _number(found: dict[str, Any], key: str) -> str:
    estimate = found["measures"][key]
    return number(estimate) if estimate["value"] is not None else "not estimated"
