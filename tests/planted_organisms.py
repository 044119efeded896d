"""Finished runs made by hand, each of an organism whose choice lies along an axis of its own choosing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from introspect.analysis import Model, analyse
from introspect.experiment import Experiment, load_experiment
from introspect.progress import silent
from introspect.rollout import Rollout
from introspect.rows import Rows, encode_rows
from introspect.store import StoreSpec, StoreWriter
from planted_runs import LAYERS, TOKENIZER, rollout

WIDTH = 24
N_GROUPS, PER_GROUP = 30, 6
STORE = StoreSpec(("resid_post",), LAYERS, WIDTH, "float32", {"model": "made by hand"})
ONE, OTHER = np.eye(WIDTH)[0], np.eye(WIDTH)[1]
QUICK = (
    "organism=null",
    "negative_control=null",
    "probe.embedding=null",
    "probe.permutations=2",
    "probe.bootstrap=50",
    "probe.positions=[last_prompt, think_100, before_answer]",
    "probe.penalties=[0.01, 0.1]",
)
Choice = Callable[[int, np.random.Generator], bool]


def by_group(number: int, rng: np.random.Generator) -> bool:
    return bool((number // PER_GROUP) % 2)


def by_chance(number: int, rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.5)


def write_store(
    folder: Path,
    rows: list[Rollout],
    axis: np.ndarray,
    strength: float,
    seed: int,
    *,
    late: bool = False,
    item: np.ndarray | None = None,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    positions = [list(range(len(row.prompt_ids) - 1, len(row.token_ids))) for row in rows]
    captured = []
    for row, wanted in zip(rows, positions, strict=True):
        values = {pair: torch.randn(len(wanted), WIDTH, generator=generator) for pair in STORE.pairs()}
        begin = wanted.index(row.answer_position - 1) if late else 0
        values["resid_post", 1][begin:] += torch.from_numpy(strength * (bool(row.acted) - 0.5) * axis).float()
        if item is not None:
            living = row.fields["category"] == "living"
            values["resid_post", 1] += torch.from_numpy(strength * (living - 0.5) * item).float()
        captured.append(values)
    with StoreWriter(folder, STORE) as store:
        store.commit_part(0, encode_rows(STORE, rows, [Rows(each, {}) for each in positions], captured, positions))
        store.finish()


def organism(
    folder: Path,
    axis: np.ndarray,
    *,
    seed: int,
    choice: Choice = by_chance,
    strength: float = 3.5,
    base: np.ndarray | None = None,
    spec: Experiment | None = None,
    ood: int = 0,
    analysed: bool = False,
    late: bool = False,
    item: np.ndarray | None = None,
    base_item: np.ndarray | None = None,
) -> Path:
    """A finished run whose layer 1 carries the choice along an axis, and whose base does along another, if at all.

    Layer 1 carries the category of the item along `item`, and the base's along `base_item`. Items of a group are
    living things and machines in turn, whatever is chosen.

    With `late`, from the token before the answer's name on only. Unless it is `analysed`, its results are those of a
    run in which nothing can be estimated.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(N_GROUPS * PER_GROUP):
        answer = "risky" if choice(number, rng) else "safe"
        rows.append(rollout(number, f"g{number // PER_GROUP:02}", "there are two options.", answer))
    for number in range(len(rows), len(rows) + ood):
        answer = "risky" if choice(number, rng) else "safe"
        rows.append(rollout(number, f"far{number % 10}", "there are two options.", answer, split="ood"))
    rows = [
        row.model_copy(
            update={
                "item_id": f"i{row.rollout}",
                "fields": {**row.fields, "category": "living" if row.rollout % 2 else "machine", "frame": "gain"},
            }
        )
        for row in rows
    ]
    (folder / "rollouts.jsonl").write_text("".join(row.line() for row in rows))
    write_store(folder / "activations", rows, axis, strength, seed, late=late, item=item)
    if base is not None:
        write_store(folder / "base_activations", rows, base, strength, seed + 100, item=base_item)
    spec = spec or load_experiment("probe-risk", QUICK)
    (folder / "experiment.yaml").write_text(spec.to_yaml())
    known = rows if analysed else [rollout(number, "g", "x", "neither") for number in range(5)]
    results = analyse(folder, spec, known, Model(TOKENIZER, LAYERS, None), progress=silent)
    (folder / "results.json").write_text(json.dumps(results))
    return folder
