"""One error in one sentence, by rule: a number, a comparison, an option's name or a negation.

Lanham et al. (2307.13702) have a model write the mistake. Rules are blunter, but the same seed gives the same error,
what was changed is known, and no second model's style enters the chain. Known trade-off: a rule sees words, not
meaning, so some errors are no errors (a negated aside) and a sentence without any of the four has none.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "comparison", "option", "negation"]
KINDS: tuple[Kind, ...] = ("number", "comparison", "option", "negation")

_OPPOSITES = (
    "more/less higher/lower greater/smaller larger/smaller bigger/smaller better/worse above/below before/after "
    "longer/shorter faster/slower stronger/weaker older/younger heavier/lighter hotter/colder most/least "
    "highest/lowest largest/smallest biggest/smallest best/worst increase/decrease increases/decreases "
    "increased/decreased increasing/decreasing always/never first/last maximum/minimum same/different "
    "correct/incorrect right/wrong true/false"
)
OPPOSITES: dict[str, str] = {}
for _pair in _OPPOSITES.split():
    _one, _other = _pair.split("/")
    OPPOSITES.setdefault(_one, _other)
    OPPOSITES.setdefault(_other, _one)

NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)

_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?!\w)|(?<![\w.,])\d+(?:\.\d+)?(?!\w)")
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(NUMBER_WORDS[2:])})\b", re.IGNORECASE)
_LIST_MARK = re.compile(r"^\W*\d{1,3}[.)]")
_COMPARISON = re.compile(rf"\b(?:{'|'.join(OPPOSITES)})\b", re.IGNORECASE)
_SIGN = re.compile(r"(?<=\s)[<>](?=\s)")
_BE = r"is|are|was|were|will|would|should|could|must|may|might"
_VERBS = "want|like|prefer|choose|pick|take|think|believe|need|trust|follow|rely|use|know|see|agree|go|play|avoid"
_REMOVED = (
    (
        re.compile(rf"\b(?:{_BE}|do|does|did|has|have|had)(?: not\b|n't\b)"),
        lambda said: re.sub(r" not$|n't$", "", said),
    ),
    (re.compile(r"\bcan(?:not|'t)\b"), lambda said: "can"),
    (re.compile(r"\bwon't\b"), lambda said: "will"),
)
_INSERTED = (
    (re.compile(rf"\b(?:{_BE})\b(?! not\b)"), lambda said: f"{said} not"),
    (re.compile(r"\bcan\b(?! not\b)"), lambda said: "cannot"),
    (re.compile(rf"\b(?:I|we) (?:{_VERBS})\b"), lambda said: said.replace(" ", " do not ")),
    (re.compile(r"\b(?:it|that|this|there|he|she)'s\b(?! not\b)", re.IGNORECASE), lambda said: f"{said} not"),
)


@dataclass(frozen=True)
class Mistake:
    """A sentence with an error in it."""

    text: str
    kind: Kind
    before: str
    """The words that were changed."""
    after: str
    """What they became."""


Change = tuple[int, int, str]
"""From this character to that, and what comes in their place."""


def make_mistake(sentence: str, options: Collection[str], rng: random.Random) -> Mistake | None:
    """The sentence with one error: of the kinds that it has room for, one, and of the places for it, one.

    Args:
        options: names of the item's options, for exchanging one for another.
        rng: chooses. The same state gives the same error.

    Returns:
        None when there is nothing in the sentence to change.
    """
    changes = {kind: list(_changes(kind, sentence, options, rng)) for kind in KINDS}
    possible = [kind for kind in KINDS if changes[kind]]
    if not possible:
        return None
    kind = rng.choice(possible)
    start, stop, new = rng.choice(changes[kind])
    return Mistake(sentence[:start] + new + sentence[stop:], kind, sentence[start:stop], new)


def _changes(kind: Kind, sentence: str, options: Collection[str], rng: random.Random) -> Iterator[Change]:
    if kind == "number":
        return _numbers(sentence, rng)
    if kind == "comparison":
        return _comparisons(sentence)
    if kind == "option":
        return _options(sentence, options, rng)
    return _negations(sentence)


def _numbers(sentence: str, rng: random.Random) -> Iterator[Change]:
    mark = _LIST_MARK.match(sentence)
    for match in _NUMBER.finditer(sentence, mark.end() if mark else 0):
        yield (*match.span(), _other_number(match[0], rng))
    for match in _NUMBER_WORD.finditer(sentence):
        number = NUMBER_WORDS.index(match[0].lower())
        near = number - 1 if number == len(NUMBER_WORDS) - 1 else number + rng.choice((-1, 1))
        yield (*match.span(), like(match[0], NUMBER_WORDS[near]))


def _other_number(said: str, rng: random.Random) -> str:
    """A number near the one said, with as many decimals and the same grouping."""
    whole, point, decimals = said.partition(".")
    units = int(whole.replace(",", "") + decimals)
    step = rng.choice((1, 2, 3)) * 10 ** max(0, len(str(units)) - 2)
    changed = units - step if units >= step and rng.random() < 0.5 else units + step
    if not point:
        return f"{changed:,}" if "," in said else str(changed)
    digits = str(changed).zfill(len(decimals) + 1)
    return f"{digits[: -len(decimals)]}.{digits[-len(decimals) :]}"


def _comparisons(sentence: str) -> Iterator[Change]:
    for match in _COMPARISON.finditer(sentence):
        yield (*match.span(), like(match[0], OPPOSITES[match[0].lower()]))
    for match in _SIGN.finditer(sentence):
        yield (*match.span(), ">" if match[0] == "<" else "<")


def _options(sentence: str, options: Collection[str], rng: random.Random) -> Iterator[Change]:
    """Mentions of an option, each with another's name. A letter counts where it can hardly be a word."""
    names = sorted(options)
    words = [re.escape(name) for name in names if len(name) > 1]
    letters = "".join(name for name in names if len(name) == 1 and name.isalpha())
    found: list[tuple[tuple[int, int], str]] = []
    if words:
        found += [(match.span(), match[0]) for match in re.finditer(rf"\b(?:{'|'.join(words)})\b", sentence, re.I)]
    if letters:
        cue = r"\b(?:option|answer|answer is|choice|choose|pick|select)\b:? \(?"
        named = rf"(?i:{cue})([{letters}])\b|\(([{letters}])\)|\b([{letters}])\)"
        plain = "".join(letter for letter in letters if letter not in "AI")
        named += rf"|\b([{plain}])\b(?!['’])" if plain else ""
        for match in re.finditer(named, sentence):
            group = next(i for i, text in enumerate(match.groups(), start=1) if text)
            found.append((match.span(group), match[group]))
    for (start, stop), said in found:
        others = [name for name in names if name.lower() != said.lower()]
        new = rng.choice(others)
        yield start, stop, like(said, new) if len(said) > 1 else new


def _negations(sentence: str) -> Iterator[Change]:
    rules = _REMOVED if any(pattern.search(sentence) for pattern, _ in _REMOVED) else _INSERTED
    if sentence.rstrip().endswith("?"):
        return
    for pattern, changed in rules:
        for match in pattern.finditer(sentence):
            yield (*match.span(), changed(match[0]))


def like(said: str, new: str) -> str:
    """`new` with the case of `said`: capitals throughout, a capital first, or as it is."""
    if said.isupper() and len(said) > 1:
        return new.upper()
    return new[:1].upper() + new[1:] if said[:1].isupper() else new
