"""Whole runs: kills and resumes end in the same bytes, bad input is one line, and a planted policy is found."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from introspect.assets import data_path
from introspect.backends.native import NativeEngine
from introspect.doctor.examine import CHEAP
from introspect.errors import ModelError, RunError, SpecError
from introspect.experiment import Experiment, load_experiment
from introspect.prepare import estimate_cost, prepare
from introspect.run import report_run, run_experiment, verify_run
from introspect.store import StoreReader
from tiny_folders import save_tiny

SMALL = ("organism=null", "negative_control=null", "generation.max_new_tokens=12", "generation.batch_size=4")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    run_experiment(spec_for(tiny), run)
    return run


def spec_for(model: Path, *more: str) -> Experiment:
    overrides = (*SMALL, f"model={json.dumps(str(model))}", "dtype=float32", "limit={id: 12, ood: 4}", *more)
    return load_experiment("probe-risk", overrides)


def recorded(run: Path) -> dict[str, bytes]:
    files = [run / "rollouts.jsonl", run / "verdicts.jsonl", *sorted((run / "activations").iterdir())]
    return {file.name: file.read_bytes() for file in files}


def test_a_model_that_answers_nothing_valid_gets_a_run_that_says_so(tiny, tmp_path):
    results = run_experiment(spec_for(tiny), tmp_path / "run")
    assert results["behaviour"]["invalid_rate"]["value"] == 1
    assert "none of 16 rollouts has a valid answer" in results["probe"]["reason"]
    assert results["link"]["value"] is None
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    assert verify_run(tmp_path / "run") == []
    assert report_run(tmp_path / "run").exists()


def test_two_runs_of_one_spec_are_equal_byte_for_byte(tiny, whole, tmp_path):
    run_experiment(spec_for(tiny), tmp_path / "again")
    assert recorded(tmp_path / "again") == recorded(whole)


INTERRUPTED = {
    "SIGKILL": (signal.SIGKILL, -signal.SIGKILL, ""),
    "Ctrl-C": (signal.SIGINT, 130, "--resume"),
    "SIGTERM": (signal.SIGTERM, 143, "--resume"),
}
"""Signal, exit code, and what is said."""


@pytest.fixture(scope="module")
def interrupted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int, str]]:
    """Runs beside each other, each sent its signal once its first part is there: folder, exit code, what it said."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "spec.yaml").write_text(spec_for(tiny).to_yaml())
    command = [sys.executable, "-m", "introspect", "run", str(folder / "spec.yaml"), "--out"]
    children = {
        name: subprocess.Popen(
            [*command, str(folder / name)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name in INTERRUPTED
    }
    waiting, deadline = set(children), time.monotonic() + 240
    while waiting:
        for name in sorted(waiting):
            begun = list((folder / name).glob("activations/part-*.h5"))
            if begun or children[name].poll() is not None or time.monotonic() > deadline:
                children[name].send_signal(INTERRUPTED[name][0])
                waiting.remove(name)
        time.sleep(0.002)
    said = {name: child.communicate(timeout=60)[1] for name, child in children.items()}
    return {name: (folder / name, child.returncode, said[name]) for name, child in children.items()}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_resumes_to_the_same_bytes(tiny, whole, interrupted, name):
    _, code, said = INTERRUPTED[name]
    run, found, complaint = interrupted[name]
    assert found == code
    assert said in complaint and len(complaint.splitlines()) <= 1
    assert not (run / "results.json").exists()
    run_experiment(spec_for(tiny), run, resume=True)
    assert recorded(run) == recorded(whole)


def test_a_damaged_part_is_found_and_recorded_again(tiny, tmp_path):
    run = tmp_path / "run"
    run_experiment(spec_for(tiny), run)
    whole = recorded(run)
    victim = sorted((run / "activations").glob("part-*.h5"))[0]
    victim.write_bytes(victim.read_bytes()[:-3])
    assert any(victim.name in problem for problem in verify_run(run))
    run_experiment(spec_for(tiny), run, resume=True)
    after = recorded(run)
    assert after.pop(f"{victim.name}.bad")
    assert after == whole


def stopped_after(run: Path, parts: int) -> None:
    """Put a finished run in the state of one that was killed after so many parts."""
    files = sorted((run / "activations").glob("part-*.h5"))
    for file in [*files[parts:], run / "activations" / "DONE", run / "results.json"]:
        file.unlink()
    (run / "rollouts.jsonl").rename(run / "rollouts.partial.jsonl")


def test_items_that_change_between_a_kill_and_a_resume_are_noticed(tiny, tmp_path):
    shipped = data_path("risk.jsonl").read_text(encoding="utf-8")
    items = tmp_path / "items.jsonl"
    items.write_text(shipped)
    spec = spec_for(tiny, f"items={items}")
    run_experiment(spec, tmp_path / "run")
    stopped_after(tmp_path / "run", 2)
    items.write_text(shipped.replace("dollars", "dollers"))
    with pytest.raises(RunError, match="items, prompts or seeds have changed"):
        run_experiment(spec, tmp_path / "run", resume=True)


def test_weights_that_change_after_recording_are_noticed(tmp_path):
    save_tiny(tmp_path / "model")
    spec = spec_for(tmp_path / "model")
    run_experiment(spec, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    save_tiny(tmp_path / "model", seed=1)
    with pytest.raises(RunError, match="another weights"):
        run_experiment(spec, tmp_path / "run", resume=True)


def test_what_is_missing_is_said_and_made_again(tiny, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "rollouts.jsonl").unlink()
    assert any("rollouts.jsonl" in problem for problem in verify_run(run))
    run_experiment(spec_for(tiny), run, resume=True)
    assert (run / "rollouts.jsonl").read_bytes() == (whole / "rollouts.jsonl").read_bytes()
    assert verify_run(run) == []
    (run / "results.json").write_text("{")
    run_experiment(spec_for(tiny), run, resume=True)
    assert (run / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    shutil.rmtree(run / "activations")
    assert verify_run(run) == ["activations: missing"]


def test_what_a_kill_leaves_before_the_first_file_is_no_obstacle(tiny, whole, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".experiment.yaml.0123456789abcdef.tmp").write_text("half")
    run_experiment(spec_for(tiny), run)
    assert recorded(run) == recorded(whole)


def test_a_link_in_a_run_is_not_written_through(tiny, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.move(run / "activations", tmp_path / "elsewhere")
    (run / "activations").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link"):
        run_experiment(spec_for(tiny), run, resume=True)


def test_too_little_memory_is_one_line(tiny, tmp_path, monkeypatch):
    def starve(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("introspect.run.self_test", lambda *_: [])
    monkeypatch.setattr("introspect.backends.inflight.InFlight.run", starve)
    with pytest.raises(RunError, match="not enough memory for one rollout of 12 new tokens at a time"):
        run_experiment(spec_for(tiny), tmp_path / "run")


def test_activations_that_memory_cannot_hold_are_refused_before_the_start(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("introspect.run_folder.free_memory", lambda: 10_000)
    with pytest.raises(RunError, match=r"0\.0 GB of memory free .* generation\.part_size"):
        run_experiment(spec_for(tiny), tmp_path / "run")
    assert not (tmp_path / "run" / "rollouts.partial.jsonl").exists()


def test_a_model_that_fails_its_self_test_is_not_run(tiny, tmp_path, monkeypatch):
    original = NativeEngine.forward

    def without_mask(engine, inputs, **rest):
        length = inputs["input_ids"].shape[1]
        everything = torch.ones(1, 1, length, length, dtype=torch.bool)
        return original(engine, inputs if length == 1 else {**inputs, "attention_mask": everything}, **rest)

    monkeypatch.setattr(NativeEngine, "forward", without_mask)
    with pytest.raises(RunError, match=r"self-test of .* failed: reference"):
        run_experiment(spec_for(tiny, "dtype=float32"), tmp_path / "run")


def test_the_manifest_says_what_the_self_test_found_and_through_which_backend(tiny, tmp_path):
    run_experiment(spec_for(tiny), tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["backend"] == "native"
    assert {check["name"]: check["status"] for check in manifest["doctor"]} == dict.fromkeys(CHEAP, "ok")


@pytest.mark.parametrize("tokens", ["mean", "every:3"])
def test_what_the_probes_read_is_kept_whatever_is_selected(tiny, tmp_path, tokens):
    whole = run_experiment(spec_for(tiny), tmp_path / "whole")
    part = run_experiment(
        spec_for(tiny, "capture.spans=[think, prompt]", f"capture.tokens='{tokens}'"), tmp_path / "part"
    )
    assert part["probe"] == whole["probe"]
    stores = [StoreReader(tmp_path / name / "activations") for name in ("whole", "part")]
    assert stores[0].n_rows != stores[1].n_rows
    rollouts = [json.loads(line) for line in (tmp_path / "part" / "rollouts.jsonl").read_text().splitlines()]
    kept = set(zip(*(stores[1].columns()[name].tolist() for name in ("rollout", "position")), strict=True))
    assert {(row["rollout"], len(row["prompt_ids"]) - 1) for row in rollouts} <= kept
    assert stores[1].spec.selection.tokens == tokens


def test_folders_that_hold_something_else_are_left_alone(tiny, tmp_path):
    run = tmp_path / "run"
    run_experiment(spec_for(tiny), run)
    with pytest.raises(RunError, match="--resume"):
        run_experiment(spec_for(tiny), run)
    with pytest.raises(RunError, match="another spec"):
        run_experiment(spec_for(tiny, "seed=1"), run, resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"):
        run_experiment(spec_for(tiny), other)
    with pytest.raises(RunError, match="is a file"):
        run_experiment(spec_for(tiny), other / "thesis.txt")
    with pytest.raises(RunError, match="not a run directory"):
        verify_run(other)
    with pytest.raises(RunError, match="no results"):
        report_run(other)


def test_what_cannot_be_run_is_refused_before_anything_is_written(tiny, tmp_path):
    with pytest.raises(ModelError):
        run_experiment(spec_for(tmp_path / "absent"), tmp_path / "run")
    with pytest.raises(SpecError, match="unknown task"):
        run_experiment(spec_for(tiny, "task=nonsense"), tmp_path / "run")
    with pytest.raises(SpecError, match="layers 0 to 2"):
        run_experiment(spec_for(tiny, "capture.layers=[7]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_disk_without_room_is_refused_at_the_start(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Full())
    with pytest.raises(RunError, match="GB free"):
        run_experiment(spec_for(tiny), tmp_path / "run")
    assert not (tmp_path / "run" / "experiment.yaml").exists()


class _Full:
    free = 10


def test_memory_that_a_run_has_freed_and_the_process_keeps_does_not_refuse_the_next(tiny, tmp_path, monkeypatch):
    """As that of a run's negative control is looked at when its own is done."""
    spec, kept = spec_for(tiny), [0]
    needed = prepare(spec).bytes_in_memory()
    monkeypatch.setattr("introspect.run_folder.free_memory", lambda: 3 * needed // 2 - kept[0])
    monkeypatch.setattr("introspect.run.give_back_freed_memory", lambda: kept.__setitem__(0, 0))
    monkeypatch.setattr("introspect.run.self_test", lambda *_: pytest.fail("it has begun"))
    for before in (0, needed):
        kept[0] = before
        with pytest.raises(pytest.fail.Exception, match="it has begun"):
            run_experiment(spec, tmp_path / str(before))
    monkeypatch.setattr("introspect.run.give_back_freed_memory", lambda: False)
    kept[0] = needed
    with pytest.raises(RunError, match="GB of memory free"):
        run_experiment(spec, tmp_path / "held")


def test_the_cost_is_stated_and_nothing_is_written(tiny, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said: list[tuple[str, int, int]] = []
    cost = estimate_cost(spec_for(tiny), progress=lambda *each: said.append(each))
    pilot = [(stage, done, 16) for stage, done in zip(["pilot"] * 5, range(0, 17, 4), strict=True)]
    assert said == [("a short batch", 0, 1), ("a short batch", 1, 1), *pilot]
    assert (cost.n_items, cost.n_rollouts) == (16, 16)
    written = [whole / "rollouts.jsonl", *(whole / "activations").iterdir()]
    assert sum(file.stat().st_size for file in written) < cost.bytes_on_disk
    assert cost.seconds > 0
    assert list(tmp_path.iterdir()) == []
