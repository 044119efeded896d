"""Directions of organisms against each other, on runs whose directions are planted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from introspect.errors import EstimateError, RunError, StoreError
from introspect.experiment import load_experiment
from introspect.studies import directions
from introspect.studies.directions import direction, transfer
from introspect.transfer.carried import check_apart
from introspect.transfer.common_split import split_together
from introspect.transfer.cosines import (
    Labelled,
    beyond_base,
    cosine,
    cosine_estimate,
    cosine_matrix,
    difference,
    reliability,
    whitened,
)
from introspect.transfer.recorded import Recorded, read_recorded
from planted_organisms import N_GROUPS, ONE, OTHER, PER_GROUP, QUICK, organism


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two that share a direction, and one of its own."""
    root = tmp_path_factory.mktemp("organisms")
    return {
        "sft": organism(root / "sft", ONE, seed=1, base=OTHER, ood=60, analysed=True),
        "dpo": organism(root / "dpo", ONE, seed=2, base=ONE, ood=60),
        "grpo": organism(root / "grpo", OTHER, seed=3, ood=60),
    }


@pytest.fixture(scope="module")
def found(runs: dict[str, Path]) -> dict:
    return transfer(runs, n=200)


def test_everything_can_be_written_as_json(found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["warnings"] == []


def test_a_shared_direction_carries_a_probe_over_and_one_of_its_own_does_not(found):
    assert found["place"]["layer"] == 1
    for row, column in (("sft", "dpo"), ("dpo", "sft")):
        assert found["auroc"][row][column]["probe"]["value"] > 0.95
        assert found["auroc"][row][column]["probe"]["ci95"][0] > 0.75
        assert found["auroc_ood"][row][column]["probe"]["value"] > 0.9
        assert found["auroc"][row][column]["increment"]["ci95"][0] > 0.2
    for name in ("sft", "dpo", "grpo"):
        assert found["auroc"][name][name]["probe"]["value"] > 0.95
        low, high = found["auroc"][name][name]["text"]["ci95"]
        assert low <= 0.5 <= high
    apart = [("sft", "grpo"), ("grpo", "sft"), ("dpo", "grpo"), ("grpo", "dpo")]
    values = [found["auroc"][row][column]["probe"]["value"] for row, column in apart]
    assert abs(np.mean(values) - 0.5) < 0.12
    assert all(0.25 < value < 0.75 for value in values)


@pytest.mark.parametrize("space", ["raw", "whitened"])
def test_cosines_are_near_one_where_the_direction_is_shared_and_near_nothing_where_it_is_not(found, space):
    cosines = found["cosines"][space]
    shared, own = cosines["sft"]["dpo"], cosines["sft"]["grpo"]
    assert shared["value"] > 0.9
    assert shared["ci95"][0] > 0.85
    assert shared["unrelated"]["p_value"] < 0.01
    assert shared["random_labels"]["p_value"] < 0.01
    assert cosines["dpo"]["sft"] == shared
    assert shared["n"] == N_GROUPS
    assert abs(own["value"]) < 0.3
    assert own["random_labels"]["high"] > own["value"] > own["random_labels"]["low"]
    assert cosines["sft"]["sft"]["reliability"]["value"] > 0.9


def test_words_are_those_up_to_the_place_and_those_of_the_whole_chain(runs, found, monkeypatch):
    """The probe is held against the better of the two, and both are kept."""
    cell = found["auroc"]["sft"]["dpo"]
    assert cell["best_text"] == max(("text", "text_visible"), key=lambda name: cell[name]["value"])

    each = read_recorded(runs["sft"])
    assert each.visible_texts("last_prompt") == [f"{r.prompt_text}\n" for r in each.probed.rollouts]
    late, whole = (each.visible_texts(name) for name in ("think_100", "before_answer"))
    assert all(b.startswith(a) and len(b) > len(a) for a, b in zip(late, whole, strict=True))
    words = [text.partition("\n")[2].split() for text in whole]
    assert [len(each) for each in words] == [r.answer_position - len(r.prompt_ids) for r in each.probed.rollouts]

    read = directions.read_recorded

    def speaking(where: str):
        def spoken(run: Path):
            found = read(run)
            rows = [
                r.model_copy(update={where: f"{getattr(r, where)} {'yes' if r.acted else 'no'}"})
                for r in found.probed.rollouts
            ]
            return replace(found, probed=replace(found.probed, rollouts=rows))

        return spoken

    monkeypatch.setattr(directions, "read_recorded", speaking("chain_text"))
    spoken = transfer(runs, n=50)["auroc"]["sft"]["dpo"]
    assert spoken["best_text"] == "text" and spoken["text"]["value"] > 0.99 and spoken["text_visible"]["value"] < 0.7
    assert spoken["increment"]["value"] < 0.05
    monkeypatch.setattr(directions, "read_recorded", speaking("prompt_text"))
    monkeypatch.setattr(Recorded, "whole_texts", property(lambda self: [""] * len(self.acted)))
    spoken = transfer(runs, n=50)["auroc"]["sft"]["dpo"]
    assert spoken["best_text"] == "text_visible" and "no text" in spoken["text"]["reason"]
    assert spoken["increment"]["value"] < 0.05


def test_the_untrained_model_stands_beside_each(found):
    sft, dpo = found["base"]["sft"], found["base"]["dpo"]
    assert sft["own"]["value"] > 0.9
    assert dpo["probe"]["value"] > 0.9
    assert abs(sft["probe"]["value"] - 0.5) < 0.2
    assert abs(sft["cosine"]["value"]) < 0.3
    assert dpo["cosine"]["value"] > 0.9
    assert sft["beyond"]["ci95"][0] <= 0
    assert "no untrained model" in found["base"]["grpo"]["reason"]
    assert abs(found["cosines"]["base"]["sft"]["dpo"]["value"]) < 0.3
    assert "grpo" not in found["cosines"]["base"]
    beyond = found["cosines"]["raw"]["sft"]["dpo"]["beyond_base"]
    raw, base = (found["cosines"][space]["sft"]["dpo"]["value"] for space in ("raw", "base"))
    assert beyond["value"] == pytest.approx(raw - base, abs=1e-5) and beyond["ci95"][0] > 0.5
    assert "no untrained model" in found["cosines"]["raw"]["sft"]["grpo"]["beyond_base"]["reason"]


def test_no_group_is_fitted_on_and_tested_on_in_any_organism(found, runs):
    parts = [set(found["split"][name]) for name in ("train_groups", "test_groups", "ood_groups")]
    assert all(parts)
    assert len(set.union(*parts)) == sum(map(len, parts))
    recorded = {name: read_recorded(run) for name, run in runs.items()}
    organisms = split_together(recorded, test_fraction=0.4, inner_folds=5, seed=0)
    folds: dict[str, set[int]] = {}
    for each in organisms.values():
        for other in organisms.values():
            assert not each.groups_of(each.split.dev) & other.groups_of(other.split.test)
        for row, fold in zip(each.split.dev, each.split.fold, strict=True):
            folds.setdefault(each.recorded.groups[row], set()).add(int(fold))
    assert {len(each) for each in folds.values()} == {1}


def test_a_leaking_split_is_refused(runs):
    recorded = {name: read_recorded(run) for name, run in runs.items()}
    organisms = split_together(recorded, test_fraction=0.4, inner_folds=5, seed=0)
    check_apart(organisms["sft"], organisms["dpo"], organisms["dpo"].split.test)
    with pytest.raises(ValueError, match="fitted on"):
        check_apart(organisms["sft"], organisms["dpo"], organisms["dpo"].split.dev[:1])


def test_a_leak_would_stop_the_study(runs, monkeypatch):
    def leaking(recorded, **options):
        split = split_together(recorded, **options)
        return {
            name: replace(each, split=replace(each.split, test=np.append(each.split.test, each.split.dev[:1])))
            for name, each in split.items()
        }

    monkeypatch.setattr(directions, "split_together", leaking)
    with pytest.raises(ValueError, match="fitted on"):
        transfer(runs, n=50)


def test_the_token_before_the_answer_is_chosen_only_where_there_is_no_other(tmp_path):
    late = {name: organism(tmp_path / name, ONE, seed=seed, late=True) for seed, name in enumerate(("a", "b"))}
    out = transfer(late, n=50)
    assert out["place"]["position"] != "before_answer"
    assert all(value < 0.7 for value in out["place"]["inner_auroc"].values())
    only = load_experiment("probe-risk", [*QUICK, "probe.positions=[before_answer]"])
    late = {
        name: organism(tmp_path / f"{name}-only", ONE, seed=seed, late=True, spec=only)
        for seed, name in enumerate(("a", "b"))
    }
    out = transfer(late, n=50)
    assert out["place"]["position"] == "before_answer"
    assert out["auroc"]["a"]["b"]["probe"]["value"] > 0.9


def test_test_groups_have_no_say_in_what_is_chosen(runs, found, monkeypatch):
    """With the labels of every test group turned round, place and penalties stay."""
    read = directions.read_recorded

    def turned(run: Path):
        each = read(run)
        held = np.isin(each.groups, found["split"]["test_groups"])
        return replace(each, acted=each.acted ^ held)

    monkeypatch.setattr(directions, "read_recorded", turned)
    monkeypatch.setattr(directions, "split_together", lambda recorded, **options: split_together(
        {name: read(runs[name]) for name in recorded}, **options
    ))  # fmt: skip
    again = transfer(runs, n=50)
    assert again["place"] == found["place"]
    assert again["split"] == found["split"]


def test_one_class_only_is_a_reason_and_the_others_stand(tmp_path, runs):
    always = organism(tmp_path / "always", ONE, seed=4, choice=lambda number, rng: number > 3)
    out = transfer({**runs, "always": always}, n=50)
    assert "its development part has" in out["organisms"]["always"]["reason"]
    assert any("always" in warning for warning in out["warnings"])
    assert out["auroc"]["always"]["sft"]["probe"]["value"] is None
    assert out["auroc"]["sft"]["dpo"]["probe"]["value"] > 0.9
    assert "always" not in out["cosines"]["raw"]
    alone = transfer({"one": always, "two": always}, n=50)
    assert alone["value"] is None
    assert "no organism has enough" in alone["reason"]


def test_what_is_no_finished_run_or_another_task_is_refused(tmp_path, runs):
    with pytest.raises(RunError, match="no run of an experiment"):
        transfer({"sft": runs["sft"], "nothing": tmp_path})
    other = organism(tmp_path / "other", ONE, seed=1, spec=load_experiment("probe-risk", [*QUICK, "model=another"]))
    with pytest.raises(RunError, match="model is another"):
        transfer({"sft": runs["sft"], "other": other})
    (other / "results.json").unlink()
    with pytest.raises(StoreError, match=r"results\.json"):
        read_recorded(other)
    one = transfer({"sft": runs["sft"]})
    assert "at least 2 are needed" in one["reason"]


def test_a_direction_is_the_difference_of_means_and_the_probe_of_the_run(runs):
    out = direction(runs["sft"], site="resid_post", layer=1, position="last_prompt")
    each = read_recorded(runs["sft"])
    values = each.at("resid_post", 1, "last_prompt")
    rows = ~each.ood
    expected = values[rows & each.acted].mean(axis=0) - values[rows & ~each.acted].mean(axis=0)
    assert np.allclose(out["difference"], expected, atol=1e-5)
    assert out["n_acted"] + out["n_not"] == rows.sum()
    head = json.loads((runs["sft"] / "results.json").read_text())["probe"]["headline"]
    assert (head["layer"], head["position"]) == (1, "last_prompt")
    scores = values @ np.array(out["probe"]["weight"]) + out["probe"]["bias"]
    readouts = [json.loads(line) for line in (runs["sft"] / "readouts.jsonl").read_text().splitlines()]
    theirs = [(score, row["headline"]) for score, row in zip(scores, readouts, strict=True) if row["part"] != "dev"]
    assert np.allclose(*zip(*theirs, strict=True), atol=1e-4)


def test_a_direction_that_is_not_there_is_a_reason(tmp_path):
    always = organism(tmp_path / "always", ONE, seed=4, choice=lambda number, rng: number > 3)
    out = direction(always, site="resid_post", layer=1, position="last_prompt")
    assert out["value"] is None and "of each" in out["reason"]
    few = organism(tmp_path / "few", ONE, seed=4, choice=lambda number, rng: number < 3 * PER_GROUP)
    out = direction(few, site="resid_post", layer=1, position="last_prompt")
    assert "in 3 groups only" in out["reason"]
    with pytest.raises(StoreError, match="layer 7"):
        direction(always, site="resid_post", layer=7, position="last_prompt")


def test_the_site_is_the_one_that_the_runs_probes_read(runs, tmp_path):
    """The stores hold the second site only."""
    sites = ["capture.sites=[resid_mid, resid_post]", "probe.site=resid_post"]
    copies = {}
    for name in ("sft", "dpo"):
        copies[name] = Path(shutil.copytree(runs[name], tmp_path / name))
        (copies[name] / "experiment.yaml").write_text(load_experiment("probe-risk", [*QUICK, *sites]).to_yaml())
    assert transfer(copies, n=20)["site"] == "resid_post"


def test_runs_of_other_weights_or_of_another_label_are_refused(runs, tmp_path):
    copies = {}
    for name in ("sft", "dpo"):
        copies[name] = Path(shutil.copytree(runs[name], tmp_path / name))
        (copies[name] / "manifest.json").write_text(json.dumps({"model": {"weight_digest": name * 20}}))
    with pytest.raises(RunError, match="the model is one of weights dpodpodpodpo"):
        transfer(copies, n=20)
    spec = load_experiment("probe-risk", [*QUICK, "probe.label=denied"])
    (copies["sft"] / "experiment.yaml").write_text(spec.to_yaml())
    with pytest.raises(RunError, match="its probe predicts denied"):
        direction(copies["sft"], site="resid_post", layer=1, position="last_prompt")


# Cosines by themselves


def labelled(values: np.ndarray, acted: np.ndarray, per_group: int = 4) -> Labelled:
    groups = np.array([f"g{i // per_group}" for i in range(len(acted))])
    return Labelled(values, acted, groups, list(range(len(acted))))


def test_the_jackknife_covers_the_cosine_of_the_true_directions_as_often_as_it_says():
    """Directions at 60 degrees, little noise: 95 of 100 intervals should hold .5."""
    rng = np.random.default_rng(0)
    width, n = 8, 160
    first = np.eye(width)[0]
    second = 0.5 * np.eye(width)[0] + np.sqrt(0.75) * np.eye(width)[1]
    held = 0
    for _ in range(100):
        acted = rng.random(n) < 0.5
        one, other = (
            labelled(np.outer(acted, 8 * axis) + rng.standard_normal((n, width)), acted) for axis in (first, second)
        )
        low, high = cosine_estimate(one, other).ci95
        held += low <= 0.5 <= high
    assert 88 <= held <= 100


def test_shared_items_make_a_null_of_random_labels_that_unrelated_labels_do_not():
    """Two organisms with the same activations: a random labelling that both get gives a cosine of 1."""
    rng = np.random.default_rng(1)
    values, acted = rng.standard_normal((80, 16)), rng.random(80) < 0.5
    cell = cosine_matrix({"a": labelled(values, acted), "b": labelled(values, acted)})["a"]["b"]
    assert cell["value"] == pytest.approx(1)
    assert cell["random_labels"]["low"] == pytest.approx(1)
    assert cell["random_labels"]["p_value"] > 0.5
    assert cell["unrelated"]["high"] < 0.8
    assert cell["unrelated"]["p_value"] < 0.01


def test_a_category_of_the_items_lies_above_random_labels_without_any_training_and_not_beyond_the_base():
    """What both activations carry of living things, in the untrained model as much as after it."""
    rng = np.random.default_rng(4)
    living = np.arange(240) % 8 < 4
    axis = np.eye(16)[0]

    def made() -> Labelled:
        acted = np.where(rng.random(240) < 0.9, living, ~living)
        return labelled(np.outer(living, 2 * axis) + rng.standard_normal((240, 16)), acted)

    def untrained(each: Labelled) -> Labelled:
        return replace(each, values=np.outer(living, 2 * axis) + rng.standard_normal((240, 16)))

    one, other = made(), made()
    assert cosine_matrix({"a": one, "b": other})["a"]["b"]["random_labels"]["p_value"] < 0.01
    low, high = beyond_base((one, other), (untrained(one), untrained(other))).ci95
    assert low < 0 < high


def test_the_jackknife_of_a_difference_of_cosines_covers_it_as_often_as_it_says():
    """Trained at 0 degrees, untrained at 60: 95 of 100 intervals should hold .5."""
    rng = np.random.default_rng(5)
    width, n = 8, 160
    first, second = np.eye(width)[0], 0.5 * np.eye(width)[0] + np.sqrt(0.75) * np.eye(width)[1]
    held = 0
    for _ in range(100):
        acted = [rng.random(n) < 0.5 for _ in range(2)]

        def made(axes, acted=acted) -> tuple[Labelled, Labelled]:
            one, other = (
                labelled(np.outer(labels, 8 * axis) + rng.standard_normal((n, width)), labels)
                for labels, axis in zip(acted, axes, strict=True)
            )
            return one, other

        low, high = beyond_base(made((first, first)), made((first, second))).ci95
        held += low <= 0.5 <= high
    assert 88 <= held <= 100


def test_a_few_axes_along_which_all_vary_widen_the_null_and_whitening_takes_them_away():
    rng = np.random.default_rng(2)
    scale = np.ones(30)
    scale[0] = 30.0

    def noise() -> Labelled:
        return labelled(rng.standard_normal((400, 30)) * scale, rng.random(400) < 0.5)

    organisms = {"a": noise(), "b": noise()}
    raw = cosine_matrix(organisms)["a"]["b"]["unrelated"]
    white = cosine_matrix(whitened(organisms))["a"]["b"]["unrelated"]
    assert raw["high"] > 0.9
    assert white["high"] < 0.5
    pooled = np.concatenate([each.values for each in whitened(organisms).values()])
    assert np.allclose(np.cov(pooled.T), np.eye(30), atol=0.4)


def test_reliability_says_what_another_sample_would_give():
    rng = np.random.default_rng(3)
    axis = np.full(64, 0.05)

    def sample() -> Labelled:
        acted = rng.random(200) < 0.5
        return labelled(np.outer(acted, axis) + 0.3 * rng.standard_normal((200, 64)), acted)

    pairs = [
        cosine(*(difference(x.values, x.acted[None] * 1.0, 1.0 - x.acted[None]) for x in (sample(), sample())))
        for _ in range(40)
    ]
    said = [reliability(sample(), seed=i).value for i in range(20)]
    assert abs(np.mean(pairs) - np.mean(said)) < 0.06
    assert 0.3 < np.mean(pairs) < 0.9


def test_too_few_groups_and_no_difference_are_reasons():
    values = np.random.default_rng(0).standard_normal((12, 3))
    acted = np.arange(12) % 2 == 0
    assert "too few" in cosine_estimate(labelled(values, acted), labelled(values, acted)).reason
    assert "too few" in reliability(labelled(values, acted)).reason
    flat = labelled(np.ones((40, 3)), np.arange(40) % 2 == 0)
    assert "no direction" in cosine_estimate(flat, flat).reason
    one_class = labelled(np.random.default_rng(0).standard_normal((40, 3)), np.ones(40, bool))
    assert "no direction" in cosine_estimate(one_class, one_class).reason


def test_too_few_groups_for_a_common_split_is_an_error(runs):
    recorded = {name: read_recorded(run) for name, run in runs.items()}
    few = {
        name: replace(each, ood=each.ood | (each.groups > "g06"), groups=each.groups) for name, each in recorded.items()
    }
    with pytest.raises(EstimateError, match="too few"):
        split_together(few, test_fraction=0.4, inner_folds=5, seed=0)
