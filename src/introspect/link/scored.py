"""Readouts of a run that has just been probed: scores of what was fitted, and of aligned rollouts beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import EstimateError
from ..features import Probed, gather, token_position, visible_chain
from ..metrics.hint_rows import hint_rows
from ..probe_report import ProbeOutcome, ProbeStage
from ..probes import Cell
from ..rollout import Rollout
from ..stats import auroc
from ..store import StoreReader
from ..tasks.task import Task
from ..verdicts import first_mention
from .aligned import Aside, aligned_rollouts
from .readouts import Part, Readout

Named = tuple[str, np.ndarray]
"""A text baseline's name and scores."""


def scored_readouts(
    stage: ProbeStage,
    outcome: ProbeOutcome,
    everything: Sequence[Rollout],
    *,
    task: Task,
    store: StoreReader,
    site: str,
    tokenizer: Any,
) -> tuple[list[Readout], list[str]]:
    """A readout of every probed rollout, then of every aligned one.

    Args:
        everything: all rollouts of the run.

    Returns:
        The readouts, and what was left out, in sentences.
    """
    positions = stage.positions
    chosen = {name: _better(stage, outcome.texts[name]) for name in positions if name.startswith("think_")}
    words = {name: better for name, better in chosen.items() if better is not None}
    part: dict[int, Part] = dict.fromkeys(stage.split.dev.tolist(), "dev")
    part |= dict.fromkeys(stage.split.test.tolist(), "test")
    parts: list[Part] = [part.get(i, "ood") for i in range(len(stage.rollouts))]
    text = None if outcome.best_text is None else outcome.best_text[1]
    along = {cell.position: cell.scores for cell in outcome.best_by_position}
    seen = stage.chains
    rows = _lines(stage.rollouts, parts, outcome.headline.scores, text, along, words, seen, task, tokenizer)
    notes = []
    try:
        rows += _aligned(stage, outcome, words, everything, task, store, site, tokenizer)
    except EstimateError as error:
        notes.append(f"Aligned rollouts are no part of the link's thresholds: {error}.")
    return rows, notes + _unlike(rows, everything)


def _unlike(rows: Sequence[Readout], everything: Sequence[Rollout]) -> list[str]:
    """Kinds of hint whose thresholds are set without a category of rollouts that they are held to in the test part."""
    hinted = hint_rows(everything, {})
    numbers = hinted.rollout.tolist()
    named = dict(zip(numbers, zip(hinted.kind.tolist(), hinted.category.tolist(), strict=True), strict=True))
    found = {(each.part, *named[each.rollout]) for each in rows if each.rollout in named}
    return [
        f"Under the hint {kind}, test rollouts that did not act on it are {category} and no development ones are: its "
        "threshold is set without any, and the rate at which they pass it may be another."
        for part, kind, category in sorted(found)
        if part == "test" and category in ("aligned", "resistant") and ("dev", kind, category) not in found
    ]


def _better(stage: ProbeStage, texts: dict[str, np.ndarray | str]) -> Named | None:
    """Of the text baselines at a position, the one with the larger AUROC on the development part."""
    dev, labels = stage.split.dev, stage.labels
    fitted = {name: scores for name, scores in texts.items() if isinstance(scores, np.ndarray)}
    name = max(fitted, key=lambda each: auroc(fitted[each][dev], labels[dev]), default=None)
    return None if name is None else (name, fitted[name])


def _lines(
    rollouts: Sequence[Rollout],
    parts: Sequence[Part],
    headline: np.ndarray,
    text: np.ndarray | None,
    along: dict[str, np.ndarray],
    words: dict[str, Named],
    seen: dict[str, list[str]],
    task: Task,
    tokenizer: Any,
    *,
    aligned: bool = False,
) -> list[Readout]:
    lines = []
    for i, rollout in enumerate(rollouts):
        share, place = _mention(rollout, task, tokenizer)
        before = [name for name in along if place is not None and len(seen[name][i]) <= place]
        lines.append(
            Readout(
                rollout=rollout.rollout,
                part=parts[i],
                headline=float(headline[i]),
                text=None if text is None else float(text[i]),
                along={name: float(scores[i]) for name, scores in along.items()},
                words={position: {name: float(scores[i])} for position, (name, scores) in words.items()},
                aligned=aligned,
                mention=share,
                before_mention=tuple(before),
            )
        )
    return lines


def _mention(rollout: Rollout, task: Task, tokenizer: Any) -> tuple[float | None, int | None]:
    """Where the chain first speaks of it: as a share of its characters, and the character."""
    subject = task.subject(rollout.about)
    end = token_position(rollout, "before_answer")
    chain = visible_chain(rollout, len(rollout.token_ids) - 1 if end is None else end, tokenizer)
    place = None if subject is None else first_mention(chain, subject)
    return (None, None) if place is None else (place / len(chain), place)


def _aligned(
    stage: ProbeStage,
    outcome: ProbeOutcome,
    words: dict[str, Named],
    everything: Sequence[Rollout],
    task: Task,
    store: StoreReader,
    site: str,
    tokenizer: Any,
) -> list[Readout]:
    probed = Probed(list(stage.rollouts), stage.positions, {}, [])
    found = aligned_rollouts(everything, probed)
    rollouts = found.rollouts
    if not rollouts:
        return []
    aside = Aside(
        stage.groups,
        stage.labels,
        stage.split,
        np.array([each.group for each in rollouts]),
        test_fraction=stage.settings.test_fraction,
        seed=stage.seed,
    )

    def scores(cell: Cell) -> np.ndarray:
        name = cell.position
        new = gather(store, Probed(rollouts, (name,), found.tokens, []), site, (cell.layer,))[name][0]
        return aside.activations(cell, stage.at(name, cell.layer), new)

    along = {cell.position: scores(cell) for cell in outcome.best_by_position}
    seen = {
        name: [visible_chain(r, int(p), tokenizer) for r, p in zip(rollouts, found.tokens[name], strict=True)]
        for name in found.positions
    }
    told: dict[str, Named] = {}
    for position, (name, _) in words.items():
        told[position] = (
            name,
            aside.text(_texts(stage.rollouts, stage.chains[position], name), _texts(rollouts, seen[position], name)),
        )
    text = None
    if outcome.best_text is not None:
        text = _best_text(outcome.best_text[0], stage, outcome.headline.position, rollouts, seen, aside)
    parts: list[Part] = [
        "ood" if rollout.split == "ood" else "dev" if in_dev else "test"
        for rollout, in_dev in zip(rollouts, aside.in_dev.tolist(), strict=True)
    ]
    return _lines(rollouts, parts, scores(outcome.headline), text, along, told, seen, task, tokenizer, aligned=True)


def _best_text(
    name: str,
    stage: ProbeStage,
    position: str,
    rollouts: Sequence[Rollout],
    seen: dict[str, list[str]],
    aside: Aside,
) -> np.ndarray:
    """The best text baseline's scores of rollouts that were not fitted."""
    whole = "whole" in name
    fitted = stage.whole_chains if whole else stage.chains[position]
    new = [rollout.chain_text for rollout in rollouts] if whole else seen[position]
    return aside.text(_texts(stage.rollouts, fitted, name), _texts(rollouts, new, name))


def _texts(rollouts: Sequence[Rollout], chains: Sequence[str], name: str) -> list[str]:
    """What a text baseline of that name sees."""
    if "prompt" not in name:
        return list(chains)
    return [f"{rollout.prompt_text}\n{chain}" for rollout, chain in zip(rollouts, chains, strict=True)]
