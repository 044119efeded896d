"""A run whose activations do not fit in memory: the same results, a few layers at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from introspect import features
from introspect.analysis import Model, analyse
from introspect.bench.memory import in_child
from introspect.errors import SpecError
from introspect.experiment import Experiment, load_experiment
from introspect.probes import Streamed
from introspect.progress import silent
from introspect.results import validate_results
from introspect.run import run_experiment
from introspect.spec_kinds import load_spec
from introspect.store import StoreSpec, StoreWriter
from introspect.validation.validate import run_validation
from planted_runs import LAYERS, TOKENIZER, planted_run, record_by_hand, rollout

POSITIONS = ("last_prompt", "think_100")
DEEP, WIDE = 20, 8192
GROUPS, MADE = 40, 80
FEATURES = 4 * DEEP * WIDE * len(POSITIONS) * MADE


def spec(*more: str) -> Experiment:
    quick = ("probe.permutations=3", "probe.bootstrap=50", f"probe.positions=[{', '.join(POSITIONS)}]")
    plain = ("organism=null", "negative_control=null", "probe.embedding=null")
    return load_experiment("probe-risk", [*plain, *quick, *more])


def analysed(folder: Path, rollouts: list, layers: tuple[int, ...], *more: str) -> dict:
    results = analyse(folder, spec(*more), rollouts, Model(TOKENIZER, layers, None), progress=silent)
    validate_results(results)
    return results


@pytest.mark.parametrize("estimator", ["logistic", "difference-of-means"])
def test_results_are_the_same_to_the_last_bit_whether_activations_are_held_or_read(tmp_path, monkeypatch, estimator):
    made = planted_run(tmp_path, inside=True, spoken=False)
    base = tmp_path / "of the base"
    record_by_hand(base, made, strength=0.5, seed=7)
    (base / "activations").rename(tmp_path / "base_activations")
    used = []
    monkeypatch.setattr("introspect.analysis.probe_sections", _noting(used))
    whole = analysed(tmp_path, made, LAYERS, f"probe.estimator={estimator}")
    readouts = (tmp_path / "readouts.jsonl").read_bytes()
    site = len(made) * 12 * 4
    monkeypatch.setenv("INTROSPECT_MEMORY_GB", str(2 * site / 1e9))
    assert analysed(tmp_path, made, LAYERS, f"probe.estimator={estimator}") == whole
    assert (tmp_path / "readouts.jsonl").read_bytes() == readouts
    assert used == [(dict, dict), (Streamed, Streamed)]
    assert whole["baselines"]["base_model"]["auroc"]["value"] is not None
    monkeypatch.setenv("INTROSPECT_MEMORY_GB", str(2 * len(POSITIONS) * len(LAYERS) * site / 1e9))
    assert isinstance(_activations(tmp_path, made), dict)
    monkeypatch.setenv("INTROSPECT_MEMORY_GB", str((2 * len(POSITIONS) * len(LAYERS) * site - 10) / 1e9))
    assert isinstance(_activations(tmp_path, made), Streamed)


def test_rollouts_whose_activations_are_not_finite_are_named_in_results(tmp_path, monkeypatch):
    made = planted_run(tmp_path, inside=True, spoken=False)

    def damaged(*given):
        found = features.held_or_streamed(*given)
        found[0]["think_100"][1, [7, 90], 3] = np.nan, np.inf
        return found

    monkeypatch.setattr("introspect.analysis.held_or_streamed", damaged)
    results = analysed(tmp_path, made, LAYERS)
    assert "at think_100, layer 1 hold NaN or infinity in rollouts 7, 90: record" in results["probe"]["reason"]
    assert results["behaviour"]["policy_rate"]["id"]["value"] is not None


def _noting(used: list):
    from introspect.analysis import probe_sections

    def noting(stage, **settings):
        used.append((type(stage.activations), type(stage.base)))
        return probe_sections(stage, **settings)

    return noting


def _activations(folder: Path, made: list):
    stores = [features.StoreReader(folder / name) for name in ("activations", "base_activations")]
    probed = features.choose_probed(made, POSITIONS)
    return features.held_or_streamed(stores, probed, "resid_post", LAYERS)[0]


@pytest.mark.parametrize("said", ["much", "0", "-2", "nan", "inf"])
def test_memory_that_is_no_number_is_refused(monkeypatch, said):
    monkeypatch.setenv("INTROSPECT_MEMORY_GB", said)
    with pytest.raises(SpecError, match=f"INTROSPECT_MEMORY_GB is '{said}': set it"):
        features.memory_budget()


def test_a_word_for_memory_is_refused_before_anything_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("INTROSPECT_MEMORY_GB", "2GB")
    monkeypatch.setattr("introspect.prepare.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    spec = load_experiment("probe-risk", ["organism=null", "negative_control=null"])
    with pytest.raises(SpecError, match="INTROSPECT_MEMORY_GB is '2GB': set it"):
        run_experiment(spec, tmp_path / "run")
    with pytest.raises(SpecError, match="INTROSPECT_MEMORY_GB is '2GB': set it"):
        run_validation(load_spec("validate-instrument"), tmp_path / "validation")
    assert not list(tmp_path.iterdir())


def test_a_quarter_of_what_is_free_is_used_where_nothing_is_said(monkeypatch):
    monkeypatch.delenv("INTROSPECT_MEMORY_GB", raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 4001}))
    assert features.memory_budget() == 1000
    monkeypatch.setenv("INTROSPECT_MEMORY_GB", " 1.5 ")
    assert features.memory_budget() == 1_500_000_000


def wide_rollouts() -> list:
    return [
        rollout(i, f"g{i % GROUPS}", "two options are given.", "risky" if (i // GROUPS + i) % 2 else "safe")
        for i in range(MADE)
    ]


def wide_run(folder: Path) -> None:
    """Only the tokens that are probed, in a store of several parts."""
    made = wide_rollouts()
    rng = np.random.default_rng(0)
    tokens = features.choose_probed(made, POSITIONS).tokens
    store_spec = StoreSpec(("resid_post",), tuple(range(DEEP)), WIDE, "float32", {"model": "made by hand"})
    with StoreWriter(folder / "activations", store_spec) as store:
        for part in range(4):
            numbers = range(part, MADE, 4)
            where = sorted({(i, int(tokens[name][i])) for i in numbers for name in POSITIONS})
            store.write_part(
                part,
                values={pair: rng.standard_normal((len(where), WIDE), dtype=np.float32) for pair in store_spec.pairs()},
                rollout=np.array([i for i, _ in where]),
                position=np.array([token for _, token in where]),
                token_id=np.zeros(len(where), np.int64),
                span=np.zeros(len(where), np.int8),
            )
        store.finish()


def analysis_of_wide_run(folder: str, answer: str):
    """For a process of its own: the analysis of a wide run, after one that loads what any analysis loads."""
    made = wide_rollouts()
    quick = ("probe.estimator=difference-of-means", "probe.permutations=2")
    analysed(Path(folder), made, (0,), *quick)
    return lambda: Path(answer).write_text(json.dumps(analysed(Path(folder), made, tuple(range(DEEP)), *quick)))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell a peak of memory")
def test_the_peak_of_memory_follows_the_budget_and_not_the_size_of_the_features(tmp_path, monkeypatch):
    wide_run(tmp_path)
    grown, results = [], []
    for share in (0.1, 2.0):
        monkeypatch.setenv("INTROSPECT_MEMORY_GB", str(share * FEATURES / 1e9))
        answer = tmp_path / f"{share}.json"
        target = "test_streamed_analysis:analysis_of_wide_run"
        grown.append(in_child(target, {"folder": str(tmp_path), "answer": str(answer)}).growth)
        results.append(json.loads(answer.read_text()))
    streamed, held = grown
    assert results[0] == results[1] and len(results[0]["probe"]["grid"]) == DEEP * len(POSITIONS)
    assert FEATURES > 70e6
    assert held > 0.8 * FEATURES
    assert streamed < 0.6 * FEATURES
