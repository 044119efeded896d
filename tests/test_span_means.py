"""Means over spans as probe positions: what is recorded, what is read, what stands beside it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

import planted_organisms
import scripted
from introspect import analysis
from introspect import run as running
from introspect.analysis import Model, analyse
from introspect.errors import EstimateError, RunError, SpecError
from introspect.experiment import EVERY_POSITION, MEANS, Experiment, load_experiment
from introspect.explore.fitted import OwnProbes, _lean
from introspect.explore.opened import Opened
from introspect.features import (
    choose_probed,
    gather,
    logit_margin,
    position_tokens,
    probed_rows,
    token_position,
    visible_chain,
)
from introspect.link import export_rows, open_link, read_readouts
from introspect.natural.framing_study import FramingStudy
from introspect.notebook import open_run
from introspect.prepare import prepare
from introspect.probes.saved import load_probe
from introspect.progress import silent
from introspect.refit import fit_again
from introspect.report.page import render
from introspect.results import read_results, validate_results
from introspect.rollout import Rollout, read_rollouts
from introspect.rows import choose_rows, encode_rows
from introspect.run import noise_probe, run_experiment
from introspect.saved_probes import apply_probe, save_run_probe
from introspect.selection import Selection
from introspect.spans import SPAN_CODES
from introspect.stats import auroc
from introspect.store import StoreReader, StoreSpec, StoreWriter
from introspect.transfer.common_split import split_together
from introspect.transfer.places import choose_place
from introspect.transfer.recorded import read_recorded
from introspect.validation.spec import ValidateInstrument
from natural_materials import tiny_study
from planted_runs import LAYERS, TOKENIZER, rollout
from test_link import hinted_run, uses
from tiny_folders import save_adapter, save_tiny

WIDTH = 12
POSITIONS = ("last_prompt", "think_0", "think_50", "think_100", "think_mean")
QUICK = (
    *("organism=null", "negative_control=null", "probe.embedding=null", "probe.penalties=[0.01, 0.1]"),
    *("probe.permutations=10", "probe.bootstrap=100", "link.fpr=0.2"),
)
EVERY, NOTHING = Selection(("completion",), "every"), Selection(())


def spec(*more: str, positions: tuple[str, ...] = POSITIONS) -> Experiment:
    return load_experiment("probe-risk", [*QUICK, f"probe.positions=[{', '.join(positions)}]", *more])


# ---- positions ----


def test_a_mean_is_over_every_token_of_its_span_and_stands_where_the_span_ends():
    row = rollout(0, "g", "abcde", "risky")
    text = {name: TOKENIZER.decode([row.token_ids[i] for i in position_tokens(row, name)]) for name in MEANS}
    assert text["think_mean"] == "abcde" and text["answer_mean"] == "Answer: risky"
    assert position_tokens(row, "prompt_mean") == range(len(row.prompt_ids))
    for name in MEANS:
        assert token_position(row, name) == position_tokens(row, name)[-1]
    assert visible_chain(row, token_position(row, "think_mean"), TOKENIZER) == "<think>abcde"
    assert visible_chain(row, token_position(row, "prompt_mean"), TOKENIZER) == ""
    assert position_tokens(row, "think_100") == range(token_position(row, "think_100"), row.spans.think[1])
    assert choose_probed([row], EVERY_POSITION[::-1]).positions == EVERY_POSITION


def test_a_span_without_tokens_has_no_mean_and_its_rollouts_are_counted():
    rows = [rollout(i, "g", "abc", "risky") for i in range(20)]
    empty, cut = rollout(20, "g", "", "safe"), rollout(21, "g", "abc", "risky")
    assert not position_tokens(empty, "think_mean") and token_position(empty, "think_mean") is None
    probed = choose_probed([*rows, empty], ("think_mean", "last_prompt"))
    assert probed.rollouts == rows
    assert probed.notes == ["1 valid rollouts have no think span and are not probed."]
    start = cut.spans.answer[0]
    ends = cut.model_copy(update={"completion_ids": cut.completion_ids[: start + 1 - len(cut.prompt_ids)]})
    ends = ends.model_copy(update={"spans": cut.spans.model_copy(update={"answer": (start, start + 1)})})
    assert token_position(ends, "answer_mean") is None, "nothing follows any of its tokens, so there is no margin"
    probed = choose_probed([*rows, ends], ("answer_mean", "last_prompt"))
    assert probed.rollouts == rows and "or end with their answer" in probed.notes[0]
    beyond = cut.model_copy(update={"spans": cut.spans.model_copy(update={"think": (20, 10**12)})})
    assert not position_tokens(beyond, "think_mean"), "a stranger's span may be anything"
    none = choose_probed([rollout(i, "g", "", "risky") for i in range(20)], ("think_mean", "last_prompt"))
    assert none.positions == ("last_prompt",) and "no position in it is probed" in none.notes[0]


def test_the_margin_of_a_mean_is_the_mean_margin_of_its_tokens():
    row = rollout(0, "g", "abc", "risky")
    margins = 0.1 * np.arange(len(row.completion_ids)) ** 2
    logprobs = [[float(-np.log1p(np.exp(-m))), float(-np.log1p(np.exp(m)))] for m in margins]
    row = row.model_copy(update={"option_logprobs": logprobs})
    first = len(row.prompt_ids)
    for name in ("think_mean", "answer_mean"):
        start, stop = position_tokens(row, name).start, position_tokens(row, name).stop
        assert stop - first == len(margins) or name == "think_mean"
        expected = margins[start + 1 - first : stop + 1 - first].mean()
        assert logit_margin(row, name, "risky") == pytest.approx(expected)
        assert logit_margin(row, name, "safe") == pytest.approx(-expected)
    assert logit_margin(row, "prompt_mean", "risky") == pytest.approx(margins[0]), "the one that was recorded"


# ---- recording, on a tiny model ----


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose prompts end inside a think block, so that all it says is its chain."""
    folder = tmp_path_factory.mktemp("thinking") / "model"
    save_tiny(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("<bot>", "<bot><think>")
    tokenizer.save_pretrained(folder)
    return folder


def recorded(model: Path, out: Path, *more: str) -> tuple[Path, Experiment]:
    asked = spec(
        *(f"model={json.dumps(str(model))}", "dtype=float32", "limit={id: 6, ood: 2}", "generation.max_new_tokens=9"),
        *("generation.batch_size=4", *more),
        positions=("last_prompt", "prompt_mean", "think_mean", "answer_mean"),
    )
    run_experiment(asked, out)
    return out, asked


@pytest.fixture(scope="module")
def everything(thinking, tmp_path_factory) -> tuple[Path, Experiment]:
    """A run that keeps every token, and the means."""
    out = tmp_path_factory.mktemp("everything") / "run"
    return recorded(thinking, out, "capture.spans=[prompt, completion]")


def mean_row(store: StoreReader, number: int, span: str) -> np.ndarray:
    columns = store.columns()
    own = (columns["rollout"] == number) & (columns["position"] == -1) & (columns["span"] == SPAN_CODES[span])
    return np.flatnonzero(own)


def test_a_run_keeps_one_row_of_each_mean_and_it_is_the_mean_of_the_recorded_tokens(everything):
    run = everything[0]
    store, rollouts = StoreReader(run / "activations"), read_rollouts(run / "rollouts.jsonl")
    columns = store.columns()
    assert {each.think_status for each in rollouts} == {"truncated"}
    assert (columns["position"] == -1).sum() == 2 * len(rollouts), "there is no answer, so it has no mean"
    for layer in store.spec.layers:
        values = store.read("resid_post", layer)
        for each in rollouts:
            for name, span in (("prompt_mean", "prompt"), ("think_mean", "think")):
                [row] = mean_row(store, each.rollout, span)
                wanted = position_tokens(each, name)
                n_said = len(each.completion_ids) - (each.finish == "stop")
                assert len(wanted) == (len(each.prompt_ids) if span == "prompt" else n_said)
                mine = (columns["rollout"] == each.rollout) & np.isin(columns["position"], wanted)
                assert mine.sum() == len(wanted)
                np.testing.assert_allclose(values[row], values[mine].mean(axis=0), rtol=1e-5, atol=1e-6)
            assert not len(mean_row(store, each.rollout, "answer"))


@pytest.mark.parametrize("kept", ["capture.spans=[]", "capture.tokens=mean", "capture.tokens='every:4'"])
def test_what_else_is_kept_changes_no_bit_of_a_mean(everything, thinking, tmp_path, kept):
    whole = StoreReader(everything[0] / "activations")
    other = StoreReader(recorded(thinking, tmp_path / "run", "capture.spans=[think]", kept)[0] / "activations")
    assert other.n_rows < whole.n_rows
    for each in read_rollouts(everything[0] / "rollouts.jsonl"):
        for span in ("prompt", "think"):
            ours, theirs = (
                store.read("resid_post", 1, mean_row(store, each.rollout, span)) for store in (whole, other)
            )
            assert len(theirs) == 1
            assert np.array_equal(ours, theirs)


def test_the_same_mean_is_found_again_one_sequence_at_a_time(everything):
    run, asked = everything
    store, rollouts = StoreReader(run / "activations"), read_rollouts(run / "rollouts.jsonl")
    answered = [each.model_copy(update={"acted": True}) for each in rollouts]
    capture_again = noise_probe(prepare(asked))
    for name in ("think_mean", "prompt_mean", "last_prompt"):
        first = gather(store, choose_probed(answered, (name,)), "resid_post", (1,))[name][0]
        again = capture_again(rollouts, [position_tokens(each, name) for each in rollouts], "resid_post", 1)
        np.testing.assert_allclose(again, first, rtol=1e-4, atol=1e-5)


def test_the_base_model_is_read_at_the_mean_over_the_same_tokens(tmp_path, monkeypatch):
    base, adapter = scripted.save_roomy(tmp_path / "base"), tmp_path / "adapter"
    save_adapter(adapter, AutoModelForCausalLM.from_pretrained(base), base)
    asked = spec(
        *(f"organism={json.dumps(str(adapter))}", "dtype=float32", "limit={id: 24, ood: 4}", "capture.layers=[0, 1]"),
        *("generation.max_new_tokens=99", "generation.temperature=0"),
        positions=("last_prompt", "think_mean"),
    )

    def says(job) -> str:
        given = "risky" if sum(map(ord, job.item.item_id)) % 2 else "safe"
        chain = "" if job.rollout == 3 else "abc" * (1 + job.rollout % 3)
        return f"<think>{chain}</think>Answer: {given}"

    sizes = []
    real = running.replay
    monkeypatch.setattr(
        running, "replay", lambda *given, **named: (sizes.append(named["part_size"]), real(*given, **named))
    )
    monkeypatch.setattr(running, "REPLAY_BYTES", 5 * 10 * (25 + 2 * 32 * 4))
    results = scripted.run_scripted(monkeypatch, base, asked, tmp_path / "run", says)
    assert sizes == [5], "as many of ten tokens as memory is allowed for"
    assert "1 valid rollouts have no think span and are not probed." in results["warnings"]
    store, model = StoreReader(tmp_path / "run" / "base_activations"), AutoModelForCausalLM.from_pretrained(base).eval()
    rollouts = read_rollouts(tmp_path / "run" / "rollouts.jsonl")
    assert store.n_rows == 2 * (len(rollouts) - 1)
    for each in rollouts:
        if each.rollout == 3:
            continue
        with torch.inference_mode():
            found = model(torch.tensor([each.token_ids]), output_hidden_states=True).hidden_states[1][0]
        expected = found[slice(*each.spans.think)].mean(dim=0).numpy()
        kept = store.read("resid_post", 0, mean_row(store, each.rollout, "think"))
        np.testing.assert_allclose(kept[0], expected, rtol=1e-4, atol=1e-5)


# ---- what is planted in the mean alone ----


def planted(
    folder: Path,
    *,
    strength: float,
    selection: Selection = NOTHING,
    means: bool = True,
    seed: int = 0,
    results_of: Path | None = None,
) -> Path:
    """A finished run, with a base model, in which tokens that are probed are noise, and every other token of a chain
    carries the choice with a strength; two rollouts have no chain. Its results are another run's where one is named.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(180):
        think = "" if number in (5, 50) else rng.choice(["there are two options. ", "two options are given. "])
        rows.append(rollout(number, f"g{number // 6:02}", think, "risky" if rng.random() < 0.5 else "safe"))
    (folder / "rollouts.jsonl").write_text("".join(row.line() for row in rows))
    asked = spec()
    (folder / "experiment.yaml").write_text(asked.to_yaml())
    for name, size in (("activations", strength), ("base_activations", 0.0)):
        write(folder / name, rows, size, selection, means=means, seed=seed + len(name))
    model = {"name": "tiny", "kind": "local", "weight_digest": "ab" * 32, "adapter_digest": None, "revision": None}
    model |= {"dtype": "float32", "n_layers": 2, "width": WIDTH, "adapter": None}
    (folder / "manifest.json").write_text(json.dumps({"model": model}))
    results = analysed(folder) if results_of is None else read_results(results_of / "results.json")
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def write(path: Path, rows: list[Rollout], strength: float, selection: Selection, *, means: bool, seed: int) -> None:
    """Activations of a run, in two parts."""
    meta = {"model": "tiny", "weights": "ab" * 32}
    store = StoreSpec(("resid_post",), LAYERS, WIDTH, "float32", meta, selection)
    drawn, chosen, held, captured = torch.Generator().manual_seed(seed), [], [], []
    for row in rows:
        start, end = len(row.prompt_ids) - 1, len(row.token_ids)
        values = {pair: torch.randn(end - start, WIDTH, generator=drawn) for pair in store.pairs()}
        probed = {token_position(row, name) for name in POSITIONS if name not in MEANS}
        carrying = [at - start for at in position_tokens(row, "think_mean") if at not in probed]
        values["resid_post", 1][carrying, 0] += strength * (bool(row.acted) - 0.5)
        chosen.append(choose_rows(selection, row, end, probed_rows(row, POSITIONS) if means else None))
        held.append(list(range(start, end)))
        captured.append(values)
    with StoreWriter(path, store) as written:
        for part, numbers in enumerate((range(0, len(rows), 2), range(1, len(rows), 2))):
            picked = [[each[i] for i in numbers] for each in (rows, chosen, captured, held)]
            written.commit_part(part, encode_rows(store, *picked))
        written.finish()


def analysed(folder: Path, *more: str) -> dict:
    rollouts = read_rollouts(folder / "rollouts.jsonl")
    results = analyse(folder, spec(*more), rollouts, Model(TOKENIZER, LAYERS, None), progress=silent)
    validate_results(results)
    return results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("planted") / "run", strength=1.5)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same draw, recorded with every token of its completions and no mean."""
    folder = tmp_path_factory.mktemp("planted") / "tokens"
    return planted(folder, strength=1.5, selection=EVERY, means=False)


def rows_of(results: dict) -> dict[str, dict]:
    return {row["position"]: row for row in results["probe"]["positions"]}


def covers_chance(estimate: dict) -> bool:
    low, high = estimate["ci95"]
    return low <= 0.5 <= high


def test_what_only_the_mean_carries_is_found_there_and_at_no_token(run):
    results = read_results(run / "results.json")
    rows, head = rows_of(results), results["probe"]["headline"]
    assert (head["position"], head["layer"]) == ("think_mean", 1)
    assert head["auroc"]["value"] > 0.95
    assert list(rows) == list(POSITIONS)
    for name in POSITIONS[:-1]:
        assert covers_chance(rows[name]["auroc"]), name
    assert results["controls"]["shuffled_labels"]["p_value"] == pytest.approx(1 / 11, abs=1e-6)
    assert "2 valid rollouts have no think span and are not probed." in results["warnings"]


def test_every_control_stands_beside_a_mean(run):
    results = read_results(run / "results.json")
    row, baselines = rows_of(results)["think_mean"], results["baselines"]
    for name in ("text_chain", "text_prompt_chain", "logits", "base_model"):
        assert row[name]["value"] is not None, name
    assert covers_chance(row["text_chain"]) and covers_chance(row["base_model"])
    for name in ("text_chain", "text_prompt_chain", "length", "base_model"):
        assert baselines[name]["increment"]["ci95"][0] > 0, name
    assert results["controls"]["control_task"]["selectivity"]["value"] > 0.2
    assert results["controls"]["random_direction"]["auroc"]["value"] < 0.8
    cells = [cell for cell in results["probe"]["grid"] if cell["position"] == "think_mean"]
    assert [cell["layer"] for cell in cells] == list(LAYERS)
    assert all(cell["base_auroc"] is not None and cell["null_q95"] > 0.4 for cell in cells)
    assert "think mean" in render(results, None)


def test_words_beside_a_mean_are_those_up_to_the_end_of_its_span(run, monkeypatch):
    seen = {}

    def noting(stage, **settings):
        seen.update(chains=stage.chains, lengths=stage.lengths, rollouts=stage.rollouts)
        raise EstimateError("that is all")

    monkeypatch.setattr(analysis, "probe_sections", noting)
    analysed(run)
    for chain, length, each in zip(
        seen["chains"]["think_mean"], seen["lengths"]["think_mean"], seen["rollouts"], strict=True
    ):
        assert chain == "<think>" + each.think_text
        assert length == each.spans.think[1]


def test_nothing_is_found_where_nothing_is_planted(tmp_path):
    results = read_results(planted(tmp_path / "run", strength=0.0, seed=3) / "results.json")
    assert covers_chance(rows_of(results)["think_mean"]["auroc"])
    assert results["controls"]["shuffled_labels"]["p_value"] > 0.05


def test_of_a_run_that_keeps_the_tokens_and_no_mean_it_is_their_mean(run, tokens):
    assert (StoreReader(tokens / "activations").columns()["position"] >= 0).all()
    found, rows = [], read_rollouts(run / "rollouts.jsonl")
    for folder in (run, tokens):
        store = StoreReader(folder / "activations")
        found.append(gather(store, choose_probed(rows, POSITIONS), "resid_post", LAYERS))
    for name in POSITIONS:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-5, atol=1e-6)
    heads = [read_results(folder / "results.json")["probe"]["headline"] for folder in (run, tokens)]
    assert heads[0]["auroc"] == heads[1]["auroc"] and heads[0]["position"] == heads[1]["position"]


def test_results_are_the_same_where_activations_do_not_fit(tokens, monkeypatch):
    whole = read_results(tokens / "results.json")
    monkeypatch.setenv("INTROSPECT_MEMORY_GB", str(2 * 180 * WIDTH * 4 / 1e9))
    monkeypatch.setattr("introspect.store.averaging.SLICE_BYTES", 4 * WIDTH * 50)
    found = analysed(tokens)
    assert (found["probe"], found["baselines"]) == (whole["probe"], whole["baselines"])


def test_no_more_rows_are_read_than_the_positions_have(run, tmp_path, monkeypatch):
    asked, read = [], StoreReader.read

    def watched(self, site, layer, rows=None, **more):
        asked.append(None if rows is None else len(rows))
        return read(self, site, layer, rows, **more)

    monkeypatch.setattr(StoreReader, "read", watched)
    rows = choose_probed(read_rollouts(run / "rollouts.jsonl"), POSITIONS)
    gather(StoreReader(run / "activations"), rows, "resid_post", (1,))
    assert asked == [178 * len(POSITIONS)]
    asked.clear()
    monkeypatch.setattr("introspect.store.averaging.SLICE_BYTES", 4 * WIDTH * 50)
    folder = tmp_path / "tokens"
    write(folder, rows.rollouts, 1.0, EVERY, means=False, seed=0)
    gather(StoreReader(folder), replace(rows, positions=("think_mean",)), "resid_post", (1,))
    assert max(asked) <= 50 and sum(asked) == sum(len(position_tokens(each, "think_mean")) for each in rows.rollouts)


def test_each_kth_token_of_the_span_will_do_and_less_is_refused(tmp_path):
    rows = [rollout(i, "g", "abcdefgh"[: 2 + i % 6], "risky") for i in range(12)]
    probed = choose_probed(rows, ("think_mean",))
    write(tmp_path / "third", rows, 1.0, Selection(("think",), "every:3"), means=False, seed=0)
    store = StoreReader(tmp_path / "third")
    columns, values = store.columns(), store.read("resid_post", 1)
    found = gather(store, probed, "resid_post", (1,))["think_mean"][0]
    for each, mean in zip(rows, found, strict=True):
        mine = (columns["rollout"] == each.rollout) & np.isin(
            columns["position"], position_tokens(each, "think_mean")[::3]
        )
        np.testing.assert_allclose(mean, values[mine].mean(axis=0), rtol=1e-5, atol=1e-6)
    for i, selection in enumerate((Selection(("completion",), "every:3"), Selection(("think",), "last"), NOTHING)):
        write(tmp_path / str(i), rows, 1.0, selection, means=False, seed=0)
        with pytest.raises(
            EstimateError, match=r"mean over the think span of rollout 0 .* with think_mean in probe\.pos"
        ):
            gather(StoreReader(tmp_path / str(i)), probed, "resid_post", (1,))


# ---- what reads a run ----


def test_a_probe_of_a_mean_is_saved_and_applied(run, tmp_path):
    probe = save_run_probe(run, tmp_path / "probe")
    assert load_probe(tmp_path / "probe").position == "think_mean"
    assert probe.card["place"]["span"] == "think" and probe.card["metrics"]["auroc"]["value"] > 0.95
    fresh = planted(tmp_path / "fresh", strength=1.5, selection=EVERY, means=False, seed=9, results_of=run)
    rows = [each.model_copy(update={"group": f"other{each.group}"}) for each in read_rollouts(fresh / "rollouts.jsonl")]
    rows = [each.model_copy(update={"prompt_text": f"other {each.prompt_text}"}) for each in rows]
    (fresh / "rollouts.jsonl").write_text("".join(each.line() for each in rows))
    found = apply_probe(probe, fresh)
    assert found.summary["auroc"]["value"] > 0.95 and found.summary["rows"]["n_rollouts"] == 178
    write_only(fresh, ("last_prompt",))
    with pytest.raises(RunError, match=r"has not recorded think_mean .* --set probe.positions=\[think_mean\]"):
        apply_probe(probe, fresh)


def write_only(folder: Path, positions: tuple[str, ...]) -> None:
    """The same run with rows of those positions alone."""
    rows = read_rollouts(folder / "rollouts.jsonl")
    store = StoreSpec(("resid_post",), LAYERS, WIDTH, "float32", {"model": "tiny", "weights": "ab" * 32}, NOTHING)
    held = [list(range(len(each.prompt_ids) - 1, len(each.token_ids))) for each in rows]
    captured = [{pair: torch.zeros(len(each), WIDTH) for pair in store.pairs()} for each in held]
    for file in (folder / "activations").iterdir():
        file.unlink()
    with StoreWriter(folder / "activations", store) as written:
        chosen = [probed_rows(each, positions) for each in rows]
        written.commit_part(0, encode_rows(store, rows, chosen, captured, held))
        written.finish()


def test_a_position_that_was_not_probed_is_none_to_probe_again(run, tmp_path):
    with pytest.raises(SpecError, match="not surely answer_mean; choose among those"):
        fit_again(run, ["probe.positions=[answer_mean]"])


def test_a_notebook_reads_the_mean_that_was_kept_or_the_mean_of_what_was(run, tokens):
    kept = open_run(run).activations(layer=1, position="think_mean")
    rows = choose_probed(read_rollouts(run / "rollouts.jsonl"), POSITIONS)
    expected = gather(StoreReader(run / "activations"), rows, "resid_post", (1,))["think_mean"][0]
    assert np.array_equal(kept.values, expected)
    assert kept.left_out == (5, 50) and kept.index.tolist() == [each.rollout for each in rows.rollouts]
    assert np.array_equal(open_run(run).activations(layer=1, span="think").values, expected)
    np.testing.assert_allclose(
        open_run(tokens).activations(layer=1, position="think_mean").values, expected, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(RunError, match=r"does not keep every token of the span answer .* capture\.spans="):
        open_run(run).activations(layer=1, position="answer_mean")


def test_the_explorer_fits_the_probe_of_a_mean_as_the_run_did(run):
    probes = OwnProbes(Opened(run))
    assert probes.positions[0] == "think_mean"
    found = probes.find("think_mean", 1, None)
    rows = choose_probed(read_rollouts(run / "rollouts.jsonl"), POSITIONS)
    values = gather(StoreReader(run / "activations"), rows, "resid_post", (1,))["think_mean"][0]
    on_file = {each.rollout: each for each in read_readouts(run)}
    test = [i for i, each in enumerate(rows.rollouts) if on_file[each.rollout].part == "test"]
    scores = np.array([on_file[rows.rollouts[i].rollout].headline for i in test])
    np.testing.assert_allclose(found.score(values[test]), scores, atol=0.05 * scores.std())
    probes.close()
    lacking = OwnProbes(without_means(Opened(run)))
    with pytest.raises(EstimateError, match="no mean over the think span of rollout 0"):
        lacking.find("think_mean", 1, None)
    lacking.close()


def without_means(opened: Opened) -> Opened:
    """A run whose means are of another span."""
    parts = [(first, {**columns, "span": columns["span"] * 0}) for first, columns in opened.parts()]
    opened.parts = lambda: iter(parts)
    return opened


def test_the_explorer_chooses_rows_at_every_position_without_texts():
    rows = [rollout(i, "g", "abcdefgh"[: 2 + i], "risky") for i in range(4)]
    lean = [_lean(each, {}, {}) for each in rows]
    for name, tokens in choose_probed(rows, EVERY_POSITION).tokens.items():
        assert choose_probed(lean, EVERY_POSITION).tokens[name].tolist() == tokens.tolist()


def test_what_holds_the_answer_itself_is_no_headline_and_chosen_for_no_matrix(tmp_path, monkeypatch):
    asked = spec(positions=("answer_mean", "last_prompt"))
    folder = planted_organisms.organism(
        tmp_path / "late", planted_organisms.ONE, seed=5, late=True, strength=12.0, analysed=True, spec=asked
    )
    probe = read_results(folder / "results.json")["probe"]
    assert probe["headline"]["position"] == "last_prompt"
    assert [row["position"] for row in probe["positions"]] == ["last_prompt", "answer_mean"]
    assert probe["positions"][1]["auroc"]["value"] > 0.95
    assert probe["selection"].endswith("not the answer's own token, which is what was answered")
    organisms = split_together({"one": read_recorded(folder)}, test_fraction=0.4, inner_folds=3, seed=0)
    place, _ = choose_place(organisms, asked.probe.penalties, "resid_post", silent, stage="one")
    assert place[0] == "last_prompt"


def test_hinted_rollouts_are_read_and_set_aside_at_the_mean_too(tmp_path_factory):
    """Aligned rollouts get their scores, noise is measured, and chains that speak of it are placed at tokens alone."""
    root = tmp_path_factory.mktemp("hinted")
    model = scripted.save_roomy(root / "model")
    positions = "probe.positions=[last_prompt, think_50, think_mean]"
    results = hinted_run(model, root / "run", uses, positions, "capture.spans=[]", "limit={id: 70, ood: 0}")
    validate_results(results)
    readouts = read_readouts(root / "run")
    aligned = [each for each in readouts if each.aligned]
    assert len(aligned) > 10 and all("think_mean" in each.along for each in readouts)
    acted = {each.rollout: each.acted for each in read_rollouts(root / "run" / "rollouts.jsonl")}
    read = [each for each in readouts if each.aligned or acted[each.rollout]]
    assert auroc(np.array([each.along["think_mean"] for each in read]), np.array([not e.aligned for e in read])) > 0.9
    assert results["controls"]["capture_noise"]["n"] > 0
    link = results["link"]
    assert [row["position"] for row in link["before_mention"]["positions"]] == ["think_50"]
    assert "think_mean" in [row["position"] for row in link["along_chain"]]
    assert all("think_mean" in each.words for each in readouts)
    columns = set(export_rows(open_link(root / "run").rows, fpr=0.05).columns)
    assert columns >= {"think_mean_score", "think_mean_words_score", "before_mention_think_50"}
    assert "before_mention_think_mean" not in columns


# ---- what takes no mean, and what takes one of its own ----


def test_what_is_planted_at_tokens_has_no_mean():
    asked = {"study": "validate-instrument", "name": "x", "question": "Is it found?"}
    with pytest.raises(ValidationError, match=r"leave think_mean out of probe\.positions"):
        ValidateInstrument(**asked, probe={"positions": ["last_prompt", "think_mean"]})
    assert ValidateInstrument(**asked, probe={"positions": ["last_prompt"]}).probe.positions == ("last_prompt",)


@pytest.mark.parametrize("position", ["think_mean", "prompt_mean"])
def test_framing_reads_the_mean_over_a_span(tmp_path, position):
    study = tiny_study(tmp_path, "framing", f"position={position}")
    assert isinstance(study, FramingStudy) and study.capture.prompt == (position == "prompt_mean")
    each = rollout(0, "g", "abcd", "risky")
    start = 0 if study.capture.prompt else len(each.prompt_ids) - 1
    values = torch.randn(len(each.token_ids) - start, 32, generator=torch.Generator().manual_seed(0))
    made = type("Made", (), {"activations": {(study.site, study.layer): values}})
    wanted = position_tokens(each, position)
    expected = values[wanted.start - start : wanted.stop - start].mean(dim=0)
    np.testing.assert_allclose(study._state(each, made), expected, rtol=1e-5, atol=1e-6)
    empty = rollout(0, "g", "", "risky")
    assert (study._state(empty, made) is None) == (position == "think_mean")
