"""Forced answers: against the model's own softmax, shared first tokens, mass and shares, and how formats are closed."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from introspect.backends import make_backend
from introspect.errors import SpecError
from introspect.forced import (
    ANSWER,
    Forced,
    answer_lead,
    continuation_ids,
    forced_answers,
    forced_cost,
    option_ids,
)
from introspect.models.formats import FORMATS
from introspect.record import option_token
from tiny_folders import tiny_tokenizer
from tiny_models import tiny_model

PREFIXES = [list(range(6, 20)), list(range(30, 75)), list(range(8, 16))]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


@pytest.fixture(scope="module")
def backend(model):
    return make_backend("native", model)


def softmax_after(model, ids: list[int]) -> np.ndarray:
    """The oracle: log-probabilities of every next token, from a plain forward pass in float64."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double().numpy()
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def test_one_token_names_get_the_models_own_log_probabilities(model, backend):
    options = {"A": (40,), "B": (41,), "C": (42,)}
    found = forced_answers(backend, PREFIXES, [options] * 3)
    for prefix, forced in zip(PREFIXES, found, strict=True):
        expected = softmax_after(model, prefix)
        assert list(forced.logprobs.values()) == pytest.approx(expected[[40, 41, 42]].tolist(), abs=1e-4)
        assert forced.answer == "ABC"[int(np.argmax(expected[40:43]))]


def test_names_with_a_common_beginning_are_followed_until_they_differ(model, backend):
    options = {"07": (50, 60, 61), "12": (50, 62), "other": (63, 64)}
    (forced,) = forced_answers(backend, [PREFIXES[0]], [options])
    first, second = softmax_after(model, PREFIXES[0]), softmax_after(model, [*PREFIXES[0], 50])
    expected = [first[50] + second[60], first[50] + second[62], first[63]]
    assert list(forced.logprobs.values()) == pytest.approx(expected, abs=1e-4)
    assert forced.mass < 1
    assert forced_cost([PREFIXES[0]], [options]).passes == 2


@pytest.mark.parametrize(
    "options", [{"safe": (5, 6), "safety": (5, 6, 7)}, {"safety": (5, 6, 7), "safe": (5, 6)}, {"a": (9,), "b": (9,)}]
)
def test_names_that_cannot_be_told_apart_are_refused_by_name(backend, options):
    one, other = options
    with pytest.raises(SpecError, match=f"(?=.*{one!r})(?=.*{other!r}).*told apart"):
        forced_answers(backend, [PREFIXES[0]], [options])


def test_shares_add_up_to_one_and_the_mass_is_what_they_had():
    forced = Forced({"x": math.log(0.03), "y": math.log(0.01)})
    assert forced.mass == pytest.approx(0.04)
    assert forced.shares == pytest.approx({"x": 0.75, "y": 0.25})
    assert forced.answer == "x"
    certain_no = Forced({"x": -1e5, "y": -1e5 - 1})
    assert certain_no.mass == 0 and sum(certain_no.shares.values()) == pytest.approx(1)


def test_neither_batch_nor_order_nor_company_changes_an_answer(backend):
    options = [{"A": (40,), "B": (41, 42), "C": (41, 43)}, {"x": (50,), "y": (51,)}, {"A": (40,), "B": (41,)}]
    whole = forced_answers(backend, PREFIXES, options)
    again = forced_answers(backend, PREFIXES[::-1], options[::-1], lanes=1)[::-1]
    for one, other in zip(whole, again, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert forced_answers(backend, PREFIXES, options) == whole


def test_equal_prefixes_are_run_once_and_progress_counts_passes(backend):
    told = []
    forced_answers(
        backend,
        [PREFIXES[0], PREFIXES[0], PREFIXES[1]],
        [{"A": (40,), "B": (41,)}, {"x": (50,), "y": (51,)}, {"A": (40,), "B": (41,)}],
        lanes=1,
        progress=lambda *args: told.append(args),
        stage="asking",
    )
    assert told == [("asking", 0, 2), ("asking", 1, 2), ("asking", 2, 2)]


def test_nothing_to_ask_asks_nothing(backend):
    assert forced_answers(backend, [], []) == []
    assert forced_cost([], []).passes == 0


def test_an_options_tokens_begin_with_the_one_that_is_watched_while_recording():
    loaded = SimpleNamespace(tokenizer=tiny_tokenizer())
    found = option_ids(loaded.tokenizer, ["safe", "B"])
    assert {name: ids[0] for name, ids in found.items()} == {name: option_token(loaded, name) for name in ("safe", "B")}
    assert loaded.tokenizer.decode([*loaded.tokenizer(ANSWER).input_ids, *found["safe"]]) == "Answer: safe"


def test_a_continuation_is_spelled_as_it_would_be_inside_a_text():
    tokenizer = tiny_tokenizer()
    for text in ("\nAnswer:", " seven.", "word", " ..."):
        assert tokenizer.decode(list(continuation_ids(tokenizer, text))) == text


@pytest.mark.parametrize(
    ("name", "prompt", "lead"),
    [
        ("plain", "hi", "Answer:"),
        ("plain", "hi<think>\n", "\n</think>\n\nAnswer:"),
        ("think", "hi", "<think>\n\n</think>\n\nAnswer:"),
        ("think", "hi<think>\n", "\n</think>\n\nAnswer:"),
        ("think", "hi<think>\n\n</think>\n\n", "Answer:"),
    ],
)
def test_a_think_block_is_closed_or_passed_over_before_the_answer(name, prompt, lead):
    tokenizer = tiny_tokenizer()
    loaded = SimpleNamespace(tokenizer=tokenizer, format=FORMATS[name])
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    assert tokenizer.decode(list(answer_lead(loaded, ids))) == lead


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("harmony", "<|channel|>final<|message|>Answer:"),
        ("gemma", "<|channel>thought\n<channel|>Answer:"),
    ],
)
def test_channels_are_written_as_their_formats_have_them(name, lead):
    written = []

    class Spelled:
        """A tokenizer that notes what it is given."""

        def __call__(self, text, add_special_tokens):
            written.append(text)
            return SimpleNamespace(input_ids=[ord(c) for c in text])

        def decode(self, ids, **_):
            return "".join(map(chr, ids))

        def convert_tokens_to_ids(self, tokens):
            return [None] * len(tokens)

        eos_token_id = None

    ids = answer_lead(SimpleNamespace(tokenizer=Spelled(), format=FORMATS[name]), [104, 105])
    assert "".join(map(chr, ids)) == lead
