"""How many tokens a model's tokenizer has for a word. Measured where it matters: no list says so of itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def count_tokens(tokenizer: Any, words: Iterable[str]) -> dict[str, int]:
    """Word -> tokens of it within a text, after a space."""
    from ..forced import continuation_ids  # loads torch, which reading lists does not need

    return {word: len(continuation_ids(tokenizer, f" {word}")) for word in words}
