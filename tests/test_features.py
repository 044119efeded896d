"""Positions fall on the tokens that they name, and a baseline there sees no token more."""

from __future__ import annotations

import numpy as np
import pytest

from introspect.errors import EstimateError, StoreError
from introspect.features import choose_probed, gather, logit_margin, token_position, visible_chain
from introspect.rollout import read_rollouts, read_summaries, read_whole_lines
from introspect.store import StoreReader
from planted_runs import LAYERS, TOKENIZER, record_by_hand, rollout

ALL = ("last_prompt", "think_0", "think_50", "think_100", "before_answer", "answer_token")


def test_positions_fall_on_the_tokens_that_they_name():
    row = rollout(0, "g", "abcde", "risky")
    text = [TOKENIZER.decode([token]) for token in row.token_ids]
    found = {name: token_position(row, name) for name in ALL}
    assert [text[found[name]] for name in ALL] == ["<bot>", "a", "c", "e", " ", "r"]
    assert visible_chain(row, found["last_prompt"], TOKENIZER) == ""
    assert visible_chain(row, found["think_50"], TOKENIZER) == "<think>abc"
    assert row.chain_text == "<think>abcde</think>Answer: "


def test_what_a_rollout_lacks_has_no_position():
    assert token_position(rollout(0, "g", "", "risky"), "think_50") is None
    assert token_position(rollout(0, "g", "abc", "neither"), "before_answer") is None
    assert token_position(rollout(0, "g", "abc", "neither"), "answer_token") is None
    whole = rollout(0, "g", "abc", "risky")
    cut = whole.model_copy(update={"completion_ids": whole.completion_ids[: -len("risky") + 1]})
    assert token_position(whole, "answer_token") == cut.answer_position == len(cut.token_ids) - 1
    assert token_position(cut, "answer_token") is None, "nothing follows, so there is no margin"
    assert rollout(0, "g", "abc", "neither").chain_text == "<think>abc</think>Answer: neither"
    with pytest.raises(EstimateError, match="no position is left"):
        choose_probed([rollout(0, "g", "", "risky")], ("think_0", "think_50"))


def test_rollouts_that_cannot_be_probed_are_left_out_and_said_to_be():
    rows = [rollout(i, "g", "abc", "risky") for i in range(20)]
    probed = choose_probed([*rows, rollout(20, "g", "", "safe"), rollout(21, "g", "abc", "neither")], ALL)
    assert probed.rollouts == rows
    assert probed.positions == ALL
    assert len(probed.notes) == 2
    silent_rows = [rollout(i, "g", "", "risky") for i in range(20)]
    plain = choose_probed(silent_rows, ALL)
    assert plain.positions == ("last_prompt", "before_answer", "answer_token")
    assert plain.rollouts == silent_rows
    assert (
        choose_probed(rows, ("before_answer", *ALL[3::-1], "answer_token")).positions == ALL
    )  # as they fall, whatever is listed
    with pytest.raises(EstimateError, match="none of 1 rollouts"):
        choose_probed([rollout(0, "g", "abc", "neither")], ALL)


def test_the_margin_is_that_of_the_token_after_the_position():
    row = rollout(0, "g", "abc", "risky")
    margins = 0.1 * np.arange(len(row.completion_ids))
    logprobs = [[float(-np.log1p(np.exp(-m))), float(-np.log1p(np.exp(m)))] for m in margins]
    row = row.model_copy(update={"option_logprobs": logprobs})
    first = len(row.prompt_ids)
    for name in ALL:
        position = token_position(row, name)
        drawn_next = position + 1 - first
        assert logit_margin(row, name, "risky") == pytest.approx(margins[drawn_next])
        assert logit_margin(row, name, "safe") == pytest.approx(-margins[drawn_next])


def test_gathered_rows_are_those_of_the_tokens(tmp_path):
    rows = [rollout(i, "g", "abcdefgh"[: 3 + i], "risky") for i in range(4)]
    record_by_hand(tmp_path, rows, strength=0.0)
    store = StoreReader(tmp_path / "activations")
    probed = choose_probed(rows[::-1], ("think_100", "last_prompt"))
    found = gather(store, probed, "resid_post", LAYERS)
    columns = store.columns()
    for name, tokens in probed.tokens.items():
        for i, row in enumerate(probed.rollouts):
            at = np.flatnonzero((columns["rollout"] == row.rollout) & (columns["position"] == tokens[i]))
            for layer in LAYERS:
                assert np.array_equal(found[name][layer, i], store.read("resid_post", layer)[at[0]])
    missing = choose_probed([rollout(9, "g", "abc", "risky")], ALL)
    with pytest.raises(EstimateError, match="was not recorded"):
        gather(store, missing, "resid_post", LAYERS)


def test_a_line_ends_at_a_line_feed_and_at_nothing_else(tmp_path):
    rows = [
        rollout(i, "g", "a", "risky").model_copy(update={"completion_text": "a\x85\u2028\x0c\rb"}) for i in range(2)
    ]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(row.line() for row in rows), encoding="utf-8", newline="")
    assert read_rollouts(path) == rows
    assert read_whole_lines(path) == rows
    with path.open("a", encoding="utf-8") as file:
        file.write(rows[0].line()[:-20])
    assert read_whole_lines(path) == rows
    for read in (read_rollouts, read_summaries):
        with pytest.raises(StoreError, match=r"rollouts.jsonl:3: not a rollout \(.*; record the run again"):
            read(path)
        with pytest.raises(StoreError, match=r"cannot read .*absent.jsonl: .*; record the run again"):
            read(tmp_path / "absent.jsonl")


def test_a_strangers_rollouts_are_read_strictly(tmp_path):
    path, link = tmp_path / "rollouts.jsonl", tmp_path / "link.jsonl"
    path.write_text("\n" + rollout(0, "g", "a", "risky").line())
    link.symlink_to(path)
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(path.read_bytes().replace(b'"risky"', b'"ri\xffky"'))
    for read in (read_rollouts, read_summaries):
        assert len(read(path)) == 1
        with pytest.raises(StoreError, match=r"cannot read .*link.jsonl"):
            read(link)
        with pytest.raises(StoreError, match=r"broken.jsonl:2: not a rollout"):
            read(broken)
