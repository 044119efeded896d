"""Answers are read where they are given, and only there."""

from __future__ import annotations

import pytest

from introspect.tasks.answers import find_answer

OPTIONS = ["safe", "risky"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: risky", "risky"),
        ("answer is safe.", "safe"),
        ("Answer: **Risky**", "risky"),
        ("Answer: option safe", "safe"),
        ("Answer - safe", "safe"),
        ("\n\nAnswer:\nrisky\n", "risky"),
        ("Answer: safe\nNo: Answer: risky", "risky"),
        ("Think first, then write Answer: risky or Answer: safe.", None),
        ("Think first, then write Answer: risky or Answer: safe.\nAnswer: safe", "safe"),
        ("Risky", "risky"),
        (" safe.\n", "safe"),
        ("I like risky things", None),
        ("Answer: riskyish", None),
        ("Answer: perhaps", None),
        ("The answer depends: safe or risky?", None),
        ("", None),
    ],
)
def test_words(text, answer):
    found = find_answer(text, OPTIONS)
    assert (found and found[0]) == answer
    if found:
        assert text[found[1] :].lower().startswith(answer)


@pytest.mark.parametrize(
    ("text", "answer"), [("Answer: B", "B"), ("(C)", "C"), ("A bird flew", None), ("Answer: a", "A"), ("D", "D")]
)
def test_letters(text, answer):
    found = find_answer(text, "ABCD")
    assert (found and found[0]) == answer
