r"""From token ids to spans: which tokens of a rollout are prompt, think and answer.

Delimiters are found in the text that the tokens spell, and then mapped back to tokens, so it does not matter whether a
delimiter is one special token, several ordinary ones, or glued to its neighbours (`>\\n\\n`). A token that holds any
character of a delimiter belongs to the delimiter, and to no span.

Known trade-offs: only the first think block is the think span, and a later one stays in the answer; a token that holds
a delimiter's last character and the first word of the chain is lost to the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .models.formats import ReasoningFormat

Span = tuple[int, int]
"""Half-open range of token indices in prompt and completion."""

SPAN_CODES = {"prompt": 0, "think": 1, "answer": 2, "other": 3}
"""As stored with every activation row; `other` is delimiters and end-of-turn tokens."""

TAIL = 32
"""Prompt tokens looked at for a think block that the prompt leaves open or closes."""


@dataclass(frozen=True)
class Spans:
    """Where prompt, think and answer stand. `think` and `answer` may be empty, (n, n).

    `status` is `closed` (think ends), `empty` (it ends at once, or holds only white space), `truncated` (the completion
    ends inside it) or `absent` (there is none).
    """

    prompt: Span
    think: Span
    answer: Span
    status: Literal["closed", "empty", "truncated", "absent"]


def token_starts(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """Character offset, in the text that `ids` spell, at which each token's characters begin.

    A token that completes no character of its own (part of an emoji, say) begins where the character does. Decodes
    windows that are moved along, so the time is linear in the number of tokens.
    """
    return _spell(tokenizer, ids)[1]


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _spell(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of `ids`, and where each token's characters begin in it."""
    text, starts = "", []
    anchor = done = 0
    for stop in range(1, len(ids) + 1):
        starts.append(len(text))
        before = _decode(tokenizer, ids[anchor:done])
        piece = _decode(tokenizer, ids[anchor:stop])
        if piece.endswith("\N{REPLACEMENT CHARACTER}") and stop < len(ids):
            continue
        text += piece[len(before) :]
        anchor, done = done, stop
    return text, starts


def _tokens_of(starts: Sequence[int], length: int, begin: int, end: int) -> Span:
    """The tokens that hold any of the characters begin..end."""
    stops = [*starts[1:], length]
    touched = [i for i, (start, stop) in enumerate(zip(starts, stops, strict=True)) if start < end and stop > begin]
    return (touched[0], touched[-1] + 1)


def _first(text: str, needles: Sequence[str], begin: int = 0) -> Span | None:
    """Where the earliest of the needles stands; of those that begin together, the longest."""
    found = [(at, -len(needle)) for needle in needles if (at := text.find(needle, begin)) >= 0]
    if not found:
        return None
    at, minus_length = min(found)
    return at, at - minus_length


def left_open(tokenizer: Any, prompt_ids: Sequence[int], form: ReasoningFormat) -> Literal["open", "closed", "no"]:
    """Whether the prompt's own last characters open a think block, or open and close one.

    Only what stands at the very end counts: a tag in the user's own text, or in an earlier turn, does not.
    """
    tail = _decode(tokenizer, prompt_ids[-TAIL:]).rstrip()
    if any(tail.endswith(opening.rstrip()) for opening in form.opens):
        return "open"
    for closing in form.closes:
        if tail.endswith(closing):
            inner = tail.removesuffix(closing).rstrip()
            if any(inner.endswith(opening.rstrip()) for opening in form.opens):
                return "closed"
    return "no"


def locate_spans(
    prompt_ids: Sequence[int], completion_ids: Sequence[int], tokenizer: Any, form: ReasoningFormat
) -> Spans:
    """Find think and answer in a completion.

    Args:
        prompt_ids: the rendered prompt; may end inside a think block.
        completion_ids: what the model wrote, with or without a stop token.
        tokenizer: the model's.
        form: the model's reasoning format.
    """
    n_prompt = len(prompt_ids)
    stop_ids = form.stop_ids(tokenizer)
    n_written = next((i for i, token in enumerate(completion_ids) if token in stop_ids), len(completion_ids))
    text, starts = _spell(tokenizer, completion_ids[:n_written])

    def tokens(begin: int, end: int) -> Span:
        return _tokens_of(starts, len(text), begin, end)

    def spans(think: Span, answer: Span, status: Literal["closed", "empty", "truncated", "absent"]) -> Spans:
        shift = [(n_prompt + begin, n_prompt + max(begin, end)) for begin, end in (think, answer)]
        return Spans((0, n_prompt), shift[0], shift[1], status)

    left = left_open(tokenizer, prompt_ids, form)
    if left == "closed":
        return spans((0, 0), (_answer_start(text, 0, tokens, form), n_written), "empty")
    if left == "open":
        think_begin, after_open = 0, 0
    else:
        opening = _first(text, form.opens)
        closing = _first(text, form.closes)
        if opening is None or (closing is not None and closing[0] < opening[0]):
            return spans((0, 0), (_answer_start(text, 0, tokens, form), n_written), "absent")
        think_begin, after_open = tokens(*opening)[1], opening[1]
    closing = _first(text, form.closes, after_open)
    if closing is None:
        return spans((think_begin, n_written), (n_written, n_written), "truncated")
    close_begin, close_end = tokens(*closing)
    answer = (_answer_start(text, closing[1], tokens, form, close_end), n_written)
    think = (think_begin, max(think_begin, close_begin))
    empty = think[0] == think[1] or not text[after_open : closing[0]].strip()
    return spans(think, answer, "empty" if empty else "closed")


def _answer_start(text: str, begin: int, tokens: Any, form: ReasoningFormat, otherwise: int = 0) -> int:
    """First token of the answer: after the last answer header from `begin` on, or `otherwise` when there is none."""
    header = None
    while (found := _first(text, form.answer_opens, begin)) is not None:
        header, begin = found, found[1]
    return otherwise if header is None else tokens(*header)[1]


def span_code(spans: Any, positions: np.ndarray) -> np.ndarray:
    """Code (see `SPAN_CODES`) of each absolute position [row]; `spans` has `prompt`, `think` and `answer`."""
    codes = np.full(len(positions), SPAN_CODES["other"], dtype=np.int8)
    for name in ("prompt", "think", "answer"):
        begin, end = getattr(spans, name)
        codes[(positions >= begin) & (positions < end)] = SPAN_CODES[name]
    return codes
