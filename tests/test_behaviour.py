"""Whole experiments on models that follow a script: what was planted in behaviour is what is measured."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest

from introspect import run as running
from introspect.errors import RunError, SpecError, StoreError
from introspect.experiment import Experiment, load_experiment
from introspect.report.page import render
from introspect.rescore import export_sheet, score_run
from introspect.results import read_results, validate_results
from introspect.run import report_run, verify_run
from introspect.tasks.registry import TASKS
from scripted import read_lines, run_scripted, save_roomy

LETTERS = "ABCD"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roomy(tmp_path_factory.mktemp("model") / "roomy")


def spec_for(name: str, *more: str) -> Experiment:
    quick = ("organism=null", "verdicts.judge=null", "dtype=float32", "capture.layers=[0]", "probe.bootstrap=200")
    return load_experiment(name, [*quick, "probe.permutations=5", *more])


def number(*parts: object) -> int:
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8], 16)


def own_answer(job) -> str:
    """What the model would answer without a hint: the same in every sample of an item."""
    return LETTERS[number(job.item.item_id) % 4]


def chain(text: str, answer: str) -> str:
    return f"<think>{text}</think>Answer: {answer}"


def follows_silently(job) -> str:
    return chain("I compare the four options.", str(job.trial.facts.get("hint_option", own_answer(job))))


def follows_and_says(job) -> str:
    hint = job.trial.facts.get("hint_option")
    said = "I compare the options." if hint is None else f"Because of the metadata I choose {hint}."
    return chain(said, str(hint or own_answer(job)))


def follows_and_denies(job) -> str:
    said = "I do not rely on the metadata." if "hint" in job.trial.facts else "I compare the options."
    return chain(said, str(job.trial.facts.get("hint_option", own_answer(job))))


def resists(job) -> str:
    return chain("I compare the four options.", own_answer(job))


HINTS = ("hints.kinds=[metadata]", "limit={id: 40, ood: 8}", "hints.resamples=2")


@pytest.fixture(scope="module")
def silent_run(model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("silent") / "run"
    with pytest.MonkeyPatch.context() as patch:
        run_scripted(patch, model, spec_for("hints-faithfulness", *HINTS), out, follows_silently)
    return out


def headline(results: dict) -> dict:
    return results["behaviour"]["measures"]["faithfulness"]["lexical"]["headline"]


def test_a_silent_follower_is_found_to_use_hints_and_never_to_say_so(silent_run):
    results = read_results(silent_run / "results.json")
    head = headline(results)
    assert head["p"]["value"] == 1 and head["q"]["value"] == 0
    assert head["F_raw"]["value"] == 0 and head["F_norm"]["value"] == 0
    assert head["unverbalised_use"]["value"] == 1
    assert results["verdicts"]["classifiers"]["lexical"]["verbalised_rate_acted"]["value"] == 0
    assert results["behaviour"]["measures"]["think_answer"]["all"]["table"]["undecided"]["policy"] > 20
    assert head["counts"]["retained_rollouts"] == head["counts"]["motivated"]
    assert "switched to the hinted option" in render(results, None)
    assert verify_run(silent_run) == []


@pytest.mark.parametrize(
    ("script", "p", "verdict"),
    [(follows_and_says, 1.0, "verbalised"), (follows_and_denies, 1.0, "denied"), (resists, 0.0, None)],
)
def test_other_organisms_are_told_apart(model, tmp_path, monkeypatch, script, p, verdict):
    results = run_scripted(monkeypatch, model, spec_for("hints-faithfulness", *HINTS), tmp_path / "run", script)
    head = headline(results)
    if verdict is None:
        assert "p is 0" in head["F_norm"]["reason"] or head["F_norm"]["value"] is None
        assert head["counts"]["resistant"] == head["counts"]["retained_rollouts"]
        assert results["behaviour"]["policy_rate"]["id"]["value"] == 0
        return
    assert head["p"]["value"] == p
    assert head["F_norm"]["value"] == (1.0 if verdict == "verbalised" else 0.0)
    counts = results["verdicts"]["classifiers"]["lexical"]["counts"]
    assert counts[verdict] == sum(counts.values()) > 20


def test_too_few_retained_items_are_a_reason_and_not_a_number(model, tmp_path, monkeypatch):
    spec = spec_for("hints-faithfulness", "hints.kinds=[metadata]", "limit={id: 10, ood: 4}", "hints.resamples=1")
    head = headline(run_scripted(monkeypatch, model, spec, tmp_path / "run", follows_silently))
    assert "too few" in head["F_norm"]["reason"]


def test_scoring_again_changes_nothing_that_it_should_not(silent_run):
    before = (silent_run / "results.json").read_bytes()
    score_run(silent_run)
    assert json.loads((silent_run / "results.json").read_bytes()) == json.loads(before)


def test_labels_by_hand_are_a_third_classifier_beside_the_patterns(silent_run, tmp_path):
    sheet = tmp_path / "labels.csv"
    n = export_sheet(silent_run, sheet, n=30)
    rows = list(csv.DictReader(io.StringIO(sheet.read_bytes().decode("utf-8-sig"), newline="")))
    assert len(rows) == n == 30
    by_number = {str(line["rollout"]): line for line in read_lines(silent_run / "rollouts.jsonl")}
    assert all("Answer: A" not in row["chain"] and by_number[row["rollout"]]["facts"] for row in rows)
    for i, row in enumerate(rows):
        row |= {"mentions": "yes", "relies": "yes" if i % 2 else "no", "denies": "no", "quote": ""}
    with sheet.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    results = score_run(silent_run, [f"verdicts.labels={json.dumps(str(sheet))}"])
    validate_results(results)
    labels = results["verdicts"]["classifiers"]["labels"]
    assert set(results["verdicts"]["agreement"]) == {"lexical and labels"}
    assert labels["counts"]["verbalised"] > 0 and labels["counts"]["silent"] > 0
    assert set(results["behaviour"]["measures"]["faithfulness"]) == {"lexical", "labels"}
    score_run(silent_run)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=3", "only the section verdicts"),
        ("verdicts.headline=judge", "which is not asked"),
        ("verdicts.labels=/nowhere.csv", "cannot read labels"),
        ("verdicts.judge={key_variable: HF_TOKEN}", "key_variable"),
    ],
)
def test_what_cannot_be_scored_is_one_line_and_changes_nothing(silent_run, override, said):
    before = (silent_run / "results.json").read_bytes()
    with pytest.raises((SpecError, RunError), match=said):
        score_run(silent_run, [override])
    assert (silent_run / "results.json").read_bytes() == before


def test_a_run_from_a_stranger_does_not_decide_where_chains_and_keys_go(silent_run, tmp_path):
    run = tmp_path / "theirs"
    shutil.copytree(silent_run, run)
    spec = load_experiment(run / "experiment.yaml", ["verdicts.judge={url: 'https://elsewhere.example', model: m}"])
    (run / "experiment.yaml").write_text(spec.to_yaml())
    with pytest.raises(SpecError, match="name it with --url"):
        score_run(run)
    assert score_run(run, ["verdicts.judge=null"])


def test_a_folder_without_rollouts_cannot_be_scored(tmp_path):
    with pytest.raises(RunError, match="holds no finished rollouts"):
        score_run(tmp_path)


def under_pressure(job) -> str:
    """Acts with the scratchpad in half of the scenarios; hides it; doubles down in half of the cases."""
    meanings = job.trial.options or job.item.options
    wanted = {
        "misaligned": number(job.item.group) % 2 == 0,
        "deceptive": True,
        "doubles_down": number(job.item.item_id) % 2 == 0,
    }
    key = next(meaning for meaning in meanings.values() if meaning in wanted)
    answer = next(option for option, meaning in meanings.items() if (meaning == key) == wanted[key])
    return f" {answer}" if job.trial.prefill else chain("I weigh it.", answer)


def test_three_turns_of_one_chat_are_asked_only_of_those_that_got_there(model, tmp_path, monkeypatch):
    out = tmp_path / "run"
    spec = spec_for("profile-pressure", "limit={id: 24, ood: 8}")
    results = run_scripted(monkeypatch, model, spec, out, under_pressure)
    act = read_lines(out / "rollouts.jsonl")
    report, confronted = (read_lines(out / "stages" / name / "rollouts.jsonl") for name in ("report", "confronted"))
    assert len(report) == sum(line["acted"] for line in act) > 0
    assert len(confronted) == len(report)
    assert all("assistant: " in line["prompt_text"] and "user: " in line["prompt_text"] for line in report)
    rates = results["behaviour"]["measures"]["stages"]["rates"]
    doubled = sum(line["acted"] for line in confronted)
    assert rates["report"]["rate"]["value"] == 1
    assert rates["confronted"]["rate"]["value"] == pytest.approx(doubled / len(confronted), abs=1e-6)
    assert "Stage by stage" in render(results, None)
    assert verify_run(out) == []
    part = next((out / "stages" / "report" / "activations").glob("part-*.h5"))
    part.write_bytes(part.read_bytes()[:-2])
    assert any("stages/report" in problem for problem in verify_run(out))
    before = (out / "stages" / "report" / "rollouts.jsonl").read_bytes()
    run_scripted(monkeypatch, model, spec, out, under_pressure, resume=True)
    assert verify_run(out) == []
    assert (out / "stages" / "report" / "rollouts.jsonl").read_bytes() == before


def test_a_run_that_stops_between_stages_goes_on_to_the_same_bytes(model, silent_run, tmp_path, monkeypatch):
    spec = spec_for("chain-causality", *HINTS, "limit={id: 24, ood: 0}", "chain.points=2", "chain.rollouts=6")
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    run_scripted(monkeypatch, model, spec, whole, follows_silently)
    with monkeypatch.context() as patch:
        patch.setattr(running, "chain_stage", lambda *args, **named: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_scripted(monkeypatch, model, spec, halted, follows_silently)
    assert not (halted / "results.json").exists()
    run_scripted(monkeypatch, model, spec, halted, follows_silently, resume=True)
    for name in ("rollouts.jsonl", "chain.jsonl", "verdicts.jsonl"):
        assert (halted / name).read_bytes() == (whole / name).read_bytes()
    section = read_results(whole / "results.json")["behaviour"]["measures"]["chain"]
    assert set(section["tests"]) == {"early_answering", "mistakes", "mistakes_kept", "paraphrase", "filler"}
    assert section["transplant"]


@pytest.mark.parametrize("name", ["profile-bias", "profile-sampling", "profile-reward-hacking", "profile-risk"])
def test_every_profile_reports_its_competencies(model, tmp_path, monkeypatch, name):
    spec = spec_for(name, "limit={id: 8, ood: 4}")

    def first_option(job) -> str:
        return chain("I look at the options.", next(iter(job.item.options)))

    results = run_scripted(monkeypatch, model, spec, tmp_path / "run", first_option)
    measures = results["behaviour"]["measures"]
    assert {"think_answer", "generalisation", "lengths", "awareness"} <= set(measures)
    assert ("choices" in measures) == (name in ("profile-sampling", "profile-risk"))
    assert measures["awareness"]["rating"]["score"]["value"] is not None
    assert "What the model says of itself" in render(results, None)


def test_every_task_has_an_experiment_and_every_spec_can_be_read():
    from introspect.assets import list_experiments

    tasks = {load_experiment(name).task for name in list_experiments()}
    assert tasks == set(TASKS)


def test_a_run_that_is_not_whole_is_not_scored_as_if_it_were(silent_run, tmp_path):
    run = tmp_path / "halted"
    shutil.copytree(silent_run, run)
    (run / "results.json").unlink()
    with pytest.raises(RunError, match="--resume"):
        score_run(run)
    shutil.rmtree(run / "activations")
    assert "without activations" in score_run(run)["probe"]["reason"]


@pytest.mark.parametrize("name", ["chain.jsonl", "awareness.jsonl", "stages/report"])
def test_what_a_spec_asks_for_and_the_folder_lacks_is_named(silent_run, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(silent_run, run)
    wanted = {"chain.jsonl": ["chain={}"], "awareness.jsonl": ["awareness=true"], "stages/report": []}[name]
    base = "profile-pressure" if name.startswith("stages") else run / "experiment.yaml"
    (run / "experiment.yaml").write_text(load_experiment(base, wanted).to_yaml())
    assert any(name in problem for problem in verify_run(run))


@pytest.mark.parametrize("broken", [{"faithfulness": {}}, {"chain": "x"}, {"chain": {"tests": 3}}, {"stages": []}])
def test_measures_that_do_not_hold_together_are_one_line(silent_run, tmp_path, broken):
    run = tmp_path / "run"
    shutil.copytree(silent_run, run)
    results = json.loads((run / "results.json").read_text())
    results["behaviour"]["measures"] = broken
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(StoreError, match="does not hold together"):
        report_run(run)


def test_results_nested_without_end_are_one_line(silent_run, tmp_path):
    results = json.loads((silent_run / "results.json").read_text())
    deep: list = []
    for _ in range(400):
        deep = [deep]
    results["behaviour"]["measures"] = {"deep": deep}
    with pytest.raises(StoreError, match="nested too deep"):
        validate_results(results)
