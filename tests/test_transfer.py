"""Transfer matrices, on runs in which what is shared between kinds of rollouts is planted."""

from __future__ import annotations

import copy
import json
import re
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from introspect.analysis import Model, analyse
from introspect.cli import main
from introspect.errors import EstimateError, IntrospectError, RunError, SpecError, StoreError
from introspect.experiment import load_experiment
from introspect.features import probed_rows
from introspect.notebook import open_run
from introspect.notebook.transfer import span_means
from introspect.progress import silent
from introspect.rollout import Rollout, read_rollouts
from introspect.rows import Rows, choose_rows, encode_rows
from introspect.saved_probes import save_run_probe
from introspect.selection import Selection
from introspect.stats import auroc
from introspect.store import StoreSpec, StoreWriter
from introspect.store.spec import EVERY_TOKEN
from introspect.transfer import matrix as matrix_module
from introspect.transfer.cells import CARRIED, ESTIMATES
from introspect.transfer.common_split import split_together
from introspect.transfer.cosines import cosine_matrix
from introspect.transfer.differences import Scored, auroc_difference
from introspect.transfer.kinds import kinds_of_run, kinds_of_runs
from introspect.transfer.matrix import _one_of_several, transfer_matrix
from introspect.transfer.page import render
from introspect.transfer.recorded import Recorded, read_recorded
from introspect.transfer.sentences import sentences
from planted_organisms import ONE, OTHER, QUICK, WIDTH, organism
from planted_runs import LAYERS, TOKENIZER, rollout
from wording import check_page

KINDS = ("metadata", "grader", "visual")
AXES = {"metadata": ONE, "grader": ONE, "visual": OTHER}
"""Where a kind's choice lies: two share an axis."""
N_GROUPS = 30
HOSTILE = "</script><script>alert(1)</script><b>x</b>\x1b[31m"


def hinted(folder: Path, *, kinds=KINDS, axes=AXES, n_groups=N_GROUPS, choice=None, width=WIDTH, spec=None) -> Path:
    """A finished run: every group is asked under every kind of hint, four times."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    choice = choice or (lambda kind, number: bool(rng.random() < 0.5))
    rows: list[Rollout] = []
    for group in range(n_groups):
        for kind in kinds:
            for option in ("A", "B", "C", "D"):
                number = len(rows)
                answer = "risky" if choice(kind, number) else "safe"
                made = rollout(number, f"g{group:02}", "there are two options.", answer)
                facts = {"hint": kind, "hint_option": option}
                rows.append(made.model_copy(update={"item_id": f"i{group}", "facts": facts}))
    (folder / "rollouts.jsonl").write_text("".join(row.line() for row in rows))
    generator = torch.Generator().manual_seed(0)
    store = StoreSpec(("resid_post",), LAYERS, width, "float32", {"model": "made by hand"})
    positions = [list(range(len(row.prompt_ids) - 1, len(row.token_ids))) for row in rows]
    captured = []
    for row, wanted in zip(rows, positions, strict=True):
        values = {pair: torch.randn(len(wanted), width, generator=generator) for pair in store.pairs()}
        axis = torch.from_numpy(axes[str(row.facts["hint"])][:width]).float()
        values["resid_post", 1] += 3.5 * (bool(row.acted) - 0.5) * axis
        captured.append(values)
    with StoreWriter(folder / "activations", store) as written:
        written.commit_part(0, encode_rows(store, rows, [Rows(each, {}) for each in positions], captured, positions))
        written.finish()
    spec = spec or load_experiment("probe-risk", QUICK)
    (folder / "experiment.yaml").write_text(spec.to_yaml())
    nothing = [rollout(number, "g", "x", "neither") for number in range(5)]
    results = analyse(folder, spec, nothing, Model(TOKENIZER, LAYERS, None), progress=silent)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hinted(tmp_path_factory.mktemp("transfer") / "hinted")


@pytest.fixture(scope="module")
def found(run: Path) -> dict:
    return transfer_matrix(kinds_of_run(run, "hint_kind"), by="hint_kind")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("organisms")
    return {
        "sft": organism(root / "sft", ONE, seed=1, base=OTHER, ood=60),
        "grpo": organism(root / "grpo", OTHER, seed=3, base=OTHER, ood=60),
    }


def respec(run: Path, folder: Path, *changes: str) -> Path:
    """A copy of a run with a changed spec."""
    shutil.copytree(run, folder)
    (folder / "experiment.yaml").write_text(load_experiment("probe-risk", [*QUICK, *changes]).to_yaml())
    return folder


def invoke(capsys, *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


# What is measured


def test_a_shared_direction_carries_over_between_kinds_and_one_of_its_own_does_not(found):
    cells, cosines = found["auroc"], found["cosines"]["matrix"]
    assert all(each["layer"] == 1 for each in found["kinds"].values())
    for row, column in (("metadata", "grader"), ("grader", "metadata")):
        assert cells[row][column]["probe"]["value"] > 0.9
        assert cells[row][column]["shuffled"]["p_value"] < 0.03
        assert cells[row][column]["increment"]["ci95"][0] > 0.1
        assert abs(cells[row][column]["drop"]["value"]) < 0.1
        assert cosines[row][column]["value"] > 0.8
        assert cosines[row][column]["random_labels"]["p_value"] < 0.01
    for row, column in (("metadata", "visual"), ("visual", "grader")):
        assert 0.15 < cells[row][column]["probe"]["value"] < 0.85
        assert cells[row][column]["below_ceiling"]["ci95"][0] > 0.05
        assert cells[row][column]["drop"]["ci95"][0] > 0.05
        assert cells[row][column]["shuffled"]["p_value"] > 0.03
        assert abs(cosines[row][column]["value"]) < 0.5


def test_every_estimate_has_interval_size_and_method_or_a_reason(found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for row, columns in found["auroc"].items():
        for column, cell in columns.items():
            assert set(cell) == {"n_rows", "n_groups", "best_text", "shuffled", *ESTIMATES}
            assert cell["n_groups"] == len(found["split"]["test_groups"]) and cell["n_rows"] == 4 * cell["n_groups"]
            for name in ESTIMATES:
                keys = {"value", "reason"} if cell[name]["value"] is None else {"value", "ci95", "n", "method"}
                assert set(cell[name]) == keys, (row, column, name)
            assert (cell["drop"]["value"] is None) == (row == column)


def test_ceiling_and_differences_are_what_they_say(found):
    cells = found["auroc"]
    for row in cells:
        for column in set(cells) - {row}:
            cell = cells[row][column]
            assert cell["ceiling"] == cells[column][column]["probe"]
            below = cell["ceiling"]["value"] - cell["probe"]["value"]
            assert cell["below_ceiling"]["value"] == pytest.approx(below, abs=2e-6)
            drop = cells[row][row]["probe"]["value"] - cell["probe"]["value"]
            assert cell["drop"]["value"] == pytest.approx(drop, abs=2e-6)


def test_no_group_is_fitted_on_in_a_row_and_tested_on_in_a_column(run, found, monkeypatch):
    parts = [set(found["split"][name]) for name in ("train_groups", "test_groups")]
    assert all(parts) and not set.intersection(*parts)
    assert len(set.union(*parts)) == N_GROUPS

    def leaking(members, **options):
        dealt = split_together(members, **options)
        each = dealt["visual"]
        return dealt | {
            "visual": replace(each, split=replace(each.split, test=np.append(each.split.test, each.split.dev[0])))
        }

    monkeypatch.setattr(matrix_module, "split_together", leaking)
    with pytest.raises(ValueError, match="fitted on"):
        transfer_matrix(kinds_of_run(run, "hint_kind"), by="hint_kind", n=20)


def test_test_groups_have_no_say_in_what_is_chosen(run, found, monkeypatch):
    def dealt(members, **options):
        out = split_together(members, **options)
        return {
            name: replace(each, recorded=replace(each.recorded, acted=each.recorded.acted ^ np.isin(
                each.recorded.groups, found["split"]["test_groups"]
            )))
            for name, each in out.items()
        }  # fmt: skip

    monkeypatch.setattr(matrix_module, "split_together", dealt)
    turned = transfer_matrix(kinds_of_run(run, "hint_kind"), by="hint_kind", n=20)
    for name, each in found["kinds"].items():
        assert {key: turned["kinds"][name][key] for key in ("position", "layer", "penalty", "inner_auroc")} == {
            key: each[key] for key in ("position", "layer", "penalty", "inner_auroc")
        }
    assert turned["auroc"]["metadata"]["grader"]["probe"]["value"] < 0.1


def test_words_are_fitted_on_the_row_and_tested_on_the_column(run, monkeypatch):
    """Said outright in one kind only, they carry nowhere; said alike in all, they carry as well as the probe."""

    def speaking(*kinds: str):
        def texts(self: Recorded) -> list[str]:
            return [
                ("yes" if r.acted else "no") if r.facts["hint"] in kinds else "nothing" for r in self.probed.rollouts
            ]

        return property(texts)

    monkeypatch.setattr(Recorded, "whole_texts", speaking("metadata"))
    alone = transfer_matrix(kinds_of_run(run, "hint_kind"), by="hint_kind", n=20, layer=1, position="last_prompt")
    assert alone["auroc"]["metadata"]["metadata"]["text"]["value"] == 1
    assert alone["auroc"]["metadata"]["grader"]["text"]["value"] == 0.5
    assert alone["auroc"]["grader"]["metadata"]["text"]["value"] == 0.5
    monkeypatch.setattr(Recorded, "whole_texts", speaking(*KINDS))
    every = transfer_matrix(kinds_of_run(run, "hint_kind"), by="hint_kind", n=20, layer=1, position="last_prompt")
    assert every["auroc"]["metadata"]["grader"]["text"]["value"] == 1
    assert every["auroc"]["metadata"]["grader"]["best_text"] == "text"
    assert every["auroc"]["metadata"]["grader"]["increment"]["value"] < 0.05


def test_kinds_with_too_few_of_a_class_leave_nothing_to_carry_over_to(tmp_path, capsys):
    def choice(kind: str, number: int) -> bool:
        return {"metadata": number % 4 < 2, "grader": number < 60 and number % 4 == 0, "visual": True}[kind]

    folder = hinted(tmp_path / "few", choice=choice)
    with pytest.raises(EstimateError, match="fitted on metadata, and there is no other hint_kind"):
        transfer_matrix(kinds_of_run(folder, "hint_kind"), by="hint_kind")
    code, _, err = invoke(capsys, "transfer", folder, "--by", "hint_kind")
    assert code == 2 and err.count("\n") == 1 and "visual: it has 120 rollouts that acted on the policy and 0" in err


def test_one_class_in_one_of_three_kinds_leaves_the_others(tmp_path):
    rng = np.random.default_rng(2)
    folder = hinted(tmp_path / "one", choice=lambda kind, number: kind == "visual" or bool(rng.random() < 0.5))
    out = transfer_matrix(kinds_of_run(folder, "hint_kind"), by="hint_kind", n=20)
    assert "it has 120 rollouts that acted on the policy and 0" in out["kinds"]["visual"]["reason"]
    assert out["auroc"]["metadata"]["grader"]["probe"]["value"] > 0.9
    for cell in (out["auroc"]["visual"]["grader"], out["auroc"]["metadata"]["visual"]):
        assert cell["probe"]["value"] is None and cell["drop"]["value"] is None and "0" in cell["probe"]["reason"]
    assert "0 did not" in out["cosines"]["matrix"]["visual"]["grader"]["reason"]
    assert any("visual" in warning for warning in out["warnings"])
    assert "-" in render(out)


def test_positions_are_each_read_at_their_own_place(tmp_path):
    late = organism(tmp_path / "late", ONE, seed=5, late=True, base=ONE)
    out = transfer_matrix(kinds_of_run(late, "position"), by="position")
    names = ["last_prompt", "think_100", "before_answer"]
    assert list(out["auroc"]) == names
    assert [out["kinds"][name]["position"] for name in names] == names
    own = {name: out["auroc"][name][name]["probe"]["value"] for name in names}
    assert own["before_answer"] > 0.95 and max(own["last_prompt"], own["think_100"]) < 0.75
    assert out["auroc"]["before_answer"]["last_prompt"]["probe"]["value"] < 0.75
    assert out["auroc"]["before_answer"]["last_prompt"]["below_ceiling"]["value"] < 0.3
    assert out["auroc"]["before_answer"]["last_prompt"]["drop"]["ci95"][0] > 0.1
    assert out["auroc"]["before_answer"]["before_answer"]["base"]["value"] > 0.95
    cosine = out["cosines"]["matrix"]["last_prompt"]["think_100"]
    assert cosine["n_shared"] == 180
    with pytest.raises(SpecError, match="leave --position out"):
        transfer_matrix(kinds_of_run(late, "position"), by="position", position="think_100")


def test_what_is_in_distribution_and_out_of_it_are_kinds_too(runs):
    out = transfer_matrix(kinds_of_run(runs["sft"], "split"), by="split", n=20)
    assert list(out["auroc"]) == ["id", "ood"]
    assert out["auroc"]["id"]["ood"]["probe"]["value"] > 0.9
    assert out["kinds"]["ood"]["n_rows"] == out["auroc"]["id"]["ood"]["n_rows"] == 60
    assert "test part has" in out["kinds"]["ood"]["reason"]
    assert out["cosines"]["matrix"]["id"]["ood"]["n_shared"] == 0
    assert "no question" in out["cosines"]["matrix"]["id"]["ood"]["random_labels"]["reason"]


def test_runs_are_compared_with_the_untrained_model_beside_them(runs):
    out = transfer_matrix(kinds_of_runs(runs), by="run", n=20)
    assert out["auroc"]["sft"]["grpo"]["probe"]["value"] < 0.8
    assert out["auroc"]["sft"]["grpo"]["base"]["value"] > 0.9
    assert out["auroc"]["sft"]["sft"]["beyond_base"]["value"] < 0.1
    ood = out["auroc_ood"]
    assert set(ood["sft"]["grpo"]) == {"n_rows", "n_groups", "best_text", "shuffled", *CARRIED}
    assert ood["sft"]["sft"]["probe"]["value"] > 0.9 and ood["sft"]["sft"]["n_rows"] == 60
    assert out["cosines"]["matrix"]["sft"]["grpo"]["n_shared"] == 180, "rows out of distribution have no direction"
    assert len(out["runs"]) == 2


def test_spans_are_read_by_their_means(run):
    opened = open_run(run)
    out = opened.transfer(by="span").results
    assert list(out["auroc"]) == ["think", "answer"]
    assert min(out["auroc"][row][row]["probe"]["value"] for row in out["auroc"]) > 0.9
    assert "no untrained model" in out["auroc"]["think"]["answer"]["base"]["reason"]
    values = opened.activations(layer=1, span="answer").values
    labels = opened.rollouts.acted.to_numpy(dtype=bool)
    mean = values[labels].mean(axis=0) - values[~labels].mean(axis=0)
    assert mean[0] > 1


def spanned(run: Path, folder: Path, selection: Selection = EVERY_TOKEN) -> Path:
    """A run recorded otherwise: layer 0 carries the choice in every token of a span, and so in its mean; layer 1 far
    more in the last token, which the others make up for, so that its mean carries nothing.
    """
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("activations"))
    rows = [row.model_copy(update={"finish": "length"}) for row in read_rollouts(run / "rollouts.jsonl")]
    (folder / "rollouts.jsonl").write_text("".join(row.line() for row in rows))
    store = StoreSpec(("resid_post",), LAYERS, WIDTH, "float32", {"model": "made by hand"}, selection)
    generator, probed = torch.Generator().manual_seed(1), load_experiment(folder / "experiment.yaml").probe.positions
    chosen, held, captured = [], [], []
    for row in rows:
        start, end = len(row.prompt_ids) - 1, len(row.token_ids)
        values = {pair: torch.randn(end - start, WIDTH, generator=generator) for pair in store.pairs()}
        side = bool(row.acted) - 0.5
        for begin, stop in (row.spans.think, row.spans.answer):
            n = stop - begin
            values["resid_post", 0][begin - start : stop - start, 0] += 2 * side
            values["resid_post", 1][begin - start : stop - start - 1, 0] -= 8 * side / (n - 1)
            values["resid_post", 1][stop - start - 1, 0] += 8 * side
        chosen.append(choose_rows(selection, row, end, probed_rows(row, probed)))
        held.append(list(range(start, end)))
        captured.append(values)
    with StoreWriter(folder / "activations", store) as written:
        written.commit_part(0, encode_rows(store, rows, chosen, captured, held))
        written.finish()
    return folder


def test_the_layer_of_a_span_is_chosen_by_the_mean_that_its_probe_reads(run, tmp_path):
    """Also of a run that keeps the means, and no token of a span."""
    inner = []
    for selection in (EVERY_TOKEN, Selection(("think", "answer"), "mean")):
        folder = spanned(run, tmp_path / selection.tokens, selection)
        means = span_means(open_run(folder)._aligned)
        out = transfer_matrix(kinds_of_run(folder, "span", span_means=means), by="span", n=20)
        for name in ("think", "answer"):
            assert out["kinds"][name]["layer"] == 0
            assert out["auroc"][name][name]["probe"]["value"] > 0.9
            inner.append(out["kinds"][name]["inner_auroc"])
            assert inner[-1] == pytest.approx(out["auroc"][name][name]["probe"]["value"], abs=0.03)
    assert inner[:2] == pytest.approx(inner[2:], abs=1e-3)


def test_activations_are_read_once_and_let_go_of_before_those_of_another_place(run, monkeypatch):
    places = {"metadata": ("last_prompt", 0), "grader": ("think_100", 1), "visual": ("last_prompt", 0)}
    arrays, held, original = [], [], Recorded.at

    def at(self, *where, **more):
        values = original(self, *where, **more)
        arrays.append(weakref.ref(values))
        held.append(sum(array() is not None for array in arrays))
        return values

    monkeypatch.setattr(Recorded, "at", at)
    monkeypatch.setattr(
        matrix_module, "choose_place", lambda choosing, *_, stage, **__: (places[stage], dict.fromkeys(choosing, 0.5))
    )
    out = transfer_matrix(kinds_of_run(run, "hint_kind"), by="hint_kind", n=20)
    assert {name: (each["position"], each["layer"]) for name, each in out["kinds"].items()} == places
    assert len(arrays) == 2 * len(KINDS) and max(held) == len(KINDS)
    assert out["auroc"]["grader"]["metadata"]["probe"]["value"] > 0.9


# Statistics by themselves


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says():
    """Two scores of the same groups, one of them with more noise; 95 of 100 intervals should hold the truth."""
    rng = np.random.default_rng(0)

    def draw(n_groups: int) -> tuple[Scored, Scored]:
        groups = np.repeat(np.arange(n_groups), 2).astype(str)
        labels = rng.random(len(groups)) < 0.5
        shared = labels + np.repeat(rng.standard_normal(n_groups), 2)
        good, bad = shared + 0.3 * rng.standard_normal(len(groups)), shared + 2 * rng.standard_normal(len(groups))
        return Scored(good, labels, groups), Scored(bad, labels, groups)

    one, other = draw(20000)
    truth = auroc(one.scores, one.labels) - auroc(other.scores, other.labels)
    held = 0
    for seed in range(100):
        estimate = auroc_difference(*draw(40), n=200, seed=seed)
        held += estimate.ci95[0] <= truth <= estimate.ci95[1]
    assert 88 <= held <= 100


def test_a_difference_is_paired_and_has_a_width_at_one():
    rng = np.random.default_rng(1)
    groups, labels = np.repeat(np.arange(40), 3).astype(str), rng.random(120) < 0.5
    noisy = Scored(labels + rng.standard_normal(120), labels, groups)
    same = auroc_difference(noisy, noisy)
    assert (same.value, same.ci95) == (0, (0, 0))
    perfect = Scored(labels.astype(float), labels, groups)
    low, high = auroc_difference(perfect, perfect).ci95
    assert low < 0 < high
    contrary = auroc_difference(noisy, Scored(-noisy.scores, labels, groups))
    assert contrary.value > 0.4
    few = Scored(noisy.scores[:9], labels[:9], groups[:9])
    assert "3 groups are too few" in auroc_difference(noisy, few).reason
    one_class = Scored(noisy.scores, np.ones(120, bool), groups)
    assert "both classes" in auroc_difference(noisy, one_class).reason


def test_shuffled_labels_reach_far_where_activations_vary_along_one_axis(tmp_path):
    """A category that is not the row's label, but the column's: any direction finds it, or its contrary."""
    item = 30 * np.ones(WIDTH)
    narrow = organism(tmp_path / "narrow", ONE, seed=6, item=item, strength=0.5)
    wide = organism(
        tmp_path / "wide", ONE, seed=7, item=30 * np.ones(WIDTH), strength=0.5, choice=lambda n, rng: bool(n % 2)
    )
    out = transfer_matrix(kinds_of_runs({"narrow": narrow, "wide": wide}), by="run", n=20, layer=1)
    null = out["auroc"]["narrow"]["wide"]["shuffled"]
    assert null["low"] < 0.05 and null["high"] > 0.95


def test_rows_of_a_cosine_matrix_are_those_of_the_whole(run):
    each = read_recorded(run)
    values = each.at("resid_post", 1, "last_prompt")
    members = {
        kind: each.only(rows).labelled(values[rows])
        for kind in KINDS
        for rows in [np.flatnonzero([r.facts["hint"] == kind for r in each.probed.rollouts])]
    }
    assert cosine_matrix(members, rows=["grader"]) == {"grader": cosine_matrix(members)["grader"]}


def test_organisms_that_nothing_is_fitted_on_have_no_say_in_the_split(run, runs):
    kinds = kinds_of_run(run, "hint_kind").members
    options = {"test_fraction": 0.4, "inner_folds": 5, "seed": 0}
    alone = split_together({name: kinds[name] for name in ("metadata", "grader")}, **options)
    beside = split_together(kinds, **options, tested_only={"visual": "so"})
    assert beside["visual"].reason == "so" and not len(beside["visual"].split.dev)
    assert all((alone[name].split.dev == beside[name].split.dev).all() for name in alone)
    held = alone["grader"].groups_of(alone["grader"].split.test)
    assert beside["visual"].groups_of(beside["visual"].split.test) == held
    far = read_recorded(runs["sft"])
    far = replace(far.only(np.flatnonzero(far.ood)), ood=np.zeros(60, bool))
    elsewhere = split_together({**kinds, "far": far}, **options, tested_only={"far": "so"})["far"]
    assert len(elsewhere.split.test) == 60 and not len(elsewhere.split.dev)


# Kinds


def test_fields_that_make_kinds_are_named_where_there_is_no_such_field(run):
    with pytest.raises(SpecError, match=r"no field 'nope': choose --by among .*hint_kind.*position"):
        kinds_of_run(run, "nope")
    with pytest.raises(SpecError, match="1 kinds of condition"):
        kinds_of_run(run, "condition")
    kinds = kinds_of_run(run, "hint_kind")
    assert list(kinds.members) == sorted(KINDS)
    keys = {name: set(each.keys) for name, each in kinds.members.items()}
    assert keys["metadata"] == keys["visual"] and len(keys["visual"]) == 120


def test_rollouts_without_the_field_are_left_out_and_counted(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / "some"))
    lines = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    for line in lines[:6]:
        del line["facts"]["hint"]
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kinds = kinds_of_run(folder, "hint_kind")
    assert "6 rollouts have no hint_kind and are left out." in kinds.notes
    assert sum(len(each.acted) for each in kinds.members.values()) == len(lines) - 6


def test_rollouts_without_a_span_are_counted(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / "some"))
    lines = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    for line in lines[:6]:
        line["spans"]["answer"] = [line["spans"]["answer"][1]] * 2
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kinds = kinds_of_run(folder, "span", span_means=span_means(open_run(folder)._aligned))
    assert kinds.notes == ["6 rollouts lack one of the spans think, answer and are left out."]
    assert {len(each.acted) for each in kinds.members.values()} == {len(lines) - 6}


def test_the_site_is_the_one_that_the_runs_probes_read(run, tmp_path):
    """Its store holds the second site only."""
    folder = respec(run, tmp_path / "second", "capture.sites=[resid_mid, resid_post]", "probe.site=resid_post")
    members = kinds_of_runs({"plain": run, "second": folder}).members
    out = transfer_matrix(kinds_of_run(folder, "hint_kind"), by="hint_kind", n=20, layer=1, position="last_prompt")
    assert out["site"] == "resid_post" and list(members) == ["plain", "second"]
    spans = kinds_of_run(folder, "span", span_means=span_means(open_run(folder)._aligned))
    assert list(spans.members) == ["think", "answer"]


# What is refused


def test_a_run_whose_probe_predicts_something_else_is_refused(run, tmp_path, capsys):
    folder = respec(run, tmp_path / "silent", "probe.label=silent")
    code, out, err = invoke(capsys, "transfer", folder, "--by", "hint_kind")
    assert (code, out) == (2, "") and "its probe predicts silent" in err and err.count("\n") == 1
    with pytest.raises(RunError, match="its probe predicts silent"):
        save_run_probe(folder, tmp_path / "probe", layer=None, position=None, estimator="ridge")


def test_runs_under_different_steering_are_refused(run, tmp_path):
    steered = respec(run, tmp_path / "steered", "steering=[{direction: some}]")
    with pytest.raises(RunError, match="different steering"):
        kinds_of_runs({"plain": run, "steered": steered})
    again = respec(run, tmp_path / "again", "steering=[{direction: some}]")
    assert len(kinds_of_runs({"one": steered, "other": again}).members) == 2


def test_one_model_is_one_of_the_same_weights_whatever_it_is_called(run, tmp_path):
    plain = respec(run, tmp_path / "plain")
    renamed = respec(run, tmp_path / "renamed", "model=./here")
    both = {"plain": plain, "renamed": renamed}

    def state(folder: Path, model: object) -> None:
        (folder / "manifest.json").write_text(json.dumps({"model": model}))

    state(plain, {"weight_digest": "a" * 64})
    state(renamed, {"weight_digest": "a" * 64})
    assert list(kinds_of_runs(both).members) == ["plain", "renamed"]
    state(renamed, {})
    with pytest.raises(RunError, match=r"the model is \./here"):
        kinds_of_runs(both)
    same = respec(run, tmp_path / "same")
    state(same, {"weight_digest": "b" * 64})
    with pytest.raises(RunError, match="the model is one of weights bbbbbbbbbbbb, and one of weights aaaaaaaaaaaa"):
        kinds_of_runs({"plain": plain, "same": same})
    (same / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        kinds_of_runs({"plain": plain, "same": same})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_none_is_refused(run, seed, capsys):
    code, out, err = invoke(capsys, "transfer", run, "--by", "hint_kind", "--seed", seed)
    assert (code, out) == (2, "") and "--seed" in err and "Traceback" not in err
    with pytest.raises(SpecError, match=f"seed is {seed}"):
        open_run(run).transfer(by="hint_kind", seed=seed)


def test_the_greatest_seed_is_one(run):
    kinds = kinds_of_run(run, "hint_kind").members
    dealt = split_together(kinds, test_fraction=0.4, inner_folds=5, seed=2**32 - 1)
    assert len(dealt["grader"].split.dev)


def test_runs_of_another_model_or_width_are_refused(run, runs, tmp_path):
    other = organism(tmp_path / "other", ONE, seed=1, spec=load_experiment("probe-risk", [*QUICK, "model=another"]))
    with pytest.raises(RunError, match="the model is another"):
        kinds_of_runs({"sft": runs["sft"], "other": other})
    narrow = hinted(tmp_path / "narrow", width=12, axes={kind: axis[:12] for kind, axis in AXES.items()})
    with pytest.raises(RunError, match="the width of activations is 12, and 24"):
        kinds_of_runs({"hinted": run, "narrow": narrow})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("RUN",), "give by"),
        (("RUN", "--by", "run"), "give by"),
        (("RUN", "--by", "nope"), "choose --by among"),
        (("RUN", "RUN", "--by", "hint_kind"), "several runs are compared by run"),
        (("RUN", "--by", "hint_kind", "--layer", "7"), "choose one of 0, 1"),
        (("RUN", "--by", "hint_kind", "--position", "think_0"), "choose one of last_prompt"),
        (("RUN", "--by", "hint_kind", "--out", "RUN/here"), "inside a run"),
        (("RUN", "--by", "hint_kind", "--out", "x.csv"), ".json or .html"),
        (("RUN", "--by", "hint_kind", "--out", "/nowhere/x.json"), "no folder"),
        (("/nowhere", "--by", "hint_kind"), "not a run directory"),
    ],
)
def test_bad_input_is_one_line(run, capsys, words, said):
    code, out, err = invoke(capsys, "transfer", *(word.replace("RUN", str(run)) for word in words))
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1


def test_too_few_groups_are_one_line(tmp_path, capsys):
    few = hinted(tmp_path / "few", n_groups=8, kinds=("metadata", "grader") * 6)
    code, _, err = invoke(capsys, "transfer", few, "--by", "hint_kind")
    assert code == 2 and "8 groups are too few" in err


def _broken(folder: Path, what: str) -> None:
    if what == "no results":
        (folder / "results.json").unlink()
    elif what == "link":
        (folder / "rollouts.jsonl").rename(folder.parent / "elsewhere.jsonl")
        (folder / "rollouts.jsonl").symlink_to(folder.parent / "elsewhere.jsonl")
    elif what == "part":
        part = next((folder / "activations").glob("part-*"))
        part.write_bytes(part.read_bytes()[:-100])
    elif what == "tokens":
        lines = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
        lines[0]["completion_ids"][0] = 9
        (folder / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif what == "spans":
        lines = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
        lines[0]["spans"]["think"] = [0, 10**6]
        (folder / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("what", ["no results", "link", "part", "tokens", "spans"])
def test_a_damaged_or_hostile_run_is_one_line(run, tmp_path, capsys, what):
    folder = Path(shutil.copytree(run, tmp_path / "broken"))
    _broken(folder, what)
    code, out, err = invoke(capsys, "transfer", folder, "--by", "hint_kind")
    assert code in (2, 3) and out == "" and err.count("\n") == 1


# What is shown


def test_how_places_are_chosen_is_said_as_it_was(run):
    by_hint, by_position = kinds_of_run(run, "hint_kind"), kinds_of_run(run, "position")

    def said(*asked: object) -> str:
        return matrix_module._chosen(*asked)

    assert said(by_hint, "hint_kind", None, None).startswith("a position and layer for each row")
    assert said(by_hint, "hint_kind", None, "think_100").startswith("the position as asked; a layer for each row")
    assert said(by_hint, "hint_kind", 1, None).startswith("the layer as asked, and a position for each row")
    assert said(by_hint, "hint_kind", 1, "think_100") == "the position as asked; the layer as asked"
    assert said(by_position, "position", None, None).startswith("each row at its own position; a layer for each row")
    assert said(by_position, "position", 1, None) == "each row at its own position; the layer as asked"
    out = transfer_matrix(by_hint, by="hint_kind", n=20, position="last_prompt")
    assert out["chosen"] == said(by_hint, "hint_kind", None, "last_prompt")
    assert "logistic regressions, whatever" in out["what"]


def test_without_an_auroc_on_their_own_rollouts_no_sentence_lacks_its_numbers(found):
    some = copy.deepcopy(found)
    for row, columns in some["auroc"].items():
        columns[row]["probe"] = {"value": None, "reason": "so"}
    first, *others = sentences(some)
    assert first == "On held-out groups of the rollouts that it was fitted on, no probe has an AUROC." and others


def test_the_verb_prints_and_writes_what_was_found(run, found, tmp_path, capsys):
    code, out, err = invoke(capsys, "transfer", run, "--by", "hint_kind", "--out", tmp_path / "made", "--json")
    assert code == 0, err
    assert json.loads(out) == found == json.loads((tmp_path / "made" / "transfer.json").read_text())
    page = (tmp_path / "made" / "transfer.html").read_text()
    assert page == render(found)
    assert "predicts the label on grader with AUROC" in check_page(page).text
    assert "src=" not in page.partition('<script type="application/json"')[0]
    code, _, err = invoke(capsys, "transfer", run, "--by", "hint_kind", "--out", tmp_path / "made")
    assert code == 2 and "is there already" in err


def test_the_verb_says_it_in_words(run, capsys):
    code, out, _ = invoke(capsys, "transfer", run, "--by", "hint_kind", "--layer", 1, "--position", "last_prompt")
    assert code == 0
    assert re.search(r"The probe fitted on metadata predicts the label on grader with AUROC 0\.9\d|1\.00", out)
    assert "AUROC of the better words, carried over alike" in out and "cosine of directions" in out


def test_names_from_a_stranger_act_nowhere(tmp_path, capsys):
    kinds = (HOSTILE, "plain")
    folder = hinted(tmp_path / "hostile", kinds=kinds, axes=dict.fromkeys(kinds, ONE))
    page = tmp_path / "page.html"
    code, out, err = invoke(capsys, "transfer", folder, "--by", "hint_kind", "--out", page)
    assert code == 0, err
    text = page.read_text()
    assert "<script>alert" not in text and "<b>x</b>" not in text
    assert "\x1b" not in text + out + err
    assert "&lt;/script&gt;" in text


def test_from_python_it_is_the_same_with_a_figure_and_a_table(run, found, tmp_path):
    view = open_run(run).transfer(by="hint_kind")
    assert view.results == found
    assert list(view.table.index) == list(view.table.columns) == sorted(KINDS)
    cell = found["auroc"]["metadata"]["grader"]["probe"]
    assert view.table.loc["metadata", "grader"].startswith(f"{cell['value']:.2f}")
    heat = view.figure.data
    assert len(heat) == 4
    at = list(heat[0].y).index("metadata"), list(heat[0].x).index("grader")
    assert heat[0].z[at[0]][at[1]] == cell["value"]
    assert f"{cell['n']} rollouts, 12 groups" in heat[0].customdata[at[0]][at[1]]
    assert "<table" in view._repr_html_() and view.sentences
    assert [path.name for path in view.save(tmp_path / "saved")] == ["transfer.json", "transfer.html"]


def test_runs_with_one_name_are_told_apart(runs, tmp_path):
    again = Path(shutil.copytree(runs["sft"], tmp_path / "sft"))
    view = open_run(runs["sft"]).transfer(again, layer=1, position="last_prompt")
    assert list(view.results["auroc"]) == ["1: sft", "2: sft"]
    cell = view.results["auroc"]["1: sft"]["2: sft"]
    assert cell["below_ceiling"]["value"] == 0 and cell["probe"] == cell["ceiling"]


def test_what_is_refused_is_ours(run):
    for words in ({"by": "nope"}, {}, {"by": "hint_kind", "layer": 9}):
        with pytest.raises(IntrospectError):
            open_run(run).transfer(**words)
    with pytest.raises((RunError, StoreError)):
        open_run(run).transfer("/nowhere")


def test_a_run_that_probed_several_places_is_said_to_be_read_at_one():
    spec = load_experiment("probe-risk", ["capture.sites=[resid_post,attn_out]", "probe.sites=[attn_out,resid_post]"])
    [said] = _one_of_several(spec)
    assert "(attn_out, resid_post); attn_out is read here" in said
    assert _one_of_several(load_experiment("probe-risk")) == []
