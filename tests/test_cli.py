"""The command line: what it hands on, what it prints where, and how it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from introspect.causal.stage import SteerCost
from introspect.cli import main
from introspect.cli.main import VERBS
from introspect.errors import RunError, StoreError
from introspect.experiment import load_experiment
from introspect.pilot import Expected
from introspect.transcripts import Recorded, ReplayCost

RESULTS = {"experiment": {"name": "probe-risk"}}
HEADLINE = ["One.", "Two.", "Three."]


@dataclass(frozen=True)
class Cost:
    n_items: int = 416
    n_rollouts: int = 416
    n_tokens: int = 50_000
    n_forced: int = 84
    n_judged: int = 12
    judge: str | None = "http://localhost:8000/v1"
    bytes_on_disk: int = 2_500_000_000
    seconds: float = 600.0
    bytes_of_weights: int = 269_000_000
    if_quantised: dict[str, int] = field(default_factory=lambda: {"4bit": 120_000_000, "8bit": 163_000_000})
    expected: Expected | None = None


@dataclass(frozen=True)
class InjectionCost:
    n_words: int = 10
    n_cells: int = 9
    n_trials: int = 1000
    n_replies: int = 300
    seconds: float = 60.0


@dataclass(frozen=True)
class NaturalCost:
    n_units: int = 3
    n_passes: int = 24
    n_tokens: int = 900
    n_generated: int = 0
    seconds: float = 60.0


class Calls(dict):
    """What the verbs called: name -> arguments."""

    def answer(self, name, value):
        def call(*args, **kwargs):
            self[name] = (args, kwargs)
            if isinstance(value, BaseException):
                raise value
            return value

        return call


REPRODUCED = {
    "figures": {
        "id/policy_rate": {"stated": 0.48, "ci95": [0.4, 0.6], "now": 0.5, "within": True},
        "id/invalid_rate": {"stated": 0.0, "ci95": [0.0, 0.05], "now": 0.3, "within": False},
    }
}


LINKED = SimpleNamespace(
    run=Path("runs/x"),
    rows=[],
    spec=SimpleNamespace(link=SimpleNamespace(fpr=0.05)),
    section=lambda fpr: {"value": None, "reason": "nothing was probed"},
    control=lambda fpr: {"value": None, "reason": "none"},
)


FIGURE = {"value": 0.9, "ci95": [0.8, 1.0], "n": 60, "method": "x"}
CARD = {"summary": "predicts x", "metrics": {"auroc": FIGURE}}
APPLIED = {
    "probe": {"summary": "predicts x", "auroc": FIGURE},
    "rows": {"n_scored": 60, "n_groups": 20, "n_rollouts": 100},
    "auroc": FIGURE,
    "auroc_by_split": {"id": FIGURE},
    "above_threshold": None,
    "beside": {"own_probe": {"value": None, "reason": "none"}, "baselines": {"logits": FIGURE}},
    "notes": ["Note."],
}
MATRIX = SimpleNamespace(results={"warnings": []})
STEERED = {"n_items": 3, "replayed": {"think": {"without_a_token": [7]}}, "sentences": ["Steered."]}

DIRECTION = SimpleNamespace(recipe="probe", made="by hand", site="resid_post", layer=3, norm=1.0)
TESTED = SimpleNamespace(direction=DIRECTION, unit=0.5, typical=2.0)
INDEX = SimpleNamespace(kind="run", n_bytes=12, files={"results.json": SimpleNamespace(bytes=12)})
PUSHED = SimpleNamespace(
    cargo=SimpleNamespace(index=INDEX, shortened=["results.json"], left=()),
    address="hf://datasets/me/x",
    was_there=False,
)
PULLED = SimpleNamespace(index=INDEX, address="hf://datasets/me/x", fetched=12)


@pytest.fixture
def calls(monkeypatch):
    """Stands in for everything under the command line that costs anything."""
    made = Calls()
    stubs = {
        "run": {
            "run_experiment": made.answer("run", RESULTS),
            "report_run": made.answer("report", Path("runs/x/report.html")),
            "verify_run": made.answer("verify", []),
        },
        "prepare": {"estimate_cost": made.answer("cost", Cost())},
        "report": {"headline": made.answer("headline", HEADLINE)},
        "studies.study": {
            "run_study": made.answer("study", RESULTS),
            "study_cost": made.answer("study_cost", Cost()),
            "not_counted": lambda spec: [],
        },
        "studies.sentences": {"headline": made.answer("study_headline", HEADLINE)},
        "training": {
            "train_organism": made.answer("train", Path("runs/train/x")),
            "plan_training": made.answer("plan", {"organism": "x", "stage_1": "sft"}),
            "reproduced": lambda folder: REPRODUCED if str(made["train"][0][0]).startswith("data/") else None,
        },
        "training.sweep": {
            "sweep_recipes": lambda recipe, seeds: [SimpleNamespace(name="x")],
            "train_sweep": made.answer("sweep", [Path("runs/train/x")]),
        },
        "bench": {"run_bench": made.answer("bench", {"rows": [{"what": "capture", "ratio": 1.04}]})},
        "compare": {
            "summarise": made.answer("compare", [{"organism": "x"}]),
            "table": lambda found: {"AUROC": ["0.97"]},
            "awareness_across": lambda found: {"risk": "0.50 [-0.20, 0.90]"},
        },
        "models": {
            "list_models": lambda: {"smollm2-135m": "the embedded default"},
            "load_model": lambda *args, **kwargs: SimpleNamespace(model=None, info=SimpleNamespace(to_json=dict)),
        },
        "backends": {"make_backend": lambda *args: None, "name_sites": lambda model: {"native": {"resid_post": "x"}}},
        "doctor": {"examine": made.answer("doctor", []), "failures": lambda checks: []},
        "tasks.choice_hub": {
            "DATASETS": dict.fromkeys(("mmlu", "arc-challenge")),
            "load_hub": made.answer("load_hub", ([], [])),
        },
        "rescore": {
            "score_run": made.answer("score_run", RESULTS),
            "export_sheet": made.answer("export_sheet", 3),
            "link_again": made.answer("link_again", RESULTS),
        },
        "link": {
            "open_link": made.answer("open_link", LINKED),
            "export_rows": made.answer("export_rows", None),
            "write_rows": made.answer("write_rows", None),
            "check_out": lambda path: None,
        },
        "probe_folders": {"probe_folder": Path, "list_probes": lambda: {"risk-silent": "x"}},
        "probes.saved": {"load_probe": made.answer("load_probe", None), "read_card": lambda folder: {"summary": "x"}},
        "saved_probes": {
            "save_run_probe": made.answer("save_probe", SimpleNamespace(card=CARD)),
            "apply_probe": made.answer("apply_probe", SimpleNamespace(summary=APPLIED, rows=[])),
            "check_scores_path": made.answer("scores_path", None),
        },
        "refit": {"fit_again": made.answer("fit_again", RESULTS)},
        "shift": {
            "read_style": lambda name: SimpleNamespace(slug=name),
            "estimate_shift": made.answer("shift_cost", []),
            "shift_run": made.answer("shift", []),
        },
        "causal": {
            "SteerSettings": SimpleNamespace,
            "estimate_steer": made.answer("steer_cost", SteerCost(3, 41, 7, 100, 9, 1.0)),
            "steer_run": made.answer("steer", {"steering": STEERED, "link": {}}),
            "save_steered": made.answer("save_steered", TESTED),
        },
        "cluster.crew": {"Crew": lambda *_, **__: contextlib.nullcontext()},
        "injection.study": {
            "run_injection": made.answer("inject", {"sentences": HEADLINE, "warnings": []}),
        },
        "injection.cost": {"injection_cost": made.answer("inject_cost", InjectionCost())},
        "natural.study": {
            "run_natural": made.answer("natural", {"sentences": HEADLINE, "warnings": []}),
            "natural_cost": made.answer("natural_cost", NaturalCost()),
        },
        "notebook": {"open_run": lambda run: SimpleNamespace(transfer=made.answer("transfer", MATRIX))},
        "notebook.folder": {
            "RunFolder": lambda run: SimpleNamespace(open=lambda: None, store=run, model={"n_layers": 30}),
        },
        "interchange.outputs": {"check_out": lambda out, run: None, "is_finished": lambda run: True},
        "interchange.to_inspect": {"export_inspect": made.answer("export_inspect", 3)},
        "interchange.tables": {"export_tables": made.answer("export_tables", {"rollouts.parquet": 3})},
        "interchange.arrays": {"export_arrays": made.answer("export_arrays", {"rows": 9, "activations": []})},
        "interchange.lens": {"export_lens": made.answer("export_lens", 2)},
        "interchange.push": {"push": made.answer("push", PUSHED)},
        "interchange.pull": {"pull": made.answer("pull", PULLED)},
        "explore.saved": {"check_given": lambda given: None},
        "explore.site": {"Site": lambda runs, given: (runs, given)},
        "explore.serving": {"serve": made.answer("explore", None)},
        "transfer.page": {"check_out": lambda out: None, "write": lambda found, out: [out]},
        "transfer.sentences": {"sentences": lambda found: ["One."], "tables": lambda found: []},
        "validation.sentences": {"headline": made.answer("validation_headline", HEADLINE)},
        "validation.validate": {
            "run_validation": made.answer("validate", {"warnings": []}),
            "validation_cost": made.answer("validation_cost", SimpleNamespace(n_draws=2, n_scenarios=3, seconds=1.0)),
            "with_provenance": lambda results, folder: results,
        },
        "transcripts": {
            "read_replay_spec": made.answer("spec", None),
            "estimate_transcripts": made.answer("replay_cost", ReplayCost(3, 24, 9, 1000, 1.0)),
            "record_transcripts": made.answer("record", Recorded("runs/x", 3, 24, 9, 0, 0, {})),
        },
    }
    for name, functions in stubs.items():
        monkeypatch.setitem(sys.modules, f"introspect.{name}", SimpleNamespace(**functions))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return made


@pytest.fixture
def invoke(calls, capsys):
    def run(*args):
        with pytest.raises(SystemExit) as stop:
            main(list(args))
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return run


def fail_with(monkeypatch, name, error):
    module = sys.modules["introspect.run"]
    monkeypatch.setattr(module, name, Calls().answer(name, error))


def test_run_hands_the_spec_on_and_prints_three_sentences_and_the_page(invoke, calls):
    code, out, err = invoke("run", "probe-risk")
    (spec, folder), options = calls["run"]
    assert (code, err) == (0, "")
    assert out.splitlines() == [*HEADLINE, "", "runs/probe-risk/report.html"]
    assert (spec.name, folder) == ("probe-risk", Path("runs/probe-risk"))
    assert (options["resume"], options["offline"]) == (False, False)


def test_every_option_of_run_reaches_the_spec(invoke, calls, tmp_path):
    options = (
        f"--backend native --limit 8 --seed 3 --resume --offline --out {tmp_path / 'o'} --set generation.samples=2"
    )
    code, _, err = invoke("run", "probe-risk", *options.split(), "--set", "capture.layers=4:28:4")
    (spec, folder), handed = calls["run"]
    assert (code, err, folder) == (0, "", tmp_path / "o")
    assert (spec.limit.id, spec.limit.ood, spec.seed, spec.generation.samples) == (8, 8, 3, 2)
    assert spec.capture.layers == "4:28:4"
    assert (handed["resume"], handed["offline"], os.environ["HF_HUB_OFFLINE"]) == (True, True, "1")


BOTH = "organism risk-silent and negative control risk-coinflip left out"
CONTROL = "note: negative control risk-coinflip left out"


@pytest.mark.parametrize(
    ("options", "kept", "said"),
    [
        ("", ("smollm2-135m", "risk-silent", "risk-coinflip"), ""),
        ("--model smollm2-135m", ("smollm2-135m", "risk-silent", "risk-coinflip"), ""),
        ("--model other", ("other", None, None), BOTH),
        ("--set model=other", ("other", None, None), BOTH),
        ("--model other --organism mine", ("other", "mine", None), CONTROL),
        ("--organism mine", ("smollm2-135m", "mine", None), CONTROL),
        ("--organism risk-coinflip", ("smollm2-135m", "risk-coinflip", None), CONTROL),
        ("--organism none", ("smollm2-135m", None, None), CONTROL),
        ("--organism mine --negative-control risk-coinflip", ("smollm2-135m", "mine", "risk-coinflip"), ""),
        ("--organism mine --set negative_control=c", ("smollm2-135m", "mine", "c"), ""),
        ("--no-negative-control", ("smollm2-135m", "risk-silent", None), ""),
    ],
)
def test_adapters_made_for_another_model_are_left_out_with_a_note(invoke, calls, options, kept, said):
    code, _, err = invoke("run", "probe-risk", *options.split())
    (spec, _), _ = calls["run"]
    assert (code, (spec.model, spec.organism, spec.negative_control)) == (0, kept)
    assert said in err
    assert err.count("\n") == (1 if said else 0)


def test_a_negative_control_cannot_be_both_named_and_refused(invoke):
    code, _, err = invoke("run", "probe-risk", "--negative-control", "a", "--no-negative-control")
    assert (code, err.count("\n")) == (2, 1)


def test_a_model_path_may_hold_anything(invoke, calls):
    awkward = "dir with: colon/#1 'x'.gguf"
    assert invoke("run", "probe-risk", "--model", awkward)[0] == 0
    assert calls["run"][0][0].model == awkward


def test_a_dry_run_says_what_it_would_cost_and_runs_nothing(invoke, calls):
    code, out, _ = invoke("run", "probe-risk", "--dry-run")
    assert (code, "run" in calls) == (0, False)
    assert "416" in out
    assert "2.50 GB at most\n" in out
    assert "about 10 min on this machine at most" in out


@pytest.mark.parametrize(
    "verb", [("run", "probe-risk"), ("inject", "inject-thought"), ("steer", "runs/x"), ("train", "risk-silent")]
)
@pytest.mark.parametrize("flag", ["--ray-workers", "--ray-gpus", "--ray-threads"])
def test_a_dry_run_refuses_what_the_command_refuses(invoke, calls, verb, flag):
    code, out, err = invoke(*verb, "--dry-run", flag, "2")
    assert (code, out, dict(calls)) == (2, "", {})
    assert f"{flag} is about workers of a cluster: give it with --ray, or leave it out" in err


@pytest.mark.parametrize(
    ("args", "costs"),
    [
        (["run", "probe-risk"], "cost"),
        (["inject", "inject-thought"], "inject_cost"),
        (["run", "compare-methods"], "study_cost"),
        (["run", "validate-instrument"], "validation_cost"),
        (["run", "neurofeedback"], "natural_cost"),
    ],
)
def test_a_dry_run_shows_how_far_it_is(invoke, calls, monkeypatch, args, costs):
    monkeypatch.setattr("introspect.cli.carry_out.print_cost", lambda *_: None)
    monkeypatch.setattr("introspect.cli.carry_out.progress_bars", lambda: contextlib.nullcontext("bars"))
    invoke(*args, "--dry-run")
    assert calls[costs][1]["progress"] == "bars"


@pytest.mark.parametrize(
    ("args", "costs"),
    [
        (["steer", "runs/a"], "steer_cost"),
        (["shift", "runs/a", "--style", "paraphrase", "--out", "runs/b"], "shift_cost"),
        (["record", "--from", "t.jsonl", "--model", "m"], "replay_cost"),
    ],
)
def test_a_dry_run_of_a_verb_of_its_own_shows_how_far_it_is(invoke, calls, monkeypatch, args, costs):
    monkeypatch.setattr(f"introspect.cli.{args[0]}.progress_bars", lambda: contextlib.nullcontext("bars"))
    assert invoke(*args, "--dry-run")[0] == 0
    assert calls[costs][1]["progress"] == "bars"


@pytest.mark.parametrize(
    ("size", "seconds", "said"),
    [
        (
            {"value": 1.234e9, "ci95": [1.1e9, 1.4e9], "n": 64, "method": "m"},
            240.0,
            [
                "1.23 GB [1.10, 1.40] by the lengths of 64 rollouts that were sampled; 2.50 GB at most",
                "about 4 min on this machine, about 10 min at most",
            ],
        ),
        (
            {"value": None, "reason": "3 of 32 had not ended"},
            None,
            ["2.50 GB at most; how much is likely is not known: 3 of 32 had not ended", "about 10 min on this machine"],
        ),
    ],
)
def test_a_dry_run_says_what_is_likely_and_what_is_the_most(invoke, calls, monkeypatch, size, seconds, said):
    cost = Cost(expected=Expected(size, seconds))
    monkeypatch.setattr(sys.modules["introspect.prepare"], "estimate_cost", lambda *_, **__: cost)
    out = invoke("run", "probe-risk", "--dry-run")[1]
    assert all(each in out for each in said)
    document = json.loads(invoke("run", "probe-risk", "--dry-run", "--json")[1])
    assert document["expected"] == {"bytes_on_disk": size, "seconds": seconds}


@pytest.mark.parametrize(
    ("args", "document"),
    [
        (("run", "probe-risk"), RESULTS),
        (("run", "probe-risk", "--model", "other"), RESULTS),
        (("run", "probe-risk", "--dry-run"), Cost().__dict__),
        (("report", "runs/x"), {"report": "runs/x/report.html"}),
        (("verify", "runs/x"), {"run": "runs/x", "damaged": []}),
        (("compare", "runs/x", "runs/y"), [{"organism": "x"}]),
        (("train", "risk-silent"), {"organism": "runs/train/x"}),
        (("bench",), {"rows": [{"what": "capture", "ratio": 1.04}]}),
        (("list", "models"), {"models": {"smollm2-135m": "the embedded default"}}),
        (("show", "model", "smollm2-135m"), {"name": "smollm2-135m", "about": "the embedded default"}),
    ],
)
def test_json_is_one_document_and_all_there_is_on_stdout(invoke, args, document):
    code, out, _ = invoke(*args, "--json")
    assert (code, json.loads(out)) == (0, document)


def test_a_number_that_json_lacks_is_a_bug_not_output(invoke, calls, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["introspect.run"], "run_experiment", calls.answer("run", {"value": float("nan")}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        main(["run", "probe-risk", "--json"])
    assert capsys.readouterr().out == ""


def test_no_progress_is_drawn_when_stderr_is_no_terminal(invoke, calls):
    _, _, err = invoke("run", "probe-risk")
    calls["run"][1]["progress"]("record", 1, 2)
    assert err == ""


def test_progress_is_drawn_on_a_terminal(monkeypatch, capsys):
    from introspect.cli.console import progress_bars

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bars() as progress:
        progress("record", 1, 2)
        progress("record", 2, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "record" in err
    assert "2/2" in err


def test_train_hands_on_what_it_was_given(invoke, calls):
    code, out, _ = invoke("train", "risk-silent", "--out", "o", "--seed", "1", "--resume")
    (name, folder), options = calls["train"]
    assert (code, out, name, folder) == (0, "runs/train/x\n", "risk-silent", Path("o"))
    assert (options["seed"], options["resume"]) == (1, True)


def test_train_from_a_card_says_what_came_out_again(invoke):
    code, out, _ = invoke("train", "data/organisms/x", "--out", "again")
    assert code == 0
    assert out.splitlines() == [
        "id/policy_rate: 0.500, within 0.480 [0.400, 0.600]",
        "id/invalid_rate: 0.300, NOT within 0.000 [0.000, 0.050]",
        "runs/train/x",
    ]
    code, out, _ = invoke("train", "data/organisms/x", "--out", "again", "--json")
    assert json.loads(out) == {"organism": "runs/train/x", "reproduces": REPRODUCED}


def test_a_dry_run_of_a_training_trains_nothing(invoke, calls):
    code, out, _ = invoke("train", "risk-silent", "--dry-run", "--seed", "3")
    assert (code, out.split()) == (0, ["organism", "x", "stage", "1", "sft"])
    assert calls["plan"] == (("risk-silent",), {"seed": 3})
    assert json.loads(invoke("train", "risk-silent", "--dry-run", "--json")[1]) == {"organism": "x", "stage_1": "sft"}
    assert "train" not in calls


def test_items_makes_the_shipped_items_again(invoke, tmp_path):
    from introspect.assets import data_path

    made = tmp_path / "risk.jsonl"
    code, out, _ = invoke("items", "risk", "--out", str(made))
    assert (code, out.startswith(f"{made}: ")) == (0, True)
    assert made.read_bytes() == data_path("risk.jsonl").read_bytes()


def test_report_prints_the_page(invoke):
    assert invoke("report", "runs/x")[:2] == (0, "runs/x/report.html\n")


def test_bench_prints_a_line_for_every_figure(invoke):
    code, out, _ = invoke("bench")
    assert (code, out.split()) == (0, ["capture", "ratio", "1.04"])


def test_compare_prints_a_line_for_every_measure(invoke, calls):
    code, out, _ = invoke("compare", "runs/x", "runs/y")
    assert (code, out.split()[:2]) == (0, ["AUROC", "0.97"])
    assert "rho 0.50 [-0.20, 0.90]" in out
    assert calls["compare"][0] == ([Path("runs/x"), Path("runs/y")],)


def test_verify_says_that_all_is_well(invoke):
    code, out, _ = invoke("verify", "runs/x")
    assert (code, out) == (0, "runs/x: every part matches its digest\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_verify_exits_with_3_and_names_the_damaged_files(invoke, monkeypatch, as_json):
    monkeypatch.setattr(sys.modules["introspect.run"], "verify_run", lambda run: ["activations/part-00001.h5"])
    code, out, err = invoke("verify", "runs/x", *(["--json"] if as_json else []))
    assert (code, err.count("\n")) == (3, 1)
    assert "activations/part-00001.h5" in err
    assert (json.loads(out)["damaged"] if as_json else out) == (["activations/part-00001.h5"] if as_json else "")


def test_list_shows_every_kind(invoke):
    code, out, _ = invoke("list")
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "experiments",
        "tasks",
        "models",
        "organisms",
        "recipes",
        "probes",
        "concepts",
    ]
    assert "probe-risk" in out
    assert "smollm2-135m" in out


@pytest.mark.parametrize("words", [["probe-risk"], ["experiment", "probe-risk"]])
def test_show_prints_a_spec_that_can_be_run_again(invoke, tmp_path, words):
    from introspect.experiment import load_experiment

    code, out, _ = invoke("show", *words)
    copy = tmp_path / "copy.yaml"
    copy.write_text(out, encoding="utf-8")
    assert code == 0
    assert load_experiment(copy) == load_experiment("probe-risk")
    assert invoke("show", str(copy))[1] == out


def test_show_suggests_the_nearest_name(invoke):
    code, _, err = invoke("show", "probe-rsik")
    assert code == 2
    assert "'probe-risk'" in err


@pytest.mark.parametrize(
    "args",
    [
        ("run",),
        ("run", "probe-rsik"),
        ("run", "none.yaml"),
        ("run", "probe-risk", "--no-such-option"),
        ("run", "probe-risk", "--limit", "many"),
        ("run", "probe-risk", "--limit", "0"),
        ("run", "probe-risk", "--backend", "nativ"),
        ("run", "probe-risk", "--set", "probe.folds=3"),
        ("run", "probe-risk", "--set", "seed"),
        ("list", "things"),
        ("show", "a", "b", "c"),
        ("show", "thing", "b"),
        ("verify",),
        ("walk",),
    ],
)
def test_a_user_error_is_one_line_on_stderr_and_exit_2(invoke, calls, args):
    code, out, err = invoke(*args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("introspect: ")
    assert "run" not in calls


@pytest.mark.parametrize(("error", "code"), [(RunError("no room\nat all"), 2), (StoreError("part is damaged"), 3)])
def test_our_errors_are_one_line_and_their_own_exit_code(invoke, monkeypatch, error, code):
    fail_with(monkeypatch, "run_experiment", error)
    ended, out, err = invoke("run", "probe-risk", "--json")
    assert (ended, out) == (code, "")
    assert err == f"introspect: {' '.join(str(error).split())}\n"


def test_a_bug_is_not_dressed_up_as_a_user_error(invoke, monkeypatch):
    fail_with(monkeypatch, "run_experiment", ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["run", "probe-risk"])


def test_a_full_disk_is_one_line_wherever_it_is_met(invoke, monkeypatch):
    fail_with(monkeypatch, "run_experiment", OSError(errno.ENOSPC, "No space left on device", "runs/x"))
    code, out, err = invoke("run", "probe-risk")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "runs/x" in err and "No space left" in err and "--resume" in err
    fail_with(monkeypatch, "run_experiment", OSError(errno.EIO, "a broken disk"))
    with pytest.raises(OSError, match="a broken disk"):
        main(["run", "probe-risk"])


@pytest.mark.parametrize(("args", "says_how"), [(("run", "probe-risk"), True), (("verify", "x"), False)])
def test_ctrl_c_is_one_line_and_130(invoke, monkeypatch, args, says_how):
    for name in ("run_experiment", "verify_run"):
        fail_with(monkeypatch, name, KeyboardInterrupt())
    code, out, err = invoke(*args)
    assert (code, out, err.count("\n"), "--resume" in err) == (130, "", 1, says_how)


SLEEPER = """
import sys, time, types
from introspect.cli import main
from introspect.cli.main import VERBS
def work(*args, **kwargs):
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
sys.modules["introspect.run"] = types.SimpleNamespace(run_experiment=work)
sys.modules["introspect.prepare"] = types.SimpleNamespace(estimate_cost=None)
main(["run", "probe-risk"])
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_the_work_clean_up_and_ends_in_one_line(sent, code):
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "working\n"
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.count("\n")) == (code, "cleaned up\n", 1)
    assert "--resume" in err


def test_a_bug_in_a_process_shows_its_traceback_and_exits_with_1():
    code = SLEEPER.replace("time.sleep(60)", "1 / 0")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_the_module_runs_like_the_command():
    done = subprocess.run([sys.executable, "-m", "introspect"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: introspect ")


def test_the_version_is_that_of_the_installed_package(invoke, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"introspect": "1.2.3"}.get)
    assert invoke("--version") == (0, "introspect 1.2.3\n", "")


HELP_BUDGET = 0.2
"""Processor seconds that `introspect --help` may take on top of an empty Python: what a person does not notice."""


def test_help_is_quick():
    def fastest(*command):
        times = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    assert fastest("-m", "introspect", "--help") - fastest("-c", "pass") <= HELP_BUDGET


README = Path(__file__).parents[1] / "README.md"


def readme_commands() -> list[str]:
    blocks = README.read_text(encoding="utf-8").split("```")[1::2]
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("introspect ")]


def help_commands() -> list[str]:
    """The examples in every verb's help."""
    lines = [line.strip() for verb in VERBS.values() for line in (verb.__doc__ or "").splitlines()]
    return [line for line in lines if line.startswith("introspect ")]


@pytest.mark.parametrize("command", [*readme_commands(), *help_commands()])
def test_every_command_that_we_show_can_be_typed(invoke, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-spec.yaml").write_text(load_experiment("probe-risk").to_yaml())
    (tmp_path / "my-questions.csv").write_text("question,A,B,answer\nIs it so?,yes,no,A\n")
    words = shlex.split(command.split(" > ")[0])[1:]
    code, _, err = invoke(*words)
    assert code == 0, err


def test_explore_hands_on_runs_probes_and_port(invoke, calls):
    code, _, err = invoke("explore", "runs/a", "runs/b", "--port", "8471", "--probe", "mine", "--no-browser")
    assert (code, err) == (0, "")
    (site,), options = calls["explore"]
    assert site == ([Path("runs/a"), Path("runs/b")], ["mine"])
    assert (options["port"], options["browser"]) == (8471, False)


def test_export_hands_on_layers_of_the_model_sites_and_numbers(invoke, calls):
    numpy = ("export", "runs/a", "--to", "numpy", "--out", "arrays", "--layers", "0,-1", "--dtype", "float32")
    assert invoke(*numpy)[:2] == (0, "arrays: 9 rows, 0 sites and layers\n")
    (store, out), options = calls["export_arrays"]
    assert (store, out, options["layers"], options["numbers"]) == (Path("runs/a"), Path("arrays"), [0, 29], "float32")
    lens = (
        "export",
        "runs/a",
        "--to",
        "transformer-lens",
        "--out",
        "caches",
        "--sites",
        "mlp_out",
        "--rollouts",
        "3,7,3",
    )
    assert invoke(*lens)[0] == 0
    assert (calls["export_lens"][1]["rollouts"], calls["export_lens"][1]["sites"]) == ([3, 7], ["mlp_out"])


def test_push_is_private_and_shortens_paths_unless_told(invoke, calls):
    assert invoke("push", "runs/a", "hf://me/x")[0] == 0
    assert not any(calls["push"][1][name] for name in ("public", "keep_paths", "dry_run"))
    assert invoke("push", "runs/a", "hf://me/x", "--public", "--keep-paths", "--dry-run")[0] == 0
    assert all(calls["push"][1][name] for name in ("public", "keep_paths", "dry_run"))


def test_pull_bounds_what_it_fetches(invoke, calls):
    assert invoke("pull", "hf://me/x", "theirs", "--max-gb", "0.5")[0] == 0
    assert calls["pull"][0] == ("hf://me/x", Path("theirs")) and calls["pull"][1]["most"] == 500_000_000


def test_there_are_commands_to_type():
    assert len(readme_commands()) >= 4
    assert len(help_commands()) >= len(VERBS)


def test_the_readme_names_every_room_and_only_what_is_there():
    text = README.read_text(encoding="utf-8")
    tree = text.split("## The tree")[1].split("```")[1]
    package = README.parent / "src" / "introspect"
    rooms = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    named = set(re.findall(r"[\w.]+\.py|\.?\w+(?=/)", tree))
    assert {room for room in rooms - {"__init__.py", "__main__.py"} if room not in named} == set()
    for name in named:
        assert any(README.parent.rglob(name)), name
