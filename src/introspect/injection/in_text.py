"""The controls that are answered with yes, no or a letter, as the model writes them: short replies, at the chosen
cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..cells import Row
from ..stats import Estimate
from ..tables import line_of, table
from .found import Address, Found
from .localised import letter_said, places_dealt_out, said_chance
from .subject import NONE

SHOWN = (NONE, "concept", "random")
YES, NO = "yes", "no"


def text_table(found: Found, address: Address) -> list[dict[str, Any]]:
    """A table; none where the study has no such replies, as earlier ones have not."""
    if not found.rows(address, "concept", "reversed", "text"):
        return []
    rows = [
        _line(found, address, "asked whether there is a thought: Yes", "detect", YES, "minus random"),
        _line(found, address, "asked the other way round: No", "reversed", NO, "minus random"),
        line_of(
            "both: Yes to the one and No to the other",
            [
                *(found.share_of(both_ways(found, address, kind)) for kind in SHOWN),
                found.paired_shares(*(both_ways(found, address, kind) for kind in SHOWN[1:])),
            ],
            "minus random; a push towards Yes alone leaves nothing",
        ),
        _line(found, address, "asked about the injected word: Yes", "concept", YES, "minus the next row"),
        _line(found, address, "asked about another word: Yes", "concept_other", YES, "the mismatched question"),
        _line(found, address, "unrelated question, answer No: Yes", "unrelated_no", YES, "minus no injection"),
        _line(found, address, "unrelated question, answer Yes: Yes", "unrelated_yes", YES, "minus no injection"),
        *_localised(found, address),
    ]
    return [
        table(
            "Controls as they are answered in text",
            f"Layer {address[1]}, strength {address[2]}, on words held out. Shares of sampled replies, with exact "
            "intervals, that say it in their first words; a reply that says neither Yes nor No counts as neither. "
            "Differences are of the same words (Newcombe), and say behind each row what they are held against. Letters "
            "are the first that a reply names.",
            [
                ("no injection", "share"),
                ("the word's vector", "share"),
                ("random vector", "share"),
                ("difference", "number"),
            ],
            rows,
        )
    ]


def both_ways(found: Found, address: Address, kind: str) -> dict[str, bool]:
    """Word -> whether its replies are for a thought whichever way round it is asked."""
    one, other = (_says(found, address, kind, *each) for each in (("detect", YES), ("reversed", NO)))
    return {word: one[word] and other[word] for word in one if word in other}


def own_and_other(found: Found, address: Address) -> tuple[dict[str, bool], dict[str, bool]]:
    """Word -> whether Yes is said where the thought is asked to be about it; and where to be about another word."""
    return _says(found, address, "concept", "concept", YES), _says(found, address, "concept", "concept_other", YES)


def _says(found: Found, address: Address, kind: str, ask: str, claim: str) -> dict[str, bool]:
    """Word -> what its first reply says."""
    out: dict[str, bool] = {}
    for row in found.rows(address, kind, ask, "text"):
        out.setdefault(row["word"], row["claim"] == claim)
    return out


def _line(found: Found, address: Address, label: str, ask: str, claim: str, note: str) -> dict[str, Any]:
    said = {kind: _says(found, address, kind, ask, claim) for kind in SHOWN}
    against: dict[str, dict[str, bool]] = {
        "minus random": said["random"],
        "minus no injection": said[NONE],
        "minus the next row": _says(found, address, "concept", "concept_other", YES),
    }
    if note in against:
        difference = found.paired_shares(said["concept"], against[note])
    else:
        difference = Estimate.undefined("what the row above is held against")
    shares = [found.share_of(said[kind]) for kind in SHOWN]
    if not said["random"]:
        shares[-1] = Estimate.undefined("asked of the concept vector")
    return line_of(label, [*shares, difference], note)


def _localised(found: Found, address: Address) -> list[dict[str, Any]]:
    """Which sentence was injected, as the letter that a reply names."""
    rows = found.rows(address, "concept", "localise", "text")
    first = found.rows(address, "concept", "localise")
    options = max((len(row["letters"]) for row in first), default=1)
    letter: Callable[[Row], str | None] = lambda row: letter_said(row["text"], options)  # noqa: E731
    null, p = places_dealt_out(found, rows, letter)
    unasked = Estimate.undefined("asked of the concept vector")
    return [
        line_of(
            "injected sentence found: the letter that is named",
            [unasked, found.share(rows, lambda row: letter(row) == row["target"]), unasked, unasked],
            f"{said_chance(first)}; no yes is needed",
        ),
        line_of(
            "the same with places dealt out to trials again",
            [unasked, null, unasked, unasked],
            "" if p is None else f"p = {p:.3g} that the places as they were are named as often",
        ),
    ]
