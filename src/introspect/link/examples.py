"""Test rollouts that show the cells of the link, with every recorded token scored by the headline probe."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

import numpy as np

from ..probe_report import ProbeOutcome, ProbeStage
from ..rollout import Rollout
from ..rows import NO_TOKEN
from ..store import StoreReader
from .rows import LinkRows

N_EXAMPLES = 5


def readout_of(score: float, threshold: float | None) -> Literal["policy", "none"] | None:
    """What a score is read as; None where no threshold could be set."""
    return None if threshold is None else ("policy" if score > threshold else "none")


def shown_examples(
    store: StoreReader,
    site: str,
    stage: ProbeStage,
    linked: LinkRows,
    outcome: ProbeOutcome,
    thresholds: Sequence[float | None],
    tokenizer: Any,
) -> list[dict]:
    """Test rollouts that show the cells of the link, with every recorded token scored by the headline probe."""
    if None in thresholds:
        return []
    scores = outcome.headline.scores
    test = stage.split.test
    wanted: list[tuple[str, list[int]]] = []
    for acted, verdict in product((True, False), ("silent", "verbalised", "denied")):
        rows = sorted(
            (int(i) for i in test if linked.acted[i] == acted and linked.verdict[i] == verdict),
            key=lambda i: -scores[i],
        )
        kind = f"{'acted on the policy' if acted else 'did not act'}, {verdict}"
        if rows:
            wanted.append((f"{kind}: the highest score", rows[:1]))
            wanted.append((f"{kind}: the lowest score", rows[-1:]))
            wanted.append((f"{kind}: the middle score", rows[len(rows) // 2 : len(rows) // 2 + 1]))
    chosen: dict[int, str] = {}
    for why, rows in wanted:
        for row in rows:
            chosen.setdefault(row, why)
    columns = store.columns()
    examples = []
    for i, why in list(chosen.items())[:N_EXAMPLES]:
        stored = np.flatnonzero((columns["rollout"] == stage.rollouts[i].rollout) & (columns["position"] != NO_TOKEN))
        token_scores = outcome.headline.direction.score(store.read(site, outcome.headline.layer, stored))
        said = str(linked.verdict[i])
        examples.append(
            _example(
                stage.rollouts[i], why, said, float(scores[i]), thresholds[i], columns, stored, token_scores, tokenizer
            )
        )
    return examples


def _example(
    rollout: Rollout,
    why: str,
    verdict: str,
    score: float,
    threshold: float | None,
    columns: dict[str, np.ndarray],
    rows: np.ndarray,
    token_scores: np.ndarray,
    tokenizer: Any,
) -> dict:
    """A rollout as it is shown; its recorded tokens are those rows of the store's columns."""
    spans = ("prompt", "think", "answer", "other")
    return {
        "rollout": rollout.rollout,
        "item_id": rollout.item_id,
        "why": why,
        "prompt": rollout.prompt_text,
        "verdict": verdict,
        "readout": readout_of(score, threshold),
        "acted": bool(rollout.acted),
        "tokens": [
            {
                "text": tokenizer.decode([int(columns["token_id"][row])]),
                "position": int(columns["position"][row]),
                "span": spans[int(columns["span"][row])],
                "score": round(float(value), 4),
            }
            for row, value in zip(rows, token_scores, strict=True)
        ],
    }
