"""Reading the chosen option from a completion: deterministic, and strict about doubt.

An answer counts when the text names one option letter after the word "answer" (the last such naming wins), or when the
answer span is nothing but a letter. A letter that merely occurs in a sentence is not an answer: "A" is also a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_NAMED = r"\banswer\b(?:\s+is|\s*[:=\-])?\s*(?:option\s+)?[*(\[\"']*({letters})\b"
_ALONE = r"^\W*(?:option\s+)?({letters})\W*$"


def find_answer(text: str, letters: Collection[str]) -> tuple[str, int] | None:
    """The letter that `text` answers with and the character offset of that letter, or None.

    >>> find_answer("Answer: B", "AB")
    ('B', 8)
    >>> find_answer("(a)", "AB")
    ('A', 1)
    >>> find_answer("A gamble is a bad idea.", "AB") is None
    True
    """
    choices = "|".join(re.escape(letter) for letter in sorted(letters))
    matches = list(re.finditer(_NAMED.format(letters=choices), text, re.IGNORECASE))
    match = matches[-1] if matches else re.match(_ALONE.format(letters=choices), text, re.IGNORECASE)
    if match is None:
        return None
    return match[1].upper(), match.start(1)
