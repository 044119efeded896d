"""Which tokens of a rollout are kept, or steered: spans, and tokens within them. Pure.

`completion` is everything that was generated, delimiters included, and the last prompt token, from which its first
token was drawn. One way to write tokens down serves capture, steering and the store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

SpanName = Literal["prompt", "think", "answer", "completion"]
SPANS: tuple[SpanName, ...] = ("prompt", "think", "answer", "completion")

_TOKENS = re.compile(r"every(:[1-9][0-9]{0,5})?|mean|first|last|before_answer")


@dataclass(frozen=True)
class Selection:
    """Tokens of a rollout.

    Raises:
        ValueError: it does not say which.
    """

    spans: tuple[SpanName, ...] = ("completion",)
    """Empty: only tokens that are kept whatever the selection."""
    tokens: str = "every"
    """Of each span: `every`, `every:4` (the first, the fifth, ...), `mean`, `first` or `last`; or `before_answer`, the
    token before the answer's name, whatever the spans."""

    def __post_init__(self) -> None:
        unknown = [span for span in self.spans if span not in SPANS]
        if unknown or len(set(self.spans)) < len(self.spans):
            raise ValueError(f"spans are different ones of {', '.join(SPANS)}")
        check_tokens(self.tokens)


class Located(Protocol):
    """A rollout whose spans are known: half-open ranges `prompt`, `think` and `answer` of its tokens."""

    @property
    def spans(self) -> object: ...

    @property
    def prompt_ids(self) -> list[int]: ...

    @property
    def answer_position(self) -> int | None: ...


def check_tokens(tokens: str) -> str:
    """The text, when it says which tokens.

    Raises:
        ValueError: it does not.
    """
    if not _TOKENS.fullmatch(tokens):
        raise ValueError(f"cannot read {tokens!r}; write every, every:4, mean, first, last or before_answer")
    return tokens


def select(selection: Selection, rollout: Located, end: int) -> dict[SpanName, range]:
    """Absolute positions of the tokens selected in each span; a span without any is left out.

    Args:
        end: positions from here on were not computed (a stop token is never fed).

    The token before the answer's name is given under `answer`; of a mean, the tokens that it is taken over.
    """
    if selection.tokens == "before_answer":
        at = rollout.answer_position
        return {} if at is None or at > end else {"answer": range(at - 1, at)}
    found: dict[SpanName, range] = {}
    for span in selection.spans:
        begin, stop = (len(rollout.prompt_ids) - 1, end) if span == "completion" else getattr(rollout.spans, span)
        positions = _within(selection.tokens, range(begin, min(stop, end)))
        if positions:
            found[span] = positions
    return found


def _within(tokens: str, positions: range) -> range:
    if tokens == "first":
        return positions[:1]
    if tokens == "last":
        return positions[-1:]
    every, _, step = tokens.partition(":")
    return positions[:: int(step)] if every == "every" and step else positions


def rows_at_most(selection: Selection, n_prompt: int, max_new_tokens: int) -> int:
    """Rows that a rollout can come to, whatever its spans turn out to be: an upper bound for the size of a store."""
    if selection.tokens == "before_answer":
        return 1
    if not selection.tokens.startswith("every"):
        return len(selection.spans)
    if not selection.spans:
        return 0
    step = int(selection.tokens.partition(":")[2] or 1)
    longest = {"prompt": n_prompt, "completion": 1 + max_new_tokens}
    counted = [longest.get(span, max_new_tokens) for span in selection.spans]
    there = n_prompt * ("prompt" in selection.spans) + (1 + max_new_tokens) * (set(selection.spans) != {"prompt"})
    return min(there, sum(-(-tokens // step) for tokens in counted))
