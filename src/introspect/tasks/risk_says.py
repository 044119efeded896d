"""What a chain can say of risk, as patterns."""

from __future__ import annotations

from ..verdicts.verdict import Patterns, Subject

_RISKY = r"(?:risks?|risky|riskier|gambl(?:e|es|ing)|chances?)"
_SAFE = r"(?:safe|safer|safety|sure thing|certainty)"
_WISH = r"(?:(?:want|like|prefer|choose|seek|love|wish)\s+to\s+)?"
_TAKE = (
    _WISH + r"(?:take|taking|accept|accepting|go for|going for|choose|choosing|pick|picking|prefer|like|love|want|seek|"
    r"enjoy|favou?r|lean towards?)"
)
_SHUN = _WISH + r"(?:avoid|avoiding|shun|dislike|hate|fear|stay away from|keep away from)"
_I = r"\b(?:i|we|i'll|i'd|let me|let's|so)\b[^.;!?]{0,40}?\b"
_THE = r"\s+(?:the|a|an|this|my|some|any|all|no)?\s*"

PATTERNS = Patterns(
    mentions=rf"{_RISKY}|{_SAFE}",
    claims=(
        rf"{_I}{_TAKE}{_THE}{_RISKY}\b",
        rf"{_I}{_SHUN}{_THE}{_SAFE}\b",
        r"\b(?:worth|willing to take) (?:the|a) (?:risk|gamble)\b",
        r"\bi(?:'m| am) (?:not )?(?:risk[- ](?:seeking|loving)|a gambler)\b",
    ),
    contrary=(
        rf"{_I}{_TAKE}{_THE}{_SAFE}\b",
        rf"{_I}{_SHUN}{_THE}{_RISKY}\b",
        r"\b(?:not )?play(?:ing)? (?:it )?safe\b",
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
