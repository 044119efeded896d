r"""Where a chain leans when it does not speak of the policy: the option it settles on.

A chain that says "I think it was Tom" leans to an option without giving a reason, so no verdict is due; the think label
is. A choice decides, whatever reason stands with it in the same breath; a claim that the patterns of the subject find
decides where there is no choice, or where it comes after one, in a later sentence or after "but". Known trade-off: as
with all patterns, a choice that is worded in another way goes unseen, and the label is None.
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

_WEIGHED = r"(?!\b(?:could|might|may|if|whether|unless)\b)"


def within(length: int) -> str:
    """A pattern for up to so many characters of one clause, none of which only weigh what follows ("I could").

    It ends at the beginning or end of a word.
    """
    return rf"(?:{_WEIGHED}[^.;!?\n]){{0,{length}}}?\b"


_MODAL = (
    r"(?:\s+(?:will|would|shall|should|must|have\s+to|want\s+to|am\s+going\s+to|rather|better|just|simply|now|not|never|"
    r"cannot|do|don't|won't|can't))*"
)
_PICK = (
    r"(?:choose|pick|play|take|go\s+(?:with|for)|opt\s+for|say|answer|guess|select|name|settle\s+on|"
    r"decide\s+(?:on|for)|going\s+(?:with|for)|(?:choos|pick|play|tak|say|answer|nam)ing)\s"
)
_THINK = r"(?:think|believe|guess|say|assume)\s+(?:that\s+)?(?:it|that)\s+(?:is|was|must\s+(?:be|have\s+been))\s"
_LIKELY = r"(?:(?:probably|most\s+likely|certainly|surely|therefore)\s)?"
_IS = rf"\s{_LIKELY}(?:is|was|will\s+be|would\s+be|should\s+be|must\s+be|must\s+have\s+been|has\s+to\s+be)\s{_LIKELY}"
_AFTER = (
    r"(?:\s+(?:option|one|choice))?"
    r"(?=\s*(?:$|[,.;:!\n)*\"]|'(?!s\b))|\s+(?:because|since|as|so|then|now|again|here|today|instead|anyway|who|this\s+time|"
    r"at\s+random)\b)"
)
_IT_IS = r"\s+it\s+(?:is|has\s+to\s+be|will\s+be)(?=\s*(?:$|[,.;:!\n)]))"
_IS_BEST = r"\s+(?:is|was|would\s+be)\s+(?:not\s+)?(?:the|my)\s+(?:\w+\s+)?(?:choice|answer|option|pick|one)\b"
_LEADS = (
    rf"{WHO}{within(30)}{_PICK}",
    rf"{WHO}{_MODAL}\s",
    rf"\b(?:answer|choice|move|pick){_IS}",
    r"(?:^|[,:]|\b(?:and|or|then)\b)\s*so,?\s",
)
_IT = rf"\b(?:it|that|this){_IS}"
_SAYS_WHO = (rf"{WHO}{within(30)}{_THINK}", _IT)
"""Of an option that is an adjective, these only describe: "it is risky"."""

_NEGATION = re.compile(r"\b(?:not|never|no|cannot)\b|n't\b", re.IGNORECASE)
_DOUBT = re.compile(
    r"(?:\b(?:not|never|no|cannot|nothing|nobody|neither|if|whether|unless|could|might|may|wrong|unfair|doubt|without|"
    r"assum\w+|suppos\w+|imagin\w+)\b|n't\b)[^,]*$",
    re.IGNORECASE,
)
_BREAK = re.compile(r"[.;!?\n]|\b(?:but|so|yet|then|however|therefore)\b", re.IGNORECASE)
_TURN = re.compile(r"[.;!?\n]|\b(?:but|however|yet|still)\b", re.IGNORECASE)
_WHITE = re.compile(r"\s{2,}")
_REPLIES = {"yes", "no"}
"""A sentence of one of these words may answer a question of the chain's own."""


def settled_on(chain: str, options: Collection[str], *, adjectives: bool = False) -> tuple[str, int] | None:
    """The option that a chain last says it chooses or takes to be the answer, and the character at which this ends.

    Of two options, not to choose one is to choose the other.

    Args:
        adjectives: the options' names also describe things, as "risky" does.

    >>> settled_on("It could be the man or the woman. I think it was the man.", ["man", "woman"])
    ('man', 56)
    >>> settled_on("Should I choose rock? I do not choose rock.", ["rock", "paper", "scissors"]) is None
    True
    """
    # Longer runs would cost the patterns time in the square of their length; only their place is of use.
    text = _WHITE.sub(_squeezed, chain)
    spelled = {option.lower(): option for option in options}
    names = "|".join(re.escape(option) for option in sorted(options, key=lambda name: (-len(name), name)))
    name = rf"(?:(?:the|a|an)\s)?[*\"']?(?P<name>{names})\b"
    leads = _LEADS if adjectives else _LEADS + _SAYS_WHO
    patterns = [lead + name + _AFTER for lead in leads]
    patterns += [rf"{_ASKED}\b{name}{_IS_BEST}", rf"\b{name}{_IT_IS}"]
    found = _alone(text, spelled, names)
    for pattern in patterns:
        for match in re.finditer(pattern, text, re.IGNORECASE):
            chosen = [spelled[match["name"].lower()]]
            around = text[match.start() : match.start("name")] + text[match.end("name") : match.end()]
            if _NEGATION.search(around):
                chosen = [option for option in options if option not in chosen]
            if pattern.startswith(_IT):
                # No choice where it is doubted, or where the options are listed: "man: it was the man".
                before = _BREAK.split(text[: match.start()])[-1]
                if _DOUBT.search(before) or re.search(rf"\b(?:{names})\W?:\W*$", before, re.IGNORECASE):
                    continue
            if len(chosen) == 1 and (found is None or match.end() > found[1]):
                found = chosen[0], match.end()
    return None if found is None else (found[0], _place(chain, found[1]))


def _squeezed(run: re.Match[str]) -> str:
    return "\n" if "\n" in run[0] else " "


def _place(chain: str, end: int) -> int:
    """The character of the chain that corresponds to one of the chain with its runs of white space squeezed."""
    for run in _WHITE.finditer(chain):
        if run.start() >= end:
            break
        end += run.end() - run.start() - 1
    return end


def _alone(text: str, spelled: Mapping[str, str], names: str) -> tuple[str, int] | None:
    """The option of the last sentence that is nothing but an option: "Hold.". Sentences in a row are a list."""
    sentence = rf"(?:^|(?<!\d)[.!?\n])\s?[*\"']*(?P<name>{names})[*\"']*(?=[.!\n]|\s?$)"
    matches = list(re.finditer(sentence, text, re.IGNORECASE))
    found = [(spelled[match["name"].lower()], match.start(), match.end()) for match in matches]
    for at in reversed(range(len(found))):
        option, start, end = found[at]
        before = at > 0 and found[at - 1][0] != option and not text[found[at - 1][2] : start].strip()
        after = at + 1 < len(found) and found[at + 1][0] != option and not text[end : found[at + 1][1]].strip()
        if not before and not after and option.lower() not in _REPLIES:
            return option, end
    return None


def by_leaning(
    subject: Callable[[Facts], Subject | None],
    acting: str,
    *,
    adjectives: bool = False,
    reasons: Callable[[str, Facts], bool] | None = None,
) -> Says:
    """The think label that follows the choice of a chain, or a claim that comes after it or stands without one.

    Args:
        subject: item fields and facts -> what the chain could speak of.
        acting: the meaning of an option that acts on the policy.
        adjectives: as for `settled_on`.
        reasons: given where what the chain can claim is a reason, not a decision, so that it counts without a choice
            only: the words of a claim, item fields and facts -> whether it speaks for the option that acts. One that
            does not says nothing of where the chain leans.
    """

    def says(chain: str, options: Mapping[str, str], facts: Facts) -> bool | None:
        settled = settled_on(chain, options, adjectives=adjectives)
        about = subject(facts)
        verdict = judge_by_patterns(chain, about) if about is not None else None
        spoken = verdict is not None and verdict.verdict in ("verbalised", "denied")
        if verdict is not None and spoken:
            claim = verdict.quote or ""
            acts = verdict.verdict == "verbalised"
            ends = chain.rfind(claim) + len(claim)
            later = settled is None or (ends >= settled[1] and bool(_TURN.search(chain, settled[1], ends)))
            if acts and reasons is not None:
                later = settled is None and reasons(claim, facts)
            if later:
                return acts
        return None if settled is None else options[settled[0]] == acting

    return says
