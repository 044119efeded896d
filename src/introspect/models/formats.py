"""Reasoning formats as data: how a family of models marks where it thinks and where it answers.

A delimiter is text, whether the tokenizer has it as one special token or spells it out. Formats are told apart by what
the tokenizer's vocabulary and chat template hold, so a new family is a new entry in `FORMATS` and a line in
`detect_format`.

Sources: the chat templates of DeepSeek-R1 and Qwen3 (`<think>`), OpenAI's harmony format of gpt-oss (channels), and
Gemma (thought channels `<|channel>thought ... <channel|>`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReasoningFormat:
    """Delimiters of think and answer.

    `opens` begin a think block and `closes` end it. `answer_opens`, where a format has them, are headers between the
    think block and the answer; the answer begins after the last of them. `ends` end the assistant's turn.
    """

    name: str
    opens: tuple[str, ...]
    closes: tuple[str, ...]
    answer_opens: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    def stop_ids(self, tokenizer: Any) -> frozenset[int]:
        """Ids of the tokens that end the assistant's turn: `ends` in the vocabulary, and the tokenizer's own."""
        found = zip(self.ends, tokenizer.convert_tokens_to_ids(list(self.ends)), strict=True)
        ids = {token for end, token in found if token is not None and tokenizer.convert_ids_to_tokens(token) == end}
        if tokenizer.eos_token_id is not None:
            ids.add(tokenizer.eos_token_id)
        return frozenset(ids)


_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "<turn|>", "</s>")

FORMATS: dict[str, ReasoningFormat] = {
    "think": ReasoningFormat("think", ("<think>",), ("</think>",), ends=_TURN_ENDS),
    "harmony": ReasoningFormat(
        "harmony",
        ("<|channel|>analysis<|message|>",),
        ("<|end|>",),
        answer_opens=("<|channel|>final<|message|>",),
        ends=("<|return|>", "<|call|>"),
    ),
    "gemma": ReasoningFormat("gemma", ("<|channel>thought\n", "<|channel>thought"), ("<channel|>",), ends=_TURN_ENDS),
    "plain": ReasoningFormat("plain", ("<think>",), ("</think>",), ends=_TURN_ENDS),
}
"""`plain` is an instruct model without a think block of its own; think tags count when the prompt or a post-training
made it write them."""


def detect_format(tokenizer: Any) -> ReasoningFormat:
    """The format of a tokenizer, from its vocabulary and chat template. Models without a known one are `plain`."""
    vocabulary = tokenizer.get_vocab()
    template = tokenizer.chat_template
    text = template if isinstance(template, str) else ""
    if "<|channel|>" in vocabulary and "<|message|>" in vocabulary:
        return FORMATS["harmony"]
    if "<channel|>" in vocabulary or "<channel|>" in text:
        return FORMATS["gemma"]
    if "<think>" in vocabulary or "<think>" in text or "</think>" in text:
        return FORMATS["think"]
    return FORMATS["plain"]
