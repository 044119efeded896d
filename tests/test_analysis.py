"""The whole analysis on runs whose truth is known, both ways: found where it is, not found where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from introspect.analysis import Model, analyse
from introspect.experiment import Experiment, load_experiment
from introspect.progress import silent
from introspect.report.figures import BASELINES
from introspect.report.page import render
from introspect.results import validate_results
from introspect.transfer.common_split import split_together
from introspect.transfer.places import choose_place
from introspect.transfer.recorded import read_recorded
from planted_organisms import ONE, QUICK, organism
from planted_runs import LAYERS, TOKENIZER, planted_run, record_by_hand, rollout

POSITIONS = "[last_prompt, think_50, think_100, before_answer]"
MODEL = Model(TOKENIZER, LAYERS, None)


def spec(*more: str) -> Experiment:
    quick = ("probe.permutations=20", "probe.bootstrap=200", f"probe.positions={POSITIONS}")
    return load_experiment(
        "probe-risk", ["organism=null", "negative_control=null", "probe.embedding=null", *quick, *more]
    )


def analysed(folder: Path, **truth: bool) -> dict:
    results = analyse(folder, spec(), planted_run(folder, **truth), MODEL, progress=silent)
    validate_results(results)
    return results


@pytest.fixture(scope="module")
def silent_policy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("silent")
    return folder, analysed(folder, inside=True, spoken=False)


def test_a_silent_policy_is_read_inside_and_nowhere_in_the_words(silent_policy):
    _, results = silent_policy
    head, baselines = results["probe"]["headline"], results["baselines"]
    assert (head["layer"], head["position"]) == (1, "last_prompt")
    assert head["auroc"]["value"] > 0.95
    for name in ("text_prompt_chain", "text_whole_chain", "text_prompt_whole_chain"):
        low, high = baselines[name]["auroc"]["ci95"]
        assert low <= 0.5 <= high
        assert baselines[name]["increment"]["ci95"][0] > 0
    assert results["controls"]["shuffled_labels"]["p_value"] == pytest.approx(1 / 21, abs=1e-6)
    assert results["link"]["silent_but_decodable"]["ci95"][0] > 0.7
    assert results["link"]["text_baseline"]["silent_but_decodable"]["ci95"][1] < 0.3
    table = results["link"]["table"]
    assert table["verbalised"]["policy"] == table["verbalised"]["none"] == 0
    assert table["silent"]["policy"] + table["silent"]["none"] == results["link"]["n_acted"]


def test_a_spoken_policy_adds_nothing_beyond_the_whole_chain(tmp_path):
    results = analysed(tmp_path, inside=True, spoken=True)
    assert results["probe"]["headline"]["auroc"]["value"] > 0.95
    assert results["baselines"]["text_whole_chain"]["auroc"]["value"] > 0.99
    assert results["baselines"]["text_whole_chain"]["increment"]["ci95"][0] <= 0
    assert results["verdicts"]["classifiers"]["lexical"]["verbalised_rate_acted"]["value"] == 1
    assert "without saying so" in results["link"]["silent_but_decodable"]["reason"]
    by_position = {row["position"]: row for row in results["probe"]["positions"]}
    low, high = by_position["last_prompt"]["text_prompt_chain"]["ci95"]
    assert low <= 0.5 <= high
    assert by_position["think_100"]["text_chain"]["value"] > 0.99


def test_chance_is_found_nowhere(tmp_path):
    results = analysed(tmp_path, inside=False, spoken=False)
    low, high = results["probe"]["headline"]["auroc"]["ci95"]
    assert low < 0.5 < high
    assert results["controls"]["shuffled_labels"]["p_value"] > 0.05
    assert results["link"]["silent_but_decodable"]["ci95"][0] < 0.05


def test_every_readout_is_on_file_and_makes_the_table(silent_policy):
    folder, results = silent_policy
    rows = [json.loads(line) for line in (folder / "readouts.jsonl").read_text().splitlines()]
    verdicts = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    assert [row["rollout"] for row in rows] == [row["rollout"] for row in verdicts]
    read = sum(row["part"] == "test" and row["readout"] == "policy" for row in rows)
    table, link = results["link"]["table"], results["link"]
    false_positives = round(link["realised_fpr"]["value"] * link["n_not_acted"])
    assert read == table["silent"]["policy"] + false_positives
    assert all((row["headline"] > link["threshold"]) == (row["readout"] == "policy") for row in rows)


def test_examples_score_every_recorded_token(silent_policy):
    _, results = silent_policy
    assert len(results["examples"]) == 5
    for example in results["examples"]:
        assert "".join(token["text"] for token in example["tokens"]).startswith("<bot><think>")
        assert {token["span"] for token in example["tokens"]} == {"prompt", "think", "answer", "other"}
        head = next(token for token in example["tokens"] if token["span"] == "prompt")
        assert (head["score"] > results["link"]["threshold"]) == (example["readout"] == "policy")
    assert "Five rollouts" in render(results, None)


def test_baselines_are_chosen_on_development_groups_with_the_stricter_bound_beside(silent_policy):
    _, results = silent_policy
    baselines = results["baselines"]
    for name, pool in (("best_text", "text_"), ("best", "")):
        best = baselines[name]
        inner = {
            key: entry["inner_auroc"]
            for key, entry in baselines.items()
            if key.startswith(pool) and entry.get("inner_auroc") is not None and key != "base_model"
        }
        assert best["name"] == max(inner, key=lambda key: inner[key])
        assert best["increment"] == baselines[best["name"]]["increment"]
        aurocs = {key: baselines[key]["auroc"]["value"] for key in inner}
        assert best["strictest"]["name"] == max(aurocs, key=lambda key: aurocs[key])
        assert best["strictest"]["increment"]["value"] <= best["increment"]["value"]
        assert "in every replicate" in best["strictest"]["increment"]["method"]
    assert "not asked for" in baselines["embedding_prompt_chain"]["auroc"]["reason"]


def test_every_column_is_on_the_page(silent_policy):
    _, results = silent_policy
    page = render(results, None)
    for label in BASELINES.values():
        assert label in page
    for words in (
        *("accuracy", "TPR at 1% FPR", "TPR at 5% FPR", "Brier score", "ECE", "selectivity", "random directions"),
        *("many comparisons", "noise of the label", "numerical noise of capture", "largest on the test part"),
    ):
        assert words in page
    head = results["probe"]["headline"]
    assert "out-of-fold development scores" in head["accuracy"]["method"]
    assert 0.5 <= head["majority_share"] < head["accuracy"]["value"]
    assert "too few for a threshold that 0.01 of new ones pass" in head["tpr_at_1fpr"]["reason"]
    many = results["controls"]["multiple_comparisons"]
    assert many["n_places"] == len(results["probe"]["grid"]) == 8
    assert 4 <= many["above_largest_null"] <= many["above_own_null"] <= 8
    assert "which no classifier has read" in results["controls"]["label_noise"]["reason"]


def test_the_answer_itself_is_read_where_it_is_asked_for_and_is_no_headline(tmp_path):
    """The choice is in no token before the one before the answer's name."""
    quick = (*QUICK, "probe.positions=[answer_token, last_prompt]")
    spec = load_experiment("probe-risk", quick)
    run = organism(tmp_path / "late", ONE, seed=5, late=True, analysed=True, spec=spec)
    probe = json.loads((run / "results.json").read_text())["probe"]
    assert probe["headline"]["position"] == "last_prompt" and probe["headline"]["auroc"]["value"] < 0.75
    assert [row["position"] for row in probe["positions"]] == ["last_prompt", "answer_token"]
    assert probe["positions"][1]["auroc"]["value"] > 0.95
    assert probe["selection"].endswith("not the answer's own token, which is what was answered")
    place, _ = choose_place(
        split_together({"one": read_recorded(run)}, test_fraction=0.4, inner_folds=3, seed=0),
        spec.probe.penalties,
        "resid_post",
        silent,
        stage="one",
    )
    assert place[0] == "last_prompt"


def test_the_same_data_give_the_same_results(silent_policy, tmp_path):
    assert analysed(tmp_path, inside=True, spoken=False) == silent_policy[1]


@pytest.mark.parametrize(
    ("chains", "reason"),
    [
        ([("x", "risky")] * 30, "30 rows are labelled acted and 0 are not"),
        ([("x", "neither")] * 30, "none of 30 rollouts has a valid answer"),
    ],
)
def test_what_cannot_be_estimated_is_said_and_not_numbered(tmp_path, chains, reason):
    rows = [rollout(i, f"g{i}", think, answer) for i, (think, answer) in enumerate(chains)]
    record_by_hand(tmp_path, rows, strength=0.0)
    results = analyse(tmp_path, spec(), rows, MODEL, progress=silent)
    validate_results(results)
    assert reason in results["probe"]["reason"]
    assert results["link"]["value"] is None
    assert reason in render(results, None)
