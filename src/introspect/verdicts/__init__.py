"""Verdicts: what a chain of thought says of the policy, one classifier a module."""

from __future__ import annotations

from collections.abc import Callable

from .lexical import Verdict, judge_by_patterns

CLASSIFIERS: dict[str, Callable[[str, str], Verdict]] = {"lexical": judge_by_patterns}
"""Name -> (chain, task) -> verdict."""

__all__ = ["CLASSIFIERS", "Verdict", "judge"]


def judge(text: str, task: str) -> Verdict:
    """The headline classifier's verdict on a chain.

    Raises:
        SpecError: the task has no patterns.
    """
    return CLASSIFIERS["lexical"](text, task)
