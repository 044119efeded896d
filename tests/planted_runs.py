"""Recorded runs made by hand, in which the truth is known: what is said, and what is in the activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from introspect.models.formats import FORMATS
from introspect.rollout import Rollout, RolloutSpans
from introspect.rows import Rows, encode_rows
from introspect.spans import SPAN_CODES, locate_spans
from introspect.store import StoreSpec, StoreWriter
from introspect.tasks.answers import find_answer
from tiny_folders import tiny_tokenizer

OPTIONS = {"risky": "risky", "safe": "safe"}
LAYERS = (0, 1)
WIDTH = 12
N_GROUPS, PER_GROUP = 40, 6
TOKENIZER = tiny_tokenizer()
STORE = StoreSpec(("resid_post",), LAYERS, WIDTH, "float32", {"model": "made by hand"})


def rollout(number: int, group: str, think: str, answer: str, *, split: str = "id", margin: float = 0.0) -> Rollout:
    """A rollout with that chain and answer; `margin` is the log-odds of the risky option at every token."""
    prompt_text = f"about {group}: a or b?"
    prompt_ids = TOKENIZER(f"<user>{prompt_text}</s><bot>", add_special_tokens=False).input_ids
    completion = f"<think>{think}</think>Answer: {answer}"
    completion_ids = TOKENIZER(completion, add_special_tokens=False).input_ids
    spans = locate_spans(prompt_ids, completion_ids, TOKENIZER, FORMATS["think"])
    start = spans.answer[0]
    found = find_answer(TOKENIZER.decode((prompt_ids + completion_ids)[start:]), OPTIONS)
    logprobs = [float(-np.log1p(np.exp(-margin))), float(-np.log1p(np.exp(margin)))]
    return Rollout(
        rollout=number,
        item_id=f"{group}-{number}",
        group=group,
        task="risk",
        condition="plain",
        split=split,
        domain="money" if split == "id" else "health",
        sample=0,
        seed=number,
        prompt_ids=prompt_ids,
        completion_ids=completion_ids,
        prompt_text=prompt_text,
        completion_text=completion,
        chain_text=TOKENIZER.decode(completion_ids[: found and start + found[1] - len(prompt_ids)]),
        think_text=think,
        spans=RolloutSpans(prompt=spans.prompt, think=spans.think, answer=spans.answer),
        think_status=spans.status,
        finish="stop",
        answer=None if found is None else found[0],
        answer_position=None if found is None else start + found[1],
        acted=None if found is None else found[0] == "risky",
        option_logprobs=[logprobs] * len(completion_ids),
        options=OPTIONS,
        fields={"order": "risky_first" if number % 2 else "risky_last"},
        facts={},
        outcome={},
    )


def planted_run(folder: Path, *, inside: bool, spoken: bool, seed: int = 0) -> list[Rollout]:
    """A run of 240 rollouts in 40 groups, with `activations/`; returns its rollouts.

    Args:
        inside: layer 1 carries the choice at every token, along five of its twelve axes.
        spoken: the chain says what is chosen.
    """
    rng = np.random.default_rng(seed)
    made = []
    for number in range(N_GROUPS * PER_GROUP):
        risky = bool(rng.random() < 0.5)
        think = rng.choice(["there are two options. ", "two options are given. "])
        if spoken:
            think += "So I take the risk." if risky else "So I avoid the risk."
        made.append(rollout(number, f"g{number // PER_GROUP}", think, "risky" if risky else "safe"))
    record_by_hand(folder, made, strength=3.0 if inside else 0.0, seed=seed)
    return made


def record_by_hand(
    folder: Path, rollouts: list[Rollout], *, strength: float, seed: int = 0, with_mean: bool = False
) -> None:
    """Write `activations/`: noise, in which layer 1 carries the choice with a strength; `with_mean`: and the mean over
    each think span.
    """
    generator = torch.Generator().manual_seed(seed)
    positions = [list(range(len(row.prompt_ids) - 1, len(row.token_ids))) for row in rollouts]
    captured = []
    for row, wanted in zip(rollouts, positions, strict=True):
        values = {pair: torch.randn(len(wanted), WIDTH, generator=generator) for pair in STORE.pairs()}
        values["resid_post", 1][:, :5] += strength * (bool(row.acted) - 0.5)
        captured.append(values)
    with StoreWriter(folder / "activations", STORE) as store:
        think = [{SPAN_CODES["think"]: list(range(*row.spans.think))} if with_mean else {} for row in rollouts]
        rows = [Rows(*each) for each in zip(positions, think, strict=True)]
        store.commit_part(0, encode_rows(STORE, rollouts, rows, captured, positions))
        store.finish()
