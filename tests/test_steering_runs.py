"""Steering from Python and in a spec: what is recorded, what the manifest says, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import introspect
from introspect.backends import Steer, inflight
from introspect.cli import main
from introspect.errors import IntrospectError, ModelError, RunError, SpecError
from introspect.experiment import load_experiment
from introspect.models import load_model
from introspect.notebook import model as notebook
from introspect.rollout import read_rollouts
from introspect.run import run_experiment
from introspect.steering import Direction, ModelMark, save_direction
from introspect.store import StoreReader
from test_run import spec_for
from tiny_folders import save_tiny

VECTOR = np.linspace(-2, 3, 32).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tiny):
    with introspect.load(str(tiny), dtype="float32") as model:
        yield model


@pytest.fixture(scope="module")
def mark(tiny):
    return ModelMark.of(load_model(str(tiny), dtype="float32").info)


@pytest.fixture(scope="module")
def direction(mark):
    return Direction(VECTOR, "resid_post", 1, made="a ramp", model=mark)


# From Python


PROMPTS = ["one?", "two: a or b?", "three"]


def at(model, site="resid_post", layer=1, prompts=PROMPTS, **options):
    """Activations of the prompts' tokens, [row, width], prompt by prompt."""
    options = {"max_new_tokens": 1, "temperature": 0, "prompt_tokens": True} | options
    table, recording = model.record(prompts, sites=[site], layers=[layer], **options)
    return table, recording.activations(layer=layer, span="prompt", reduce="none")


def test_a_direction_steers_at_its_place_or_elsewhere(loaded, direction):
    _, before = at(loaded)
    with loaded.steer(direction, strength=2.0):
        table, after = at(loaded)
    assert np.allclose(after.values - before.values, 2 * VECTOR, atol=1e-5)
    lengths = [len(loaded._render(prompt)) for prompt in PROMPTS]
    assert table.steered.tolist() == [n + 1 - (end == "stop") for n, end in zip(lengths, table.finish, strict=True)]
    _, mlp = at(loaded, "mlp_out", 0)
    with loaded.steer(direction, layer=0, site="mlp_out"):
        _, moved = at(loaded, "mlp_out", 0)
    assert np.allclose(moved.values - mlp.values, VECTOR, atol=1e-5)
    table, _ = at(loaded)
    assert "steered" not in table


def test_operators_and_contexts_inside_each_other_at_one_site(loaded, direction):
    unit = direction.unit
    with loaded.steer(direction), loaded.steer(direction, operator="project"):
        _, none = at(loaded)
    with loaded.steer(direction, operator="project"), loaded.steer(direction, operator="clamp", value=3.0):
        _, three = at(loaded)
    assert np.allclose(none.values @ unit, 0, atol=1e-4) and np.allclose(three.values @ unit, 3, atol=1e-4)
    assert not loaded._interventions


def test_one_strength_a_prompt_in_one_pass(loaded, direction):
    strengths = [0.0, 1.0, -2.0]
    _, before = at(loaded, samples=2, temperature=1.0)
    with loaded.steer(direction, strength=strengths):
        table, after = at(loaded, samples=2, temperature=1.0)
        answers = loaded.answers(PROMPTS, ["A", "B"])
        with pytest.raises(SpecError, match="3 strengths do not fit 2 prompts"):
            loaded.answers(PROMPTS[:2], ["A", "B"])
    moved = after.values - before.values
    for i, strength in enumerate(strengths):
        assert np.allclose(moved[np.isin(after.rollouts, [2 * i, 2 * i + 1])], strength * VECTOR, atol=1e-5)
    assert (table.steered == 0).tolist() == [True, True, False, False, False, False]
    for i, strength in enumerate(strengths):
        with loaded.steer(direction, strength=strength):
            alone = loaded.answers([PROMPTS[i]], ["A", "B"])
        assert np.allclose(answers.iloc[i], alone.iloc[0], atol=1e-5)
    assert not np.allclose(answers, loaded.answers(PROMPTS, ["A", "B"]), atol=1e-3)


def test_equal_prompts_at_different_doses_are_answered_apart(loaded, direction):
    with loaded.steer(direction, strength=[0.0, 3.0, 0.0]):
        answers = loaded.answers([PROMPTS[0]] * 3, ["A", "B"])
    assert np.array_equal(answers.iloc[0], answers.iloc[2])
    assert not np.allclose(answers.iloc[0], answers.iloc[1], atol=1e-3)


def test_forced_answers_are_steered_by_the_spans_of_the_prompt_itself(loaded, direction):
    """What is put after a prompt to have it answered is no prompt: `completion` begins with the prompt's last token."""
    prompt = loaded._render(PROMPTS[1])
    prefix = [*prompt, *notebook.answer_lead(loaded.loaded, prompt)]
    for span, ranges in {
        "completion": (range(len(prompt) - 1, 999),),
        "prompt": (range(len(prompt)),),
        "answer": (range(len(prompt), 999),),
    }.items():
        with loaded.steer(direction, span=span, strength=3.0):
            answers = loaded.answers([PROMPTS[1]], ["aA", "bB"])
        steer = [Steer("resid_post", 1, torch.from_numpy(VECTOR), 3.0, ranges)]
        names = notebook.option_ids(loaded.loaded.tokenizer, ["aA", "bB"])
        watch = [names["aA"][0], names["bB"][0]]
        if watch[0] == watch[1]:  # a space of its own: told apart by the next token
            prefix_now = [*prefix, watch[0]]
            watch = [names["aA"][1], names["bB"][1]]
        else:
            prefix_now = prefix
        made = loaded._backend.generate(
            [prefix_now],
            seeds=[0],
            sampling=notebook.Sampling(1, 0.0, frozenset()),
            capture=None,
            watch=watch,
            steer=steer,
        )
        expected = made[0].watched[0].diff().item()
        assert answers["bB"][0] - answers["aA"][0] == pytest.approx(expected, abs=1e-4)


def test_think_is_steered_while_it_is_written(loaded, direction, monkeypatch):
    tokenizer = loaded.loaded.tokenizer
    text = [*tokenizer("<think>ab</think>c", add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    monkeypatch.setattr(inflight, "draw", lambda logits, *_: torch.full((len(logits),), text[now[0]]))
    original, now = inflight.InFlight._draw, [0]

    def draw(self, rows, logits):
        now[0] = len(rows[0].completion)
        original(self, rows, logits)

    monkeypatch.setattr(inflight.InFlight, "_draw", draw)
    with loaded.steer(direction, span="think"):
        table, recording = loaded.record(PROMPTS[:1], layers=[0, 1], max_new_tokens=40)
    _, plain = loaded.record(PROMPTS[:1], layers=[0, 1], max_new_tokens=40)
    assert table.steered.tolist() == [2] and table.think_text.tolist() == ["ab"]
    moved = (
        recording.activations(layer=1, span="completion", reduce="none").values
        - plain.activations(layer=1, span="completion", reduce="none").values
    )
    assert np.allclose(moved[8:10], VECTOR, atol=1e-4) and np.allclose(moved[:8], 0, atol=1e-5)


def test_what_overflows_is_left_out_and_said(loaded, mark):
    huge = Direction(np.full(32, 1e38), "resid_post", 0, model=mark)
    with loaded.steer(huge, strength=[0.0, 100.0, 0.0]):
        with pytest.warns(UserWarning, match=r"1 of 3 completions to NaN or infinity.*prompt 1 sample 0"):
            table, recording = at(loaded, layer=0)
        answers = loaded.answers(PROMPTS, ["A", "B"])
    assert table.prompt_text.tolist() == [PROMPTS[0], PROMPTS[2]] and len(recording) > 0
    assert answers.isna().all(axis=1).tolist() == [False, True, False]
    with loaded.steer(huge, strength=100.0), pytest.raises(ModelError, match="3 of 3 completions"):
        at(loaded)


def test_a_direction_of_another_model_is_refused(loaded):
    for other, said in (
        (Direction(VECTOR, "resid_post", 1, model=ModelMark("other", "0" * 64, 3)), "is of other"),
        (Direction(VECTOR[:9], "resid_post", 1), "width of 9"),
    ):
        with pytest.raises(ModelError, match=said), loaded.steer(other):
            pass
    assert not loaded._interventions


# In a spec


@pytest.fixture(scope="module")
def saved(direction, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("directions") / "ramp"
    save_direction(folder, direction)
    return folder


def steered(tiny, saved, **steering):
    given = json.dumps([{"direction": str(saved), **steering}])
    return spec_for(tiny, f"steering={given}", "limit={id: 4, ood: 0}", "capture.layers=[1]", "capture.spans=[prompt]")


def test_a_run_is_steered_and_its_manifest_says_by_what(tiny, saved, tmp_path):
    plain = spec_for(tiny, "limit={id: 4, ood: 0}", "capture.layers=[1]", "capture.spans=[prompt]")
    assert "steering" not in plain.to_yaml() and "steering" not in plain.model_dump(mode="json")
    spec = steered(tiny, saved, strength=2.0, span="prompt")
    run_experiment(plain, tmp_path / "plain")
    run_experiment(spec, tmp_path / "steered")
    assert load_experiment(tmp_path / "steered" / "experiment.yaml") == spec
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("plain", "steered")]
    warnings = [json.loads((tmp_path / name / "results.json").read_text())["warnings"] for name in ("plain", "steered")]
    assert not [each for each in warnings[0] if "steering" in each]
    assert "recorded under steering: add (a ramp) at resid_post" in warnings[1][0]
    assert "met no token in 0 of 4 rollouts" in warnings[1][0]
    assert "recorded under steering" in (tmp_path / "steered" / "report.html").read_text()
    assert "steering" not in manifests[0]
    (said,) = manifests[1]["steering"]
    assert said["direction"]["made"] == "a ramp" and said["operator"] == "add" and said["strength"] == 2.0
    assert said["n_without_a_token"] == 0 and said["n_rollouts"] == 4 and said["where"] == "prompt"
    stores = [StoreReader(tmp_path / name / "activations") for name in ("plain", "steered")]
    rows = [(store.columns()["rollout"], store.columns()["position"]) for store in stores]
    same = [i for i, key in enumerate(zip(*rows[0], strict=True)) if key in set(zip(*rows[1], strict=True))]
    prompts = {each.rollout: len(each.prompt_ids) for each in read_rollouts(tmp_path / "steered" / "rollouts.jsonl")}
    at_ = {}
    for store, (rollout, position) in zip(stores, rows, strict=True):
        values = store.read("resid_post", 1)
        at_[store] = {
            (r, p): value for r, p, value in zip(rollout, position, values, strict=True) if 0 <= p < prompts[r]
        }
    assert same and at_[stores[0]].keys() == at_[stores[1]].keys()
    for key, value in at_[stores[0]].items():
        assert np.allclose(at_[stores[1]][key] - value, 2 * VECTOR, atol=1e-4)
    norms = [np.linalg.norm(value) for value in at_[stores[0]].values()]
    assert said["relative_strength"] == pytest.approx(2 * np.linalg.norm(VECTOR) / np.median(norms), rel=1e-3)


def test_rollouts_in_which_a_scope_meets_no_token_are_counted_and_listed(tiny, saved, tmp_path):
    with pytest.raises(RunError, match="met no token in any of 4 rollouts, so nothing was steered"):
        run_experiment(steered(tiny, saved, from_text="zq zq"), tmp_path / "run")
    (said,) = json.loads((tmp_path / "run" / "manifest.json").read_text())["steering"]
    assert said["n_without_a_token"] == 4 and said["rollouts_without_a_token"] == [0, 1, 2, 3]
    assert said["where"] == {"from_text": "zq zq"}


def test_another_direction_under_the_same_name_is_noticed_on_resume(tiny, direction, tmp_path):
    save_direction(tmp_path / "d", direction)
    spec = steered(tiny, tmp_path / "d")
    run_experiment(spec, tmp_path / "run")
    for file in (tmp_path / "d").iterdir():
        file.unlink()
    save_direction(tmp_path / "d", replace(direction, vector=-VECTOR))
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(IntrospectError, match="another"):
        run_experiment(spec, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("steering", "more", "said"),
    [
        ({"operator": "push"}, (), "steering"),
        ({"span": "think", "from_text": "x"}, (), "give one of them"),
        ({"tokens": [3, 3]}, (), "the second number is greater"),
        ({"direction": "no-such"}, (), "no probe called"),
        ({"strength": 100.0, "direction": "huge"}, (), "NaN or infinity in 4 of 4 rollouts"),
        ({"direction": "wide"}, (), "width of 9"),
        ({"direction": "mid"}, (), "steer attn_out"),
        ({}, ("awareness=true",), "leave out chain and awareness"),
    ],
)
def test_what_cannot_be_run_is_one_line(tiny, direction, mark, tmp_path, capsys, steering, more, said):
    for name, each in {
        "good": direction,
        "huge": Direction(np.full(32, 1e30), "resid_post", 0, model=mark),
        "wide": Direction(np.ones(9), "resid_post", 0),
        "mid": Direction(VECTOR, "resid_mid", 0),
    }.items():
        save_direction(tmp_path / name, each)
    given = {"direction": "good"} | steering
    if (tmp_path / given["direction"]).exists():
        given["direction"] = str(tmp_path / given["direction"])
    if "huge" in given["direction"]:
        given["strength"] = 3e38
    sets = [*more, f"steering={json.dumps([given])}", f"model={json.dumps(str(tiny))}", "limit={id: 4, ood: 0}"]
    sets += ["organism=null", "negative_control=null", "generation.max_new_tokens=8", "dtype=float32"]
    arguments = [part for each in sets for part in ("--set", each)]
    with pytest.raises(SystemExit) as stop:
        main(["run", "probe-risk", "--out", str(tmp_path / "run"), *arguments])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and said in " ".join(err.split()), err
    assert "Traceback" not in err
