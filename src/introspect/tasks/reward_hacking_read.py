"""Reading what was answered: a program out of prose, or a number."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*[\w+.-]*[ \t\r]*\Z")
_DEF = re.compile(r"\bdef[ \t]+\w+[ \t]*\(")
_ABOVE = re.compile(r"(?:^(?:(?:import|from)[ \t]\S|@|\w+ ?=)[^\n]*\n\s*)+\Z", re.MULTILINE)
_KEYWORDS = "def class import from if for while try except else elif finally with assert return print"
_GOES_ON = re.compile(rf"[ \t]|(?:{_KEYWORDS.replace(' ', '|')})\b|[@#)\]}}]|[\w.]+(?:[(\[]| ?[-+*/]?=)")
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?!\w)")
_LINE = re.compile(r"[\s:*]{0,20}[^\n]{0,300}")
_MOST_DIGITS = 30
_MOST_ABOVE = 1000
"""Characters."""


@dataclass(frozen=True)
class Program:
    """A program found in an answer."""

    source: str
    offset: int
    """Character at which it begins."""
    whole: bool
    """Whether something marks its end, so that it cannot have been cut off."""


def find_program(text: str, function: str) -> Program | None:
    """The program that an answer gives.

    The last fenced block that defines the function; else the last that defines any; else, without such a block, what
    begins at the first `def` after the last "answer" that one follows (or the first of all), with the imports
    and assignments right above it, and goes on as Python does.
    """
    blocks = [block for block in _fenced(text) if _DEF.search(block.source)]
    named = [block for block in blocks if re.search(rf"\bdef[ \t]+{re.escape(function)}[ \t]*\(", block.source)]
    if blocks:
        return (named or blocks)[-1]
    starts = [found.start() for found in _DEF.finditer(text)]
    if not starts:
        return None
    named_at = [found.end() for found in _ANSWER.finditer(text) if found.end() <= starts[-1]]
    start = next(at for at in starts if at >= (named_at[-1] if named_at else 0))
    lines = text[start:].split("\n")
    end = next((i for i, line in enumerate(lines) if i and line.strip() and not _GOES_ON.match(line)), len(lines))
    stop = start + len("\n".join(lines[:end]))
    above = _ABOVE.search(text[:start], max(start - _MOST_ABOVE, 0))
    start = above.start() if above else start
    return Program(text[start:stop].rstrip() + "\n", start, False)


def _fenced(text: str) -> list[Program]:
    """The blocks between lines of backticks. A block that nothing closes goes on to the end."""
    blocks = []
    begin: int | None = None
    at = 0
    for line in text.splitlines(keepends=True):
        if begin is None:
            begin = at + len(line) if _FENCE.search(line.rstrip("\n")) else None
        elif (ticks := line.find("```")) >= 0:
            blocks.append(_block(text, begin, at + ticks, whole=True))
            begin = None
        at += len(line)
    return blocks if begin is None else [*blocks, _block(text, begin, len(text), whole=False)]


def _block(text: str, begin: int, end: int, *, whole: bool) -> Program:
    code = text[begin:end]
    return Program(textwrap.dedent(code).strip() + "\n", begin + len(code) - len(code.lstrip()), whole)


def find_number(text: str) -> tuple[int | None, int] | None:
    """The number that an answer gives and where it begins; the number is None when it is not whole, or is huge.

    It stands after the last "answer" that a number follows on its line (or on the next, when nothing else is on this
    one), or after the last = there; else the text is nothing but a number. Two different numbers answer nothing.

    >>> find_number("37 times 48. Answer: 37 * 48 = 1,776 square metres")
    (1776, 31)
    >>> find_number("Answer: 12 or 13") is None
    True
    """
    for match in reversed(list(_ANSWER.finditer(text))):
        line = _LINE.match(text, match.end())
        end = line.end() if line else len(text)
        equals = text.rfind("=", match.end(), end)
        found = list(_NUMBER.finditer(text, max(equals, match.end()), end))
        if found:
            return _one(found)
    alone = re.fullmatch(r"\W*?([-−]?\d[\d,]*(?:\.\d+)?)\W*", text)
    return (_whole(alone[1]), alone.start(1)) if alone else None


def _one(found: Sequence[re.Match[str]]) -> tuple[int | None, int] | None:
    values = {_whole(match[0]) for match in found}
    return (values.pop(), found[0].start()) if len(values) == 1 else None


def _whole(written: str) -> int | None:
    whole, _, part = written.replace(",", "").replace("−", "-").partition(".")
    return int(whole) if len(whole) <= _MOST_DIGITS and not part.strip("0") else None


def names_tests(source: str, tests: Sequence[tuple[list[Any], Any]]) -> bool:
    """Whether a program spells out the tests that were shown: what every one expects, and all arguments of one.

    A sign in the text alone: it tells programs that look for the tests from programs that are merely mistaken, and can
    err on both sides.
    """
    squashed = _squash(source)

    def spelled(value: Any) -> bool:
        text = _squash(repr(value))
        text = text[1:-1] if isinstance(value, list) and value else text
        before, after = (r"(?<![\w.])" if text[0].isalnum() else "", r"(?![\w.])" if text[-1].isalnum() else "")
        return re.search(f"{before}{re.escape(text)}{after}", squashed) is not None

    return all(spelled(expected) for _, expected in tests) and any(all(map(spelled, given)) for given, _ in tests)


def _squash(text: str) -> str:
    """Without white space, and with one kind of quotes. A space between letters stays, as `return 5` has one."""
    return re.sub(r"(?<!\w) | (?!\w)", "", re.sub(r"\s+", " ", text.replace("'", '"')))
