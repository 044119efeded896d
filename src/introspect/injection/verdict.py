"""Four criteria, apart, after Lindsey 2025: accurate, grounded, internal, and meta, which nothing here tests. Beside
them, two controls that are judged for themselves.

- Accurate: the word that a reply names with its claim, beyond claims without injection and beyond guesses. Whether the
  content of a report hangs on what was injected is judged here.
- Grounded: whether *that there is* a thought is said because of the word's vector: beyond vectors that stand for no
  word, and beyond a bias to yes.
- Internal: at the first token, before a word of the reply's own could tell.
- Asked by name: whether Yes to "is it about X" hangs on X. That is another report than the two above: a model may name
  a word that it does not single out when it is asked about it, or the other way about. So neither rests on it, and what
  it says is said beside them.
- Which sentence: whether the place of an injection is found, which none of the four asks for.
"""

from __future__ import annotations

from ..report import number, share
from ..stats import Estimate
from .found import Address, Found
from .in_text import own_and_other
from .localised import answered, chance, located, places_dealt_out, said_chance
from .subject import SWAPPED
from .trained import Trained

SUPPORTED, NOT, UNKNOWN, UNTESTED = "supported", "not supported", "cannot tell", "not tested"
BY_NAME, WHICH_SENTENCE = "asked by name", "which sentence"
"""Controls that are judged for themselves."""
AGAINST = ("random", "shuffled", "natural", SWAPPED)
"""What stands for no word: vectors of the same norm, and another prompt's activations."""


LEAST_OF_CHANCE = 0.05
"""Greatest p-value of identifications, against words dealt out to replies again, with which they are no guesses."""


def verdict(found: Found, address: Address, trained: Trained | None = None) -> list[dict[str, str]]:
    """Criterion, finding and reason, for the chosen cell on words held out.

    Args:
        trained: how the model was trained on injections.
    """
    net = found.net(address)
    _, p = found.dealt_out(found.rows(address, "concept", "detect", "text"), found.with_claim)
    own = found.balanced(address, "concept")
    beyond = {kind: found.paired(own, found.balanced(address, kind)) for kind in AGAINST}
    told, left = found.by_word(found.told(address, "concept")), found.beyond_bias(address)
    said = ", ".join(f"{kind} {number(each.to_json())}" for kind, each in beyond.items())
    guessed = "with too few replies to deal words out to" if p is None else f"p = {p:.3g}"
    return [
        {
            "criterion": "accurate",
            "finding": no_guess(above([net], 0), p),
            "reason": "net score, correct identifications minus claims without injection: "
            f"{number(net.to_json())}; words dealt out to these replies again are named as often: {guessed}",
        },
        {
            "criterion": "grounded",
            "finding": above([*beyond.values(), left, told], 0),
            "reason": "log-odds of Yes, nats: detection in both polarities beyond vectors that stand for no word, and "
            f"beyond what is swapped in: {said}; detection beyond the bias to yes, word by word: "
            f"{number(left.to_json())}; in both polarities under the word's vector, however it is pushed towards Yes: "
            f"{number(told.to_json())}{said_of(trained)}",
        },
        {
            "criterion": "internal",
            "finding": above([told, left, *beyond.values()], 0),
            "reason": "at the first token, before any word of its own reply could tell, the log-odds of Yes are for a "
            f"thought in both polarities, by {number(told.to_json())} nats (the lesser of their shift from no "
            "injection and of how they then stand, word by word), and more than under vectors that stand for no word "
            "and than the bias to yes where the second criterion says so; the text before it is the same in all "
            "conditions",
        },
        _by_name(found, address),
        _which_sentence(found, address),
        {
            "criterion": "meta",
            "finding": UNTESTED,
            "reason": "no trial asks for more than a report; whether anything represents the state as its own is open",
        },
    ]


def _by_name(found: Found, address: Address) -> dict[str, str]:
    """The mismatched question: whether Yes depends on the word that is asked about."""
    more, higher = found.plainly(address, "concept", "concept_other")
    lesser = found.by_word(found.beyond(address, "concept", "concept_other"))
    own, other = own_and_other(found, address)
    said = f"; in text Yes is said of {share(found.share_of(own).to_json())} of injected words and of "
    return {
        "criterion": BY_NAME,
        "finding": above([more, higher], 0),
        "reason": "where the question names the injected word, and not another one, log-odds of Yes shift by "
        f"{number(more.to_json())} nats more, and stand {number(higher.to_json())} higher (the lesser of both, word by "
        f"word, which noise alone brings below 0: {number(lesser.to_json())})"
        + (f"{said}{share(found.share_of(other).to_json())} of others" if own else ""),
    }


def _which_sentence(found: Found, address: Address) -> dict[str, str]:
    """Localisation, which needs no yes."""
    rows = found.rows(address, "concept", "localise")
    right = found.share(rows, lambda row: located(found, row))
    _, p = places_dealt_out(found, rows, lambda row: answered(found, row))
    guessed = "with too few trials to deal places out to" if p is None else f"p = {p:.3g}"
    return {
        "criterion": WHICH_SENTENCE,
        "finding": no_guess(above([right], chance(rows)[1]), p),
        "reason": f"the injected one of the sentences is found in {share(right.to_json())} of trials, by the letter "
        f"that gained most ({said_chance(rows)}); places dealt out to trials again are found as often: {guessed}",
    }


def said_of(trained: Trained | None) -> str:
    """Which of `AGAINST` a training has shown, so that what it taught is not taken for a test: the end of a reason."""
    if trained is None:
        return ""
    seen, unseen = ([kind for kind in AGAINST if (kind in trained.controls) == was] for was in (True, False))
    if not trained.whole:
        return (
            f"; of these controls the model was trained on {', '.join(seen) or 'none'} by its card, and maybe on others"
        )
    return f"; of these controls, by its card, the model was trained on {', '.join(seen) or 'none'}" + (
        f", and not on {', '.join(unseen)}" if unseen else ""
    )


def no_guess(finding: str, p: float | None) -> str:
    """A finding of named words, which also has to be beyond words dealt out to replies again."""
    if finding != SUPPORTED:
        return finding
    return UNKNOWN if p is None else SUPPORTED if p <= LEAST_OF_CHANCE else NOT


def above(estimates: list[Estimate], level: float) -> str:
    """Whether all intervals lie above a level; undecided where one is missing, and no other reaches down to it."""
    bounds = [each.ci95 for each in estimates]
    if any(each is not None and each[0] <= level for each in bounds):
        return NOT
    return UNKNOWN if any(each is None for each in bounds) else SUPPORTED
