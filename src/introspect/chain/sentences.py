r"""A rollout's chain in sentences, cut between the model's own tokens.

Nothing that the model wrote is ever tokenised again: a cut falls between two of its tokens, the first one that begins
at or after the end of the sentence. Known trade-offs: a token that holds the end of one sentence and the beginning of
the next (`."The`) stays with the first; sentences are found by punctuation and line breaks, so an unknown abbreviation
ends one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..forced import ANSWER, Ids, continuation_ids
from ..rollout import Rollout
from ..spans import token_starts

_END = re.compile(r"[.!?]+[\"'”’)\]*_]*(?=\s)|\n+")
_NO_END = re.compile(r"(?:\b(?:e\.g|i\.e|vs|cf|approx|Mr|Mrs|Ms|Dr|Prof)\.|^\W*(?:\d{1,3}|[A-Za-z])\.)$", re.IGNORECASE)
"""What ends with a full stop and goes on: abbreviations, and the number or letter of a list."""

_NAMING = re.compile(
    r"\s*(?:\b(?:so|therefore|thus|hence)\b,?\s*)?(?:\b(?:the|my)\s+)?(?:\b(?:final|correct)\s+)?"
    r"[*_\s]*\banswer\b[^\n.!?]*$",
    re.IGNORECASE,
)
"""The words before an answer's name that announce it, at the end of a text."""


@dataclass(frozen=True)
class Chain:
    """What stands between a prompt and its answer."""

    opening: Ids
    """After the prompt, before the chain: what opens the think block."""
    ids: Ids
    """The chain."""
    stops: tuple[int, ...]
    """Token of `ids` before which each sentence has ended; the last is `len(ids)`."""
    texts: tuple[str, ...]
    """Each sentence, with the spacing around it."""
    tail: Ids
    """What closes the chain and asks for the answer; ends with `Answer:`."""
    empty_tail: Ids
    """The same where nothing is left of the chain."""

    def upto(self, n: int) -> Ids:
        """The first `n` sentences."""
        return self.ids[: self.stops[n - 1]] if n else ()

    def sentence(self, n: int) -> Ids:
        """The tokens of sentence `n`, counted from 0."""
        return self.ids[self.stops[n - 1] if n else 0 : self.stops[n]]

    def asked(self, prompt: Sequence[int], body: Ids) -> Ids:
        """The whole sequence after which the answer is forced, with `body` for a chain."""
        return (*prompt, *self.opening, *body, *(self.tail if body else self.empty_tail))


def take_chain(rollout: Rollout, tokenizer: Any) -> Chain | None:
    """The chain of a rollout, or None when it answers with none of its options, or nothing is said
    before it.

    The chain is the think span where there is one, and the answer follows directly on it; else it is what stands in
    the completion before the words that announce the answer. Where the rollout itself goes from its chain to `Answer:`
    with nothing but spacing between, its own tokens do so in the tests too.
    """
    if rollout.answer not in rollout.options or rollout.answer_position is None:
        return None
    ids, n_prompt = rollout.token_ids, len(rollout.prompt_ids)
    start, stop = rollout.spans.think
    thinks = stop > start >= n_prompt and rollout.think_status == "closed"
    if thinks:
        closing = ids[stop : rollout.spans.answer[0]]
        leading = ids[rollout.spans.answer[0] : rollout.answer_position]
    else:
        start = rollout.spans.answer[0]
        before = ids[start : rollout.answer_position]
        naming = _NAMING.search(_decode(tokenizer, before))
        begins = token_starts(tokenizer, before)
        stop = start + (len(before) if naming is None else bisect_left(begins, naming.start()))
        closing, leading = [], ids[stop : rollout.answer_position]
    # Where the space before an option's name is a token of its own, it belongs to the name (see `forced.option_ids`).
    leading = leading[: _words(tokenizer, leading)[1]]
    if not re.fullmatch(rf"\s*{ANSWER}", _decode(tokenizer, leading)):
        leading = list(continuation_ids(tokenizer, f"\n{ANSWER}"))
    first, last = _words(tokenizer, ids[start:stop])
    chain = ids[start + first : start + last]
    stops, texts = split_sentences(chain, tokenizer)
    if not stops:
        return None
    tail = (*ids[start + last : stop], *closing, *leading)
    return Chain(
        opening=tuple(ids[n_prompt : start + first]),
        ids=tuple(chain),
        stops=stops,
        texts=texts,
        tail=tail,
        empty_tail=tail if thinks else continuation_ids(tokenizer, ANSWER),
    )


def split_sentences(ids: Sequence[int], tokenizer: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Where each sentence ends, as a token index, and the sentences' texts. Both empty where there is no word."""
    text, begins = _decode(tokenizer, ids), token_starts(tokenizer, ids)
    stops: list[int] = []
    begun = 0
    for match in _END.finditer(text):
        so_far = text[begun : match.end()]
        if not re.search(r"\w", so_far) or _NO_END.search(so_far) or not re.search(r"\w", text[match.end() :]):
            continue
        stop = bisect_left(begins, match.end())
        if stop > (stops[-1] if stops else 0):
            stops.append(stop)
            begun = match.end()
    if re.search(r"\w", text):
        stops.append(len(ids))
    texts = tuple(_decode(tokenizer, ids[a:b]) for a, b in pairwise([0, *stops]))
    return tuple(stops), texts


def _words(tokenizer: Any, ids: Sequence[int]) -> tuple[int, int]:
    """The tokens between those at either end that are nothing but spacing, which belong to the frame of a chain."""
    first, last = 0, len(ids)
    while first < last and not _decode(tokenizer, ids[first : first + 1]).strip():
        first += 1
    while last > first and not _decode(tokenizer, ids[last - 1 : last]).strip():
        last -= 1
    return first, last


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
