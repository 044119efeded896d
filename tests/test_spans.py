"""Spans on constructed cases: think tags as one token, as several, and glued to their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from introspect.models.formats import FORMATS, detect_format
from introspect.spans import locate_spans, span_code, token_starts

MERGES = [(">", "\u010a"), (">\u010a", "\u010a"), ("<", "/"), ("t", "h"), ("i", "n"), ("th", "in"), ("thin", "k")]


def tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which `>` and line breaks merge, with these special tokens."""
    pieces = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    inner = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, merges=MERGES))
    inner.pre_tokenizer, inner.decoder = ByteLevel(add_prefix_space=False, use_regex=False), ByteDecoder()
    inner.add_special_tokens([AddedToken(token, special=True) for token in ("<|im_end|>", *special)])
    turn_end = "<|im_end|>"
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=turn_end)


SPECIAL = tokenizer("<think>", "</think>")
SPELLED = tokenizer()
HARMONY = tokenizer("<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>")
GEMMA = tokenizer("<|channel>", "<channel|>", "<turn|>")


def found(tok, prompt: str, completion: str, name: str = "think") -> tuple[str, str, str]:
    """Think text, answer text and status."""
    p, c = (tok(text, add_special_tokens=False).input_ids for text in (prompt, completion))
    spans = locate_spans(p, c, tok, FORMATS[name])
    assert spans.prompt == (0, len(p))
    assert len(p) <= spans.think[0] <= spans.think[1] <= len(p) + len(c)
    assert spans.think[1] <= spans.answer[0] <= spans.answer[1] <= len(p) + len(c) or spans.status == "absent"
    ids = p + c
    think, answer = (tok.decode(ids[slice(*span)]) for span in (spans.think, spans.answer))
    return think.strip(), answer.strip(), spans.status


@pytest.mark.parametrize("tok", [SPECIAL, SPELLED], ids=["one token", "several tokens"])
@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        ("user: hi\n", "<think>\nwell\n</think>\n\nA<|im_end|>", ("well", "A", "closed")),
        ("user: hi\n", "<think>\n\n</think>\n\nA<|im_end|>", ("", "A", "empty")),
        ("user: hi\n", "<think></think>A", ("", "A", "empty")),
        ("user: hi\n", "<think>\nwell, I", ("well, I", "", "truncated")),
        ("user: hi\n", "just A<|im_end|>", ("", "just A", "absent")),
        ("user: hi\nassistant: <think>\n", "well\n</think>\n\nA<|im_end|>", ("well", "A", "closed")),
        ("user: hi\nassistant: <think>\n", "well", ("well", "", "truncated")),
        ("user: hi\nassistant: <think>\n\n</think>\n\n", "A<|im_end|>", ("", "A", "empty")),
        ("user: what is <think>? \n", "A<|im_end|>", ("", "A", "absent")),
        ("user: <think>x</think> go on\n", "<think>y</think>B", ("y", "B", "closed")),
        ("u\n", "<think>a</think>b<think>c</think>d", ("a", "b<think>c</think>d", "closed")),
        ("u\n", "<think>a <think> b</think>c", ("a <think> b", "c", "closed")),
        (
            "u\n",
            "<think>na\u00efve \U0001f914 yes</think>\U0001f44d<|im_end|>rest",
            ("na\u00efve \U0001f914 yes", "\U0001f44d", "closed"),
        ),
    ],
)
def test_think_tags(tok, prompt, completion, expected):
    think, answer, status = found(tok, prompt, completion)
    assert status == expected[2]
    if status != "empty":
        assert think == expected[0]
    assert answer == expected[1]


def test_channels_of_harmony():
    whole = (
        "<|channel|>analysis<|message|>well<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>",
        "<|channel|>final<|message|>A<|return|>",
        "<|channel|>analysis<|message|>well",
    )
    assert found(HARMONY, "<|start|>assistant", whole[0], "harmony") == ("well", "A", "closed")
    assert found(HARMONY, "<|start|>assistant", whole[1], "harmony") == ("", "A", "absent")
    assert found(HARMONY, "<|start|>assistant", whole[2], "harmony") == ("well", "", "truncated")


def test_thought_channels_of_gemma():
    text = "<|channel>thought\nwell\n<channel|>A<turn|>"
    assert found(GEMMA, "model\n", text, "gemma") == ("well", "A", "closed")
    assert found(GEMMA, "model\n<|channel>thought\n<channel|>", "A<turn|>", "gemma") == ("", "A", "empty")


def test_formats_are_told_apart_by_vocabulary_and_template():
    assert [detect_format(tok).name for tok in (SPECIAL, SPELLED, HARMONY, GEMMA)] == [
        "think",
        "plain",
        "harmony",
        "gemma",
    ]
    templated = tokenizer()
    templated.chat_template = "{{ messages[0].content.split('</think>')[-1] }}"
    assert detect_format(templated).name == "think"
    assert FORMATS["gemma"].stop_ids(GEMMA) == {GEMMA.eos_token_id, GEMMA.convert_tokens_to_ids("<turn|>")}


def test_tokens_begin_where_their_characters_do():
    ids = SPELLED("a\U0001f914b", add_special_tokens=False).input_ids
    assert token_starts(SPELLED, ids) == [0, 1, 1, 1, 1, 2]


def test_codes_of_positions():
    p, c = (SPECIAL(text, add_special_tokens=False).input_ids for text in ("hi", "<think>a</think>b<|im_end|>"))
    spans = locate_spans(p, c, SPECIAL, FORMATS["think"])
    assert span_code(spans, np.arange(len(p) + len(c))).tolist() == [0, 0, 3, 1, 3, 2, 3]


WORDS = st.text(st.sampled_from("abc \u00e9\U0001f914.\n"), max_size=12)


@given(think=WORDS, answer=WORDS)
def test_what_stands_between_the_tags_is_what_is_found(think, answer):
    for tok in (SPECIAL, SPELLED):
        got = found(tok, "u\n", f"<think>{think}</think>{answer}<|im_end|>")
        assert got[:2] == (think.strip(), answer.strip())
        assert got[2] == ("closed" if think.strip() else "empty")
