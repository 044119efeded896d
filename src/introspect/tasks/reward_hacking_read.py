"""Reading what was answered: a program out of prose, or a number."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .answers import SEPARATOR, is_own

_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*[\w+.-]*[ \t\r]*\Z")
_DEF = re.compile(r"\bdef[ \t]+\w+[ \t]*\(")
_ABOVE = re.compile(r"(?:^(?:(?:import|from)[ \t]\S|@|\w+ ?=)[^\n]*\n\s*)+\Z", re.MULTILINE)
_KEYWORDS = "def class import from if for while try except else elif finally with assert return print"
_GOES_ON = re.compile(rf"[ \t]|(?:{_KEYWORDS.replace(' ', '|')})\b|[@#)\]}}]|[\w.]+(?:[(\[]| ?[-+*/]?=)")
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d(?:[\d,]*\d)?(?:\.\d+)?(?!\w)")
_LINE = re.compile(r"[\s:*]{0,20}[^\n]{0,300}")
_SEPARATOR = re.compile(SEPARATOR, re.IGNORECASE)
_UNITS = r"(?:[ \t]{0,2}(?!(?:or|and|to|times|plus|minus|divided|by|x)\b)[^\W\d_]{1,12}){0,2}"
_NEXT = r"[ \t]{0,3}[(\[$]{0,2}[ \t]?[-−]?\d"
_OPERATION = re.compile(
    rf"{_UNITS}[ \t]{{0,120}}\)?[ \t]{{0,3}}(?:(?:\*\*?|[-+/^×·÷−%]|\\(?:times|cdot|div)|"
    rf"(?:x|times|plus|minus|divided by|of)(?![^\W\d_])){_NEXT}|\()",
    re.IGNORECASE,
)
"""Goes on from a number to the rest of an expression; an aside between them is blank by then."""
_OTHER = re.compile(
    rf"{_UNITS}[ \t]{{0,3}}(?:(?:/|\bor\b|\band\b|\bto\b|–){_NEXT}|,[ \t](?:or )?{_NEXT}[\d,.]*(?!\w|[ \t]{{0,3}}"
    r"(?:[-+*/×x·÷−=]|times|plus|minus)))",
    re.IGNORECASE,
)
"""Goes on from a number to another that might be meant instead."""
_EQUALS = re.compile("=")
_COMES_TO = re.compile(r"=|\b(?:is|equals|gives|makes)\b", re.IGNORECASE)
_STOP = re.compile(r"[.,;](?=\s|$)|\n|\b(?:because|since|as|which|so|where|that is)\b", re.IGNORECASE | re.MULTILINE)
"""Ends what an answer gives; explanations follow."""
_ASIDE = re.compile(r"(?<=[\w.])[ \t]{1,3}\([^()\n]{0,100}\)?")
_FORM = re.compile(r"\b(?:divisible|divided by|multiple|ends?|ending|check\w*|digits?|remainder)\b", re.IGNORECASE)
_NEAR = re.compile(
    r"(?:[^\w\n]|\n(?!\n)|\\?boxed|\b(?:about|exactly|equal to|therefore|thus|then|the number|simply|now)\b){0,20}",
    re.IGNORECASE,
)
_MOST_CLAUSE = 300
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

    It is the first after the last "Answer:" (or "answer is") that a number follows, or what an expression there comes
    to; else it stands in the line of a bare "answer", where all numbers have to be the same; else the text is nothing
    but a number. A choice of two numbers, and an expression that comes to nothing, answer nothing.

    >>> find_number("37 times 48. Answer: 37 * 48 = 1,776 square metres")
    (1776, 31)
    >>> find_number("Answer: 756 bricks, which is divisible by 9.")
    (756, 8)
    >>> find_number("Answer: 12 or 13") is None
    True
    """
    named = list(_ANSWER.finditer(text))
    for match in reversed(named):
        apart = _SEPARATOR.match(text, match.end())
        first = None if apart is None else _first(text, apart)
        if apart is not None and first is not None and is_own(text, match.start()):
            return _given(text, first, apart.end())
    for match in reversed(named):
        start, end = _line(text, match.end())
        found = list(_NUMBER.finditer(text, max(text.rfind("=", start, end), start), end))
        if found and is_own(text, match.start()):
            return _one(found)
    alone = re.fullmatch(r"\W*?([-−]?\d[\d,]*(?:\.\d+)?)\W*", text)
    return (_whole(alone[1]), alone.start(1)) if alone else None


def _line(text: str, start: int) -> tuple[int, int]:
    """From `start` to the end of its line, or of the next where nothing else is on this one."""
    line = _LINE.match(text, start)
    return start, line.end() if line else len(text)


def _first(text: str, apart: re.Match[str]) -> re.Match[str] | None:
    """The first number after what sets an answer apart, unless the words before it tell of the answer's form."""
    number = _NUMBER.search(text, *_line(text, apart.end()))
    if number is None:
        return None
    words = text[apart.end() : number.start()]
    says = apart[0].rstrip(" *_`").lower().endswith("is")
    return None if _FORM.search(words) or (says and not _NEAR.fullmatch(words)) else number


def _given(text: str, first: re.Match[str], begin: int) -> tuple[int | None, int] | None:
    """The number that an answer begins with, or what the expression comes to that it is a part of."""
    stop = _STOP.search(text, first.end(), first.end() + _MOST_CLAUSE)
    end = stop.start() if stop else min(_line(text, begin)[1], first.end() + _MOST_CLAUSE)
    clause = _ASIDE.sub(lambda aside: " " * len(aside[0]), text[:end][begin:])
    expression = _OPERATION.match(clause, first.end() - begin) is not None
    plain = not any(map(str.isalpha, clause[: first.start() - begin])) and not expression
    if not plain and (equals := list((_COMES_TO if expression else _EQUALS).finditer(clause))):
        edges = [0, *(at for sign in equals for at in sign.span()), len(clause)]
        sides = [list(_NUMBER.finditer(clause, *side)) for side in zip(edges[::2], edges[1::2], strict=True)]
        single = [side[0] for side in sides if len(side) == 1]
        return (_whole(single[-1][0]), begin + single[-1].start()) if single else None
    return None if expression or _OTHER.match(text, first.end()) else (_whole(first[0]), first.start())


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
