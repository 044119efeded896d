"""Finished runs made by hand, for the explorer: what is in them is known, and some of it is hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from introspect.analysis import Model, analyse
from introspect.experiment import load_experiment
from introspect.progress import silent
from planted_runs import LAYERS, TOKENIZER, planted_run, record_by_hand, rollout

POSITIONS = "[last_prompt, think_100, before_answer]"
HOSTILE = "</p></section><script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE_NUMBER, UNREAD_NUMBER = 3, 7
"""A rollout whose chain is markup, and one without a chain."""


def finished_run(folder: Path, model: Path, *, inside: bool = True, seed: int = 0, positions: str = POSITIONS) -> Path:
    """A finished run of 240 rollouts, whose layer 1 carries the choice where it is `inside`."""
    rollouts = planted_run(folder, inside=inside, spoken=False, seed=seed)
    rollouts[HOSTILE_NUMBER] = rollout(HOSTILE_NUMBER, rollouts[HOSTILE_NUMBER].group, HOSTILE, "risky")
    rollouts[UNREAD_NUMBER] = rollout(UNREAD_NUMBER, rollouts[UNREAD_NUMBER].group, "", "safe")
    shutil.rmtree(folder / "activations")
    record_by_hand(folder, rollouts, strength=3.0 if inside else 0.0, seed=seed, with_mean="think_mean" in positions)
    (folder / "rollouts.jsonl").write_text("".join(each.line() for each in rollouts), encoding="utf-8")
    quick = ("probe.permutations=10", "probe.bootstrap=100", f"probe.positions={positions}", f"model={model}")
    asked = load_experiment("probe-risk", ["organism=null", "negative_control=null", *quick])
    (folder / "experiment.yaml").write_text(asked.to_yaml())
    results = analyse(folder, asked, rollouts, Model(TOKENIZER, LAYERS, None), progress=silent)
    (folder / "results.json").write_text(json.dumps(results))
    said = {"name": str(model), "revision": None, "n_layers": len(LAYERS)}
    (folder / "manifest.json").write_text(json.dumps({"model": said}))
    return folder
