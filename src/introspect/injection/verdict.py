"""Four criteria, apart, after Lindsey 2025: accurate, grounded, internal, and meta, which nothing here tests."""

from __future__ import annotations

from ..report import number
from ..stats import Estimate
from .found import Address, Found
from .subject import SWAPPED

SUPPORTED, NOT, UNKNOWN, UNTESTED = "supported", "not supported", "cannot tell", "not tested"
AGAINST = ("random", "shuffled", "natural", SWAPPED)
"""What stands for no word: vectors of the same norm, and another prompt's activations."""


def verdict(found: Found, address: Address) -> list[dict[str, str]]:
    """Criterion, finding and reason, for the chosen cell on words held out."""
    net = found.net(address)
    own = found.balanced(address, "concept")
    beyond = {kind: found.paired(own, found.balanced(address, kind)) for kind in AGAINST}
    left = found.beyond_bias(address)
    first, level = found.by_word(own), found.by_word(found.apart(address, "concept"))
    said = ", ".join(f"{kind} {number(each.to_json())}" for kind, each in beyond.items())
    return [
        {
            "criterion": "accurate",
            "finding": above([net], 0),
            "reason": f"net score, correct identifications minus claims without injection: {number(net.to_json())}",
        },
        {
            "criterion": "grounded",
            "finding": above([*beyond.values(), left], 0),
            "reason": "detection in both polarities beyond vectors that stand for no word, and beyond what is swapped "
            f"in: {said}; detection beyond the bias to yes, word by word: {number(left.to_json())}",
        },
        {
            "criterion": "internal",
            "finding": above([first, level, *beyond.values()], 0),
            "reason": "at the first token, before any word of its own reply could tell, detection in both polarities "
            f"is {number(first.to_json())} above no injection; under injection Yes is for a thought and No against one "
            f"by {number(level.to_json())}, and more than under vectors that stand for no word where the second "
            "criterion says so; the text before it is the same in all conditions",
        },
        {
            "criterion": "meta",
            "finding": UNTESTED,
            "reason": "no trial asks for more than a report; whether anything represents the state as its own is open",
        },
    ]


def above(estimates: list[Estimate], level: float) -> str:
    """Whether all intervals lie above a level; undecided where one is missing, and no other reaches down to it."""
    bounds = [each.ci95 for each in estimates]
    if any(each is not None and each[0] <= level for each in bounds):
        return NOT
    return UNKNOWN if any(each is None for each in bounds) else SUPPORTED
