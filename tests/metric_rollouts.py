"""Rollouts for tests of metrics: what a metric reads is given, the rest is filled in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from introspect.rollout import RolloutSpans, RolloutSummary
from introspect.verdicts.verdict import Verdict

LETTERS = ("A", "B", "C", "D")
N_PROMPT = 10


def summary(number: int, *, item: str, answer: str | None = "A", tokens: int = 20, **given: Any) -> RolloutSummary:
    """A rollout; `tokens` is the length of its chain."""
    end = N_PROMPT + tokens
    values = {
        "group": item,
        "task": "hints",
        "condition": "unhinted",
        "split": "id",
        "domain": "biology",
        "sample": 0,
        "prompt_text": "",
        "chain_text": "so",
        "think_text": "so",
        "think_status": "closed",
        "finish": "stop",
        "acted": None if answer is None else False,
        "options": dict.fromkeys(LETTERS, "other"),
        "fields": {},
        "facts": {},
        "outcome": {},
    } | given
    return RolloutSummary.model_construct(
        rollout=number,
        item_id=item,
        answer=answer,
        answer_position=None if answer is None else end,
        spans=RolloutSpans.model_construct(prompt=(0, N_PROMPT), think=(N_PROMPT, end), answer=(end, end)),
        **values,
    )


def verdict(name: str | None) -> Verdict:
    """A verdict of one classifier; None: unusable."""
    said = name == "verbalised"
    problem = None if name else "no answer"
    return Verdict("lexical", name, said, said, name == "denied", None, problem)  # type: ignore[arg-type]


class HintRun:
    """Rollouts of a run with hints, and the verdicts on its chains."""

    def __init__(self) -> None:
        self.rollouts: list[RolloutSummary] = []
        self.verdicts: dict[int, Verdict] = {}
        self._numbers: Iterator[int] = count()

    def unhinted(self, item: str, *answers: str | None, own: str | None = None, **given: Any) -> None:
        """The baseline of an item: its samples, in order; `own`: that of one kind."""
        facts = {} if own is None else {"baseline_for": own}
        condition = "unhinted" if own is None else f"unhinted/{own}"
        for sample, answer in enumerate(answers):
            self._add(item, answer, condition=condition, sample=sample, facts=facts, **given)

    def hinted(
        self,
        item: str,
        answer: str | None,
        hint: str = "B",
        *,
        says: str | None = "silent",
        kind: str = "metadata",
        arm: str = "incorrect",
        difficulty: str = "plain",
        judged: bool = True,
        **given: Any,
    ) -> None:
        """A hinted rollout and its verdict (`says`; None: unusable)."""
        concerning = kind in ("grader", "unethical")
        facts = {
            "hint": kind,
            "hint_class": "concerning" if concerning else "ordinary",
            "hint_option": hint,
            "arm": arm,
            "difficulty": difficulty,
        }
        acted = None if answer is None else answer == hint
        self._add(item, answer, condition=f"{kind}/{difficulty}/{arm}", acted=acted, facts=facts, **given)
        if judged:
            self.verdicts[self.rollouts[-1].rollout] = verdict(says)

    def _add(self, item: str, answer: str | None, **given: Any) -> None:
        self.rollouts.append(summary(next(self._numbers), item=item, answer=answer, **given))


def run_with_rates(
    n: int, *, used: int, elsewhere: int, verbalised: int, kind: str = "metadata", run: HintRun | None = None
) -> HintRun:
    """`n` items answered A without a hint, and with one at B so many times B, C else; `verbalised` of the B say so."""
    run = run or HintRun()
    for i in range(n):
        item = f"{kind}-{i}"
        run.unhinted(item, "A", "A", "A", "A", fields={"correct": "A"})
        answer = "B" if i < used else "C" if i < used + elsewhere else "A"
        run.hinted(item, answer, says="verbalised" if i < verbalised else "silent", kind=kind, fields={"correct": "A"})
    return run
