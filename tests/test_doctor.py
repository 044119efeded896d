"""The doctor is green on models that are well, and red in the right rows for each sabotage."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from introspect.backends import backend, inflight, make_backend, native, recorder, replay, steering
from introspect.cli import main
from introspect.doctor import Check, capture, examine, failures, text
from introspect.doctor.check import ALLOWANCE, MEANING, difference
from introspect.doctor.examine import CHEAP
from introspect.doctor.subject import Subject
from introspect.models import LoadedModel, load_model
from introspect.spans import Spans
from introspect.store import StoreReader
from tiny_folders import save_tiny
from tiny_models import FAMILIES


def loaded(folder, family: str, dtype: str = "float32") -> LoadedModel:
    save_tiny(folder, family)
    return load_model(str(folder), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_that_is_well_is_green_in_every_row(tmp_path, family, dtype):
    checks = examine(loaded(tmp_path, family, dtype))
    assert {check.name for check in checks} == set(MEANING)
    assert failures(checks) == []
    assert {check.status for check in checks if check.name.startswith("backend")} == {"ok"}


@pytest.fixture
def llama(tmp_path) -> LoadedModel:
    return loaded(tmp_path, "llama")


def wrapped(patch: pytest.MonkeyPatch, owner: object, name: str, change: Callable) -> None:
    """Put `change(original, *args, **kwargs)` in the place of `owner.name`."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: change(original, *args, **kwargs))


def mask_dropped(patch):
    def forward(original, engine, inputs, **rest):
        length = inputs["input_ids"].shape[1]
        everything = torch.ones(1, 1, length, length, dtype=torch.bool)
        return original(engine, inputs if length == 1 else {**inputs, "attention_mask": everything}, **rest)

    wrapped(patch, native.NativeEngine, "forward", forward)


def padding_ignored(patch):
    def forward(original, engine, inputs, **rest):
        padded = inputs.get("attention_mask")
        ignored = isinstance(padded, torch.Tensor) and padded.dim() == 2
        return original(engine, {"input_ids": inputs["input_ids"]} if ignored else inputs, **rest)

    wrapped(patch, native.NativeEngine, "forward", forward)


def replay_off_by_one(patch):
    def shifted(original, engine, sequences, positions, **rest):
        return original(engine, sequences, [[max(p - 1, 0) for p in each] for each in positions], **rest)

    wrapped(patch, backend, "replay", shifted)


def step_off_by_one(patch):
    def forward(original, engine, inputs, **rest):
        step = inputs["input_ids"].shape[1] == 1 and "position_ids" in inputs
        return original(engine, {**inputs, "position_ids": inputs["position_ids"] + 1} if step else inputs, **rest)

    wrapped(patch, native.NativeEngine, "forward", forward)


def tensor_overwritten(patch):
    buffers = []

    def move(original, self, values, target):
        original(self, values, target)
        if buffers:
            buffers[-1].copy_(values)
        buffers.append(target)

    wrapped(patch, recorder.Recorder, "_move", move)


def rows_swapped(patch):
    def reversed_rows(original, engine, sequences, positions, **rest):
        return original(engine, sequences[::-1], positions[::-1], **rest)

    wrapped(patch, backend, "replay", reversed_rows)


def steering_skipped(patch):
    patch.setattr(replay, "Steering", lambda steer: steering.Steering(()))
    patch.setattr(inflight, "Steering", lambda steer: steering.Steering(()))


def steering_twice(patch):
    wrapped(patch, steering, "_add", lambda original, *args: twice(original(*args)))


def twice(write):
    return lambda values: write(write(values))


def steering_skipped_in_flight(patch):
    patch.setattr(inflight, "Steering", lambda steer: steering.Steering(()))


def nothing_is_set(patch):
    patch.setattr(steering, "_set", lambda *args: lambda values: values)


def zero_is_something(patch):
    class Touching(steering.Steering):
        def __init__(self, steer):
            super().__init__(steer)
            self.zero = [each for each in steer if not each.strength]

        def writes(self, *args):
            touched = {(s.site, s.layer): (lambda values: values * (1 + 1e-6)) for s in self.zero}
            return {**super().writes(*args), **touched}

    patch.setattr(replay, "Steering", Touching)


def zero_is_something_beside_others(patch):
    patch.setattr(steering, "_at", lambda where, values, changed: changed * (1 + 1e-6))


def final_norm_for_last_layer(patch):
    def forward(original, engine, inputs, *, reads, **rest):
        last, norm = len(engine.blocks) - 1, engine.model.model.norm
        normed = {
            pair: (lambda values, read=read: read(norm(values))) if pair[1] == last else read
            for pair, read in reads.items()
        }
        return original(engine, inputs, reads=normed, **rest)

    wrapped(patch, native.NativeEngine, "forward", forward)


def hooks_left(patch):
    def forward(original, engine, inputs, **rest):
        engine.blocks[0].register_forward_hook(lambda *args: None)
        return original(engine, inputs, **rest)

    wrapped(patch, native.NativeEngine, "forward", forward)


def store_rounds(patch):
    wrapped(patch, StoreReader, "read", lambda original, *args, **rest: original(*args, **rest) * 1.0001)


def spans_shifted(patch):
    def shifted(original, *args):
        found = original(*args)
        return Spans(found.prompt, tuple(p + 1 for p in found.think), found.answer, found.status)

    wrapped(patch, text, "locate_spans", shifted)


SABOTAGES = {
    mask_dropped: {"reference", "batch = single", "later tokens", "in flight = replay"},
    padding_ignored: {"left padding"},
    replay_off_by_one: {"reference", "left padding", "in flight = replay"},
    step_off_by_one: {"in flight = replay", "steering in flight"},
    tensor_overwritten: {"in flight = replay", "steering in flight"},
    rows_swapped: {"batch = single", "row = rollout"},
    steering_skipped: {"steering", "steering in flight"},
    steering_twice: {"steering", "steering in flight"},
    steering_skipped_in_flight: {"steering in flight"},
    nothing_is_set: {"steering"},
    zero_is_something: {"zero strength"},
    zero_is_something_beside_others: {"zero strength"},
    final_norm_for_last_layer: {"reference"},
    hooks_left: {"left as found"},
    store_rounds: {"store"},
    spans_shifted: {"spans"},
}
"""What each must turn red. It may turn more red, but never a row that has nothing to do with it."""
ROWS = [name for name in MEANING if name != "speed" and not name.startswith("backend")]
UNTOUCHED = {
    "store": {store_rounds, replay_off_by_one},
    "spans": {spans_shifted},
    "left as found": {hooks_left},
}


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.__name__)
def test_a_sabotage_turns_the_right_rows_red(llama, monkeypatch, sabotage):
    sabotage(monkeypatch)
    red = {check.name for check in failures(examine(llama, only=ROWS))}
    assert red >= SABOTAGES[sabotage]
    assert not {row for row, by in UNTOUCHED.items() if sabotage not in by} & red


def test_the_cheap_part_is_a_part_of_the_whole():
    assert set(CHEAP) < set(MEANING)


def test_a_difference_of_other_shapes_or_no_numbers_is_never_small():
    one = torch.ones(3, 4)
    assert difference(one, torch.ones(2, 4)) == float("inf")
    check = capture.within("store", float("nan"), 1.0, "x")
    assert check == Check("store", "failed", check.measured)


def test_a_tokenizer_without_a_chat_template_is_one_red_row(tmp_path):
    model = loaded(tmp_path, "llama")
    model.tokenizer.chat_template = None
    red = failures(examine(model, only=["spans", "store"]))
    assert [check.name for check in red] == ["spans"]
    assert "has no chat template" in red[0].measured


def test_the_command_prints_a_table_or_json_and_ends_with_3_when_something_is_red(tmp_path, monkeypatch, capsys):
    save_tiny(tmp_path, "llama")
    arguments = ["doctor", "--model", str(tmp_path), "--dtype", "float32", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    document = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert {check["name"] for check in document["checks"]} == set(MEANING)
    steering_skipped(monkeypatch)
    with pytest.raises(SystemExit) as ended:
        main(arguments[:-1])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 3
    assert "FAILED steering" in said
    assert MEANING["steering"] in said


def test_a_model_that_can_only_be_replayed_has_rows_skipped_and_none_red(llama):
    llama.model.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    checks = {check.name: check for check in examine(llama, only=ROWS)}
    assert {name for name, check in checks.items() if check.status == "skipped"} == {
        *("in flight = replay", "steering in flight", "any lanes")
    }
    assert failures(checks.values()) == []


def test_a_check_that_raises_is_red_and_stops_no_other(llama, monkeypatch):
    def broken(*args, **rest):
        raise IndexError("no such thing")

    monkeypatch.setattr(text, "locate_spans", broken)
    red = failures(examine(llama, only=["spans", "store"]))
    assert [(check.name, "IndexError: no such thing" in check.measured) for check in red] == [("spans", True)]


def test_a_tokenizer_that_makes_the_same_of_all_sentences_raises_no_alarm(llama, monkeypatch):
    monkeypatch.setattr(type(llama.tokenizer), "__call__", lambda *args, **rest: SimpleNamespace(input_ids=[3]))
    names = [name for name in ROWS if name != "spans"]
    assert failures(examine(llama, only=names)) == []


def test_of_experts_chosen_by_rounding_the_typical_token_is_judged(tmp_path):
    routed = Subject.of(*(lambda m: (m, make_backend("native", m.model)))(loaded(tmp_path, "moe", "bfloat16")))
    one = torch.ones(9, 4)
    other = one.clone()
    other[0] = -3.0
    assert routed.allowance == float("inf")
    assert routed.difference(other, one) == 0
    assert routed.difference(-one, one) == 2
    assert difference(other, one, ALLOWANCE) == 4 - ALLOWANCE
    assert routed.difference(other * float("nan"), one) == float("inf"), "max() would pass over a NaN"


def test_another_engine_can_be_examined(llama):
    assert failures(examine(llama, make_backend("nnsight", llama.model), only=["reference", "steering"])) == []
