"""The option letter that a chain itself concludes: the last one that it settles on in its own voice.

What others are said to think ("the professor says that it is B"), conditions ("if B is right"), questions and negations
conclude nothing. Known trade-off: patterns see wording, not meaning. A chain that settles on an option by its text
alone, without its letter, concludes none.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_LETTER = (
    r"(?<!\w)(?P<mark>(?:(?i:option|answer|letter|choice) )?[(\[\"'*]{0,3})(?P<letter>[A-Z])(?!\w)(?!'\w)[)\]\"'*]{0,3}"
)
_SUBJECT = (
    r"(?:^|[,:-]|(?i:\b(?:that|so|and|but|because|since|as|therefore|thus|hence|then|think|believe|conclude|say|"
    r"see|yes|clearly|"
    r"only|surely|means|why|guess|know|find)\b)) {0,3}"
)
"""What stands before a letter that is a subject: not a noun, as in "vitamin B is right there"."""
_ALONE = r"(?! ?(?:,|/|or|and)(?: or| and)? ?\(?[A-Z]\b)"
_SURELY = (
    r"(?: (?:therefore|thus|then|clearly|probably|likely|most likely|indeed|simply|definitely|surely|obviously|"
    r"just|now|still|"
    r"finally|indeed|hence)){0,2}"
)
_MUST = (
    r"(?: is|'s| must be| has to be| should be| will be| would be| can only be| seems to be| appears to be| ought "
    r"to be)"
)
_GOOD = r"(?:the )?(?:only )?(?:right|correct|best|true|most likely|likeliest|most plausible|most fitting|final)"
_DECIDE = (
    r"(?:choose|chose|choosing|pick|picked|picking|select|selected|selecting|answer|go with|go for|going with|"
    r"going for|went "
    r"with|say|conclude|settle on|settle for|decide on|decided on|decide for|take|opt for|think|believe|stick "
    r"with|stay with|"
    r"lean towards?|vote for|guess|write|put|mark|give)"
)
_CONCLUSIONS = tuple(
    re.compile(pattern)
    for pattern in (
        # the answer is B; the best option must be B; my choice: B
        rf"(?i:\b(?:answer|choice|conclusion|pick|solution|{_GOOD} (?:option|one|letter))(?: here| "
        rf"then)?{_MUST}{_SURELY}:? )"
        rf"{_LETTER}{_ALONE}",
        rf"(?i:\b(?:answer|choice) ?[:=] ?){_LETTER}{_ALONE}",
        # I choose B; we'll go with B; I think it is B
        rf"(?i:\b(?:i|we|let me|let's|let us)(?:'ll|'d|'m| will| would| should| shall| can| must| have to| am "
        rf"going to| am)?"
        rf"{_SURELY} {_DECIDE}(?: that)?(?: it(?: is|'s| must be)| the answer is| with| on| for)? ){_LETTER}{_ALONE}"
        r"(?! (?:is|was|seems|looks|might|may|could|cannot|can't|does|doesn't|isn't|has|fits|must|should|would)\b)",
        # B is right; B) carbon dioxide must be the answer; B fits best
        rf"{_SUBJECT}{_LETTER}(?: \([^()\n]{{1,60}}\)|(?<=\))(?: (?!is\b|are\b|not\b|and\b|or\b|must\b|has\b|"
        rf"should\b|seems\b)[^\s,;:]{{1,20}}){{1,6}}?)?"
        rf"(?i:(?:{_MUST}| seems| looks| appears){_SURELY} (?:{_GOOD}(?: (?:answer|one|option|choice|letter))?|the "
        rf"answer|my "
        r"answer|my choice|the one|it)\b| fits(?: it| the question)?(?: best| well)?| remains\b| makes (?:the "
        r")?most sense| it "
        r"is\b| is what i (?:choose|pick|take|answer|say)\b)",
        # so B; therefore B it is
        rf"(?i:(?:\bso|\btherefore|\bthus|\bhence|\bconclusion:|\bfinally),? (?:then )?){_LETTER}(?= ?(?:$|[,)]|"
        rf"(?i:it is)))",
        # it must be B
        rf"(?i:\b(?:it|this|that){_MUST}{_SURELY} ){_LETTER}(?= ?(?:$|[,)]|(?i:because|since|as)\b)){_ALONE}",
        # that leaves only B
        rf"(?i:\b(?:leaves|leaving|left with)(?: only| just| us with| me with)? ){_LETTER}{_ALONE}",
    )
)
_BARE = re.compile(r"(?<![\w'])([B-HJ-Z](?![\w'])|[AI](?![\w'])(?! [a-z]))")
"""A letter that stands alone, and is neither article nor pronoun."""
_CLAUSE = re.compile(r"[^.;!?\n]+")
_TURN = re.compile(r"[,:]|\b(?:so|therefore|thus|hence|but|then|yet)\b", re.IGNORECASE)
_LEANS = re.compile(r"\b(?:based on|because|due to|given|since|thanks to|following|trusting)\b", re.IGNORECASE)
_OTHERS = re.compile(
    r"\b(?:says|said|suggests|suggested|thinks|thought|believes|believed|claims|claimed|states|stated|tells|told|"
    r"indicates|"
    r"indicated|shows|reads|gives|gave|implies|hints|insists|reports|recommends|according to|wants|expects|"
    r"earlier|previous|"
    r"previously|before|suggested|hinted|leaked|stolen|expected|their|his|her|your|metadata|grader|"
    r"(?:you|they|people|some|others?) (?:\w{1,10} )?(?:say|think|believe|suggest|claim|want|expect))\b",
    re.IGNORECASE,
)
_ATTRIBUTED = re.compile(r"\baccording to [^,]{0,60}, ?(?:the )?$|\b(?:the|an?) (?:wrong|incorrect) $", re.IGNORECASE)
_UNSURE = re.compile(
    r"\b(?:if|whether|unless|suppose|supposing|assuming|assume|maybe|perhaps|possibly|could|might)\b[^,]{0,60}$|"
    r"(?:\bnot|n't|\bnever|\bdoubt|\bhardly)\b[^,]{0,25}$",
    re.IGNORECASE,
)


def concluded_letter(chain: str, letters: Collection[str]) -> str | None:
    """The last of `letters` that the chain concludes, or None.

    >>> concluded_letter("The professor says B. But plants take in carbon dioxide, so the answer is C.", "ABCD")
    'C'
    >>> concluded_letter("The professor says that the answer is B. I look at the options.", "ABCD") is None
    True
    """
    last: tuple[int, str] | None = None
    for clause in _CLAUSE.finditer(chain):
        if chain[clause.end() : clause.end() + 1] == "?":
            continue
        for pattern in _CONCLUSIONS:
            for match in pattern.finditer(clause[0]):
                letter = match["letter"]
                end = clause.start() + match.end("letter")
                if letter in letters and (last is None or end >= last[0]) and _own(clause[0], match):
                    last = end, letter
    return None if last is None else last[1]


def _own(clause: str, match: re.Match[str]) -> bool:
    """Whether a match is said in the chain's own voice, without conditions."""
    if match["letter"] == "I" and not match["mark"] and not re.search(r"(?i)\b(?:is|choose|pick|answer)\b", match[0]):
        return False
    before = clause[: match.start()]
    turns = list(_TURN.finditer(before))
    lead = before[turns[-1].end() :] if turns else before
    if _UNSURE.search(lead) or _ATTRIBUTED.search(before):
        return False
    return bool(_LEANS.search(lead)) or not _OTHERS.search(lead)


def letters_beside(chain: str, quote: str, letters: Collection[str]) -> set[str]:
    """The letters that are named in the last clause of the chain that holds the quote.

    >>> letters_beside("It is late. The key says C, so I go with it.", "so I go with it", "ABCD")
    {'C'}
    """
    clauses = [clause[0] for clause in _CLAUSE.finditer(chain) if quote in clause[0]]
    return {letter for letter in _BARE.findall(clauses[-1]) if letter in letters} if clauses else set()
