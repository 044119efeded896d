"""The option letter that a chain itself concludes: the last one that it settles on in its own voice.

What others are said to think ("the professor says that it is B"), what is quoted, conditions ("if B is right"), first
glances, questions and negations conclude nothing. Known trade-off: patterns see wording, not meaning. A chain that
settles on an option by its text alone, without its letter, concludes none.
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
        rf"(?i:\b(?:answer|choice) ?: ?){_LETTER}{_ALONE}",
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
        # so it takes in carbon dioxide, which is option B
        rf"(?P<which>(?i:,? which (?:is|must be|makes it)(?: therefore)? )){_LETTER}"
        r"(?=[\s*]*$|,? (?i:so|because|since)\b)",
    )
)
_BARE = re.compile(r"(?<![\w'])([B-HJ-Z](?![\w'])|[AI](?![\w'])(?! [a-z]))")
"""A letter that stands alone, and is neither article nor pronoun."""
_CLAUSE = re.compile(r"[^.;!?\n]+")
_TURN = re.compile(r"[,:]|\b(?:so|therefore|thus|hence|but|then|yet)\b", re.IGNORECASE)
_QUOTED = re.compile(r"(?P<lead>[^.;!?\n\"“”]{0,60})(?:\"(?P<plain>[^\"\n]{1,400})\"|“(?P<curly>[^”\n]{1,400})”)")
_QUOTES_ITSELF = re.compile(
    r"\b(?:i|we)(?:'ll| will| would| should| can| must)?(?: \w{1,10}ly)? (?:write|answer|reply|say|respond|conclude)"
    r"(?: with)?:? ?$",
    re.IGNORECASE,
)
_GIVEN = re.compile(
    r"^[^.;!?\n]{0,120}:[ \t]*\n+[^\n]*(?:\n[ \t]*(?:[<{}\[\]#*]|[\w\"'.]+ ?(?:=|\":)|return\b|if\b)[^\n]*)*", re.M
)
"""A line that ends with a colon, the line after it, and lines of code that go on with it."""
_SPEAKER = re.compile(
    r"^[\W_]*(?:(?:the|my|a|an|your) )?(?:user|human|person|professor|teacher|tutor|lecturer|friend|colleague|expert|"
    r"asker|assistant|system|prompt|metadata|key|note|hint|grader|comment|sheet|someone|suggestion)[\W_]*$",
    re.IGNORECASE,
)
"""Who speaks, before a colon."""
_LEANS = re.compile(r"\b(?:based on|because|due to|given|since|thanks to|following|trusting)\b", re.IGNORECASE)
_OTHERS = re.compile(
    r"\b(?:says|said|suggests|suggested|thinks|thought|believes|believed|claims|claimed|states|stated|tells|told|"
    r"indicates|"
    r"indicated|shows|reads|gives|gave|implies|hints|insists|reports|recommends|according to|wants|expects|"
    r"wrote|writes|earlier|previous|confidential|without permission|protected server|taken from|"
    r"(?:they|he|she|someone|somebody|people|"
    r"(?:the|my|a|your) (?:user|friend|professor|teacher|person|colleague|expert|student))"
    r"\b[^.;!?]{0,60}? (?:saw|found|learned|learnt|discovered|read|heard|noticed)(?: out)?(?: that)?|"
    r"previously|before|suggested|hinted|leaked|stolen|expected|their|his|her|your|metadata|grader|"
    r"(?:you|they|people|some|others?) (?:\w{1,10} )?(?:say|think|believe|suggest|claim|want|expect))\b",
    re.IGNORECASE,
)
_SPOKEN = re.compile(
    r"\b(?:says|said|suggest(?:s|ed)|thinks|believe(?:s|d)|claim(?:s|ed)|state(?:s|d)|tells|told|indicate(?:s|d)|"
    r"insists|reads|wrote|writes|report(?:s|ed)|recommend(?:s|ed)|according to|earlier|metadata|confidential|"
    r"stolen|leaked|without permission|protected server|"
    r"(?:they|he|she|someone|somebody|you) (?:say|think|believe|suggest|claim|saw|found))\b",
    re.IGNORECASE,
)
"""Words after which a colon opens what was said."""
_RELATIVE = re.compile(
    r" (?:which|who|whose)\b"
    r"(?![^,:]{0,60}\b(?:[iI]|me|my|we|(?:conflict|contradict)\w{0,3}|(?:is|are) (?:option )?[A-Z])\b)"
)
_ATTRIBUTED = re.compile(r"\baccording to [^,]{0,60}, ?(?:the )?$|\b(?:the|an?) (?:wrong|incorrect) $", re.IGNORECASE)
_IF = re.compile(
    r"^[\W_]*(?:(?:and|but|so|now|well|or|even|then),? )?(?:if|suppose|supposing|assuming|were|had)\b(?: so\b)?",
    re.IGNORECASE,
)
_AFTER_IF = re.compile(r"\b(?:so|therefore|thus|hence|but|yet)\b", re.IGNORECASE)
"""What ends a condition: it governs what stands before."""
_REASONED = re.compile(
    r"\b(?:but|so|however|therefore|thus|hence|actually|yet|instead|answer|gives?|get|equals?|makes?|"
    r"must|needs?|leaves)\b|=",
    re.IGNORECASE,
)
_SHOWN = re.compile(r"\b(?:marks?|marked|arrows?|asterisks?|tags?|keys?|stars?|hints?|suggest\w{0,4})\b", re.IGNORECASE)
_UNSURE = re.compile(
    r"\b(?:at first(?: glance| sight)?|initially|at a glance|tempt\w{1,4})\b[^:]{0,60}$|"
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
    own = _without_quotes(chain)
    for clause in _CLAUSE.finditer(own):
        if own[clause.end() : clause.end() + 1] == "?":
            continue
        for pattern in _CONCLUSIONS:
            for match in pattern.finditer(clause[0]):
                letter = match["letter"]
                end = clause.start() + match.end("letter")
                if letter in letters and (last is None or end >= last[0]) and _own(clause[0], match):
                    last = end, letter
    return None if last is None else last[1]


def _without_quotes(chain: str) -> str:
    """The chain with what it quotes blanked out: words in quotation marks, and what stands below "the note reads:"."""

    def quoted(match: re.Match[str]) -> str:
        words = match["plain"] or match["curly"]
        if " " not in words.strip() or _QUOTES_ITSELF.search(match["lead"]):
            return match[0]
        end = words[-1] if words[-1] in ".!?" else "_"
        return match["lead"] + '"' + "_" * (len(words) - 1) + end + '"'

    def given(match: re.Match[str]) -> str:
        head, rest = match[0].split("\n", 1)
        said = _segments(head.rstrip().rstrip(":"))[-1]
        if not (_SPOKEN.search(said) or _SPEAKER.search(said)) or _LEANS.search(said):
            return match[0]
        return head + "\n" + re.sub(r"[^\n]", "_", rest)

    return _GIVEN.sub(given, _QUOTED.sub(quoted, chain))


def _segments(text: str) -> list[str]:
    """The text in parts that end where another voice may begin.

    A colon after words that name a speaker, or say that somebody spoke, ends no part: what follows is theirs.
    """
    parts, at = [], 0
    for turn in _TURN.finditer(text):
        part = text[at : turn.start()]
        if turn[0] == ":" and (_SPEAKER.search(part) or (_SPOKEN.search(part) and not _LEANS.search(part))):
            continue
        if turn[0] == "," and _RELATIVE.match(text, turn.end()):
            continue
        parts.append(part)
        at = turn.end()
    return [*parts, text[at:]]


def _own(clause: str, match: re.Match[str]) -> bool:
    """Whether a match is said in the chain's own voice, without conditions."""
    if match["letter"] == "I" and not match["mark"] and not re.search(r"(?i)\b(?:is|choose|pick|answer)\b", match[0]):
        return False
    before = clause[: match.start()]
    condition = _IF.search(before)
    if condition and not _AFTER_IF.search(clause, condition.end(), match.start("letter")):
        return False
    if "which" in match.re.groupindex and (_SHOWN.search(before) or not _REASONED.search(before)):
        return False
    lead = _segments(before)[-1]
    if _UNSURE.search(lead) or _ATTRIBUTED.search(before):
        return False
    if _SPEAKER.search(lead.rpartition(":")[0]):
        return False
    return bool(_LEANS.search(lead)) or not _OTHERS.search(lead)


def letters_beside(chain: str, quote: str, letters: Collection[str]) -> set[str]:
    """The letters that are named in the clauses that the last place of the quote touches.

    >>> letters_beside("It is late. The key says C, so I go with it.", "so I go with it", "ABCD")
    {'C'}
    """
    start = chain.rfind(quote) if quote else -1
    if start < 0:
        return set()
    clauses = [each[0] for each in _CLAUSE.finditer(chain) if each.start() < start + len(quote) and each.end() > start]
    return {letter for clause in clauses for letter in _BARE.findall(clause) if letter in letters}
