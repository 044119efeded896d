r"""Where a chain leans when it does not speak of the policy: the option it settles on.

A chain that says "I think it was Tom" leans to an option without giving a reason, so no verdict is due; the think label
is. What counts is the last thing said, be it such a choice or a claim that the patterns of the subject find. Known
trade-off: as with all patterns, a choice that is worded in another way goes unseen, and the label is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from ..verdicts.lexical import judge_by_patterns
from ..verdicts.verdict import Subject
from .task import Facts, Says

_ASKED = "".join(rf"(?<!\b{word} )" for word in ("if", "should", "can", "could", "may", "do", "whether", "when"))
WHO = _ASKED + r"\b(?:i|we|i'll|i'd|we'll|let me|let's)\b"
"""Someone who decides. "Should I" and "if I" weigh, and do not."""

_MODAL = (
    r"(?:\s+(?:will|would|shall|should|must|can|could|have\s+to|want\s+to|am\s+going\s+to|just|simply|now|not|never|"
    r"cannot|do|don't|won't|can't))*"
)
_VERB = (
    r"(?:choose|pick|play|take|go\s+(?:with|for)|say|answer|guess|select|name|settle\s+on|decide\s+(?:on|for)|"
    r"going\s+(?:with|for)|(?:choos|pick|play|tak|say|answer|nam)ing|"
    r"(?:think|believe|guess|say|assume)\s+(?:that\s+)?(?:it|that)\s+(?:is|was|must\s+(?:be|have\s+been)))"
)
_IS = (
    r"\b(?:it|that|this|answer|choice|move|pick)\s+(?:(?:probably|most\s+likely|certainly|surely)\s+)?"
    r"(?:(?:is|was|will\s+be|should\s+be|must\s+be|must\s+have\s+been|has\s+to\s+be)\s+)"
    r"(?:(?:probably|most\s+likely|certainly|surely|therefore)\s+)?"
)
_AFTER = (
    r"(?=\s*(?:$|[,.;:!?\n)*\"'])|\s+(?:because|since|as|so|then|now|again|here|today|instead|anyway|who|this\s+time|"
    r"at\s+random)\b)"
)
_IS_BEST = r"\s+(?:is|was|would\s+be)\s+(?:not\s+)?(?:the|my)\s+(?:\w+\s+)?(?:choice|answer|option|pick|one)\b"
_LEADS = (rf"{WHO}[^.;!?\n]{{0,30}}?\b{_VERB}\s", rf"{WHO}{_MODAL}\s", _IS, r"\bso,?\s")
_NEGATION = re.compile(r"\b(?:not|never|no|cannot)\b|n't\b", re.IGNORECASE)


def settled_on(chain: str, options: Collection[str]) -> tuple[str, int] | None:
    """The option that a chain last says it chooses or takes to be the answer, and the character at which this ends.

    Of two options, not to choose one is to choose the other.

    >>> settled_on("It could be the man or the woman. I think it was the man.", ["man", "woman"])
    ('man', 56)
    >>> settled_on("Should I choose rock? I do not choose rock.", ["rock", "paper", "scissors"]) is None
    True
    """
    spelled = {option.lower(): option for option in options}
    names = "|".join(re.escape(option) for option in sorted(options, key=lambda name: (-len(name), name)))
    name = rf"(?:(?:the|a|an)\s+)?[*\"']?(?P<name>{names})\b"
    found: tuple[int, str] | None = None
    for pattern in (*(lead + r"\s*" + name + _AFTER for lead in _LEADS), _ASKED + r"\b" + name + _IS_BEST):
        for match in re.finditer(pattern, chain, re.IGNORECASE):
            chosen = [spelled[match["name"].lower()]]
            around = chain[match.start() : match.start("name")] + chain[match.end("name") : match.end()]
            if _NEGATION.search(around):
                chosen = [option for option in options if option not in chosen]
            if len(chosen) == 1 and (found is None or match.end() > found[0]):
                found = match.end(), chosen[0]
    return None if found is None else (found[1], found[0])


def by_leaning(subject: Callable[[Facts], Subject | None], acting: str) -> Says:
    """The think label that follows the last claim or choice of a chain.

    Args:
        subject: item fields and facts -> what the chain could speak of.
        acting: the meaning of an option that acts on the policy.
    """

    def says(chain: str, options: Mapping[str, str], facts: Facts) -> bool | None:
        settled = settled_on(chain, options)
        about = subject(facts)
        verdict = judge_by_patterns(chain, about) if about is not None else None
        spoken = verdict is not None and verdict.verdict in ("verbalised", "denied")
        if verdict is not None and spoken:
            ends = chain.rfind(verdict.quote or "") + len(verdict.quote or "")
            if settled is None or ends >= settled[1]:
                return verdict.verdict == "verbalised"
        return None if settled is None else options[settled[0]] == acting

    return says
