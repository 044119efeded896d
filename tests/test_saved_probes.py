"""Saved probes: the same bits come back, strangers' folders are refused, other runs are scored or refused in a line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save

import planted_organisms
import scripted
from introspect.cli import main
from introspect.errors import EstimateError, RunError, SpecError, StoreError
from introspect.experiment import load_experiment
from introspect.link import read_readouts, write_rows
from introspect.probe_folders import list_probes, probe_folder
from introspect.probes.estimators import LogisticProbe
from introspect.probes.saved import CARD, MAX_NUMBER, TENSORS, card_schema, load_probe, read_card, save_probe
from introspect.results import read_results
from introspect.rollout import Rollout, read_rollouts
from introspect.rows import Rows, encode_rows
from introspect.saved_probes import apply_probe, save_run_probe
from introspect.saved_probes.card import make_card
from introspect.saved_probes.source import read_source
from introspect.store import StoreSpec, StoreWriter
from introspect.strict_yaml import dump_yaml, load_yaml
from planted_organisms import ONE, OTHER, STORE, WIDTH, organism
from test_link import hinted_run, uses

QUICKER = load_experiment("probe-risk", [*planted_organisms.QUICK, "link.fpr=0.2"])
"""There are groups enough for a threshold at 20%, and not at 5%."""
WEIGHTS, ADAPTER = "ab" * 32, "cd" * 32
MODEL = {
    "name": "/home/someone/models/tiny",
    "kind": "local",
    "revision": None,
    "weight_digest": WEIGHTS,
    "adapter": "/home/someone/adapters/keen",
    "adapter_digest": ADAPTER,
    "dtype": "float32",
    "n_layers": 2,
    "width": WIDTH,
}


def finished(folder: Path, axis: np.ndarray, *, seed: int, meta: dict | None = None, **options) -> Path:
    """A finished run, with a manifest, of a model of those digests."""
    digests = {"model": "tiny", "weights": WEIGHTS, "adapter": ADAPTER} | (meta or {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted_organisms, "STORE", replace(STORE, meta=digests))
        organism(folder, axis, seed=seed, **({"analysed": True, "spec": QUICKER} | options))
    (folder / "manifest.json").write_text(json.dumps({"model": MODEL}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`one` and `same` share a direction, `other` has its own; all are asked the same."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "one": finished(root / "one", ONE, seed=1, ood=60, base=OTHER),
        "same": finished(root / "same", ONE, seed=2, ood=60),
        "other": finished(root / "other", OTHER, seed=3, ood=60),
    }


@pytest.fixture(scope="module")
def saved(runs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("probes") / "one"
    save_run_probe(runs["one"], folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit(folder: Path, path: str, value: object) -> None:
    """Set a field of a card, by its dotted path; `...` deletes it."""
    card = json.loads((folder / CARD).read_text())
    *above, last = path.split(".")
    at = card
    for key in above:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    (folder / CARD).write_text(json.dumps(card))


@pytest.fixture
def invoke(capsys):
    def call(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


def test_what_is_saved_scores_as_its_run_did(runs, saved):
    probe, results = load_probe(saved), read_results(runs["one"] / "results.json")
    head = results["probe"]["headline"]
    assert (probe.site, probe.layer, probe.position) == (head["site"], head["layer"], head["position"])
    applied = apply_probe(probe, runs["one"])
    kept = {row.rollout: row for row in read_readouts(runs["one"])}
    unseen = applied.rows[~applied.rows.seen]
    assert {kept[number].part for number in unseen.rollout} == {"test", "ood"}
    assert {kept[number].part for number in applied.rows[applied.rows.seen].rollout} == {"dev"}
    assert np.allclose(unseen.score, [kept[number].headline for number in unseen.rollout], atol=5e-3)
    assert [("policy" if above else "none") for above in unseen.above] == [
        kept[number].readout for number in unseen.rollout
    ]
    assert applied.summary["auroc_by_split"]["id"]["value"] == head["auroc"]["value"]
    assert applied.summary["auroc_by_split"]["ood"]["value"] == results["probe"]["ood"]["auroc"]["value"]


def test_a_card_holds_what_was_fitted_and_what_stood_beside_it(runs, saved):
    card, results = read_card(saved), read_results(runs["one"] / "results.json")
    jsonschema.Draft202012Validator.check_schema(card_schema())
    assert card["predicts"] == {"task": "risk", "label": "acted", "policy": "chooses the risky option"}
    assert card["estimator"]["name"] == "logistic"
    assert card["estimator"]["penalty"] == results["probe"]["headline"]["penalty"]
    assert card["model"]["name"] == "tiny" and card["model"]["adapter"] == "keen"
    assert card["model"]["weight_digest"] == WEIGHTS and card["model"]["adapter_digest"] == ADAPTER
    assert card["place"]["span"] == "prompt"
    assert card["origin"]["chosen"] == "inner folds"
    assert card["metrics"]["auroc"] == results["probe"]["headline"]["auroc"]
    assert card["metrics"]["tpr_at_5fpr"] == results["probe"]["headline"]["tpr_at_5fpr"]
    for name in ("text_whole_chain", "logits", "base_model", "option_order"):
        assert card["baselines"][name]["auroc"] == results["baselines"][name]["auroc"]
        assert card["baselines"][name]["increment"] == results["baselines"][name]["increment"]
    assert card["controls"]["selectivity"] == results["controls"]["control_task"]["selectivity"]
    assert card["training"]["n_rows"] == results["probe"]["split"]["n_dev"]
    assert len(card["training"]["groups"]) == results["probe"]["split"]["n_dev_groups"]
    whole = (saved / CARD).read_text()
    assert "/home" not in whole and "about g0" not in whole and "g01" not in whole


@pytest.mark.parametrize("kind", ["logistic", "ridge", "difference-of-means", "whitened-difference-of-means"])
def test_every_estimator_is_saved_from_any_place_and_says_what_was_not_measured(runs, tmp_path, kind):
    probe = save_run_probe(runs["one"], tmp_path / "p", layer=1, position="before_answer", estimator=kind)
    assert probe.card["estimator"]["name"] == kind and probe.card["origin"]["chosen"] == "by hand"
    assert probe.card["place"] == {"site": "resid_post", "layer": 1, "position": "before_answer", "span": "answer"}
    assert set(probe.card["metrics"]) == {"auroc"} and probe.card["metrics"]["auroc"]["value"] > 0.9
    here = next(
        row
        for row in read_results(runs["one"] / "results.json")["probe"]["positions"]
        if row["position"] == "before_answer"
    )
    assert probe.card["baselines"]["logits"]["auroc"] == here["logits"]
    assert "length" not in probe.card["baselines"]
    assert "not the headline" in probe.card["baselines"]["logits"]["increment"]["reason"]
    assert "not the headline" in probe.card["controls"]["selectivity"]["reason"]
    assert abs(probe.weight[0]) == np.abs(probe.weight).max()
    assert apply_probe(probe, runs["same"]).summary["auroc"]["value"] > 0.9


def test_a_probe_reads_what_it_was_fitted_to_in_other_runs_and_nothing_else(runs, saved):
    probe = load_probe(saved)
    same, other = apply_probe(probe, runs["same"]), apply_probe(probe, runs["other"])
    assert same.summary["auroc"]["value"] > 0.9 and same.summary["auroc"]["ci95"][0] > 0.8
    assert abs(other.summary["auroc"]["value"] - 0.5) < 0.15
    assert same.summary["above_threshold"]["acted"]["value"] > 0.6
    assert same.summary["above_threshold"]["not_acted"]["value"] < 0.2
    rows = same.summary["rows"]
    assert rows["n_groups_seen"] == len(probe.card["training"]["groups"])
    assert rows["n_groups"] == 30 + 10 - rows["n_groups_seen"]
    assert rows["n_scored"] == int((~same.rows.seen).sum())
    assert same.summary["notes"] == [
        f"{rows['n_groups_seen']} groups of this run were seen in training and are left out."
    ]
    results = read_results(runs["same"] / "results.json")
    beside = same.summary["beside"]
    assert beside["baselines"]["logits"] == results["baselines"]["logits"]["auroc"]
    own = [
        cell["auroc"] for cell in results["probe"]["grid"] if (cell["position"], cell["layer"]) == ("last_prompt", 1)
    ]
    assert [beside["own_probe"]] == own
    base = apply_probe(probe, runs["one"], base=True).summary
    assert abs(base["auroc"]["value"] - 0.5) < 0.15 and "before post-training" in base["notes"][0]
    assert "Nothing is refitted" in base["notes"][0]


def test_bits_come_back_as_they_were(saved, tmp_path):
    card = {key: value for key, value in read_card(saved).items() if key not in ("format", "tensors")}
    rng = np.random.default_rng(0)
    for kind in (np.float64, np.float32):
        weight = np.concatenate([rng.normal(size=WIDTH - 2) * 1e3, [np.finfo(kind).tiny, 0.9 * MAX_NUMBER]]).astype(
            kind
        )
        bias = float(kind(1 / 3))
        save_probe(tmp_path / kind.__name__, weight, bias, card)
        back = load_probe(tmp_path / kind.__name__)
        assert back.weight.dtype == kind and back.weight.tobytes() == weight.tobytes()
        assert back.bias == bias and {**back.card, "tensors": 0, "format": 0} == {**card, "tensors": 0, "format": 0}
        assert back.card["tensors"]["dtype"] == str(np.dtype(kind))


def test_saving_twice_gives_the_same_bytes_and_overwrites_nothing(runs, saved, tmp_path):
    save_run_probe(runs["one"], tmp_path / "again")
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()
    }
    with pytest.raises(RunError, match="not empty: choose another --out"):
        save_run_probe(runs["one"], tmp_path / "again")


def test_nothing_is_saved_that_could_not_be_read(saved, tmp_path):
    card = {key: value for key, value in read_card(saved).items() if key not in ("format", "tensors")}
    with pytest.raises(StoreError, match="not finite"):
        save_probe(tmp_path / "p", np.full(WIDTH, np.nan), 0.0, card)
    with pytest.raises(StoreError, match="baselines"):
        save_probe(tmp_path / "p", np.ones(WIDTH), 0.0, card | {"baselines": {}})
    with pytest.raises(StoreError, match="layer or width"):
        save_probe(tmp_path / "p", np.ones(WIDTH + 1), 0.0, card)
    assert not (tmp_path / "p").exists()


HOSTILE = {
    "unknown key": ("extra", 1, "Additional properties"),
    "unknown key inside": ("model.path", "x", "Additional properties"),
    "missing key": ("threshold", ..., "'threshold' is a required property"),
    "no baselines": ("baselines", {}, "baselines"),
    "another format": ("format", 2, "format"),
    "text for a number": ("place.layer", "1", "place.layer"),
    "true for a number": ("place.layer", True, "place.layer"),
    "half a layer": ("place.layer", 0.5, "place.layer"),
    "a layer that the model lacks": ("place.layer", 2, "layer or width"),
    "a negative layer": ("place.layer", -1, "place.layer"),
    "an unknown site": ("place.site", "../../etc", "place.site"),
    "a path for a position": ("place.position", "../x", "place.position"),
    "a huge width": ("tensors.width", 1 << 40, "tensors.width"),
    "another width": ("tensors.width", 25, "layer or width"),
    "a huge whole number": ("training.n_rows", 10**400, "is not a number"),
    "a short digest": ("model.weight_digest", "ab", "weight_digest"),
    "a digest and a line feed": ("tensors.sha256", "a" * 64 + "\n", "sha256"),
    "a mark that is none": ("training.groups", ["g01"], "training.groups"),
    "an escape sequence": ("summary", "\x1b]0;owned\x07", "summary"),
    "two lines": ("summary", "one\ntwo", "summary"),
    "a last line feed": ("summary", "one\n", "summary"),
    "text turned round": ("predicts.policy", "\u202egnp.exe", "policy"),
    "a long text": ("summary", "x" * 501, "summary"),
    "a key that is no word": ("metrics.../x", {"value": None, "reason": "x"}, "metrics"),
    "a number as an estimate": ("metrics.auroc", 0.9, "metrics.auroc"),
    "an estimate without its interval": ("metrics.auroc", {"value": 1.0}, "metrics.auroc"),
    "an AUROC above 1": ("metrics.auroc.value", 7.5, "metrics.auroc"),
    "an interval beyond 0 and 1": ("metrics.auroc.ci95", [9, -9], "metrics.auroc"),
    "an interval turned round": ("metrics.auroc.ci95", [0.9, 0.1], "metrics.auroc.ci95: [0.9, 0.1] begins above"),
    "a baseline below 0": ("baselines.logits.auroc.value", -0.1, "baselines.logits.auroc"),
    "a baseline's interval turned round": ("baselines.logits.auroc.ci95", [0.9, 0.1], "baselines.logits.auroc.ci95"),
    "an increment above 1": ("baselines.logits.increment.value", 1.5, "baselines.logits.increment"),
    "an increment turned round": ("baselines.logits.increment.ci95", [0.1, -0.1], "baselines.logits.increment.ci95"),
    "a control below 0": ("controls.random_direction.value", -0.5, "controls.random_direction"),
    "a selectivity above 1": ("controls.selectivity.value", 2, "controls.selectivity"),
    "a control turned round": ("controls.selectivity.ci95", [0.1, -0.1], "controls.selectivity.ci95"),
    "a function as an estimator": ("estimator.name", "os.system", "estimator.name"),
    "other tensors": ("tensors.sha256", "0" * 64, "not the file that its card was written for"),
}


@pytest.mark.parametrize(("path", "value", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_card_is_one_line_that_names_the_file(copy, path, value, said):
    if path == "metrics.../x":
        card = json.loads((copy / CARD).read_text())
        card["metrics"]["../x"] = value
        (copy / CARD).write_text(json.dumps(card))
    else:
        edit(copy, path, value)
    with pytest.raises(StoreError, match="introspect probe save") as refused:
        load_probe(copy)
    message = str(refused.value)
    assert said in message and str(copy) in message and len(message) < 1000 and refused.value.exit_code == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"format": NaN}',
        b'{"format": 1e999}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 100_000,
    ],
    ids=range(9),
)
def test_a_card_that_is_no_json_object_is_refused(copy, content):
    (copy / CARD).write_bytes(content)
    with pytest.raises(StoreError, match=r"probe\.json.*introspect probe save"):
        load_probe(copy)


def tensors(**more: np.ndarray) -> bytes:
    return save({"weight": np.ones(WIDTH), "bias": np.ones(1), **more})


def header(text: str, body: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + body


WRONG = {
    "nothing": b"",
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "another tensor": tensors(more=np.ones(3)),
    "no bias": save({"weight": np.ones(WIDTH)}),
    "another width": tensors(weight=np.ones(WIDTH + 1)),
    "two axes": tensors(weight=np.ones((1, WIDTH))),
    "whole numbers": tensors(weight=np.ones(WIDTH, dtype=np.int64), bias=np.ones(1, dtype=np.int64)),
    "halves": tensors(weight=np.ones(WIDTH, np.float16), bias=np.ones(1, np.float16)),
    "two kinds": tensors(bias=np.ones(1, np.float32)),
    "NaN": tensors(weight=np.full(WIDTH, np.nan)),
    "infinity": tensors(bias=np.array([np.inf])),
    "a weight beyond all use": tensors(weight=np.full(WIDTH, 1.7e308)),
    "a bias beyond all use": tensors(bias=np.array([-1.7e308])),
    "a header beyond the file": (1 << 62).to_bytes(8, "little"),
    "offsets beyond the file": header('{"weight":{"dtype":"F64","shape":[24],"data_offsets":[0,192]}}'),
    "a kind of number that NumPy lacks": header(
        '{"bias":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},'
        '"weight":{"dtype":"BF16","shape":[24],"data_offsets":[2,50]}}',
        bytes(50),
    ),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_tensors_that_are_not_the_cards_are_refused(copy, content):
    (copy / TENSORS).write_bytes(content)
    with pytest.raises(StoreError, match=r"probe\.safetensors is not the file"):
        load_probe(copy)
    edit(copy, "tensors.sha256", hashlib.sha256(content).hexdigest())
    with pytest.raises(StoreError, match=r"probe\.safetensors .*introspect probe save") as refused:
        load_probe(copy)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("name", [CARD, TENSORS])
def test_links_pipes_and_giants_are_not_read(copy, name):
    (copy / name).rename(copy / "elsewhere")
    (copy / name).symlink_to(copy / "elsewhere")
    with pytest.raises(StoreError, match=name):
        load_probe(copy)
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(StoreError, match=name):
        load_probe(copy)
    (copy / name).unlink()
    with pytest.raises(StoreError, match=name):
        load_probe(copy)
    with (copy / name).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StoreError, match=name):
        load_probe(copy)


def test_a_kill_while_saving_leaves_no_probe(saved, tmp_path):
    folder = tmp_path / "half"
    folder.mkdir()
    shutil.copy(saved / TENSORS, folder)
    with pytest.raises(StoreError, match=r"probe\.json"):
        load_probe(folder)


# What is refused of runs: each one line, exit code 2, with the remedy.


def refused(invoke, *args) -> str:
    code, out, err = invoke("probe", *args)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return err


def test_a_run_of_another_width_is_refused(saved, tmp_path, invoke):
    narrow = replace(STORE, width=12, meta={"model": "slim", "weights": WEIGHTS})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted_organisms, "STORE", narrow)
        patch.setattr(planted_organisms, "WIDTH", 12)
        run = organism(tmp_path / "run", ONE[:12], seed=5)
    said = refused(invoke, "apply", saved, run)
    assert "its model slim has a width of 12, and the probe was fitted at 24 to tiny: apply it to runs" in said
    assert "width of 12" in refused(invoke, "apply", saved, run, "--other-model")


def test_a_run_of_another_model_is_refused_until_it_is_asked_for(saved, tmp_path, invoke):
    run = finished(tmp_path / "run", ONE, seed=6, ood=20, meta={"model": "newer", "weights": "12" * 32})
    said = refused(invoke, "apply", saved, run)
    assert "its model newer has the weights 121212121212" in said and f"fitted to tiny, {WEIGHTS[:12]}" in said
    assert "--other-model" in said
    code, out, _ = invoke("probe", "apply", saved, run, "--other-model")
    assert code == 0 and "fitted to another model (tiny)" in out


def test_another_organism_is_named_and_not_refused(saved, tmp_path):
    run = finished(tmp_path / "run", ONE, seed=6, ood=20, meta={"adapter": "ef" * 32})
    assert "fitted to another organism (keen)." in " ".join(apply_probe(load_probe(saved), run).summary["notes"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": (0, 2)}, "has recorded layers 0, 2 and not 1, which the probe reads: record it again with --set"),
        ({"sites": ("attn_out",)}, "has recorded attn_out and not resid_post"),
    ],
)
def test_a_place_that_a_run_lacks_is_refused(saved, runs, tmp_path, invoke, changes, said):
    run = Path(shutil.copytree(runs["same"], tmp_path / "run"))
    shutil.rmtree(run / "activations")
    spec = replace(STORE, meta={"model": "tiny", "weights": WEIGHTS}, **changes)
    write_zeros(run / "activations", planted_rows(run), spec)
    assert said in refused(invoke, "apply", saved, run)


def planted_rows(run: Path) -> list[Rollout]:
    return read_rollouts(run / "rollouts.jsonl")


def write_zeros(
    folder: Path, rows: list[Rollout], spec: StoreSpec, *, skip: int = 0, bad: tuple[int, ...] = ()
) -> None:
    """A store of zeros, without the first tokens that are kept otherwise, and with NaN in some rollouts."""
    positions = [list(range(len(row.prompt_ids) - 1 + skip, len(row.token_ids))) for row in rows]
    captured = [
        {pair: torch.full((len(wanted), spec.width), np.nan if row.rollout in bad else 0.0) for pair in spec.pairs()}
        for row, wanted in zip(rows, positions, strict=True)
    ]
    with StoreWriter(folder, spec) as store:
        store.commit_part(0, encode_rows(spec, rows, [Rows(each, {}) for each in positions], captured, positions))
        store.finish()


def rewritten(run: Path, to: Path, **options) -> Path:
    """The run with other activations."""
    copied = Path(shutil.copytree(run, to))
    shutil.rmtree(copied / "activations")
    write_zeros(
        copied / "activations",
        planted_rows(copied),
        replace(STORE, meta={"model": "tiny", "weights": WEIGHTS}),
        **options,
    )
    return copied


def test_a_position_that_a_run_lacks_is_refused(saved, runs, tmp_path, invoke):
    run = rewritten(runs["same"], tmp_path / "run", skip=1)
    said = refused(invoke, "apply", saved, run)
    assert "has not recorded last_prompt of every rollout" in said and "probe.positions=[last_prompt]" in said


def test_rows_that_are_not_finite_are_named_by_rollout(saved, runs, tmp_path, invoke):
    run = rewritten(runs["same"], tmp_path / "run", bad=(4, 77))
    assert "activations of rollouts 4, 77 hold NaN or infinity: record" in refused(invoke, "apply", saved, run)
    broken = rewritten(runs["one"], tmp_path / "broken", bad=(4, 77))
    assert "rollouts 4, 77 hold NaN" in refused(invoke, "save", broken, "--out", tmp_path / "p")


def test_one_class_only_is_refused(saved, tmp_path, invoke):
    run = finished(tmp_path / "run", ONE, seed=8, choice=lambda number, rng: True, analysed=False)
    said = refused(invoke, "apply", saved, run)
    assert "rollouts with a valid answer acted on the policy; an AUROC needs both" in said


def test_a_run_of_training_items_only_is_refused(saved, runs, tmp_path, invoke):
    run = Path(shutil.copytree(runs["same"], tmp_path / "run"))
    seen = apply_probe(load_probe(saved), run).rows
    kept = set(seen[seen.seen].rollout)
    lines = [row.line() for row in planted_rows(run) if row.rollout in kept]
    (run / "rollouts.jsonl").write_text("".join(lines))
    said = refused(invoke, "apply", saved, run)
    assert f"all {len(set(seen[seen.seen].group))} groups were seen in training: apply the probe to other items" in said


def test_the_same_question_under_another_groups_name_counts_as_seen(saved, runs, tmp_path):
    run = Path(shutil.copytree(runs["same"], tmp_path / "run"))
    before = apply_probe(load_probe(saved), run).rows
    renamed = [row.model_copy(update={"group": f"mine-{row.group}"}) for row in planted_rows(run)]
    (run / "rollouts.jsonl").write_text("".join(row.line() for row in renamed))
    assert np.array_equal(apply_probe(load_probe(saved), run).rows.seen, before.seen)
    asked = [row.model_copy(update={"prompt_text": f"{row.prompt_text}?"}) for row in renamed]
    (run / "rollouts.jsonl").write_text("".join(row.line() for row in asked))
    assert not apply_probe(load_probe(saved), run).rows.seen.any()


def test_a_steered_run_is_not_saved_and_says_so_when_it_is_read(saved, runs, tmp_path, invoke):
    run = Path(shutil.copytree(runs["same"], tmp_path / "run"))
    spec = load_yaml((run / "experiment.yaml").read_text(), "spec")
    spec["steering"] = [{"direction": "some", "strength": 2.0}]
    (run / "experiment.yaml").write_text(dump_yaml(spec))
    assert "recorded under steering" in refused(invoke, "save", run, "--out", tmp_path / "p")
    assert any("under steering" in note for note in apply_probe(load_probe(saved), run).summary["notes"])
    assert not any("steering" in note for note in apply_probe(load_probe(saved), runs["same"]).summary["notes"])


def test_a_run_without_a_base_has_no_base_to_read(saved, runs, invoke):
    assert "no activations of a base model" in refused(invoke, "apply", saved, runs["same"], "--base")


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_scores_are_a_table_outside_the_run(saved, runs, tmp_path, name):
    applied = apply_probe(load_probe(saved), runs["same"])
    write_rows(applied.rows, tmp_path / name)
    back = pd.read_csv(tmp_path / name) if name.endswith("csv") else pd.read_parquet(tmp_path / name)
    assert back.columns.tolist() == ["rollout", "item_id", "group", "split", "acted", "score", "above", "seen"]
    assert np.array_equal(back.score, applied.rows.score) and len(back) == 240
    assert back.above.astype(bool).tolist() == applied.rows.above.tolist()


def test_scores_are_written_nowhere_that_holds_something(saved, runs, tmp_path, invoke):
    inside = runs["same"] / "scores.csv"
    assert "is inside the run" in refused(invoke, "apply", saved, runs["same"], "--out", inside)
    assert "choose one of these endings" in refused(invoke, "apply", saved, runs["same"], "--out", tmp_path / "s.xlsx")
    (tmp_path / "s.csv").write_text("mine")
    assert "is there already" in refused(invoke, "apply", saved, runs["same"], "--out", tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == "mine" and not inside.exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_line_saves_and_applies_and_changes_no_run(runs, tmp_path, invoke):
    before = contents(runs["one"]), contents(runs["same"])
    code, out, err = invoke("probe", "save", runs["one"], "--out", tmp_path / "mine")
    assert (code, err) == (0, "") and out.startswith(
        "predicts that keen chooses the risky option: logistic, resid_post 1"
    )
    code, out, _ = invoke("probe", "apply", tmp_path / "mine", runs["same"], "--json", "--out", tmp_path / "scores.csv")
    found = json.loads(out)
    assert code == 0 and found["auroc"]["value"] > 0.9 and len(pd.read_csv(tmp_path / "scores.csv")) == 240
    code, out, _ = invoke("probe", "apply", tmp_path / "mine", runs["same"])
    assert code == 0 and "above the threshold, of those that acted" in out and "logits, in this run" in out
    assert (contents(runs["one"]), contents(runs["same"])) == before


def test_a_run_whose_scores_are_not_found_again_is_not_saved(runs, tmp_path, invoke):
    run = Path(shutil.copytree(runs["one"], tmp_path / "run"))
    lines = [json.loads(line) for line in (run / "readouts.jsonl").read_text().splitlines()]
    lines[3]["headline"] += 0.1
    (run / "readouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = refused(invoke, "save", run, "--out", tmp_path / "p")
    assert "standard deviations off readouts.jsonl: run the experiment again" in said
    moved = [line | {"part": "test" if line["part"] == "dev" else "dev"} for line in lines]
    (run / "readouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in moved))
    assert "the split of readouts.jsonl is not found again" in refused(invoke, "save", run, "--out", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_places_and_runs_that_cannot_be_saved_are_refused(runs, tmp_path, invoke):
    to = ("--out", tmp_path / "p")
    assert "has not recorded layer 7: choose one of 0, 1" in refused(invoke, "save", runs["one"], *to, "--layer", 7)
    said = refused(invoke, "save", runs["one"], *to, "--position", "think_25")
    assert "does not probe position 'think_25': choose one of last_prompt, think_100, before_answer" in said
    unprobed = organism(tmp_path / "unprobed", ONE, seed=9)
    assert "has no probe to save: none of 5 rollouts" in refused(invoke, "save", unprobed, *to)
    assert "is no run of an experiment" in refused(invoke, "save", tmp_path, *to)
    bare = Path(shutil.copytree(runs["one"], tmp_path / "bare"))
    (bare / "manifest.json").unlink()
    assert "no manifest.json that names its model" in refused(invoke, "save", bare, *to)
    with pytest.raises(SpecError, match="no estimator called 'svm'"):
        save_run_probe(runs["one"], tmp_path / "p", estimator="svm")


def test_a_width_that_does_not_fit_is_refused_from_python_too(saved):
    probe = load_probe(saved)
    with pytest.raises(EstimateError, match="width of 24 and the activations 3"):
        probe.score(np.zeros((2, 3)))
    with pytest.raises(EstimateError, match="rollouts r2 hold"):
        probe.score(np.array([[0.0] * WIDTH, [np.inf] * WIDTH]), ["r1", "r2"])


@pytest.mark.filterwarnings("error")
def test_a_score_that_is_not_finite_is_refused_by_the_name_of_the_probe(saved):
    probe = replace(load_probe(saved), weight=np.full(WIDTH, 1.7e308))
    rows = np.array([[0.0] * WIDTH, [1.0] * WIDTH, [1.0, -1.0] * (WIDTH // 2)])
    with pytest.raises(EstimateError, match=r"the probe \(predicts that keen .*score of rollouts r2: its weights are"):
        probe.score(rows[:2], ["r1", "r2"])
    with pytest.raises(EstimateError, match="NaN or infinity as the score of rollouts 1"):
        probe.score(rows)
    largest = replace(probe, weight=np.full(WIDTH, MAX_NUMBER))
    assert np.isfinite(largest.score(np.full((1, WIDTH), np.finfo(np.float32).max, np.float32))).all()


# Thresholds: the headline's is the link's, and any other says what it is set on.


def test_the_headlines_threshold_is_that_of_its_runs_link(runs, saved):
    link, threshold = read_results(runs["one"] / "results.json")["link"], read_card(saved)["threshold"]
    assert (threshold["value"], threshold["fpr"]) == (link["threshold"], link["threshold_fpr"])
    assert threshold["from"] == f"the common threshold of the run's link: {link['threshold_from']}"
    counted = [row for row in read_readouts(runs["one"]) if row.part == "dev"]
    acted = {row.rollout for row in read_rollouts(runs["one"] / "rollouts.jsonl") if row.acted}
    assert threshold["n_not_acted"] == len([row for row in counted if row.rollout not in acted])
    assert threshold["n_aligned"] == 0


def test_a_threshold_of_another_probe_follows_the_links_rule(runs):
    source, link = read_source(runs["one"]), read_results(runs["one"] / "results.json")["link"]
    head = source.results["probe"]["headline"]
    place = head["layer"], head["position"]
    card = make_card(
        source, source.fit(LogisticProbe(head["penalty"]), source.activations(*place)), "logistic", place, False
    )
    assert card["threshold"]["value"] == pytest.approx(link["threshold"], abs=5e-3)
    assert card["threshold"]["from"].endswith("without aligned rollouts, one threshold for all conditions")


def test_a_link_without_counts_still_gives_its_threshold(runs, tmp_path):
    run = Path(shutil.copytree(runs["one"], tmp_path / "run"))
    results = json.loads((run / "results.json").read_text())
    del results["link"]["thresholds"]
    (run / "results.json").write_text(json.dumps(results))
    threshold = save_run_probe(run, tmp_path / "p").card["threshold"]
    assert threshold["value"] == results["link"]["threshold"] and set(threshold) == {"value", "fpr", "from"}


def test_on_a_run_with_hints_it_is_said_whether_aligned_rollouts_count(tmp_path):
    run = tmp_path / "run"
    hinted_run(scripted.save_roomy(tmp_path / "roomy"), run, uses)
    link, readouts = read_results(run / "results.json")["link"], read_readouts(run)
    probe = save_run_probe(run, tmp_path / "headline")
    acted = {row.rollout for row in read_rollouts(run / "rollouts.jsonl") if row.acted}
    setting = [row for row in readouts if row.part == "dev" and (row.aligned or row.rollout not in acted)]
    threshold = probe.card["threshold"]
    assert threshold["value"] == link["threshold"] and threshold["from"].endswith(
        "2 of 2 kinds of hint have their own there"
    )
    assert threshold["n_not_acted"] == len(setting)
    assert threshold["n_aligned"] == sum(row.aligned for row in setting) > 3
    place = {name: probe.card["place"][name] for name in ("layer", "position")}
    by_hand = save_run_probe(run, tmp_path / "by-hand", estimator="ridge", **place).card["threshold"]
    assert by_hand["from"].endswith("without aligned rollouts, one threshold for all conditions")
    assert by_hand["n_not_acted"] == sum(not row.aligned for row in setting) and by_hand["n_aligned"] == 0
    notes = " ".join(apply_probe(probe, run).summary["notes"])
    n_aligned = sum(row.aligned for row in readouts)
    assert f"{n_aligned} aligned rollouts" in notes and "one threshold is used for all conditions" in notes


def test_too_few_rows_that_did_not_act_give_a_probe_without_a_threshold(tmp_path, invoke):
    run = finished(tmp_path / "few", ONE, seed=4, choice=lambda number, rng: number % 6 > 0, ood=40)
    probe = save_run_probe(run, tmp_path / "p")
    assert probe.threshold is None
    assert "a threshold needs 20" in probe.card["threshold"]["reason"]
    assert apply_probe(probe, run).summary["above_threshold"] is None
    assert invoke("probe", "apply", tmp_path / "p", run)[0] == 0


def test_shipped_probes_are_found_by_name_read_whole_and_say_how_they_did(invoke):
    assert list_probes()
    for name in list_probes():
        probe = load_probe(probe_folder(name))
        assert probe.card["metrics"]["auroc"]["value"] is not None and len(probe.card["baselines"]) > 5
        assert probe.weight.shape == (576,)
        code, out, _ = invoke("show", "probe", name)
        assert code == 0 and probe.card["summary"] in out
    code, out, _ = invoke("list", "probes", "--json")
    assert code == 0 and json.loads(out)["probes"] == list_probes()
    with pytest.raises(SpecError, match="did you mean 'risk-silent'"):
        probe_folder("risk-silant")
