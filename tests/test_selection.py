"""Which tokens have a row, and what is in it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.errors import SpecError
from introspect.experiment import load_experiment
from introspect.rows import Rows, choose_rows, encode_rows
from introspect.selection import SPANS, Selection, rows_at_most, select
from introspect.spans import SPAN_CODES
from introspect.store import StoreReader, StoreSpec, StoreWriter

ROLLOUT = SimpleNamespace(
    rollout=4,
    prompt_ids=[10, 11, 12, 13],
    token_ids=[10, 11, 12, 13, 20, 21, 22, 23, 24, 25, 26, 27],
    spans=SimpleNamespace(prompt=(0, 4), think=(5, 8), answer=(9, 11)),
    answer_position=10,
)
"""Four prompt tokens; delimiters at 4 and 8; a stop token at 11, which is never fed."""
END = 11


@pytest.mark.parametrize(
    ("spans", "tokens", "expected"),
    [
        (("completion",), "every", {"completion": [3, 4, 5, 6, 7, 8, 9, 10]}),
        (("completion",), "every:3", {"completion": [3, 6, 9]}),
        (("prompt", "think"), "every", {"prompt": [0, 1, 2, 3], "think": [5, 6, 7]}),
        (("think", "answer"), "first", {"think": [5], "answer": [9]}),
        (("think", "answer"), "last", {"think": [7], "answer": [10]}),
        (("think",), "mean", {"think": [5, 6, 7]}),
        (("think",), "before_answer", {"answer": [9]}),
        ((), "every", {}),
    ],
)
def test_a_selection_is_these_tokens(spans, tokens, expected):
    found = select(Selection(spans, tokens), ROLLOUT, END)
    assert {span: list(positions) for span, positions in found.items()} == expected


def test_a_span_without_tokens_is_left_out():
    empty = SimpleNamespace(**vars(ROLLOUT) | {"spans": SimpleNamespace(prompt=(0, 4), think=(4, 4), answer=(4, 11))})
    assert set(select(Selection(("think", "answer"), "mean"), empty, END)) == {"answer"}
    nowhere = SimpleNamespace(**vars(ROLLOUT) | {"answer_position": None})
    assert select(Selection(("answer",), "before_answer"), nowhere, END) == {}


@pytest.mark.parametrize("spans", [("thinking",), ("think", "think")])
def test_spans_that_are_none_are_refused(spans):
    with pytest.raises(ValueError, match="prompt, think, answer, completion"):
        Selection(spans)


@pytest.mark.parametrize("tokens", ["every:0", "every:-2", "middle", "mean:2", ""])
def test_tokens_that_cannot_be_read_are_refused(tokens):
    with pytest.raises(ValueError, match="write every, every:4, mean"):
        Selection(("think",), tokens)
    with pytest.raises(SpecError, match="tokens"):
        load_experiment("probe-risk", [f"capture.tokens='{tokens}'"])


@given(
    st.lists(st.sampled_from(SPANS), unique=True, max_size=4),
    st.sampled_from(["every", "every:2", "every:5", "every:11", "mean", "first", "last", "before_answer"]),
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 120),
    st.integers(0, 3),
)
def test_a_rollout_never_has_more_rows_than_were_estimated(spans, tokens, prompt, opening, think, closing):
    begin = prompt + opening
    end = begin + think + closing + 5
    rollout = SimpleNamespace(
        prompt_ids=[0] * prompt,
        spans=SimpleNamespace(prompt=(0, prompt), think=(begin, begin + think), answer=(begin + think + closing, end)),
        answer_position=end - 1,
    )
    selection = Selection(tuple(spans), tokens)
    rows = choose_rows(selection, rollout, end)
    assert len(rows) <= rows_at_most(selection, prompt, end - prompt)


def stored(tmp_path, selection: Selection, always: Rows, first=3) -> tuple[StoreReader, torch.Tensor]:
    held = range(first, END)
    captured = {("resid_post", 0): torch.randn(len(held), 8, generator=torch.Generator().manual_seed(0)).bfloat16()}
    spec = StoreSpec(("resid_post",), (0,), 8, "bfloat16", {}, selection)
    rows = choose_rows(selection, ROLLOUT, END, always)
    with StoreWriter(tmp_path / "store", spec) as store:
        store.commit_part(0, encode_rows(spec, [ROLLOUT], [rows], [captured], [held]))
        store.finish()
    return StoreReader(tmp_path / "store"), captured["resid_post", 0].float()


def test_rows_hold_the_activations_of_their_tokens(tmp_path):
    reader, captured = stored(tmp_path, Selection(("think",), "every:2"), Rows([3, 6, 50], {}))
    columns = reader.columns()
    assert columns["position"].tolist() == [3, 5, 6, 7]
    assert columns["token_id"].tolist() == [13, 21, 22, 23]
    assert columns["span"].tolist() == [SPAN_CODES[s] for s in ("prompt", "think", "think", "think")]
    assert set(columns["rollout"]) == {4}
    np.testing.assert_array_equal(reader.read("resid_post", 0), captured[[0, 2, 3, 4]].numpy())


def test_a_mean_is_of_its_span_in_float32_and_names_no_token(tmp_path):
    reader, captured = stored(tmp_path, Selection(("think", "completion"), "mean"), Rows([10], {}))
    columns = reader.columns()
    assert columns["position"].tolist() == [10, -1, -1]
    assert columns["token_id"].tolist() == [26, -1, -1]
    assert columns["span"].tolist() == [SPAN_CODES["answer"], SPAN_CODES["think"], SPAN_CODES["other"]]
    expected = torch.stack([captured[7], captured[2:5].mean(0), captured.mean(0)]).bfloat16().float()
    np.testing.assert_array_equal(reader.read("resid_post", 0), expected.numpy())


def test_what_has_to_be_computed_is_what_rows_and_means_take():
    assert Rows([3, 9], {1: [5, 6, 7]}).needed() == [3, 5, 6, 7, 9]
