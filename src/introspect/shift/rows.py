"""What a shift did to each rollout, a line each in `shift.jsonl`, and to all of them, for the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..rollout import Rollout
from ..scoring import lexical_verdict
from ..stage_file import Row
from ..stats import Estimate, bootstrap
from ..tasks.registry import find_task
from .measure import Scores, share_changed

SHIFT_FILE = "shift.jsonl"


class ShiftRow(Row):
    """One rollout before and after."""

    rollout: int
    prompt_changed: float
    """Share of the prompt's tokens that are others (Levenshtein distance by the longer length)."""
    chain_changed: float
    """Of the completion's tokens before the answer's name."""
    logprob_source: float
    """Mean log-probability (nats) of the chain's tokens under the model, in the source."""
    logprob: float
    """Here."""
    likeliest_source: bool | None
    """Whether the answer is the option that the model finds likeliest there, in the source; None: no answer."""
    likeliest: bool | None
    """Here."""
    verdict_source: str | None
    """What the patterns say of the chain, in the source; None: nothing to speak of."""
    verdict: str | None
    """Here."""


def shift_row(source: Rollout, before: Scores, shifted: Rollout, after: Scores) -> ShiftRow:
    """One rollout before and after; `watched` holds its options, in their order."""
    said = [each.token_ids[len(each.prompt_ids) :][: each.chain_tokens] for each in (source, shifted)]
    task = find_task(source.task)
    verdicts = [lexical_verdict(task, each) for each in (source, shifted)]
    return ShiftRow(
        rollout=shifted.rollout,
        prompt_changed=round(share_changed(source.prompt_ids, shifted.prompt_ids), 5),
        chain_changed=round(share_changed(*said), 5),
        logprob_source=_chain_logprob(source, before),
        logprob=_chain_logprob(shifted, after),
        likeliest_source=_is_likeliest(source, before),
        likeliest=_is_likeliest(shifted, after),
        verdict_source=None if verdicts[0] is None else verdicts[0].verdict,
        verdict=None if verdicts[1] is None else verdicts[1].verdict,
    )


def _chain_logprob(rollout: Rollout, scores: Scores) -> float:
    return round(float(scores.logprobs[: max(1, rollout.chain_tokens)].mean()), 5)


def _is_likeliest(rollout: Rollout, scores: Scores) -> bool | None:
    if rollout.answer_position is None or rollout.answer not in rollout.options:
        return None
    found = scores.watched[rollout.answer_position - len(rollout.prompt_ids)]
    return bool(int(found.argmax()) == list(rollout.options).index(rollout.answer))


def summary(
    rows: Sequence[ShiftRow], groups: Sequence[str], left_out: Mapping[str, int], *, n: int, seed: int
) -> dict[str, Any]:
    """What the shift did to all of them: means with intervals over groups.

    Args:
        groups: of each row.
        left_out: why rollouts have no row -> how many.
        n: replicates; seed: of them.
    """

    def mean(of: Callable[[ShiftRow], float | None], *, share: bool = False) -> dict[str, Any]:
        values = [of(row) for row in rows]
        kept = [i for i, value in enumerate(values) if value is not None]
        if not kept:
            return Estimate.undefined("no rollout has an answer").to_json()
        found, own = np.array([values[i] for i in kept], dtype=float), [groups[i] for i in kept]
        share_of = len(set(own)) if share else None
        return bootstrap(lambda drawn: float(found[drawn].mean()), own, n=n, seed=seed, share_of=share_of).to_json()

    spoken = [row for row in rows if row.verdict_source is not None]
    chains = sorted(row.chain_changed for row in rows)
    return {
        "n_rollouts": len(rows),
        "left_out": dict(left_out),
        "prompt_tokens_changed": mean(lambda row: row.prompt_changed),
        "chain_tokens_changed": mean(lambda row: row.chain_changed) | {"least": chains[0], "most": chains[-1]},
        "chain_logprob_a_token": {
            "source": mean(lambda row: row.logprob_source),
            "shifted": mean(lambda row: row.logprob),
            "difference": mean(lambda row: row.logprob - row.logprob_source),
        },
        "answer_is_likeliest": {
            "source": mean(lambda row: row.likeliest_source, share=True),
            "shifted": mean(lambda row: row.likeliest, share=True),
        },
        "lexical_verdicts": {
            "n": len(spoken),
            "changed": sum(row.verdict != row.verdict_source for row in spoken),
        },
    }


def sentences(style: str, note: str, source: str, headline: str, found: Mapping[str, Any]) -> list[str]:
    """What a report says of the shift, first of its warnings.

    Args:
        headline: the classifier whose verdicts the source linked with readouts.
    """
    logprob = found["chain_logprob_a_token"]
    likeliest = found["answer_is_likeliest"]
    lines = [
        f"These rollouts are those of {source} in another style ({style}), replayed and not sampled: what was answered "
        f"and how often is the source's. {note}",
        f"Of the tokens, {_percent(found['prompt_tokens_changed'])} of the prompt's and "
        f"{_percent(found['chain_tokens_changed'])} of the chain's are others. A token of the chain has a mean "
        f"log-probability of {_number(logprob['shifted'])} nats under the model, {_number(logprob['source'])} in the "
        f"source; the answer is the likeliest option in {_percent(likeliest['shifted'])} of rollouts, in the source in "
        f"{_percent(likeliest['source'])}.",
    ]
    if found["left_out"]:
        reasons = "; ".join(f"{many}: {reason}" for reason, many in found["left_out"].items())
        lines.append(f"Rollouts that are left out of the source's: {reasons}.")
    if headline != "lexical":
        by = {"judge": "a judge's", "labels": "labels given by hand"}[headline]
        lines.append(
            f"Verdicts that {source} links with readouts are {by}; here they are the patterns', so what chains say is "
            "not to be compared with the source's."
        )
    verdicts = found["lexical_verdicts"]
    if verdicts["changed"]:
        lines.append(
            f"The patterns read {verdicts['changed']} of {verdicts['n']} chains otherwise than in the source: verdicts "
            "here are on the words that stand here."
        )
    return lines


def _percent(estimate: Mapping[str, Any]) -> str:
    return "an unknown share" if estimate["value"] is None else f"{estimate['value']:.0%}"


def _number(estimate: Mapping[str, Any]) -> str:
    return "unknown" if estimate["value"] is None else f"{estimate['value']:.2f}"
