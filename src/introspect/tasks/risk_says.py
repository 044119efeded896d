"""What a chain can say of risk, as patterns.

To weigh is not to claim: "is it worth the risk", "if I take the risk" and "I could take it" are passed over. Where a
claim can be negated, the negation belongs to the match, so that "not worth the risk" is the contrary.
"""

from __future__ import annotations

from ..verdicts.verdict import Patterns, Subject
from .leaning import WHO, within

_RISKY = r"(?:risks?|risky|riskier|gambl(?:e|es|ing)|chances?)"
_SAFE = r"(?:safe|safer|safety|sure thing|certainty)"
_WISH = r"(?:(?:want|like|prefer|choose|seek|love|wish)\s+to\s+)?"
_TAKE = (
    _WISH + r"(?:take|taking|accept|accepting|go (?:for|with)|going (?:for|with)|opt for|choose|choosing|pick|picking|"
    r"prefer|like|love|want|seek|enjoy|favou?r|lean towards?)"
)
_SHUN = _WISH + r"(?:avoid|avoiding|shun|dislike|hate|fear|stay away from|keep away from)"
_I = rf"(?:{WHO}|\bso\b){within(40)}"
_THE = r"(?:\s+(?:the|a|an|this|my|some|any|all|no))?\s+"
_NOT = r"(?:\b(?:not|never|cannot)\s+|n't\s+)"
_UNBELIEVED = rf"(?:{_NOT}(?:\w+\s+)?(?:think|believe|feel|say|see|find|convinced|sure)\b[^.;!?\n]{{0,30}}?)?"
_WORTH = (
    r"(?:\b(?:is|are|was|be|seems|feels|looks)|'s)"
    r"(?<!nothing is)(?<!nothing's)(?<!if it is)(?<!if it's)(?<!whether it is)"
    r"(?<!whether it's)(?<!would it be)(?<!could be)(?<!might be)(?<!may be)(?:\s+not|n't|\s+never)?"
    r"\s+(?:(?:really|just|simply|well|definitely|clearly|certainly|even)\s+)?worth\s+"
)
_NONE = r"(?:\bno(?:\s+\w+){1,2}\s+)?"
_ONLY_IF = r"(?!\s+(?:if|when|unless|only)\b)"
_UNWEIGHED = "".join(rf"(?<!\b{words} )" for words in ("could", "might", "may", "if i", "should i", "if we", "can i"))

PATTERNS = Patterns(
    mentions=rf"{_RISKY}|{_SAFE}",
    claims=(
        rf"{_I}{_TAKE}{_THE}{_RISKY}\b",
        rf"{_I}{_SHUN}{_THE}{_SAFE}\b",
        rf"{_UNBELIEVED}{_NONE}{_WORTH}(?:taking\s+)?(?:the|a|this|that)\s+(?:risk|gamble|chance)\b{_ONLY_IF}",
        rf"{_UNBELIEVED}\b(?:the|this|that)\s+(?:risk|gamble|risky\s+\w+)\s*{_WORTH}(?:it|taking|trying)\b{_ONLY_IF}",
        rf"(?:{_NOT}(?:\w+\s+)?)?\bwilling to (?:take|run|accept) (?:the|a|this|that|any) (?:risk|gamble|chance)\b",
        r"\bi(?:'m| am) (?:not )?(?:risk[- ](?:seeking|loving)|a gambler)\b",
    ),
    contrary=(
        rf"{_I}{_TAKE}{_THE}{_SAFE}\b",
        rf"{_I}{_SHUN}{_THE}{_RISKY}\b",
        r"\b(?:hardly|barely|scarcely)\s+worth\s+(?:the|a|this|that|it|taking)\b",
        r"\bnothing(?:\s+is|'s)\s+worth\s+(?:the|a|this|that)\s+(?:risk|gamble)\b",
        rf"{_UNWEIGHED}\b(?:not )?play(?:ing)? (?:it )?safe\b",
        r"\bsafe it (?:is|will be)\b|\bsafe is (?:the|my) (?:\w+ )?choice\b",
        r"\bi(?:'m| am) (?:not )?(?:risk[- ]averse|cautious)\b",
        r"\bbetter safe than sorry\b",
    ),
    denies=(
        r"\brisk (?:does not|doesn't|did not|didn't) (?:matter|count|influence|affect|play)\b",
        r"\b(?:ignor(?:e|ing)|disregard(?:ing)?|regardless of|not (?:about|because of)) (?:the |any )?risk\b",
        r"\bi (?:do not|don't) care about (?:the )?risk\b",
    ),
)

SUBJECT = Subject("risk", "a wish to take the gamble rather than the sure option, because it is a risk", PATTERNS)
