"""A run probed again: the same where nothing is changed, another where something is, and the run left as it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import planted_organisms
from introspect.cli import main
from introspect.errors import ModelError, RunError, SpecError, StoreError
from introspect.experiment import load_experiment
from introspect.link import read_readouts
from introspect.models import load_model
from introspect.notebook.tokenizer import run_tokenizer
from introspect.refit import fit_again
from introspect.results import read_results
from introspect.saved_probes import save_run_probe
from planted_organisms import ONE, OTHER, organism
from tiny_folders import save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run by logistic regression, whose model is on this machine."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    spec = load_experiment("probe-risk", [*planted_organisms.QUICK, f"model={model}", "dtype=float32"])
    organism(folder, ONE, seed=1, ood=30, base=OTHER, analysed=True, spec=spec)
    weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    said = {"name": str(model), "revision": None, "n_layers": 2, "weight_digest": weights, "adapter_digest": None}
    (folder / "manifest.json").write_text(json.dumps({"model": said}))
    return folder


def stating(run: Path, folder: Path, **model: object) -> Path:
    """A copy of a run whose manifest says something else of its model."""
    shutil.copytree(run, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({"model": manifest["model"] | model}))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_nothing_changed_is_the_same_again_and_leaves_the_run_as_it_is(run):
    before = digests(run)
    found, own = fit_again(run, offline=True), read_results(run / "results.json")
    for section in ("probe", "baselines", "link", "examples"):
        assert found[section] == own[section]
    assert digests(run) == before


def test_another_estimator_has_the_same_split_and_a_folder_of_its_own(run, tmp_path):
    own, out = read_results(run / "results.json"), tmp_path / "means"
    found = fit_again(run, ["probe.estimator=difference-of-means"], out, offline=True)
    assert found["probe"]["estimator"] == "difference of means" and found["probe"]["split"] == own["probe"]["split"]
    head = found["probe"]["headline"]
    assert head["penalty"] is None and head["auroc"]["value"] > 0.9 and "no log-odds" in head["brier"]["reason"]
    assert found["baselines"]["text_whole_chain"]["auroc"] == own["baselines"]["text_whole_chain"]["auroc"]
    assert found["baselines"]["base_model"]["auroc"] != own["baselines"]["base_model"]["auroc"]
    assert read_results(out / "results.json") == found
    assert load_experiment(out / "experiment.yaml").probe.estimator == "difference-of-means"
    assert [row.rollout for row in read_readouts(out)] == [row.rollout for row in read_readouts(run)]
    assert [row.headline for row in read_readouts(out)] != [row.headline for row in read_readouts(run)]
    assert "difference of means" in (out / "report.html").read_text()


def test_a_verdict_is_predicted_of_rollouts_that_acted_only(run):
    found = fit_again(run, ["probe.label=silent"], offline=True)
    assert "labelled silent and" in found["probe"]["reason"]
    assert any("acted on the policy and have a usable verdict" in line for line in found["warnings"])
    assert any("labelled silent" in line for line in found["warnings"])


def test_embeddings_are_a_stricter_kind_of_words(run):
    found = fit_again(run, ["probe.embedding=input"], offline=True)
    for name in ("embedding_prompt_chain", "embedding_prompt_whole_chain"):
        entry = found["baselines"][name]
        assert entry["auroc"]["value"] is not None and "own input embeddings" in entry["what"]
    assert "largest of 5" in found["baselines"]["best_text"]["strictest"]["increment"]["method"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"weight_digest": "f" * 64}, r"other weights of the model than are here \(ffffffffffff, not"),
        ({"adapter_digest": "e" * 64}, r"other weights of the organism than are here \(eeeeeeeeeeee, not none\)"),
    ],
)
def test_embeddings_of_other_weights_than_were_run_are_refused(run, tmp_path, other, said):
    copy = stating(run, tmp_path / "other", **other)
    assert fit_again(copy, offline=True)["probe"]["headline"]
    with pytest.raises(ModelError, match=said):
        fit_again(copy, ["probe.embedding=input"], offline=True)


def test_the_revision_that_was_run_is_loaded_wherever_the_main_branch_points_now(run, tmp_path, monkeypatch):
    asked = []

    def load(name, *, revision, **options):
        asked.append(revision)
        return load_model(name, **options)

    monkeypatch.setattr("introspect.refit.load_model", load)
    monkeypatch.setattr("introspect.refit.run_tokenizer", lambda model: run_tokenizer({**model, "revision": None}))
    fit_again(stating(run, tmp_path / "hub", revision="4" * 40), ["probe.embedding=input"], offline=True)
    fit_again(run, ["probe.embedding=input"], offline=True)
    assert asked == ["4" * 40, None]


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["seed=1"], SpecError, "only the section probe can be changed here"),
        (["probe.site=attn_out"], SpecError, "probe.site is attn_out, which is not captured: choose one of resid_post"),
        (["probe.positions=[think_50]"], SpecError, "not surely think_50"),
        (
            ["probe.positions=[last_prompt, think_mean]"],
            SpecError,
            r"not surely think_mean; choose among those, or record it again: `introspect run \S+/one/experiment.yaml "
            r'--set "probe.positions=\[last_prompt, .*, think_mean\]" --out NEW`$',
        ),
        (["probe.estimator=svm"], SpecError, "svm"),
    ],
)
def test_what_cannot_be_asked_of_a_run_is_one_line(run, overrides, error, said):
    with pytest.raises(error, match=said):
        fit_again(run, overrides, offline=True)


def test_a_folder_that_is_no_place_for_results_is_refused(run, tmp_path):
    with pytest.raises(RunError, match="inside the run"):
        fit_again(run, (), run / "again", offline=True)
    (tmp_path / "kept.txt").write_text("x")
    with pytest.raises(RunError, match="is there already"):
        fit_again(run, (), tmp_path, offline=True)
    with pytest.raises(RunError, match="is not a run directory"):
        fit_again(tmp_path, (), offline=True)


def test_what_fails_leaves_no_folder_behind(run, tmp_path):
    with pytest.raises(ModelError):
        fit_again(run, [f"probe.embedding={tmp_path / 'none'}"], tmp_path / "out", offline=True)
    assert not (tmp_path / "out").exists()


def test_a_damaged_run_is_one_line(run, tmp_path):
    for name, said in (("rollouts.jsonl", "holds no rollouts"), ("verdicts.jsonl", "no verdict of the headline")):
        copy = tmp_path / name
        shutil.copytree(run, copy)
        (copy / name).write_text("")
        with pytest.raises(StoreError, match=said):
            fit_again(copy, offline=True)


def test_the_verb_says_what_was_found_and_where(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["probe", "fit", str(run), "--estimator", "ridge", "--out", str(tmp_path / "r"), "--offline"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert "predict the choice on held-out groups" in out and str(tmp_path / "r" / "report.html") in out
    with pytest.raises(SystemExit) as stop:
        main(["probe", "fit", str(run), "--site", "mlp_out"])
    assert stop.value.code == 2
    assert "which is not captured" in capsys.readouterr().err


def test_a_probe_by_another_estimator_is_saved_as_its_run_had_it(model, tmp_path):
    spec = load_experiment("probe-risk", [*planted_organisms.QUICK, "probe.estimator=ridge", f"model={model}"])
    folder = organism(tmp_path / "ridge", ONE, seed=2, analysed=True, spec=spec)
    digest = {"kind": "local", "weight_digest": "ab" * 32, "adapter": None, "adapter_digest": None}
    manifest = {
        "model": {"name": str(model), "revision": None, "n_layers": 2, "width": 24, "dtype": "float32"} | digest
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    head = read_results(folder / "results.json")["probe"]["headline"]
    card = save_run_probe(folder, tmp_path / "p", estimator="ridge").card
    assert card["estimator"]["penalty"] == head["penalty"] and card["origin"]["chosen"] == "inner folds"
    assert card["metrics"]["auroc"] == head["auroc"]
