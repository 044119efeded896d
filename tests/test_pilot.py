"""What a run takes, said before it by a few of its rollouts, held against what it then takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from introspect import pilot as piloting
from introspect.backends import Capture, Generation
from introspect.errors import ModelError
from introspect.experiment import Experiment, load_experiment
from introspect.pilot import PAGE_BYTES, Expected, Pace, Pilot, expected, sample_pilot, together
from introspect.prepare import estimate_cost, prepare
from introspect.run import run_experiment
from scripted import Script, ScriptedBackend, run_scripted, save_roomy
from test_behaviour import chain, number, under_pressure
from tiny_folders import save_adapter
from tiny_models import tiny_model

ALL = 10**9
LONG = "generation.max_new_tokens=400"
SMALL = ("dtype=float32", "probe.permutations=5", "probe.bootstrap=100", "probe.positions=[last_prompt,think_50]")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roomy(tmp_path_factory.mktemp("model") / "roomy")


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    save_adapter(folder, tiny_model("llama"), model)
    return folder


class Unrecorded(ScriptedBackend):
    """Follows its script where nothing is recorded, too, and stops where it is told to."""

    def generate(self, prompts, *, seeds, sampling, capture, watch=(), steer=(), lanes=None):
        assert capture is None
        made = [
            self._one(self.jobs[tuple(prompt)], seed, Capture((), ()), watch)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        most = sampling.max_new_tokens
        return [
            each
            if len(each.completion_ids) <= most
            else Generation(each.completion_ids[:most], "length", {}, each.watched[:most])
            for each in made
        ]


def spec_for(name: str, model: Path, *more: str) -> Experiment:
    return load_experiment(name, [*SMALL, f"model={json.dumps(str(model))}", *more])


def pilot_of(monkeypatch: pytest.MonkeyPatch, spec: Experiment, script: Script, most_tokens: int = ALL) -> Pilot:
    prepared = prepare(spec)
    jobs = {job.prompt_ids: job for part in prepared.parts for job in part}
    plan = piloting.plan_follow_up

    def planned(*args, **named):
        found = plan(*args, **named)
        jobs.update({job.prompt_ids: job for job in found})
        return found

    scripted = Unrecorded(prepared.backend, jobs, script, prepared.loaded.info.width)
    with monkeypatch.context() as patch:
        patch.setattr(piloting, "plan_follow_up", planned)
        return sample_pilot(replace(prepared, backend=scripted), most_tokens)


def size_of(run: Path) -> int:
    return sum(file.stat().st_size for file in run.rglob("*") if file.is_file())


def of_pages(run: Path) -> int:
    return sum(file.stat().st_size for name in ("report.html", "results.json") for file in run.rglob(name))


def decides(job) -> str:
    return sorted(job.item.options)[number(job.item.item_id) % 2]


def always_as_long(job) -> str:
    return chain("I look at both of them, and take one.", decides(job))


def now_long_now_short(job) -> str:
    return chain("I look at both. " * (1 + number("length", job.item.item_id) % 9), decides(job))


@pytest.fixture(scope="module")
def runs(model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Script, tuple[Experiment, Path]]:
    """A spec and a finished run of it, with a base model that reads the same tokens."""
    made = {}
    for script in (always_as_long, now_long_now_short):
        out = tmp_path_factory.mktemp("runs") / "run"
        more = ("negative_control=null", f"organism={json.dumps(str(adapter))}", "limit={id: 40, ood: 8}", LONG)
        spec = spec_for("probe-risk", model, *more)
        with pytest.MonkeyPatch.context() as monkeypatch:
            run_scripted(monkeypatch, model, spec, out, script)
        made[script] = spec, out
    return made


@pytest.mark.parametrize("script", [always_as_long, now_long_now_short])
def test_all_rollouts_sampled_say_what_the_run_takes(script, runs, monkeypatch):
    spec, run = runs[script]
    monkeypatch.setattr(piloting, "MOST", 48)
    found = pilot_of(monkeypatch, spec, script).total_bytes()
    assert found.ci95 == (found.value, found.value)
    assert found.value - PAGE_BYTES == pytest.approx(size_of(run) - of_pages(run), rel=0.01)
    assert found.value == pytest.approx(size_of(run), rel=0.1)


def test_where_lengths_are_stable_a_few_rollouts_say_it_within_a_tenth(runs, monkeypatch):
    spec, run = runs[always_as_long]
    monkeypatch.setattr(piloting, "MOST", 8)
    found = pilot_of(monkeypatch, spec, always_as_long).total_bytes()
    assert found.n == 8
    assert found.value - PAGE_BYTES == pytest.approx(size_of(run) - of_pages(run), rel=0.1)


def test_where_they_are_not_the_interval_says_by_how_much(runs, monkeypatch):
    spec, run = runs[now_long_now_short]
    monkeypatch.setattr(piloting, "MOST", 12)
    found = pilot_of(monkeypatch, spec, now_long_now_short).total_bytes()
    low, high = (each - PAGE_BYTES for each in found.ci95)
    assert low < size_of(run) - of_pages(run) < high
    assert high - low > 0.1 * (found.value - PAGE_BYTES)


def test_the_rollouts_are_those_of_the_run(runs, monkeypatch):
    spec, run = runs[now_long_now_short]
    monkeypatch.setattr(piloting, "MOST", 12)
    lengths = pilot_of(monkeypatch, spec, now_long_now_short).new_tokens.tolist()
    kept = [len(json.loads(line)["completion_ids"]) for line in (run / "rollouts.jsonl").read_text().splitlines()]
    assert set(lengths) <= set(kept) and len(set(lengths)) > 3


def test_what_the_pilot_cuts_short_is_no_number(runs, monkeypatch):
    spec, _ = runs[now_long_now_short]
    pilot = pilot_of(monkeypatch, spec, now_long_now_short, most_tokens=70)
    found = pilot.total_bytes()
    assert found.value is None and pilot.n_unfinished > 0
    assert f"{pilot.n_unfinished} of 32 sampled rollouts had not ended after 70 tokens" in found.to_json()["reason"]
    assert expected([pilot], Pace(1.0, 1.0, 4, 1, 0.0), 9.0).seconds is None


def test_what_the_spec_cuts_short_is_one(runs, monkeypatch):
    spec, _ = runs[now_long_now_short]
    short = spec.model_copy(update={"generation": spec.generation.model_copy(update={"max_new_tokens": 70})})
    pilot = pilot_of(monkeypatch, short, now_long_now_short)
    assert (pilot.longest, pilot.n_unfinished) == (70, 0) and pilot.total_bytes().value is not None


def test_every_turn_of_a_chat_counts(model, tmp_path, monkeypatch):
    spec = spec_for("profile-pressure", model, "organism=null", "verdicts.judge=null", "limit={id: 24, ood: 8}")
    run_scripted(monkeypatch, model, spec, tmp_path / "run", under_pressure)
    monkeypatch.setattr(piloting, "MOST", ALL)
    found = pilot_of(monkeypatch, spec, under_pressure)
    lines = [json.loads(line) for path in tmp_path.rglob("rollouts.jsonl") for line in path.read_text().splitlines()]
    assert found.new_tokens.sum() == sum(len(line["completion_ids"]) for line in lines)
    assert found.prompt_tokens.sum() == sum(len(line["prompt_ids"]) for line in lines)
    kept = size_of(tmp_path / "run") - of_pages(tmp_path / "run")
    assert found.total_bytes().value - PAGE_BYTES == pytest.approx(kept, rel=0.05)


def test_a_dry_run_expects_what_run_and_negative_control_take(model, adapter, tmp_path):
    others = (f"organism={json.dumps(str(adapter))}", "negative_control=none-such", "generation.max_new_tokens=12")
    spec = spec_for("probe-risk", model, *others, "generation.batch_size=16", "limit={id: 40, ood: 8}")
    spec = spec.model_copy(update={"negative_control": str(adapter)})
    cost = estimate_cost(spec)
    assert cost.expected is not None and cost.expected.bytes_on_disk["n"] == 64
    run_experiment(spec, tmp_path / "run")
    taken = size_of(tmp_path / "run")
    assert cost.expected.bytes_on_disk["value"] == pytest.approx(taken, rel=0.1)
    assert cost.expected.bytes_on_disk["value"] - 2 * PAGE_BYTES == pytest.approx(
        taken - of_pages(tmp_path / "run"), rel=0.1
    )
    assert taken < cost.bytes_on_disk and cost.expected.bytes_on_disk["ci95"][1] < cost.bytes_on_disk
    assert 0 < cost.expected.seconds <= cost.seconds


def test_steering_that_breaks_the_model_is_said(runs, monkeypatch):
    spec, _ = runs[always_as_long]
    prepared = prepare(spec)
    lost = [Generation([5], "not_finite", {}, np.zeros((2, 0)))] * 32
    monkeypatch.setattr(type(prepared.backend), "generate", lambda *_, **__: lost)
    with pytest.raises(ModelError, match="NaN or infinity in 32 of 32 sampled rollouts: lower its strength"):
        sample_pilot(prepared, ALL)


def by_hand(n_bytes: list[float], n_planned: int) -> Pilot:
    n = len(n_bytes)
    return Pilot(n_planned, 0, 30, np.full(n, 20.0), np.full(n, 100.0), np.full(n, 120.0), np.array(n_bytes), 1000)


def test_the_spread_is_that_of_a_mean_over_a_plan_that_ends():
    found = by_hand([100.0, 110.0, 120.0, 110.0], 100).total_bytes()
    assert found.value == 100 * 110 + 1000
    half = 100 * 3.182446 * np.std([100, 110, 120, 110], ddof=1) * np.sqrt((1 - 4 / 100) / 4)
    assert found.ci95 == pytest.approx((found.value - half, found.value + half))


def test_time_counts_steps_the_ends_of_parts_and_what_is_read():
    pace = Pace(a_step=0.5, a_token=0.001, lanes=10, parts=2, forced=3.0)
    steps = 100 * 20 / 10 + 2 * (30 - 20)
    assert pace.seconds(by_hand([1.0, 1.0], 100)) == pytest.approx(0.5 * steps + 0.001 * 100 * 220 + 3)
    assert pace.most_tokens == piloting.SECONDS / 0.5
    assert replace(pace, a_step=30.0).most_tokens == 16


def test_several_runs_add_up_and_pilots_that_count_twice_are_as_wrong_twice():
    each = [
        Expected({"value": 100.0, "ci95": [97.0, 103.0], "n": 4, "method": "m"}, 10.0),
        Expected({"value": 50.0, "ci95": [48.0, 52.0], "n": 4, "method": "m"}, 5.0),
    ]
    found = together([(each[0], 1), (each[1], 2)])
    assert found.bytes_on_disk == {"value": 200.0, "ci95": [195.0, 205.0], "n": 8, "method": "m"}
    assert found.seconds == 20.0
    none = Expected({"value": None, "reason": "too long"}, None)
    assert together([(each[0], 1), (none, 1)]) == none
