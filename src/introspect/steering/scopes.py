"""Scopes that depend on what is written: think, answer, and from a text on.

While a completion is being written, a token is known to be of think or answer only from those before it. A token that
ends in what may be the beginning of a delimiter is left alone, as the tokens of the delimiter itself are. So what is
steered is what `locate_spans` finds in the finished completion, but for tokens of a chain that look like a delimiter's
beginning (`a < b`), and for completions that open a think block after other words, or have several answer headers, or
none in a format that has them.

A token of a span is steered where it is read. What is drawn as the span's first token comes from the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..backends import Follow
from ..models import ReasoningFormat
from ..spans import left_open

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""Decodes a token that begins a character which the next one completes."""


@dataclass(frozen=True)
class SpanScope:
    """The think or the answer tokens of a completion. Tokens of the prompt are of neither."""

    span: Literal["think", "answer"]
    prompt_ids: Sequence[int]
    tokenizer: Any
    form: ReasoningFormat

    def follow(self) -> Follow:
        """See `Scope.follow`."""
        left = left_open(self.tokenizer, self.prompt_ids, self.form)
        spans, remaining = _SpansSoFar(self.tokenizer, self.form, left), len(self.prompt_ids)

        def steered(ids: Sequence[int]) -> list[bool]:
            nonlocal remaining
            before = min(remaining, len(ids))
            remaining -= before
            return [False] * before + [spans.of(token) == self.span for token in ids[before:]]

        return steered


@dataclass(frozen=True)
class TextScope:
    """Every token from a text on: in the prompt from the first token that holds any of its first place there; in the
    completion, where a text is known only once it is whole, from the token that completes it.
    """

    text: str
    prompt_ids: Sequence[int]
    tokenizer: Any

    def follow(self) -> Follow:
        """See `Scope.follow`."""
        prompt, written = _Spelling(self.tokenizer), _Spelling(self.tokenizer)
        starts = [prompt.add(token) for token in self.prompt_ids]
        at = prompt.text.find(self.text)
        stops = [*starts[1:], len(prompt.text)]
        first = next((i for i, stop in enumerate(stops) if stop > at), 0) if at >= 0 else len(starts)
        position, found = 0, at >= 0

        def one(token: int) -> bool:
            nonlocal position, found
            position += 1
            if position <= len(starts):
                return position > first
            if not found:
                written.add(token)
                found = self.text in written.text
            return found

        return lambda ids: [one(token) for token in ids]


class _Spelling:
    """The text of tokens as they come."""

    def __init__(self, tokenizer: Any) -> None:
        self.text = ""
        self._tokenizer = tokenizer
        self._known: list[int] = []
        self._pending: list[int] = []

    def add(self, token: int) -> int:
        """Where the token's characters begin. Decodes the tokens before it as well, since some spell themselves
        otherwise at the beginning of a text.
        """
        begin = len(self.text)
        self._pending.append(token)
        whole = self._decode([*self._known, *self._pending])
        if not whole.endswith(UNFINISHED):
            self.text += whole[len(self._decode(self._known)) :]
            self._known, self._pending = self._pending, []
        return begin

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


class _SpansSoFar:
    """Reads a completion as `locate_spans` does, without what is still to come."""

    def __init__(self, tokenizer: Any, form: ReasoningFormat, left: Literal["open", "closed", "no"]) -> None:
        self.form = form
        self.written = _Spelling(tokenizer)
        self.opened: int | None = 0 if left == "open" else None
        """Where the think block's opening stands in the text; 0 when it is in the prompt."""
        self.in_prompt = left == "open"
        self.answer: int | None = 0 if left == "closed" else None
        """From where on there is no think any more."""

    def of(self, token: int) -> Literal["think", "answer"] | None:
        """The span of the next token; None for delimiters, and for what may become one."""
        begin = self.written.add(token)
        if self.opened is None and self.answer is None:
            self._look_for_opening()
        if self.answer is None and self.opened is not None:
            after = self._after_opening(self.opened)
            closing = _first(self.written.text, self.form.closes, after)
            if closing is None:
                unsettled = begin < after or _may_begin(self.written.text[after:], self.form.closes)
                return None if unsettled else "think"
            self.answer = closing[1]
        if self.answer is None and _may_begin(self.written.text, self.form.opens):
            return None
        return "answer" if self._answered(begin) else None

    def _look_for_opening(self) -> None:
        opening, closing = (_first(self.written.text, each, 0) for each in (self.form.opens, self.form.closes))
        if closing is not None and (opening is None or closing[0] < opening[0]):
            self.answer = 0
        elif opening is not None:
            self.opened = opening[0]

    def _after_opening(self, opened: int) -> int:
        """The end of the longest opening that stands there."""
        if self.in_prompt:
            return 0
        return max(opened + len(each) for each in self.form.opens if self.written.text.startswith(each, opened))

    def _answered(self, begin: int) -> bool:
        """Whether a token that begins there is of the answer: after the last header, in formats that have them."""
        at = self.answer or 0
        if not self.form.answer_opens:
            return begin >= at
        header = None
        while (found := _first(self.written.text, self.form.answer_opens, at)) is not None:
            header = at = found[1]
        return header is not None and begin >= header


def _first(text: str, needles: Sequence[str], begin: int) -> tuple[int, int] | None:
    """Where the earliest of the needles begins and ends; of those that begin together, the longest."""
    found = [(at, -len(needle)) for needle in needles if (at := text.find(needle, begin)) >= 0]
    return (min(found)[0], min(found)[0] - min(found)[1]) if found else None


def _may_begin(text: str, needles: Sequence[str]) -> bool:
    """Whether the text ends in the beginning of a needle."""
    return any(text.endswith(needle[:many]) for needle in needles for many in range(1, len(needle)))
