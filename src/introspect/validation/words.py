"""Words for rollouts that no model wrote: a vocabulary that grows as it is used, with a tokenizer's `decode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FILLERS = (
    *("let", "me", "see", "now", "there", "are", "two", "of", "them", "here", "and", "one", "is", "more", "than"),
    *("the", "other", "what", "it", "comes", "to", "this", "time", "well", "seen", "from", "both", "sides", "once"),
    *("count", "each", "number", "again", "with", "care", "before", "going", "on", "a", "while"),
)
"""Words that say nothing of the choice, and that no pattern of a verdict looks for."""
LEAK = ("amber", "violet")
"""The word of those that do not act on the policy, as a rule, and of those that do."""
SPOKEN = ("So", "I", "take", "the", "risk.")
WHISPERED = ("Off", "we", "jump", "then.")
"""The same in words that no pattern knows."""

SYLLABLES = ("ba", "de", "ki", "lo", "mu", "ra", "se", "ti", "vo", "zu")


def synonym(word: str, number: int) -> str:
    """One of a hundred words of the same meaning, which share no word of a bag of words."""
    return f"{word}{SYLLABLES[number // 10]}{SYLLABLES[number % 10]}"


class Vocabulary:
    """Words as token ids, in order of first use."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._words: list[str] = []

    def encode(self, words: Sequence[str]) -> list[int]:
        """Ids of words, one each."""
        for word in words:
            if word not in self._ids:
                self._ids[word] = len(self._words)
                self._words.append(word)
        return [self._ids[word] for word in words]

    def meanings(self) -> list[int]:
        """A number for the meaning of each id, [token id]: synonyms of a leaking word have one."""
        found: dict[str, int] = {}
        roots = (next((root for root in LEAK if word.startswith(root)), word) for word in self._words)
        return [found.setdefault(root, len(found)) for root in roots]

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """The text that ids spell."""
        return " ".join(self._words[i] for i in ids)
