"""A sentence in other words, by rule: contractions, synonyms, connectives and the order of clauses.

Lanham et al. (2307.13702) have a model paraphrase; rules are fixed, change neither numbers nor the names of options,
and bring in no second model. Known trade-off: they reword a part of a sentence and never the whole of it, so an answer
that hangs on the wording is found less surely than by a free paraphrase.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from .mistakes import like

_CONTRACTED = {
    "it is": "it's",
    "that is": "that's",
    "there is": "there's",
    "i am": "I'm",
    "i will": "I'll",
    "i would": "I'd",
    "i have to": "I've got to",
    "we are": "we're",
    "we will": "we'll",
    "let us": "let's",
    "do not": "don't",
    "does not": "doesn't",
    "did not": "didn't",
    "is not": "isn't",
    "are not": "aren't",
    "was not": "wasn't",
    "were not": "weren't",
    "will not": "won't",
    "would not": "wouldn't",
    "should not": "shouldn't",
    "could not": "couldn't",
    "cannot": "can't",
    "has not": "hasn't",
    "have not": "haven't",
}
_SYNONYMS = {
    "because of": "owing to",
    "because": "since",
    "by means of": "by way of",
    "therefore": "thus",
    "thus": "hence",
    "hence": "therefore",
    "however": "still",
    "also": "likewise",
    "for example": "for instance",
    "for instance": "for example",
    "in other words": "that is to say",
    "as a result": "in consequence",
    "first of all": "to begin with",
    "firstly": "first",
    "secondly": "second",
    "finally": "lastly",
    "lastly": "finally",
    "maybe": "perhaps",
    "perhaps": "maybe",
    "probably": "most likely",
    "clearly": "plainly",
    "obviously": "evidently",
    "really": "truly",
    "exactly": "precisely",
    "approximately": "roughly",
    "choose": "pick",
    "chooses": "picks",
    "choosing": "picking",
    "pick": "choose",
    "select": "choose",
    "need to": "have to",
    "have to": "need to",
    "want to": "wish to",
    "look at": "consider",
    "consider": "look at",
    "think about": "reflect on",
    "i think": "I believe",
    "i believe": "I think",
    "figure out": "work out",
    "calculate": "compute",
    "compute": "calculate",
    "determine": "establish",
    "find out": "discover",
    "seems": "appears",
    "appears": "seems",
    "shows": "indicates",
    "indicates": "shows",
    "means": "implies",
    "implies": "means",
    "gives": "yields",
    "begins": "starts",
    "starts": "begins",
    "ends": "finishes",
    "uses": "employs",
    "requires": "needs",
    "compare": "contrast",
    "decide": "make up my mind",
    "options": "choices",
    "choices": "options",
    "large": "big",
    "big": "large",
    "small": "little",
    "quick": "fast",
    "simple": "easy",
    "easy": "simple",
    "hard": "difficult",
    "difficult": "hard",
    "important": "significant",
    "entire": "whole",
    "usually": "as a rule",
    "often": "frequently",
    "whether": "if",
    "given that": "seeing that",
    "in order to": "so as to",
    "let me": "I will",
}
_SPELLED = {short.lower(): full for full, short in _CONTRACTED.items()} | {
    "i'm": "I am",
    "i'll": "I will",
    "i'd": "I would",
}
_TABLE = _SYNONYMS | _CONTRACTED | _SPELLED
_PHRASE = re.compile(
    rf"(?<![\w'])(?:{'|'.join(re.escape(phrase) for phrase in sorted(_TABLE, key=lambda p: (-len(p), p)))})(?![\w'])",
    re.IGNORECASE,
)
_CLAUSES = re.compile(
    r"^(\s*)(Because|Since|If|When|Although|Though|While|As) ([^,.;:!?\n]+), ([^,.;:!?\n]+)([.!])(\s*)$"
)


def paraphrase(sentence: str, options: Collection[str] = ()) -> str:
    """The sentence in other words; unchanged where no rule applies.

    A leading clause (`Because X, Y.`) changes places with the main one, and every phrase of the tables that stands in
    the sentence is exchanged, once.

    Args:
        options: names of the item's options, which stay as they are.
    """
    protected = {option.lower() for option in options}
    match = _CLAUSES.match(sentence)
    if match:
        before, word, first, second, stop, after = match.groups()
        main = second.removeprefix("then ")
        sentence = f"{before}{main[:1].upper()}{main[1:]} {word.lower()} {first}{stop}{after}"

    def other(found: re.Match[str]) -> str:
        said = found[0].lower()
        ends = said in _CONTRACTED and not re.match(r" \w", sentence[found.end() :])
        if ends or protected & {said, _TABLE[said].lower(), *said.split()}:
            return found[0]
        return like(found[0], _TABLE[said])

    return _PHRASE.sub(other, sentence)
