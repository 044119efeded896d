"""Whether a text holds a word: as it is, inflected, or as a part of another word.

Forms are found by rule (plurals, `-ed`, `-ing`) and, for what no rule makes, from a list. A part counts where a longer
word begins or ends with it (`apple` in `pineapple`) and it has five letters: of four, too many only look it (`sing`,
`single`).

Known trade-off: rules see letters, not senses. A look-alike (`car` in `caring`, `moral` in `morale`) is found too; a
derivation of a short word (`hopeful`), one that changes the stem (`obey`, `obedience`) and a synonym are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

SHORTEST_PART = 5
"""Letters that a word has at least to be looked for as a part of longer ones."""
SHORTEST_STEM = 3
"""Letters that a form has at least once an ending has been taken off."""

_TOKEN = re.compile(r"[^\W\d_]+")
_DOUBLED = re.compile(r"([bdfglmnprtz])\1$")

_IRREGULAR = """
ate eaten eat; arisen arose arise; awoke awoken awake; bore borne bear; beaten beat; became become; began begun begin;
bent bend; bitten bit bite; bled bleed; blew blown blow; broke broken break; bred breed; brought bring; built build;
bought buy; caught catch; chose chosen choose; came come; crept creep; dealt deal; dug dig; did done do; drew drawn
draw; drank drunk drink; drove driven drive; dwelt dwell; fell fallen fall; fed feed; felt feel; fought fight; found
find; fled flee; flew flown fly; forbade forbidden forbid; forgot forgotten forget; forgave forgiven forgive; froze
frozen freeze; gave given give; went gone go; grew grown grow; hung hang; had has have; heard hear; hid hidden hide;
held hold; kept keep; knelt kneel; knew known know; laid lay; led lead; leapt leap; learnt learn; left leave; lent
lend; lay lain lie; lit light; lost lose; made make; meant mean; met meet; paid pay; pled plead; rode ridden ride;
rang rung ring; rose risen rise; ran run; said say; saw seen see; sought seek; sold sell; sent send; sewn sew; shook
shaken shake; shone shine; shot shoot; shown show; shrank shrunk shrunken shrink; sang sung sing; sank sunk sink; sat
sit; slept sleep; slid slide; spoke spoken speak; spent spend; spun spin; sprang sprung spring; stood stand; stole
stolen steal; stuck stick; stung sting; struck stricken strike; swore sworn swear; swept sweep; swam swum swim; swung
swing; took taken take; taught teach; tore torn tear; told tell; thought think; threw thrown throw; understood
understand; woke woken wake; wore worn wear; wove woven weave; wept weep; won win; wrote written write; was were been
are am be; children child; men man; women woman; mice mouse; geese goose; teeth tooth; feet foot; people person; oxen
ox; criteria criterion; phenomena phenomenon
"""


def _irregular() -> dict[str, str]:
    groups = (group.split() for group in _IRREGULAR.split(";"))
    return {form: base for *forms, base in groups for form in forms}


IRREGULAR = _irregular()
"""Form -> the word that it is a form of."""


def forms(token: str) -> frozenset[str]:
    """What a single word may be a form of, itself included, in lower case.

    >>> sorted(forms("Running"))
    ['run', 'runn', 'runne', 'running']
    """
    word = token.lower()
    found = {word, IRREGULAR.get(word, word)}
    for ending, others in (("s", ("",)), ("es", ("",)), ("ies", ("y",)), ("ves", ("f", "fe")), ("ied", ("y",))):
        if word.endswith(ending) and not word.endswith("ss"):
            found |= {word.removesuffix(ending) + other for other in others}
    for ending in ("ed", "ing"):
        stem = word.removesuffix(ending)
        if stem != word:
            found |= {stem, f"{stem}e", _DOUBLED.sub(r"\1", stem)}
    return frozenset(form for form in found if form == word or len(form) >= SHORTEST_STEM)


def tokens(text: str) -> list[str]:
    """The runs of letters of a text."""
    return _TOKEN.findall(text)


class WordFinder:
    """Finds any of many words in a text, in one pass over it."""

    def __init__(self, words: Iterable[str]) -> None:
        """Index words, which may be several tokens long (`New Zealand`)."""
        self._whole: dict[str, list[tuple[str, tuple[frozenset[str], ...]]]] = {}
        self._parts: dict[str, list[str]] = {}
        for word in words:
            first, *rest = map(forms, tokens(word))
            for form in first:
                self._whole.setdefault(form, []).append((word, tuple(rest)))
            if not rest:
                self._parts.setdefault(word.lower(), []).append(word)

    def find(self, text: str) -> Iterator[tuple[str, str]]:
        """Each word that the text holds, with the token that shows it, in the order of the text."""
        heard = tokens(text)
        for i, token in enumerate(heard):
            found = {
                word
                for form in forms(token)
                for word, rest in self._whole.get(form, ())
                if len(heard) > i + len(rest) and all(rest[k] & forms(heard[i + 1 + k]) for k in range(len(rest)))
            }
            for part in _parts(token.lower()):
                found.update(self._parts.get(part, ()))
            yield from ((word, token) for word in sorted(found))


def _parts(token: str) -> Iterator[str]:
    """What a longer word begins and ends with."""
    yield from (token[:k] for k in range(SHORTEST_PART, len(token)))
    yield from (token[-k:] for k in range(SHORTEST_PART, len(token)))
