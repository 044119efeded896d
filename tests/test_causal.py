"""Causal checks: a planted effect is found and a direction without one is not; what is done, kept, resumed, refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from introspect.backends import Capture, Generation, Sampling, Steer
from introspect.causal import SteerSettings, estimate_steer, sampled, stage, steer_run, units
from introspect.causal import sentences as sentences_module
from introspect.causal.arms import mean_of, sampled_measure, steered_cases
from introspect.causal.effects import Measured, effect
from introspect.causal.held_out import SENTENCES, read_sentence, token_ids
from introspect.causal.log import PLAIN, Log, Sampled, Unit, cell_name, read_log
from introspect.causal.replayed import replay_case, steered_range
from introspect.causal.sampled import repeated, rotation, sample_plain, sample_unit
from introspect.causal.section import steering_section
from introspect.causal.settings import SCOPES
from introspect.causal.stage import SteerPlan, plan_steer
from introspect.causal.vectors import _of_map, _paired
from introspect.cli import main
from introspect.concepts import read_sentences
from introspect.errors import EstimateError, IntrospectError, ModelError, RunError, SpecError, StoreError
from introspect.experiment import load_experiment
from introspect.forced import option_ids
from introspect.link import with_causal
from introspect.manifest import earlier_versions, package_versions
from introspect.models import load_model
from introspect.report import number
from introspect.report.link_tables import MISSING
from introspect.report.link_tables import _verdicts as verdict_table
from introspect.report.page import render
from introspect.report.steering_tables import steering_tables
from introspect.rescore import link_again
from introspect.results import read_results, read_run_manifest, validate_results
from introspect.steering import Direction, ModelMark, from_gguf, load_direction, save_direction
from introspect.verdicts import VERDICTS
from scripted import read_lines, run_scripted, save_roomy
from test_shift import said
from tiny_folders import edit_json

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


@pytest.fixture(scope="module")
def plan(steered) -> SteerPlan:
    return plan_steer(steered, SMALL)


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
        for each in found["sampled"][scope]:
            assert each["n"] + len(each["without_a_token"]) == 6 and each["acts"]["n_controls"] <= 4
            assert each["acts"]["n_items"] <= each["n"]
    assert all(each["n"] == 6 for each in found["sampled"]["both"])
    assert found["map"]["layers"] == [0, 1]
    assert "4 control directions are fewer than the 40" in " ".join(found["sentences"])
    assert "is not tested: added (4 control directions cannot reach p = 0.05 in 2 tests)" in found["sentences"][-1]


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
    tested = torch.from_numpy(direction.vector.copy())
    ids = option_ids(plan.subject.loaded.tokenizer, ["risky", "safe"])
    assert sorted(rollout.options) == ["risky", "safe"]
    for scope in SCOPES:
        found = replay_case(plan.subject, plan.tested, plan.acts, rollout, scope)
        where = steered_range(rollout, scope)
        here = where if scope == "think" else range(where.start, 1 << 40)

        def odds(vector, strength, operator, along, here=here):
            steer = Steer(direction.site, direction.layer, vector, strength, (here,), operator, along=along)
            (made,) = backend.generate(
                [[*rollout.token_ids[:end], ids["risky"][0]]],
                seeds=[0],
                sampling=Sampling(1, 0.0, frozenset()),
                capture=None,
                watch=[ids["risky"][1], ids["safe"][1]],
                steer=[steer],
            )
            risky, safe = made.watched[0].tolist()
            return risky - safe

        for d in range(3):
            for j, act in enumerate(plan.acts):
                strength = act.dose * plan.tested.unit if act.operator == "add" else 1.0
                vector = torch.from_numpy(plan.tested.vectors[d])
                # Of what is projected out, as much is moved along a control as the direction has.
                along = tested if act.operator == "project" else None
                assert found.log_odds[d][j] == pytest.approx(odds(vector, strength, act.operator, along), abs=1e-4)
        for d in (1, 2):
            vector = torch.from_numpy(plan.tested.vectors[d])
            assert found.own_out[d - 1] == pytest.approx(odds(vector, 1.0, "project", None), abs=1e-4)
        (values,) = backend.replay([rollout.token_ids], [where], capture=Capture((direction.site,), (direction.layer,)))
        for d, vector in enumerate(torch.from_numpy(plan.tested.vectors)):
            sizes = (values[direction.site, direction.layer] @ (vector / vector.norm())).abs()
            assert found.component[d] == pytest.approx(float(sizes.mean()), rel=1e-4)
        assert found.step is None


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
    original = units.sample_unit

    def stop(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args)
        return original(*args)

    monkeypatch.setattr(units, "sample_unit", stop)
    with pytest.raises(KeyboardInterrupt):
        steer_run(out, SMALL)
    with (out / "steering.jsonl").open("a") as file:
        file.write('{"unit": "sampled/think/add/40", "sam')
    monkeypatch.setattr(units, "sample_unit", original)
    monkeypatch.setattr(units, "replay_case", None)  # not done again
    steer_run(out, SMALL)
    assert (out / "steering.jsonl").read_text() == (steered / "steering.jsonl").read_text()
    assert read_results(out / "results.json")["steering"] == read_results(steered / "results.json")["steering"]


def test_another_plan_sets_the_file_aside(steered, tmp_path):
    shutil.copy(steered / "steering.jsonl", tmp_path)
    assert Log(tmp_path, "another").units == {}
    (aside,) = tmp_path.glob("steering.other-*.jsonl")
    assert read_log(aside) == read_log(steered / "steering.jsonl")
    assert Log(tmp_path, "a third").units == {}
    assert len(list(tmp_path.glob("steering.other-*.jsonl"))) == 2
    assert read_log(aside) == read_log(steered / "steering.jsonl")


def test_a_file_of_an_earlier_version_is_set_aside_whatever_its_units_are(tmp_path):
    content = '{"plan": "old"}\n{"unit": "spoken/1", "spoken": [{"scope": null, "nats": 1.0}]}\n'
    (tmp_path / "steering.jsonl").write_text(content)
    assert Log(tmp_path, "new").units == {}
    (aside,) = tmp_path.glob("steering.other-*.jsonl")
    assert aside.read_text() == content
    (tmp_path / "steering.jsonl").write_text(content)
    with pytest.raises(StoreError, match=r"steering.jsonl:2: no unit"):
        Log(tmp_path, "old")


def test_what_every_direction_made_it_say_is_scored_by_the_unsteered_model(plan, monkeypatch):
    made, original = [], sampled._generate
    monkeypatch.setattr(sampled, "_generate", lambda *a: made.extend(original(*a)) or list(made))
    act = next(act for act in plan.acts if act.dose == 0.5)
    rows = sample_unit(plan.subject, plan.tested, "both", act, plan.wanted, 64)
    assert {row.direction for row in rows} == set(range(5)) and len(rows) == len(made)
    model = plan.subject.loaded.model
    for row, each, wanted in zip(rows, made, plan.wanted, strict=True):
        prompt = plan.subject.cases[wanted.case].rollout.prompt_ids
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *each.completion_ids]])).logits[0]
        said = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
        own = said.gather(1, torch.tensor(each.completion_ids)[:, None])
        assert row.nats == pytest.approx(-float(own.mean()), abs=1e-4)
        assert row.n_tokens == len(each.completion_ids) and (row.completion_ids is None) == (row.direction > 0)


def test_the_perplexity_of_steered_text_stands_beside_that_of_the_controls(plan, steered):
    section = read_results(steered / "results.json")["steering"]
    _, units = read_log(steered / "steering.jsonl")
    plain = {row.rollout: row.nats for row in units["sampled/plain"].sampled}
    for scope in SCOPES:
        for act, cell in zip(plan.acts, section["sampled"][scope], strict=True):
            rows = [row for row in units[cell_name(scope, act)].sampled if row.direction and row.steered_tokens]
            if len({row.rollout for row in rows}) < 5:  # of fewer groups there is no interval
                continue
            moved = np.mean([row.nats - plain[row.rollout] for row in rows])
            assert cell["nats"]["controls"]["value"] == pytest.approx(moved, abs=1e-5)
            assert cell["nats"]["n_controls"] == 4 and cell["nats"]["p"] is not None
    cell = section["sampled"]["both"][0]
    (table,) = (each for each in steering_tables(section) if each.title.startswith("Sampled anew"))
    at = table.head.index("nats a token")
    row = next(row for row in table.rows if [c.text for c in row[:3]] == ["think and answer", "added", "-0.5"])
    assert table.head[at : at + 3] == ["nats a token", "change", "controls"]
    assert row[at + 1].text.startswith(number(cell["nats"]["change"]))
    assert row[at + 1].text.endswith("of 4") and row[at + 2].text == number(cell["nats"]["controls"])


@pytest.mark.parametrize(
    ("finish", "text", "met"),
    [
        ("length", "<think>ab</think>c", 0),
        ("length", "<think>ab</think>cd", 1),
        ("stop", "<think>ab</think>c", 1),
        ("not_finite", "<think>ab</think>c", 1),
    ],
)
def test_the_token_at_which_a_completion_ends_is_not_fed_and_not_counted(plan, monkeypatch, finish, text, met):
    tokenizer = plan.subject.loaded.tokenizer
    ids = [*tokenizer(text, add_special_tokens=False).input_ids, *[tokenizer.eos_token_id] * (finish == "stop")]
    made = Generation(ids, finish, {}, torch.empty(len(ids), 0))
    monkeypatch.setattr(sampled, "_generate", lambda *_: [made])
    (row,) = sample_unit(plan.subject, plan.tested, "answer", plan.acts[0], plan.wanted[:1], 64)
    assert row.steered_tokens == met
    assert steered_cases([row], [row.rollout]).tolist() == [met > 0]


def test_what_is_sampled_has_seeds_of_its_own_alike_with_steering_and_without(plan, monkeypatch):
    """Items are looked at by what the stored rollout did: with its seed the unsteered arm would do the same again."""
    drawn, backend = [], plan.subject.backend
    original = backend.generate
    monkeypatch.setattr(
        backend, "generate", lambda *a, seeds, **o: drawn.append(list(seeds)) or original(*a, seeds=seeds, **o)
    )
    sample_plain(plan.subject, plan.tested, plan.acts[-1], 64)
    tested = [each for each in plan.wanted if each.direction == 0]
    sample_unit(plan.subject, plan.tested, "both", plan.acts[-1], tested, 64)
    stored = {case.rollout.seed for case in plan.subject.cases}
    plain, beside, steered = drawn
    assert plain == beside[:6] == steered and not stored & set(plain) and len(set(plain)) == 6
    other = plan_steer(plan.subject.run, replace(SMALL, seed=1))
    assert not {case.seed for case in other.subject.cases} & set(plain)


def test_what_is_sampled_without_the_direction_is_moved_along_a_control_by_as_much(plan, monkeypatch):
    given, backend = [], plan.subject.backend
    original = backend.generate
    monkeypatch.setattr(
        backend, "generate", lambda *a, steer, **o: given.extend(steer) or original(*a, steer=steer, **o)
    )
    wanted = [each for each in plan.wanted if each.case == 0]
    sample_unit(plan.subject, plan.tested, "both", plan.acts[-1], wanted, 64)
    added, projected = given
    assert not any(added.strength) and set(projected.strength) == {1.0} and len(wanted) > 1
    assert np.array_equal(projected.along, plan.tested.direction.vector)
    assert np.array_equal(projected.vector, plan.tested.vectors[[each.direction for each in wanted]])


def test_the_column_goes_by_the_headline_classifier(steered, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(steered, out)
    before = read_results(out / "results.json")
    assert before["steering"]["verdict_classifier"] == "lexical"
    acted = {line["rollout"]: line["acted"] for line in read_lines(out / "rollouts.jsonl")}
    lines = read_lines(out / "verdicts.jsonl")
    labels = [{**line, "classifier": "labels", "verdict": "denied"} for line in lines]
    (out / "verdicts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, *labels]))
    verdicts = dict(before["verdicts"])
    verdicts["classifiers"] = {**verdicts["classifiers"], "labels": verdicts["classifiers"]["lexical"]}
    edit_json(out / "results.json", verdicts=verdicts | {"headline_classifier": "labels"})
    found = steer_run(out, SMALL)
    chosen = [number for number in map(int, plan_numbers(out)) if acted[number]]
    assert found["steering"]["verdict_classifier"] == "labels" and chosen
    assert found["steering"]["by_verdict"]["denied"]["n_items"] <= len(chosen)
    assert "no steered item" in found["steering"]["by_verdict"]["silent"]["reason"]
    assert "change" in before["steering"]["by_verdict"]["silent"]
    assert (out / "steering.jsonl").read_text() == (steered / "steering.jsonl").read_text()


def plan_numbers(run: Path) -> list[str]:
    names = [line.get("unit", "") for line in read_lines(run / "steering.jsonl")]
    return [name.removeprefix("replayed/") for name in names if name.startswith("replayed/")]


def test_a_column_of_another_classifier_is_not_shown(steered):
    results = read_results(steered / "results.json")
    link = {"verdict_classifier": "judge", "table": {"silent": {"policy": 1, "none": 0}}}
    row = with_causal(link, results["steering"])["table"]["silent"]
    assert "not tested for verdicts of judge" in row["causal"]["reason"]
    same = with_causal(link | {"verdict_classifier": "lexical"}, results["steering"])["table"]["silent"]
    assert same["causal"] == results["steering"]["by_verdict"]["silent"]


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.024, "-50% [-60%, -40%]; beyond controls: -40% [-50%, -30%] (12 items, 40 controls, p = 0.024)"),
        (0.4, "-50% [-60%, -40%]; beyond controls: not shown (12 items, 40 controls, p = 0.4)"),
    ],
)
def test_what_exceeds_the_controls_is_shown_where_a_rank_among_them_says_so(p, text):
    causal = {**effect_of(-0.4, p=p), "change": estimate(-0.5), "n_items": 12}
    table = verdict_table({"table": {"silent": {"policy": 3, "none": 1, "causal": causal}}})
    assert table.rows[0][-1].text == text and "the same new seeds" in table.notes[0]
    none = {**causal, "change": {"value": None, "reason": "nothing was sampled"}, "n_items": 0}
    unmeasured = verdict_table({"table": {"silent": {"policy": 3, "none": 1, "causal": none}}})
    assert unmeasured.rows[0][-1].text == MISSING and any("nothing was sampled" in note for note in unmeasured.notes)
    old = verdict_table({"table": {"silent": {"policy": 3, "none": 1, "causal": estimate(-0.5)}}})
    assert "by an earlier version" in old.notes[0] and "steer the run again" in old.notes[0]


def test_rollouts_that_met_no_token_of_the_scope_are_left_out():
    def row(rollout, acted, tokens, direction=0, repetition=None, nats=1.5):
        return Sampled(
            rollout=rollout, direction=direction, acted=acted, verbalised=None, correct=None, n_tokens=5,
            steered_tokens=tokens, repeated=repetition, nats=nats, finish="stop",
        )  # fmt: skip

    rows = [row(1, True, 3), row(2, False, 0), row(1, False, 0, 1), row(2, False, 4, 1)]
    found = sampled_measure(rows, [row(1, False, 0), row(2, True, 0)], [1, 2], 2, "acts")
    assert steered_cases(rows, [1, 2]).tolist() == [True, False]
    assert found.count.tolist() == [[1, 0], [0, 1]] and found.tried.tolist() == [[True, False], [False, True]]
    # Of two completions one is too short for a piece of four tokens: means are of rollouts that have both numbers.
    short = [row(1, True, 3, repetition=0.5), row(2, True, 3, repetition=0.1)]
    found = sampled_measure(short, [row(1, True, 0), row(2, True, 0, repetition=0.3)], [1, 2], 1, "repetition")
    assert (
        found.value.tolist() == [[0, 0.1]] and found.count.tolist() == [[0, 1]] and found.plain_count.tolist() == [0, 1]
    )


def test_a_scope_that_no_rollout_met_has_no_figures_and_says_why(plan, steered):
    results = read_results(steered / "results.json")
    _, units = read_log(steered / "steering.jsonl")
    for name in [name for name in units if name.startswith("sampled/think")]:
        rows = [row.model_copy(update={"steered_tokens": 0}) for row in units[name].sampled]
        units[name] = units[name].model_copy(update={"sampled": rows})
    section = steering_section(plan.subject, plan.tested, SMALL, plan.mapped, units)
    for cell in section["sampled"]["think"]:
        assert cell["n"] == 0 and len(cell["without_a_token"]) == 6 and cell["acts"]["n_items"] == 0
        assert "met a token" in cell["acts"]["change"]["reason"] and "met a token" in cell["nats"]["level"]["reason"]
    said = " ".join(section["sentences"])
    assert "Sampled anew, not estimated (no rollout that was sampled anew met a token of this scope)." in said
    assert "up to 6 of 6 rollouts met no token of think only, and are left out" in " ".join(section["sentences"])
    page = render({**results, "steering": section}, read_run_manifest(steered / "manifest.json"))
    assert "were not steered, and are counted and left out" in page
    validate_results({**results, "steering": section})


def test_without_controls_nothing_is_claimed(run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    found = steer_run(out, SteerSettings(doses=(0.5,), controls=0, items=5, layers=None))["steering"]
    cell = found["replayed"]["both"]["doses"][1]
    assert cell["removed"]["direction"]["value"] > 0 and "no control" in cell["removed"]["controls"]["reason"]
    assert cell["log_odds"]["p"] is None and found["causal"][0]["acts"]["p"] is None
    assert "is not tested: added" in found["sentences"][-1] and "no controls" in " ".join(found["sentences"])


def test_a_layer_whose_unsteered_log_odds_are_no_numbers_is_missing_with_its_reason(plan, steered):
    _, units = read_log(steered / "steering.jsonl")
    whole = steering_section(plan.subject, plan.tested, SMALL, plan.mapped, units)["map"]
    assert not whole["missing"] and not whole["without_log_odds"]

    def without(names):
        rows = [
            row if row.rollout not in names else row.model_copy(update={"plain": None}) for row in units["map/0"].mapped
        ]
        unit = units["map/0"].model_copy(update={"mapped": rows})
        return steering_section(plan.subject, plan.tested, SMALL, plan.mapped, {**units, "map/0": unit})["map"]

    first, *rest = units["map/0"].mapped
    some = without({first.rollout})
    moved = np.mean([row.log_odds[0] - row.plain for row in rest])
    assert some["without_log_odds"] == [first.rollout] and some["log_odds"][0][0] == pytest.approx(moved, abs=1e-5)
    none = without({row.rollout for row in units["map/0"].mapped})
    assert none["log_odds"][0] == [None] * 4 and none["log_odds"][1] == whole["log_odds"][1]
    assert {
        "layer": 0,
        "operator": "add",
        "dose": 0.5,
        "reason": "without steering, no item's log-odds are finite",
    } in none["missing"]


def test_the_plan_is_of_a_method_an_engine_and_versions(plan, monkeypatch):
    before = plan.digest
    for owner, name, other in (
        (plan.subject.backend, "name", "another"),
        (stage, "METHOD", 1),
        (stage, "package_versions", lambda: {"torch": "0"}),
        (stage, "machine_facts", lambda: {"processor": "another", "accelerator": None}),
        (stage, "stop_ids", lambda _: {0}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, other)
            assert plan.digest != before, name
    assert plan.digest == before


def test_a_file_of_a_time_when_fewer_packages_were_recorded_goes_on(plan, tmp_path, monkeypatch):
    unit = Unit(unit=PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "package_versions", lambda: earlier_versions(package_versions()))
        assert plan.digest == plan.earlier
        Log(tmp_path, plan.digest).add(unit)
    assert plan.digest != plan.earlier
    assert Log(tmp_path, plan.digest, earlier=plan.earlier).units == {PLAIN: unit}
    assert Log(tmp_path, plan.digest).units == {PLAIN: unit}  # it says now of which plan it is
    assert Log(tmp_path, "another", earlier=plan.earlier).units == {}


def of_model(plan: SteerPlan, **info) -> SteerPlan:
    """The plan as if its model had been loaded otherwise."""
    prepared = plan.subject.prepared
    loaded = replace(prepared.loaded, info=replace(prepared.loaded.info, **info))
    return replace(plan, subject=replace(plan.subject, prepared=replace(prepared, loaded=loaded)))


@pytest.mark.parametrize(
    "info", [{"device": "cuda:0"}, {"attention": "eager"}, {"dtype": "bfloat16"}, {"quantization": "4bit"}]
)
def test_the_plan_is_of_a_model_as_it_was_loaded(plan, info):
    assert of_model(plan).digest == plan.digest
    assert of_model(plan, **info).digest != plan.digest


def test_the_plan_is_of_how_was_sampled_and_of_the_chat_s_format(plan):
    subject, loaded = plan.subject, plan.subject.loaded
    for name, other in (("temperature", 0.5), ("max_new_tokens", 13)):
        generation = subject.spec.generation.model_copy(update={name: other})
        spec = subject.spec.model_copy(update={"generation": generation})
        assert replace(plan, subject=replace(subject, spec=spec)).digest != plan.digest, name
    prepared = replace(subject.prepared, loaded=replace(loaded, format=replace(loaded.format, closes=("<end>",))))
    assert replace(plan, subject=replace(subject, prepared=prepared)).digest != plan.digest


def test_the_plan_is_of_what_settings_come_to(plan):
    """Equal measurements are not done again because they were asked for in other words."""
    same = replace(SMALL, kl_bound=3.0, layers="0:2", doses=(40.0, 0.5, -0.5, 0.0), recipe="probe")
    assert plan_steer(plan.subject.run, same).digest == plan.digest
    few = rotation(plan.subject.groups, 4, 1)
    direction = replace(plan.tested.direction, layer=0)
    for other in (
        {"settings": replace(SMALL, lanes=63)},
        {"settings": replace(SMALL, doses=(0.5,))},
        {"mapped": []},
        {"wanted": few},
        {"tested": replace(plan.tested, vectors=-plan.tested.vectors)},
        {"tested": replace(plan.tested, direction=direction)},
    ):
        assert replace(plan, **other).digest != plan.digest, other


def test_scores_that_are_not_of_32_bits_are_said_with_their_steps(plan, steered, monkeypatch):
    asked = []
    backend = plan.subject.backend
    original = backend.branches
    monkeypatch.setattr(backend, "branches", lambda *a, **o: asked.append(o["wide"]) or original(*a, **o))
    monkeypatch.setattr(type(backend), "wide_head", False)
    few = replace(plan.tested, vectors=plan.tested.vectors[:2])
    found = replay_case(plan.subject, few, plan.acts, plan.subject.cases[0].rollout, "answer")
    assert all(asked) and 0 < found.step < 1e-4  # of float32
    _, units = read_log(steered / "steering.jsonl")
    name = f"replayed/{found.rollout}"
    rows = [row.model_copy(update={"step": 0.125}) for row in units[name].replayed]
    units[name] = units[name].model_copy(update={"replayed": rows})
    section = steering_section(plan.subject, plan.tested, SMALL, plan.mapped, units)
    assert section["scores"] == {"head": "float32", "step": 0.125}
    assert "in steps of up to 0.125 nats" in " ".join(section["sentences"])
    assert read_results(steered / "results.json")["steering"]["scores"] == {"head": "float32", "step": None}


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
    wanted = rotation("abcdefgh", 40, 2)
    assert [each.case for each in wanted if each.direction == 0] == list(range(8))
    assert {sum(w.case == case and w.direction > 0 for w in wanted) for case in range(8)} == {10}
    assert len(rotation("abc", 4, 9)) == 3 + 4 * 3 and len(rotation("abc", 4, 0)) == 3


@pytest.mark.parametrize("groups", ["abcd" * 6, "abcdefghijkl" * 2, "aaaabbbbccccdddd"])
def test_every_control_sees_items_of_as_many_groups_as_can_be(groups):
    for control in range(1, 41):
        cases = [each.case for each in rotation(groups, 40, 4) if each.direction == control]
        assert len(set(cases)) == 4 and len({groups[case] for case in cases}) == 4


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
        ({"site": "attn_out"}, "--site attn_out is of a file that --direction names"),
        ({"tensor": "x"}, "--tensor x is of a file that --direction names"),
        ({"direction": "d", "recipe": "probe"}, "leave --recipe out"),
        ({"direction": "d", "recipe": "pairs"}, "leave --recipe out"),
        ({"direction": "d", "position": "last_prompt"}, "leave --position out"),
        ({"direction": "d", "layers": (0, 1)}, "leave --layers out"),
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


def rewritten(line: str, **changes) -> str:
    return json.dumps(json.loads(line) | changes)


def rows_with(line: str, kind: str, **changes) -> str:
    rows = json.loads(line)[kind]
    return rewritten(line, **{kind: [rows[0] | changes, *rows[1:]]})


@pytest.mark.parametrize(
    ("prefix", "change", "said"),
    [
        ("replayed/", lambda line: rewritten(line, unit="replayed/9999"), "an item that is not steered"),
        ("replayed/", lambda line: rows_with(line, "replayed", scope="both"), "scopes think, answer, both, each once"),
        (
            "replayed/",
            lambda line: rows_with(line, "replayed", log_odds=[[0.0]]),
            "is not of 5 directions under 4 doses",
        ),
        (
            "replayed/",
            lambda line: rows_with(line, "replayed", component=[1.0]),
            "is not of 5 directions under 4 doses",
        ),
        ("replayed/", lambda line: rows_with(line, "replayed", plain=0.0).replace("0.0", "1e999", 1), "finite"),
        ("map/", lambda line: rewritten(line, unit="map/3"), "a layer that the map does not have; it has 0, 1"),
        ("map/", lambda line: rows_with(line, "mapped", rollout=9999), "not of the items that are steered"),
        ("map/", lambda line: rows_with(line, "mapped", kl=[]), "is not of 4 doses"),
        ("sampled/both", lambda line: rewritten(line, unit="sampled/both/add/7.0"), "was not asked for"),
        ("sampled/both", lambda line: rows_with(line, "sampled", direction=99), "not of the directions and items"),
        ("sampled/both", lambda line: rows_with(line, "sampled", completion_ids=None), "lacks the tokens"),
        ("sampled/both", lambda line: rows_with(line, "sampled", completion_ids=[-1]), "none of the model's"),
        ("sampled/both", lambda line: rows_with(line, "sampled", n_tokens=-1), "greater than or equal to 0"),
        ("sampled/plain", lambda line: rewritten(line, unit="other"), "of no kind that is measured"),
        ("apart/3", lambda line: rewritten(line, unit="apart/99"), "a sentence that is not read"),
        ("apart/3", lambda line: rows_with(line, "apart", direction=4), "not of the directions that are read on it"),
        ("map/", lambda line: rows_with(line, "mapped", controls=[]), "not of 2 control directions"),
        ("sampled/both", lambda line: rows_with(line, "sampled", nats=0.5).replace("0.5", "1e999", 1), "finite"),
    ],
)
def test_a_unit_that_is_not_the_plan_s_is_named_with_its_line(plan, steered, tmp_path, prefix, change, said):
    lines = (steered / "steering.jsonl").read_text().splitlines()
    at = max(i for i, line in enumerate(lines) if line.startswith(f'{{"unit":"{prefix}'))
    lines[at] = change(lines[at])
    content = "\n".join(lines) + "\n"
    (tmp_path / "steering.jsonl").write_text(content)
    with pytest.raises(StoreError, match=said) as error:
        Log(tmp_path, plan.digest, plan.expected.check)
    assert f"steering.jsonl:{at + 1}: " in str(error.value) and "move it away, and steer" in str(error.value)
    assert (tmp_path / "steering.jsonl").read_text() == content


def test_a_unit_that_is_there_twice_is_named_and_a_whole_file_is_taken(plan, steered, tmp_path):
    content = (steered / "steering.jsonl").read_text()
    (tmp_path / "steering.jsonl").write_text(content)
    assert len(Log(tmp_path, plan.digest, plan.expected.check).units) == len(content.splitlines()) - 1
    (tmp_path / "steering.jsonl").write_text(content + content.splitlines()[-1] + "\n")
    with pytest.raises(StoreError, match=r"is there twice; move it away"):
        Log(tmp_path, plan.digest)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ((0, 3), "has not recorded layer 3; choose of 0, 2"),
        ("1:4:2", "has not recorded layer 1, 3"),
        ((9,), "--layers:"),
    ],
)
def test_layers_that_were_not_recorded_are_named(wanted, said):
    subject = SimpleNamespace(
        run="runs/x",
        loaded=SimpleNamespace(info=SimpleNamespace(n_layers=4)),
        source=SimpleNamespace(recorded=SimpleNamespace(layers=(0, 2))),
    )
    with pytest.raises(SpecError, match=said):
        _of_map(subject, wanted)
    assert _of_map(subject, "all") == [0, 2] and _of_map(subject, (-2,)) == [2]


def test_a_direction_is_saved_for_other_tools_and_read_again(run, tmp_path, capsys):
    def save(name, *more):
        with pytest.raises(SystemExit) as stop:
            main(
                [
                    "steer",
                    str(run),
                    "--recipe",
                    "difference",
                    "--layer",
                    "1",
                    "--save-direction",
                    str(tmp_path / name),
                    *more,
                ]
            )
        return stop.value.code, capsys.readouterr()

    for name in ("folder", "vector.gguf", "vector.safetensors"):
        code, printed = save(name)
        assert not code and "adds a typical activation's norm" in printed.out
    kept = load_direction(tmp_path / "folder")
    (exported,) = from_gguf(tmp_path / "vector.gguf")
    assert kept.layer == exported.layer == 1 and np.array_equal(kept.vector, exported.vector)
    for name in ("vector.gguf", "vector.safetensors"):
        settings = replace(SMALL, direction=str(tmp_path / name), layers=None)
        tested = plan_steer(run, settings).tested
        assert np.array_equal(tested.direction.vector, kept.vector) and tested.direction.layer == 1
    assert not (run / "steering.jsonl").exists()
    code, printed = save("vector.gguf")
    assert code == 2 and "is there: name a new folder" in printed.err
    code, printed = save("more.gguf", "--layer", "0")
    assert code == 2 and "layer 1 or later" in printed.err and not (tmp_path / "more.gguf").exists()


def test_paired_differences_within_groups(run):
    with pytest.raises(EstimateError, match="paired differences take two or more"):
        plan_steer(run, replace(SMALL, recipe="pairs"))
    rng, wanted = np.random.default_rng(0), np.arange(1.0, 9.0)
    groups, acted = np.repeat(["a", "b", "c", "d"], 4), np.array([True, True, False, False] * 3 + [True] * 4)
    offsets = {group: 20 * rng.standard_normal(8) for group in "abcd"}
    values = np.array([offsets[group] + did * wanted for group, did in zip(groups, acted, strict=True)])
    recorded = SimpleNamespace(groups=groups, acted=acted)
    source = SimpleNamespace(split=SimpleNamespace(dev=np.arange(16)), recorded=recorded, site="resid_post")
    found = _paired(source, values, 2, None, "by hand")
    assert found.counts == {"n_pairs": 3} and found.vector @ wanted == pytest.approx(np.linalg.norm(wanted), rel=1e-4)


def test_sentences_are_steered_from_the_last_token_of_the_request_and_read_at_every_token(plan):
    act = next(act for act in plan.acts if act.dose == 40.0)
    rows = {row.direction: row for row in read_sentence(plan.subject, plan.tested, [act], 3, [0, 2])}
    loaded, layer = plan.subject.loaded, plan.tested.direction.layer
    prompt, ids = token_ids(loaded, 3)
    assert loaded.tokenizer.decode(ids).strip() == read_sentences().sentences[3]
    for direction, row in rows.items():
        push = torch.from_numpy(plan.tested.vectors[direction]) * plan.tested.unit * act.dose

        def steered(module, inputs, output, push=push):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = torch.cat([hidden[:, : len(prompt) - 1], hidden[:, len(prompt) - 1 :] + push], dim=1)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        def said():
            with torch.no_grad():
                logits = loaded.model(torch.tensor([[*prompt, *ids]])).logits[0]
            return logits[len(prompt) - 1 : -1].double().log_softmax(dim=-1)

        plain, hook = said(), loaded.model.model.layers[layer].register_forward_hook(steered)
        moved = said()
        hook.remove()
        wanted = (plain.exp() * (plain - moved)).sum(dim=-1).mean()
        assert row.kl[0] == pytest.approx(float(wanted), rel=1e-3) and row.kl[0] > 1e-3


def test_a_dose_that_is_far_on_sentences_is_not_usable_however_near_on_the_chains(plan, steered):
    _, units = read_log(steered / "steering.jsonl")
    settings = replace(plan.settings, kl_bound=1e6)

    def usable(units):
        section = steering_section(plan.subject, plan.tested, settings, plan.mapped, units)
        return [[cell["usable"] for cell in section["replayed"][scope]["doses"]] for scope in SCOPES]

    assert [row[1] for row in usable(units)] == [True] * 3
    far = [row.model_copy(update={"kl": [1e-3, 2e7, *row.kl[2:]]}) for row in units["apart/0"].apart]
    other = {**units, "apart/0": units["apart/0"].model_copy(update={"apart": far})}
    assert [row[:2] for row in usable(other)] == [[True, False]] * 3
    lost = [row.model_copy(update={"kl": [None, *row.kl[1:]]}) for row in units["apart/0"].apart]
    other = {**units, "apart/0": units["apart/0"].model_copy(update={"apart": lost})}
    assert [row[:2] for row in usable(other)] == [[False, True]] * 3


def test_the_map_shows_the_largest_of_its_random_directions(plan, steered):
    found = read_results(steered / "results.json")["steering"]["map"]
    _, units = read_log(steered / "steering.jsonl")
    assert found["controls"]["n"] == 2
    for row, layer in zip(found["controls"]["largest"], found["layers"], strict=True):
        rows = units[f"map/{layer}"].mapped
        means = [np.mean([each.controls[c][0] - each.plain for each in rows]) for c in range(2)]
        assert row[0] == pytest.approx(max(means, key=abs), abs=1e-5)
        assert row[0] != pytest.approx(found["log_odds"][found["layers"].index(layer)][0], abs=1e-5)


def test_a_section_of_the_version_before_is_still_read_and_shown(steered):
    results = read_results(steered / "results.json")

    def old(found):
        if isinstance(found, dict):
            return {name: old(each) for name, each in found.items() if name not in NEW}
        return [old(each) for each in found] if isinstance(found, list) else found

    section = {**results["steering"], "map": {k: v for k, v in results["steering"]["map"].items() if k in OLD_MAP}}
    items = {"n_items": section["n_items"], "same_as_the_run": 6, "by_verdict": dict.fromkeys(VERDICTS, estimate(-0.2))}
    before = {**results, "steering": {**old(section), **items}}
    validate_results(before)
    page = render(before, read_run_manifest(steered / "manifest.json"))
    assert "are those of the run in 6 of 6 items" in page and "how much, and what that much does elsewhere" not in page


NEW = ("n_items", "removed", "own_out", "scores", "engine", "verdict_classifier", "held_out")
OLD_MAP = ("layers", "acts", "log_odds", "kl")


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


@pytest.mark.parametrize("layers", [(0, 1), None])
def test_an_estimate_says_how_far_it_is(steered, layers):
    told = []
    estimate_steer(steered, replace(SMALL, layers=layers), progress=lambda *each: told.append(each))
    assert told == [("the direction, and short pieces", done, 6) for done in range(7)]


def test_the_report_shows_what_was_steered(steered):
    page = (steered / "report.html").read_text()
    found = read_results(steered / "results.json")["steering"]
    assert "Does the direction move the choice?" in page
    for name in ("steer_doses", "steer_map"):
        assert f'id="{name}"' in page and f'"{name}": ' in page
    assert found["sentences"][-1] in page
    assert "the largest change along 2 random directions" in page and "KL on sentences" in page
    n_units = SENTENCES + 6 + len(found["map"]["layers"]) + 1 + 12
    assert len(read_lines(steered / "steering.jsonl")) == 1 + n_units


def section_of(added: dict, removed: dict, **own: dict) -> dict:
    """Of effects on log-odds in think and answer alike, but for what a scope has of its own."""

    def cells(scope):
        usable = {"usable": True, "n_not_finite": 0}
        add = {"operator": "add", "dose": 0.5, **usable, "log_odds": added}
        project = {"operator": "project", "dose": 1.0, **usable, "log_odds": removed, "own_out": {}}
        project["removed"] = {"direction": estimate(1.0), "controls": estimate(1.0)}
        project["own_out"] = {"controls": estimate(0.0)}
        return [add, project | own.get(scope, {})]

    return {
        "replayed": {scope: {"slope": added, "doses": cells(scope)} for scope in SCOPES},
        "causal": [{"scope": each, "what": "project out", "same": {"level": estimate(0.9)}} for each in SCOPES],
    }


def verdict_of(added: dict, removed: dict, **own: dict) -> str:
    """The closing sentence."""
    return sentences_module._verdict(section_of(added, removed, **own))


def estimate(value: float) -> dict:
    return {"value": value, "ci95": [value - 0.1, value + 0.1], "n": 12, "method": "by hand"}


def effect_of(value: float, p: float = 0.024, n: int = 40) -> dict:
    changes = {"change": estimate(value), "controls": estimate(0.0), "level": estimate(3.0)}
    return {**changes, "beyond": estimate(value), "p": p, "n_controls": n, "n_items": 12}


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
            "not tested: added (10 control directions cannot reach p = 0.05 in 2 tests)",
        ),
        (
            effect_of(2.0, n=38),
            effect_of(-1.0, n=38),
            "not tested: added (38 control directions cannot reach p = 0.05 in 2 tests)",
        ),
        (effect_of(2.0, p=0.04), effect_of(-1.0, p=0.04), "is not shown to move the choice"),
        (effect_of(2.0, p=0.04), effect_of(-1.0, p=0.3), "is not shown to move the choice"),
        (effect_of(2.0, p=0.02), effect_of(-1.0, p=0.045), "(p = 0.04 and 0.045 by Holm; by itself not shown): at"),
        (effect_of(2.0, p=None, n=0), effect_of(-1.0, p=None, n=0), "not tested: added (0 control directions cannot"),
        ({"value": None, "reason": "no dose is usable"}, effect_of(-1.0), "not tested: added (no dose is usable)"),
    ],
)
def test_the_closing_sentence_claims_what_was_found(added, removed, said):
    assert said in verdict_of(added, removed)


def test_what_is_projected_out_outside_the_usable_range_is_no_test():
    added, removed = effect_of(2.0), effect_of(-1.0)
    assert "the choice uses it" in verdict_of(added, removed)
    lost = {"usable": False, "n_not_finite": 3}
    said = verdict_of(added, removed, both=lost)
    assert "not tested: projected out (outside the usable range: NaN or infinity in 3 items)." in said
    assert "the choice uses it" not in said
    far = {"usable": False, "n_not_finite": 0}
    assert "not tested: projected out (outside the usable range)." in verdict_of(added, removed, both=far)
    think = verdict_of(added, removed, think=far)
    assert "the choice uses it" in think and "by itself in answer only, p = 0.024 by Holm" in think
    assert "think only not tested, outside the usable range)" in think
    for scope, is_said in (("think", False), ("answer", True)):
        sentence = sentences_module._projected(section_of(added, removed, think=far), scope)
        assert ("it exceeds them" in sentence) is is_said
        assert ("Beyond the controls: not tested (outside the usable range)." in sentence) is not is_said


def test_where_by_itself_is_two_tests_of_its_own():
    added, removed = effect_of(2.0), effect_of(-1.0)
    both = verdict_of(added, removed)
    assert "by itself in think only, p = 0.048 and answer only, p = 0.048 by Holm)" in both
    weak = {"log_odds": effect_of(-1.0, p=0.04)}
    assert "by itself not shown)" in verdict_of(added, removed, think=weak, answer=weak)
    assert "in think only, p = 0.048 and answer only, p = 0.048" in verdict_of(added, removed, think=weak)
    none = {"log_odds": effect_of(-1.0, p=0.3)}
    assert "by itself in answer only, p = 0.048 by Holm)" in verdict_of(added, removed, think=none)


@pytest.mark.parametrize("where", ["NaN in a stored chain", "far apart", "NaN sampled anew"])
def test_the_link_s_column_is_no_test_outside_the_usable_range(plan, steered, where):
    _, units = read_log(steered / "steering.jsonl")
    scope, j = SCOPES.index("both"), len(plan.acts) - 1
    assert "change" in steering_section(plan.subject, plan.tested, SMALL, plan.mapped, units)["by_verdict"]["silent"]
    if where == "NaN sampled anew":
        name = cell_name("both", plan.acts[j])
        first = units[name].sampled[0].model_copy(update={"finish": "not_finite", "acted": None})
        units[name] = units[name].model_copy(update={"sampled": [first, *units[name].sampled[1:]]})
    else:
        name = f"replayed/{plan.subject.cases[0].rollout.rollout}"
        rows = list(units[name].replayed)
        field, value = ("log_odds", None) if where == "NaN in a stored chain" else ("kl", 60.0)
        grid = [list(each) for each in getattr(rows[scope], field)]
        grid[0][j] = value
        rows[scope] = rows[scope].model_copy(update={field: grid})
        units[name] = units[name].model_copy(update={"replayed": rows})
    section = steering_section(plan.subject, plan.tested, SMALL, plan.mapped, units)
    broken = "" if where == "far apart" else " (NaN or infinity in 1 item)"
    for verdict in VERDICTS:
        said = section["by_verdict"][verdict]["reason"]
        assert said == f"not tested: projected out of think and answer, the model is outside the usable range{broken}"
    table = verdict_table({"table": {"silent": {"policy": 3, "none": 1, "causal": section["by_verdict"]["silent"]}}})
    assert table.rows[0][-1].text == "not tested" and said in table.notes
    if where != "NaN sampled anew":
        assert "projected out (outside the usable range" in section["sentences"][-1]
        (chains,) = (each for each in steering_tables(section) if each.title.startswith("Stored chains"))
        row = next(row for row in chains.rows if [c.text for c in row[:2]] == ["think and answer", "projected out"])
        assert "not tested" in [cell.text for cell in row]
