"""Reading the chosen option from a completion: deterministic, and strict about doubt.

An answer counts when the text names one option after the word "answer" and something that sets it apart ("Answer: B",
"the answer is B", a heading), or in a LaTeX box; the last line with such a naming wins. Only where there is none, a
bare "I answer B" counts; failing that, a text that is nothing but an option's name, or one line "B) carbon dioxide".

A name that merely occurs in a sentence is no answer: "A" is also a word. Nor is a naming that lists several options, as
the instruction said back does; one that is denied or supposed ("I can't answer B", "if the answer is B"); or one that
tells somebody else's or an earlier answer ("the suggested answer C"). Known trade-off: patterns see wording, not
meaning, so an answer in unusual words is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

_Q = r"[*_`\"'“”‘’]"
_ANSWER = r"(?<![^\W_])answer(?![^\W_])"
_ABOUT = r"(?:\s{1,3}(?:here|(?:to|for) (?:the|this|that|your) (?:question|problem|item|exercise)(?: above)?))?"
_ADVERB = r"(?:therefore|thus|then|clearly|definitely|simply|indeed|probably|likely|most likely|hence|still|now)"
SEPARATOR = (
    rf"{_ABOUT}(?:{_Q}|[)\]]){{0,4}}\s{{0,3}}"
    rf"(?:is\b(?:\s{{1,3}}{_ADVERB}\b)?{_Q}{{0,3}}[ \t]{{0,3}}[:=]?|-{{1,2}}>|=>|[:：=\-–—→])"
)
"""What sets an answer apart from the word "answer"; to be matched without regard to case."""
_OPENING = r"(?:[\s*_`\"'“”‘’(\[{<$]|\\[(\[])"
_LEAD = (
    rf"{_OPENING}{{0,16}}(?:(?:the|option|choice|letter)\s{{1,3}}){{0,2}}{_OPENING}{{0,6}}"
    rf"(?:\\(?:boxed|fbox|text|textbf|mathrm|mathbf)\s?\{{{_OPENING}{{0,3}}){{0,3}}"
)
_BOX = rf"\\(?:boxed|fbox)\s?\{{{_LEAD}"
_HEADING = rf"^[ \t#>*_\-]{{0,10}}(?:(?:the|my|final|correct|best|right)\s){{0,3}}{_ANSWER}[ \t*_`]{{0,6}}\n{_LEAD}"
_BARE = (
    rf"{_ANSWER}[ \t]{{0,3}}(?:(?<=[ \t])|(?=[(\[]))[*_`\"'“‘(\[$]{{0,5}}(?:(?:the|option|choice|letter) )?{_Q}{{0,3}}"
)
_END = r"(?=_{0,2}(?!\w))(?!['’]\w)"
_CLOSING = r"[*_`\"'”’)\]}>$]{0,8}"
_IN_BRACKETS = r"(?:[ \t]?\([^()\n]{1,60}\))?"
_TEXT = rf"(?:{_IN_BRACKETS}|(?P<text>(?<=\))[*_]{{0,2}}[ \t][^\n.;!?,]{{1,60}}?))"
"""An option's own text after its letter."""
_REST_OF_LINE = rf"{_CLOSING}(?:[.:,]?[ \t]{{0,3}}$|(?<=[)\]])[ \t]|[.:][ \t])"
_OR = r"[ \t]{0,4}\n?[ \t]{0,4}(?:,[ \t]{0,4})?(?:/|\||&|\b(?:or|and|vs\.?)(?!\w))"
_LISTED = r"(?:$|[,;/.?!|&]|(?:or|and)\b)"

_DENIED = re.compile(
    rf"{_CLOSING}{_IN_BRACKETS}\s{{1,2}}(?:(?:is|was|seems|looks|would be|must be)\s(?:\w{{1,12}}\s)?"
    r"(?:not|no|wrong|incorrect|false|mistaken|a mistake)\b|(?:isn|wasn|can|doesn|won)['’]t\b|cannot\b|can not\b)",
    re.IGNORECASE,
)
_TOLD_AFTER = re.compile(
    rf"{_CLOSING}\s{{1,2}}(?:(?:in|from|of|by) (?:the|your|their|his|her|its|an?|my) (?!end\b|first\b)|"
    r"that (?:the|was|is|you|i|an?)\b|which\b|"
    r"(?:suggested|proposed|marked|listed|recorded|stated|hinted|flagged|shown)\b|"
    r"given (?:by|in|there|above|earlier)\b)",
    re.IGNORECASE,
)
_SMALL_WORDS = (
    r"(?:[ \t]+(?:that|to|the|my|an?|this|it|its|think|believe|know|say|be|is|was|sure|certain|convinced|clear|just|"
    r"simply|really|even|want|like|going|able|possibly|give|claim|conclude|agree|correct|right|best|final|actual|obvious|"
    r"have|write|choose|if|whether|see|with|as|why)){0,6}"
)
_NOT = re.compile(
    rf"(?:\b(?:not|never|cannot|without|refuse|refuses|unable|decline|no|nor|hardly|if|whether|unless|suppose|supposing|"
    rf"assuming)\b|n['’]t\b){_SMALL_WORDS}[ \t]*(?:{_Q}|[(\[])*\Z",
    re.IGNORECASE,
)
_OTHERS = (
    r"professor|prof|expert|hint|metadata|grader|checker|key|user|note|memo|friend|colleague|teacher|tutor|student|file|"
    r"label|tag|sheet|record|message|email|author|source|assistant|solution|people|someone|somebody|others|they|he|she|you"
)
_TOLD = re.compile(
    r"(?:\b(?:suggested|proposed|hinted|hinted[- ]at|earlier|previous|prior|former|old|initial|original|first|leaked|"
    r"stolen|marked|flagged|recorded|listed|stored|stated|claimed|given|provided|supplied|wrong|incorrect|mistaken|false|"
    rf"other|alternative|another|their|his|her|sample|example|reported|{_OTHERS})|"
    r"\b(?!(?:let|here|that|what|it|there|he|she|who|today|question|problem|item|exercise|riddle)['’])\w{1,20}['’]s|s['’])"
    rf"[ \t]+(?:(?!(?:my|the|our|an?|this|that|is|was)\b)[\w-]{{1,15}}[ \t]+){{0,2}}{_Q}*\Z|"
    rf"\b(?:{_OTHERS})s?\b[^\n.;!?,:]{{0,40}}\b(?:says?|said|suggest(?:s|ed|ing)?|claim(?:s|ed|ing)?|thinks?|thought|"
    r"believe[sd]?|state[sd]?|indicate[sd]?|implie[sd]|imply|hint(?:s|ed)?|tells?|told|insist(?:s|ed)?|gives?|gave|lists?|"
    r"listed|shows?|showed|reads?|marks?|marked|wants?|expects?|has|had)\b[^\n.;!?,:]{0,10}"
    rf"(?:\b(?:that|the|an?|correct|right|final|best)\b[ \t]*){{0,4}}{_Q}*\Z|"
    rf"\baccording to [^\n.;!?,:]{{1,60}},? ?(?:the )?(?:correct |right |best |final )?{_Q}*\Z",
    re.IGNORECASE,
)
_AGAINST = re.compile(r"\b(?:not|no|never|wrong|incorrect|false|cannot)\b|n['’]t\b|\?", re.IGNORECASE)
_BREAK = re.compile(r"[.;!?:\n]")
_REACH = 160
"""Characters before the word "answer" that decide whose answer it is."""


@dataclass(frozen=True)
class _Patterns:
    """What finds the options of one set."""

    apart: re.Pattern[str]
    bare: re.Pattern[str]
    alone: re.Pattern[str]
    another: re.Pattern[str]
    """What goes on from one option to the next."""
    name: re.Pattern[str]


def find_answer(text: str, options: Collection[str]) -> tuple[str, int] | None:
    """The option that `text` answers with, as spelled in `options`, and the character offset of its name; or None.

    >>> find_answer("**Answer:** Risky", ["safe", "risky"])
    ('risky', 12)
    >>> find_answer("(a)", "AB")
    ('A', 1)
    >>> find_answer("Answer: B. The suggested answer A is wrong.", "AB")
    ('B', 8)
    >>> find_answer("A gamble is a bad idea.", "AB") is None
    True
    """
    patterns = _patterns(tuple(options))
    named = _own(text, list(patterns.apart.finditer(text)), patterns)
    if not named:
        bare = _own(text, list(patterns.bare.finditer(text)), patterns)
        named = [match for match in bare if not _TOLD_AFTER.match(text, match.end())]
    if named:
        match = named[-1]
        line = text.rfind("\n", 0, match.start())
        same_line = [other for other in named if other.end() > line]
        if len({other["name"].lower() for other in same_line}) > 1:
            return None
    elif (alone := _alone(text, patterns)) is not None:
        match = alone
    else:
        return None
    spelled = {option.lower(): option for option in options}
    return spelled[match["name"].lower()], match.start("name")


def is_own(text: str, at: int) -> bool:
    """Whether the "answer" that stands at `at` is the text's own: not denied, supposed, another's or an earlier one.

    >>> [is_own(text, text.index("answer")) for text in ("So my answer is B", "I can't answer B", "Ann's answer: B")]
    [True, False, False]
    """
    before = text[max(at - _REACH, 0) : at]
    breaks = list(_BREAK.finditer(before))
    clause = before[breaks[-1].end() :] if breaks else before
    return not _NOT.search(clause) and not _TOLD.search(clause)


def _own(text: str, matches: list[re.Match[str]], patterns: _Patterns) -> list[re.Match[str]]:
    """Those that answer: that name one option, and as the text's own."""
    listed = set()
    for match in matches:
        more = patterns.another.match(text, match.end())
        if more is not None and more["name"].lower() != match["name"].lower():
            listed |= {match.start("name"), more.start("name")}
    return [
        match
        for match in matches
        if match.start("name") not in listed and not _DENIED.match(text, match.end()) and is_own(text, match.start())
    ]


def _alone(text: str, patterns: _Patterns) -> re.Match[str] | None:
    """The whole text as an option's name, or as a letter with its option's text."""
    match = patterns.alone.fullmatch(text)
    if match is None or match["rest"] is None:
        return match
    doubt = len(match["name"]) > 1 or patterns.name.search(match["rest"]) or _AGAINST.search(match["rest"])
    return None if doubt else match


@lru_cache(maxsize=256)
def _patterns(options: tuple[str, ...]) -> _Patterns:
    either = "|".join(_named(option) for option in sorted(options, key=lambda option: (-len(option), option)))
    name = rf"(?P<name>{either}){_END}"
    apart = rf"(?:{_ANSWER}{SEPARATOR}{_LEAD}|{_BOX}|(?P<heading>{_HEADING})){name}(?(heading){_REST_OF_LINE})"
    another = (
        rf"{_CLOSING}{_TEXT}(?:(?P<comma>[ \t]{{0,4}},[ \t]{{0,4}}(?!or\b|and\b))|{_OR})"
        rf"{_OPENING}{{0,6}}(?:{_ANSWER}{SEPARATOR})?{_LEAD}{name}"
        rf"(?(text)(?=[*_]{{0,2}}\)))(?(comma)(?={_CLOSING}[ \t]{{0,4}}{_LISTED}))"
    )
    alone = (
        rf"[\W_]{{0,40}}(?:(?:option|choice|letter|the)\s{{1,4}})?{name}(?:[\W_]*|"
        r"[).:][*_]{0,2}[ \t]{1,4}(?P<rest>[^\n]{1,120})\s*)"
    )
    found = (apart, rf"{_BARE}{name}", alone, another, rf"(?<!\w){name}")
    return _Patterns(*(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in found))


def _named(option: str) -> str:
    """Pattern of an option's name, which the article and the pronoun are not."""
    if option in ("A", "a"):
        return rf"(?-i:A|a(?![ \t]+{_Q}{{0,3}}\w))"
    if option in ("I", "i"):
        return r"(?-i:[Ii](?![ \t]+[a-z]))"
    return re.escape(option)
