"""results.json: its schema, reading it and its manifest from anywhere, and what one run states of another."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jsonschema

from .atomic import read_at_most
from .errors import StoreError
from .experiment import Experiment
from .rollout import RolloutSummary
from .stats import Estimate

MAX_BYTES = 64 << 20
MAX_MANIFEST_BYTES = 1 << 20


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of results.json."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "results.schema.json").read_text(encoding="utf-8"))
    return content


def validate_results(results: dict, source: str = "results.json") -> None:
    """Refuse what is not a results document.

    Raises:
        StoreError: names the source and the path of the first field that does not fit.
    """
    check_schema(results, schema(), source)


def check_schema(results: dict, against: dict[str, Any], source: str) -> None:
    """Refuse a document that does not fit a JSON Schema.

    Raises:
        StoreError: names the source and the path of the first field that does not fit.
    """
    try:
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(against).iter_errors(results))
    except RecursionError:
        raise StoreError(f"{source}: nested too deep; run the experiment again into another --out") from None
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path) or "the document"
        message = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
        raise StoreError(f"{source}: {where}: {message}; run the experiment again into another --out")


def read_results(path: Path) -> dict:
    """Read and check a results.json that may come from a stranger.

    Raises:
        StoreError: missing, too large, not JSON, holds numbers that are not finite, or does not fit the schema.
    """
    content = read_json(path)
    validate_results(content, str(path))
    return content


def read_run_manifest(path: Path) -> dict[str, Any] | None:
    """Read the manifest.json of a run that may come from a stranger; None when there is none.

    Raises:
        StoreError: too large, not JSON, or not an object.
    """
    return read_json(path, MAX_MANIFEST_BYTES) if os.path.lexists(path) else None


def read_json(path: Path, most: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object from a file of at most `most` bytes that may be a stranger's.

    Raises:
        StoreError: missing, a link, too large, not a JSON object, or it holds numbers that are not finite.
    """
    try:
        content = json.loads(
            read_at_most(path, most).decode("utf-8"), parse_constant=_refuse, parse_float=_finite, parse_int=_bounded
        )
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"cannot read {path} ({error}); finish the run with --resume") from None
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant[:20]} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _bounded(text: str) -> int:
    return int(text) if len(text) < 20 else _refuse(text)


def negative_control_section(measured: dict) -> dict:
    """What a run states of its negative control, from the control's own results."""
    probe, link = measured["probe"], measured["link"]
    missing = Estimate.undefined(probe.get("reason") or "not measured").to_json()
    before = [row["auroc"] for row in probe.get("positions", []) if row["position"] == "before_answer"]
    best = measured["baselines"].get("best", {})
    return {
        "organism": measured["experiment"]["organism"],
        "planted_truth": measured["experiment"]["planted_truth"],
        "policy_rate": measured["behaviour"]["policy_rate"]["id"],
        "auroc": probe["headline"]["auroc"] if "headline" in probe else missing,
        "before_answer_auroc": before[0] if before else missing,
        "increment": best.get("increment", missing),
        "silent_but_decodable": link.get("silent_but_decodable", missing),
        "realised_fpr": link.get("realised_fpr", missing),
    }


def experiment_section(
    spec: Experiment, rollouts: Sequence[RolloutSummary], layers: Sequence[int], card: Mapping[str, object]
) -> dict:
    """The `experiment` section: what was asked of which model."""
    return {
        "name": spec.name,
        "question": spec.question,
        "digest": spec.digest(),
        "task": spec.task,
        "model": spec.model,
        "organism": spec.organism,
        "planted_truth": card.get("planted_truth"),
        "n_items": len({rollout.item_id for rollout in rollouts}),
        "n_rollouts": len(rollouts),
        "n_groups": len({rollout.group for rollout in rollouts}),
        "layers": list(layers),
        "sites": list(spec.capture.sites),
        "positions": list(spec.probe.positions),
        "seed": spec.seed,
    }
