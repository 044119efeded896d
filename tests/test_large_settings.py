"""Options about large models: in specs, in the environment, on the command line, and in what a run says of itself."""

from __future__ import annotations

import json
import os

import pytest

from introspect.asked_spec import AskedSpec
from introspect.cli import main
from introspect.errors import ModelError, SpecError
from introspect.experiment import Experiment, load_experiment
from introspect.models import load_model
from introspect.models.placement import place
from introspect.surroundings import (
    DEVICE_MAP,
    MEMORY,
    MEMORY_GB,
    OFFLOAD_FOLDER,
    Surroundings,
    read_memory,
    surroundings,
    take_over,
    to_send,
)
from introspect.transcripts import read_replay_spec
from tiny_folders import save_tiny

NAMES = (DEVICE_MAP, MEMORY, OFFLOAD_FOLDER)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """What the command line writes into the environment is taken out again."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    save_tiny(path)
    return str(path)


def run(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, args)])
    said = capsys.readouterr()
    return stop.value.code, said.out, said.err


def test_the_environment_says_where_weights_go(folder, monkeypatch, tmp_path):
    assert load_model(folder, dtype="float32").info.device == "cpu"
    monkeypatch.setenv(MEMORY, "cpu=100KB")
    monkeypatch.setenv(OFFLOAD_FOLDER, str(tmp_path))
    loaded = load_model(folder, dtype="float32")
    assert loaded.info.device == "cpu, disk"
    assert load_model(folder, dtype="float32", device_map=None).info.device == "cpu"
    monkeypatch.setenv(DEVICE_MAP, "disk")
    every = load_model(folder, dtype="float32")
    assert every.info.device == "disk"


def test_another_process_goes_by_what_was_said_here_but_keeps_a_folder_of_its_own(monkeypatch):
    monkeypatch.delenv(MEMORY_GB, raising=False)
    assert to_send() == {}
    monkeypatch.setenv(DEVICE_MAP, "")
    monkeypatch.setenv(MEMORY, "cpu=1GB")
    monkeypatch.setenv(OFFLOAD_FOLDER, "/scratch")
    monkeypatch.setenv(MEMORY_GB, "2")
    sent = to_send()
    assert sent == {MEMORY: "cpu=1GB", OFFLOAD_FOLDER: "/scratch", MEMORY_GB: "2"}
    for own, stands in (("", "/scratch"), ("/nvme", "/nvme")):
        monkeypatch.setenv(DEVICE_MAP, "balanced")
        monkeypatch.setenv(MEMORY, "cpu=9GB")
        monkeypatch.setenv(OFFLOAD_FOLDER, own)
        take_over(sent)
        assert surroundings() == Surroundings("balanced", {"cpu": "1GB"}, stands, "auto")


def test_weights_in_few_bits_go_to_no_disk(monkeypatch, tmp_path):
    monkeypatch.setenv(OFFLOAD_FOLDER, str(tmp_path / "disk"))
    assert place(quantised=True).folder is None
    placed = place()
    assert placed.folder is not None
    assert len(list((tmp_path / "disk").iterdir())) == 1


def test_the_command_line_says_it_for_every_model_of_the_command(folder, capsys, tmp_path):
    options = ["--memory", "cpu=100KB", "--offload-folder", tmp_path]
    code, out, _ = run(capsys, *options, "doctor", "--model", folder, "--dtype", "float32", "--json")
    told = json.loads(out)
    assert told["model"]["device"] == "cpu, disk"
    assert {check["name"]: check["status"] for check in told["checks"] if check["status"] == "failed"} == {}
    assert code == 0
    assert os.environ[MEMORY] == "cpu=100KB"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--memory", "20GB"], "memory '20GB' cannot be read: write it as 0=40GB,cpu=60GB"),
        (["--memory", "cpu=lots"], "memory of cpu is 'lots': write it as 20GB or 500MB"),
        (["--memory", "0=1GB"], "memory names 0, and here are cpu"),
        (["--device-map", "balancd"], "device_map 'balancd' is not known: did you mean balanced?"),
        (["--device-map", "disk"], "a device_map to disk needs an offload_folder"),
        (["--memory", "cpu=20KB"], "needs 0.12 MB in float32, and there is room for 0.02 MB on the processor: choose"),
    ],
)
def test_what_cannot_be_is_one_line(options, said, folder, capsys):
    code, out, err = run(capsys, *options, "doctor", "--model", folder, "--dtype", "float32")
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


@pytest.mark.parametrize("text", ["cpu", "cpu=", "=1GB", "cpu=1GB,cpu=2GB"])
def test_memory_that_cannot_be_read(text):
    with pytest.raises(SpecError, match="cannot be read"):
        read_memory(text)
    assert read_memory("0=40GB, cpu=60GB") == {"0": "40GB", "cpu": "60GB"}


@pytest.mark.parametrize("kind", [Experiment, AskedSpec])
def test_a_spec_without_quantisation_keeps_its_text_and_digest(kind):
    given = {"name": "x", "question": "?"} | ({"study": "s"} if kind is AskedSpec else {"task": "risk", "items": "a"})
    plain, few = kind(**given), kind(**given, quantization="8bit")
    assert "quantization" not in plain.to_yaml()
    assert plain.digest() != few.digest()
    assert "quantization: 8bit" in few.to_yaml()


def test_quantisation_is_asked_for_on_the_command_line():
    assert load_experiment("probe-risk", ["quantization=4bit"]).quantization == "4bit"
    assert load_experiment("probe-risk", ["quantization=null"]).quantization is None
    with pytest.raises(SpecError, match="quantization"):
        load_experiment("probe-risk", ["quantization=3bit"])
    given = {"model": "m", "quantization": "8bit"}
    assert read_replay_spec(given).quantization == "8bit"
    with pytest.raises(SpecError, match="--quantization"):
        read_replay_spec(given | {"quantization": "3bit"})


def test_a_run_in_few_bits_is_refused_where_they_cannot_run(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("introspect.models.quantise.importlib.util.find_spec", lambda name: None)
    for verb in (["run", "probe-risk", "--out", tmp_path / "run"], ["doctor"]):
        code, _, err = run(capsys, *verb, "--model", folder, "--quantization", "8bit")
        assert code == 2
        assert "8bit needs bitsandbytes: get it with `pip install -c constraints.txt '.[quantization]'`" in err
    assert not (tmp_path / "run").exists()
    with pytest.raises(ModelError, match="3bit"):
        load_model(folder, quantization="3bit")  # type: ignore[arg-type]


def test_an_estimate_knows_what_weights_take_in_every_format(folder, capsys, tmp_path):
    line = json.dumps({"prompt_ids": [5, 6, 7], "completion_ids": [8, 9]})
    (tmp_path / "said.jsonl").write_text(line + "\n")
    asked = ["record", "--from", tmp_path / "said.jsonl", "--model", folder, "--dtype", "float32", "--dry-run"]
    code, out, err = run(capsys, *asked, "--json")
    cost = json.loads(out)
    assert (code, err) == (0, "")
    assert 117_000 < cost["bytes_of_weights"] < 119_000
    assert cost["if_quantised"]["4bit"] < cost["if_quantised"]["8bit"] < cost["bytes_of_weights"] / 2
    _, out, _ = run(capsys, *asked)
    assert "0.00 GB in memory (0.00 in 4bit, 0.00 in 8bit)" in " ".join(out.split())
