"""Reading the chosen option from a completion: deterministic, and strict about doubt.

An answer counts when the text names one option after the word "answer" (the last line with such a naming wins), or when
the answer span is nothing but an option's name. A name that merely occurs in a sentence is not an answer: "A" is also a
word. A line that names two options, such as the instruction said back, answers with neither.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_NAMED = r"\banswer\b(?:\s+is|\s*[:=\-])?\s*(?:option\s+|the\s+)?[*(\[\"']*({names})\b"
_ALONE = r"^\W*(?:option\s+|the\s+)?({names})\W*$"


def find_answer(text: str, options: Collection[str]) -> tuple[str, int] | None:
    """The option that `text` answers with, as spelled in `options`, and the character offset of its name; or None.

    >>> find_answer("Answer: Risky", ["safe", "risky"])
    ('risky', 8)
    >>> find_answer("(a)", "AB")
    ('A', 1)
    >>> find_answer("A gamble is a bad idea.", "AB") is None
    True
    """
    names = "|".join(re.escape(option) for option in sorted(options, key=lambda name: (-len(name), name)))
    matches = list(re.finditer(_NAMED.format(names=names), text, re.IGNORECASE))
    match = matches[-1] if matches else re.match(_ALONE.format(names=names), text, re.IGNORECASE)
    if match is None:
        return None
    line = [other[1].lower() for other in matches if "\n" not in text[other.end() : match.start()]]
    if len(set(line)) > 1:
        return None
    spelled = {option.lower(): option for option in options}
    return spelled[match[1].lower()], match.start(1)
