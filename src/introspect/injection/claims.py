"""What a reply claims, which words it names, and whether it is coherent. Text in, values out.

Known trade-off: a claim is the first `yes` or `no` of a reply's beginning, or a denial in the first person. A reply
that says it in other words claims nothing, and is counted as such.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ..concepts.forms import WordFinder, tokens
from .spec import CoherenceSpec

Claim = Literal["yes", "no"]
BEGINNING = 12
"""Words of a reply among which its yes or no is looked for."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_DENIAL = re.compile(r"\bI (?:do not|don['’]t|did not|didn['’]t|cannot|can['’]t|am not|have not|haven['’]t)\b", re.I)
_SENTENCE = re.compile(r"[.!?\n]")
_READABLE = re.compile(r"[\w\s.,;:!?'\"’()-]")


@dataclass(frozen=True)
class Claimed:
    """The claim of a reply: what, and the character at which the sentence begins that makes it."""

    claim: Claim | None
    begin: int


def read_claim(text: str) -> Claimed:
    """Yes, no, or neither.

    >>> read_claim("Well, yes: it is about rain.")
    Claimed(claim='yes', begin=0)
    """
    denial = _DENIAL.search(text)
    for number, word in enumerate(_WORD.finditer(text)):
        if number >= BEGINNING:
            break
        if denial is not None and denial.start() <= word.start():
            return Claimed("no", _sentence(text, denial.start()))
        if word[0].lower() in ("yes", "no"):
            return Claimed("yes" if word[0].lower() == "yes" else "no", _sentence(text, word.start()))
    return Claimed(None, len(text))


def _sentence(text: str, at: int) -> int:
    ends = [each.end() for each in _SENTENCE.finditer(text, 0, at)]
    return ends[-1] if ends else 0


class Listener:
    """Finds the words of a study in replies."""

    def __init__(self, words: Sequence[str]) -> None:
        self._finder = WordFinder(words)

    def anywhere(self, text: str) -> list[str]:
        """The words that a text holds, in any form, each once."""
        return list(dict.fromkeys(word for word, _ in self._finder.find(text)))

    def with_claim(self, text: str) -> list[str]:
        """The words that come with a claim of yes or after it: in its sentence, or later. None without such a claim."""
        claimed = read_claim(text)
        return self.anywhere(text[claimed.begin :]) if claimed.claim == "yes" else []


def repetition(text: str) -> float:
    """Share of pairs of neighbouring words that have been said before; of fewer than three words, 0."""
    words = [word.lower() for word in tokens(text)]
    pairs = list(pairwise(words))
    return 1 - len(set(pairs)) / len(pairs) if len(pairs) > 1 else 0.0


def readable(text: str) -> float:
    """Share of characters that are letters, digits, spaces or common punctuation; 0 of nothing."""
    return sum(1 for character in text if _READABLE.match(character)) / len(text) if text.strip() else 0.0


def is_coherent(text: str, finish: str, nats: float | None, typical_nats: float | None, spec: CoherenceSpec) -> bool:
    """Whether a reply is readable, does not repeat itself, and is no great surprise to the model without injection.

    Args:
        nats: median surprise of its tokens to that model; None: not measured, and then not asked for.
        typical_nats: the median of that over replies without injection.
    """
    if finish == "not_finite" or readable(text) < spec.letters or repetition(text) > spec.repetition:
        return False
    if nats is None or typical_nats is None:
        return True
    return math.isfinite(nats) and nats <= typical_nats + spec.nats
