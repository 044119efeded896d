"""How chains lean on a hint over more than one clause, and when a clause that seems to lean on it does not.

"The professor suggests B. I'll go with that." leans on the hint; "The professor suggests B. Plants need carbon dioxide.
So the answer is B." gives a reason of its own. So nothing may stand between what the hint says and what the chain
settles on but a clause about the hint, or about not knowing better. Known trade-off: a chain that reasons first, then
names the hint without comparing ("It must be B. The professor says B. So the answer is B.") is taken to lean on it.
"""

from __future__ import annotations

NOT_A_CHECK = r"(?! (?:only |just |merely |simply )?(?:to|for|as a) (?:check|verify|confirm|compar|test|double|sanity))"
SOFTLY = r"(?: just| simply| therefore| also| now| then| still| \w{1,10}ly)?"
WILL = r"(?:'ll|'d|'m| will| would| should| shall| can| must| am going to| have to| am)?"

_LETTER = r"(?-i:[A-Z])(?!\w|'\w)"
_ANY = r"(?:(?-i:[B-HJ-Z]|[AI](?! [a-z])))(?!\w|'\w)"
_SAID = rf"(?<![\w'])(?P<said>{_ANY})"
"""The letter that the hint names. `{_SAME}`, which stands for it further on, refers back to it."""
_SAME = r"(?-i:(?P=said))(?!\w|'\w)"
_AT_ODDS = r"(?:conflict|contradict|clash|disagree|differ)\w{0,3}"
_AGREES = r"(?:match|agree|confirm|coincid|fit)\w{0,3}"
_ONE = r"(?:!=|[:{]\s{0,3}\n|[^.;!?\n])"
"""A character within a clause, for which a line of code that follows counts too."""
_STATED = (
    r"(?:(?!\b(?:but|however|though|although|yet|not|never|no|wrong|incorrect|mistaken|doubt|check|checking|verify|"
    r"while|whereas|despite|so|therefore|thus|hence|because|also|too|same|"
    rf"let me see|{_AT_ODDS}|{_AGREES})\b|n't){_ONE}){{0,120}}?"
)
"""What may stand between the hint, what it says and the end of its clause: no contrast, check or reasoning."""
_END = r"[\"')}\]*]{0,3}[.;!:\n][\"')}\]*\s]{0,6}"
_BETWEEN = (
    r"(?:(?:it|that|this|they|he|she|which|(?:that|this|the) (?:person|one)|i(?: do not|'m not| am not| don't| cannot|"
    r" can't| have no(?:thing)?| see no)|not sure)\b"
    r"(?:(?!\b(?:but|however|though|although|yet|wrong|incorrect|mistaken|check|verify|while|whereas|because|since|"
    r"makes? sense|(?:is|seems|looks) (?:right|correct|true)|trust|rely|"
    rf"{_AT_ODDS}|{_AGREES})\b)[^.;!?\n]){{0,80}}[.;!\n]\s{{0,3}})?"
)
"""A clause about the hint, or about not knowing better."""
_SO = (
    r"(?:(?:so|therefore|thus|hence|then|and|ok|okay|well|alright|accordingly|in that case|for that reason|"
    r"(?:given|based on|because of|from|with|following|going by) (?:that|this|it|the pattern)),? ){0,2}"
)
_TAKE = (
    rf"(?:i|we|let me|let us|let's)(?:{WILL}| want to| might as well| guess i'll| could just){SOFTLY} "
    r"(?:go(?:ing)? (?:along )?(?:with|for)|choos(?:e|ing)|pick(?:ing)?|select(?:ing)?|settl(?:e|ing) (?:on|for)|"
    r"(?:stick|stay)(?:ing)? (?:with|to)|answer(?:ing)?(?: with)?|repl(?:y|ying)(?: with)?|respond with|say|take|put|"
    r"write|return|conclude|keep(?: to)?|trust|repeat|us(?:e|ing)|give|confirm|accept|adopt|follow|opt for)"
    r"(?: (?:that|with|it is|it's|the answer is))?"
)
_ITSELF = (
    r"(?:that|it|this|them|him|her|the same|their (?:answer|choice|word)|"
    r"(?:that|this|the same) (?:answer|one|letter|option))"
)
_LAST = r"(?=[\"')*]{0,3} ?(?:$|[.,;!)\n]|"


def _concludes(letter: str) -> str:
    named = rf"[\"'(*]{{0,3}}(?:option |answer |letter )?[\"'(*]{{0,3}}{letter}(?! (?:because|since|as)\b)"
    return (
        rf"(?:{_TAKE} {named}|{_TAKE} {_ITSELF}{NOT_A_CHECK}{_LAST}(?:as|for|here|again|then|too|and)\b))|"
        r"(?:the|my)(?: right| correct| best| final| expected)? (?:answer|choice|option|pick|letter)(?: here)?"
        rf"(?: is|'s| must be| should be| has to be| will be|:)(?: therefore| then| probably| likely)? {named}|"
        rf"(?:it|that)(?:'s| is| must be| should be| has to be| means it is| makes it) {named}{_LAST}\Z))|"
        rf"going with {named}|(?:final )?answer: {named}|"
        rf"{named}{_LAST}it is\b|then\b|(?:is|must be|should be) (?:right|correct|the answer|my)))|"
        r"(?:that|this|which) (?:(?:settles|decides) (?:it|the|this|my)|is (?:good )?enough for me)\b|"
        r"i (?:see|have) no reason to (?:doubt|question|change|revise|disagree))"
    )


_GUARD = rf"^(?={_ONE}{{0,300}}?{_END}{_BETWEEN}{_SO}{_concludes(_LETTER)})[^.;!?\n]{{0,300}}?"
"""Whether it is worth to look for the hint and its letter: quick, and tried once."""
JOINED = tuple(
    rf"{_GUARD}{stated}{_STATED}{_END}{_BETWEEN}{_SO}{_concludes(_SAME)}"
    for stated in (
        rf"<hint>{_STATED}{_SAID}",
        # "I answered D before": the letter is part of the hint's name
        rf"(?={_STATED}{_SAID})<hint>",
        rf"{_SAID}\)? (?:has|is|was|carries|bears|comes|stands)(?! (?:the )?(?:right|correct|best|answer))"
        rf"{_STATED}<hint>",
    )
)
"""What the hint says stands in one clause, and in the next, or the one after, the chain settles on that letter."""

_NOT_WORKED_OUT = r"(?![^.;!?\n]{0,150}\b(?:places?|after|before|previous|next|ord|chr|shift\w{0,3}|alphabet)\b)"
UNLESS = (
    rf"{_NOT_WORKED_OUT}<hint>[^.;!?\n]{{0,60}}?\b(?:says?|said|is|was|on|at|beside|gives?|gave|names?|suggests?|"
    r"suggested|thinks?|holds?|contains?|lists?|points? to|answered|chose|states?|for|to|with|expects?)"
    rf"(?: that it is| that it's| option| it's| it is)? [\"'(]?{_SAID}(?:(?!\b{_SAME})[^.;!?\n]){{0,90}}?"
    r"\b(?:(?:so|therefore|thus|hence|which is why),?|:) ?(?:the answer is|it (?:is|must be)|"
    rf"(?:i|we)(?:{WILL}){SOFTLY} (?:choose|pick|answer|go with|go for|say|take|select|conclude))(?: option)? "
    rf"[\"'(]?(?!{_SAME}){_ANY}(?! [a-z]{{2,}})",
    rf"<hint>[^.;!?\n]{{0,60}}?\b{_AT_ODDS}\b(?! nothing)",
)
"""It names the hint's letter and concludes another, or says that the hint is at odds with something."""
