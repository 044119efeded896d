"""Causal checks: a planted effect is found and a direction without one is not; what is done, kept, resumed, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from introspect.backends import Sampling, Steer
from introspect.causal import SteerSettings, sampled, stage, steer_run
from introspect.causal import sentences as sentences_module
from introspect.causal.arms import mean_of
from introspect.causal.effects import Measured, effect
from introspect.causal.log import Log, read_log
from introspect.causal.replayed import replay_case, steered_range
from introspect.causal.sampled import repeated, rotation
from introspect.causal.settings import SCOPES
from introspect.causal.stage import plan_steer
from introspect.cli import main
from introspect.errors import IntrospectError, ModelError, RunError, SpecError, StoreError
from introspect.experiment import load_experiment
from introspect.forced import option_ids
from introspect.models import load_model
from introspect.rescore import link_again
from introspect.results import read_results
from introspect.steering import Direction, ModelMark, save_direction
from scripted import read_lines, run_scripted, save_roomy
from test_shift import said

SMALL = SteerSettings(doses=(-0.5, 0.5, 40.0), controls=2, items=6, control_items=2, layers=(0, 1), lanes=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_roomy(tmp_path_factory.mktemp("model") / "roomy")


@pytest.fixture(scope="module")
def run(model, tmp_path_factory) -> Path:
    """A run whose chains follow a script, and whose activations are drawn by chance."""
    out = tmp_path_factory.mktemp("runs") / "run"
    quick = (
        *("organism=null", "negative_control=null", "dtype=float32", "limit={id: 50, ood: 0}"),
        *("probe.bootstrap=50", "probe.permutations=1", "probe.inner_folds=2", "probe.penalties=[0.01]"),
        *("probe.positions=[last_prompt, before_answer]", "generation.max_new_tokens=12"),
    )
    with pytest.MonkeyPatch.context() as patch:
        run_scripted(patch, model, load_experiment("probe-risk", quick), out, said)
    return out


@pytest.fixture(scope="module")
def planted(model, tmp_path_factory) -> Path:
    """The direction along which the model's own head tells one option's name from the other's."""
    loaded = load_model(str(model), dtype="float32")
    head = loaded.model.get_output_embeddings().weight.detach().numpy()
    ids = option_ids(loaded.tokenizer, ["risky", "safe"])
    assert ids["risky"][0] == ids["safe"][0]  # a space, so that names have to be followed further
    vector = head[ids["risky"][1]] - head[ids["safe"][1]]
    folder = tmp_path_factory.mktemp("direction") / "planted"
    save_direction(
        folder,
        Direction(vector, "resid_post", loaded.info.n_layers - 1, made="the head", model=ModelMark.of(loaded.info)),
    )
    return folder


@pytest.fixture(scope="module")
def steered(run, tmp_path_factory) -> Path:
    """The run steered along its own probe, which is one of chance."""
    out = tmp_path_factory.mktemp("steered") / "run"
    shutil.copytree(run, out)
    steer_run(out, SMALL)
    return out


def test_a_direction_of_chance_is_measured_and_claims_nothing(steered):
    found = read_results(steered / "results.json")["steering"]
    assert found["controls"] == {"random": 2, "orthogonal": 2} and found["n_items"] == 6
    for scope in SCOPES:
        cells = found["replayed"][scope]["doses"]
        assert [(c["operator"], c["dose"]) for c in cells] == [
            ("add", -0.5),
            ("add", 0.5),
            ("add", 40.0),
            ("project", 1),
        ]
        assert all(c["log_odds"]["n_controls"] == 4 for c in cells)
        assert all(each["n"] == 6 and each["acts"]["n_controls"] <= 4 for each in found["sampled"][scope])
    assert found["map"]["layers"] == [0, 1]
    assert "4 control directions are fewer than the 40" in " ".join(found["sentences"])
    assert "is not tested: added (4 control directions cannot reach p = 0.05)" in found["sentences"][-1]


def test_a_planted_direction_exceeds_every_control(run, planted, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    settings = SteerSettings(
        direction=str(planted), doses=(-0.3, 0.3), controls=10, items=6, control_items=1, lanes=64, kl_bound=9.0
    )
    found = steer_run(out, settings)["steering"]
    cell = next(c for c in found["replayed"]["both"]["doses"] if c["dose"] == 0.3)["log_odds"]
    assert cell["p"] == pytest.approx(1 / 21, abs=1e-6)
    assert cell["beyond"]["ci95"][0] > 0 and cell["change"]["value"] > cell["controls_95"][1]
    back = next(c for c in found["replayed"]["both"]["doses"] if c["dose"] == -0.3)["log_odds"]
    assert back["change"]["value"] < 0
    assert found["replayed"]["both"]["slope"]["beyond"]["ci95"][0] > 0
    assert "value" in found["map"] and found["direction"]["position"] is None


def test_a_stored_chain_is_steered_as_a_replay_of_its_own(run, planted):
    """Against forward passes of one sequence and one intervention each, without a shared beginning."""
    settings = SteerSettings(direction=str(planted), doses=(2.0,), controls=1, items=2, layers=None)
    plan = plan_steer(run, settings)
    rollout, direction = plan.subject.cases[0].rollout, plan.tested.direction
    backend, end = plan.subject.backend, rollout.answer_position
    ids = option_ids(plan.subject.loaded.tokenizer, ["risky", "safe"])
    assert sorted(rollout.options) == ["risky", "safe"]
    for scope in SCOPES:
        found = replay_case(plan.subject, plan.tested, plan.acts, rollout, scope)
        where = steered_range(rollout, scope)
        for d in range(3):
            for j, act in enumerate(plan.acts):
                strength = act.dose * plan.tested.unit if act.operator == "add" else 1.0
                vector = torch.from_numpy(plan.tested.vectors[d])
                here = where if scope == "think" else range(where.start, 1 << 40)
                steer = [Steer(direction.site, direction.layer, vector, strength, (here,), act.operator)]
                (made,) = backend.generate(
                    [[*rollout.token_ids[:end], ids["risky"][0]]],
                    seeds=[0],
                    sampling=Sampling(1, 0.0, frozenset()),
                    capture=None,
                    watch=[ids["risky"][1], ids["safe"][1]],
                    steer=steer,
                )
                risky, safe = made.watched[0].tolist()
                assert found.log_odds[d][j] == pytest.approx(risky - safe, abs=1e-4)


def test_the_causal_column_is_filled_and_stays_when_the_run_is_linked_again(steered, run):
    before, after = (read_results(each / "results.json") for each in (run, steered))
    assert "table" not in before["link"] or all(
        "not tested" in row["causal"]["reason"] for row in before["link"]["table"].values()
    )
    if "table" in after["link"]:
        column = {verdict: row["causal"] for verdict, row in after["link"]["table"].items()}
        assert column == after["steering"]["by_verdict"]
        again = link_again(steered)
        assert {verdict: row["causal"] for verdict, row in again["link"]["table"].items()} == column


def test_what_was_interrupted_goes_on_to_the_same_numbers(run, steered, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    done = []
    original = stage.sample_unit

    def stop(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args)
        return original(*args)

    monkeypatch.setattr(stage, "sample_unit", stop)
    with pytest.raises(KeyboardInterrupt):
        steer_run(out, SMALL)
    with (out / "steering.jsonl").open("a") as file:
        file.write('{"unit": "sampled/think/add/40", "sam')
    monkeypatch.setattr(stage, "sample_unit", original)
    monkeypatch.setattr(stage, "replay_case", None)  # not done again
    steer_run(out, SMALL)
    assert (out / "steering.jsonl").read_text() == (steered / "steering.jsonl").read_text()
    assert read_results(out / "results.json")["steering"] == read_results(steered / "results.json")["steering"]


def test_another_plan_sets_the_file_aside(steered, tmp_path):
    shutil.copy(steered / "steering.jsonl", tmp_path)
    assert Log(tmp_path, "another").units == {}
    assert read_log(tmp_path / "steering.other.jsonl") == read_log(steered / "steering.jsonl")


def test_a_strength_of_zero_that_changes_something_stops_the_run(run, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    original, calls = sampled._generate, []

    def off(subject, cases, steer, lanes):
        made = original(subject, cases, steer, lanes)
        calls.append(made)
        if len(calls) == 2:
            made[0].completion_ids[-1] += 1
        return made

    monkeypatch.setattr(sampled, "_generate", off)
    with pytest.raises(RunError, match="a strength of 0 changed what was sampled"):
        steer_run(out, SMALL)


def test_a_dose_that_breaks_the_model_is_outside_the_usable_range(run, planted, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    settings = SteerSettings(
        direction=str(planted), doses=(0.3, 1e39), controls=2, items=5, control_items=1, layers=None, kl_bound=9.0
    )
    found = steer_run(out, settings)["steering"]
    small, large, _ = found["replayed"]["both"]["doses"]
    assert small["usable"] and not large["usable"] and large["n_not_finite"] == 5
    assert found["sampled"]["both"][1]["n_not_finite"] == 5
    assert found["sampled"]["both"][1]["invalid"]["level"]["value"] == 1
    assert "NaN or infinity at 1e+39" in " ".join(found["sentences"])
    assert found["replayed"]["both"]["slope"]["doses"] == [0.3]


def test_rotation_shares_the_controls_out_evenly():
    wanted = rotation(8, 40, 2)
    assert [each.case for each in wanted if each.direction == 0] == list(range(8))
    assert {sum(w.case == case and w.direction > 0 for w in wanted) for case in range(8)} == {10}
    assert len(rotation(3, 4, 9)) == 3 + 4 * 3


def test_repeated_pieces():
    assert repeated([1, 2, 3]) is None
    assert repeated([1, 2, 3, 4, 5]) == 0
    assert repeated([7] * 8) == 0.8


def test_the_effect_of_a_mean_is_paired_and_ranked():
    values = np.array([[2.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 3, 4, 5.5], [0, 1, 2, 3, np.nan]])
    plain = np.arange(1.0, 6.0)
    found = effect(mean_of(values, plain), list("abcde"), n=200, seed=0)
    assert found.change.value == 1 and found.level.value == 4
    assert found.controls.value == pytest.approx((0.5 - 4) / 9)
    assert found.beyond.value == pytest.approx(1 + 3.5 / 9)
    assert found.p == pytest.approx(2 / 3)  # the second control moves as far, the other way


def test_the_effect_on_a_share_counts_answers_only():
    def cells(rows):
        return np.array(rows, dtype=float)

    measured = Measured(
        value=cells([[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]),
        count=cells([[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]]),
        plain=cells([1, 1, 0, 1, 0, 1]),
        plain_count=cells([1, 1, 1, 1, 1, 1]),
        tried=cells([[1] * 6, [1, 1, 0, 0, 0, 0]]).astype(bool),
        share=True,
    )
    found = effect(measured, list("abcdef"), n=200, seed=0)
    assert found.level.value == 0 and found.level.ci95[1] > 0.3  # no spread to resample, and wilson's width
    assert found.change.value == pytest.approx(-4 / 6)
    assert "2 groups are too few" in str(found.controls.reason)
    assert found.p == 0.5


def test_decisions_that_none_moves_have_an_interval_with_a_width():
    ones = np.ones((3, 8))
    measured = Measured(ones, ones, ones[0], ones[0], ones.astype(bool), share=True)
    found = effect(measured, list("abcdefgh"), n=200, seed=0)
    for each in (found.change, found.controls, found.beyond):
        assert each.value == 0 and each.ci95[0] < -0.05 and each.ci95[1] > 0.05


# What is refused


def test_a_run_that_was_steered_is_refused(run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    spec = (out / "experiment.yaml").read_text()
    (out / "experiment.yaml").write_text(spec + "steering: [{direction: somewhere, strength: 1.0}]\n")
    with pytest.raises(IntrospectError, match="recorded under steering"):
        steer_run(out, SMALL)


def test_a_direction_of_another_width_model_or_site_is_refused(run, model, tmp_path):
    width = load_model(str(model), dtype="float32").info.width

    def saved(name, *args, **options):
        save_direction(tmp_path / name, Direction(*args, **options))
        return SteerSettings(direction=str(tmp_path / name))

    with pytest.raises(ModelError, match="width"):
        plan_steer(run, saved("wide", np.ones(width + 1), "resid_post", 0))
    other = ModelMark("other", "0" * 64, 4)
    with pytest.raises(ModelError, match="weights"):
        plan_steer(run, saved("other", np.ones(width), "resid_post", 0, model=other))
    with pytest.raises(SpecError, match="does not steer resid_mid"):
        plan_steer(run, saved("site", np.ones(width), "resid_mid", 0))
    with pytest.raises(SpecError, match="layer of its own"):
        plan_steer(run, SteerSettings(direction=str(tmp_path / "site"), layer=1))
    with pytest.raises(RunError, match="has not recorded layer 77"):
        plan_steer(run, SteerSettings(layer=77))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"doses": ()}, "--doses"),
        ({"doses": (float("nan"),)}, "--doses"),
        ({"controls": -1}, "--controls"),
        ({"items": 0}, "--items"),
        ({"kl_bound": 0.0}, "--kl-bound"),
    ],
)
def test_settings_that_cannot_be_done(options, said):
    with pytest.raises(SpecError, match=said):
        SteerSettings(**options)


def test_a_damaged_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "steering.jsonl"
    path.write_text('{"plan": "x"}\n{"unit": 3}\n')
    with pytest.raises(StoreError, match=r"steering.jsonl:2: no unit"):
        read_log(path)


def test_the_verb(steered, capsys):
    options = ["--doses=-0.5,0.5,40", "--controls", "2", "--items", "6", "--control-items", "2"]
    options += ["--layers", "0,1", "--lanes", "64"]
    before = (steered / "steering.jsonl").read_text()
    with pytest.raises(SystemExit) as stop:
        main(["steer", str(steered), *options, "--json"])
    assert not stop.value.code
    printed = json.loads(capsys.readouterr().out)
    assert printed["steering"] == read_results(steered / "results.json")["steering"]
    assert (steered / "steering.jsonl").read_text() == before
    with pytest.raises(SystemExit) as stop:
        main(["steer", str(steered), *options, "--dry-run", "--json"])
    cost = json.loads(capsys.readouterr().out)
    assert cost["n_items"] == 6 and cost["n_directions"] == 5 and cost["seconds"] > 0
    assert (steered / "steering.jsonl").read_text() == before
    with pytest.raises(SystemExit) as stop:
        main(["steer", str(steered), "--doses", "much"])
    assert stop.value.code == 2 and "--doses 'much'" in capsys.readouterr().err


def test_the_report_shows_what_was_steered(steered):
    page = (steered / "report.html").read_text()
    found = read_results(steered / "results.json")["steering"]
    assert "Does the direction move the choice?" in page
    for name in ("steer_doses", "steer_map"):
        assert f'id="{name}"' in page and f'"{name}": ' in page
    assert found["sentences"][-1] in page
    assert len(read_lines(steered / "steering.jsonl")) == 1 + 6 + len(found["map"]["layers"]) + 1 + 12 + 6


def verdict_of(added: dict, removed: dict) -> str:
    """The closing sentence, of effects on log-odds in think and answer alike."""
    cells = [{"operator": "project", "dose": 1.0, "log_odds": removed}]
    section = {
        "replayed": {scope: {"slope": added, "doses": cells} for scope in SCOPES},
        "causal": [{"scope": "both", "what": "project out", "same": {"level": estimate(0.9)}}],
    }
    return sentences_module._verdict(section)


def estimate(value: float) -> dict:
    return {"value": value, "ci95": [value - 0.1, value + 0.1], "n": 12, "method": "by hand"}


def effect_of(value: float, p: float = 0.024, n: int = 40) -> dict:
    return {"beyond": estimate(value), "p": p, "n_controls": n, "level": estimate(3.0)}


@pytest.mark.parametrize(
    ("added", "removed", "said"),
    [
        (effect_of(2.0), effect_of(-1.0), "the choice uses it"),
        (effect_of(2.0), effect_of(-1.0, p=0.3), "it can push the choice, which does not show that the model uses it"),
        (effect_of(0.01), effect_of(-0.01), "present, and not shown to be used"),
        (effect_of(-0.5), effect_of(-1.0), "when it is added, the other way than it points"),
        (effect_of(2.0), effect_of(0.5), "when it is projected out, the other way than it points"),
        (
            effect_of(2.0, n=10),
            effect_of(-1.0, n=10),
            "not tested: added (10 control directions cannot reach p = 0.05)",
        ),
        (effect_of(2.0, p=None, n=0), effect_of(-1.0, p=None, n=0), "not tested: added (0 control directions cannot"),
        ({"value": None, "reason": "no dose is usable"}, effect_of(-1.0), "not tested: added (no dose is usable)"),
    ],
)
def test_the_closing_sentence_claims_what_was_found(added, removed, said):
    assert said in verdict_of(added, removed)
