"""The instrument is validated by the analysis of a run, draw by draw; a kill loses a draw at most."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import escape
from typer.testing import CliRunner

from introspect.assets import list_experiments, list_studies
from introspect.cli.main import app
from introspect.errors import RunError, SpecError, StoreError
from introspect.link import read_readouts
from introspect.manifest import earlier_versions
from introspect.probes.by_estimator import ESTIMATORS
from introspect.report import instrument
from introspect.report.instrument import arranged
from introspect.results import read_json
from introspect.spec_kinds import load_spec
from introspect.stats import auroc
from introspect.tasks.registry import find_task
from introspect.validation import validate
from introspect.validation.facts import _truth, draw
from introspect.validation.organisms import SHIPPED, _reading, organisms
from introspect.validation.page import render, report_validation
from introspect.validation.planted import FIDELITY, plant
from introspect.validation.results import VALIDATION
from introspect.validation.scenarios import SCENARIOS, Check
from introspect.validation.sentences import found_wrong, headline
from introspect.validation.spec import Sizes, ValidateInstrument
from introspect.validation.table import _row, table
from introspect.validation.validate import with_provenance
from introspect.validation.words import LEAK
from introspect.verdicts import judge_by_patterns

ROOT = Path(__file__).parents[1]
NAME = "validate-instrument"
QUICK = (
    "sizes={items: 24, rollouts: 5, population: 200, layers: 2, width: 8, strength: 4.0}",
    "probe.positions=[think_100]",
    "probe.inner_folds=2",
    "probe.penalties=[0.01]",
    "probe.permutations=19",
    "probe.bootstrap=50",
)
SIZES = Sizes(items=30, rollouts=4, population=600, layers=2, width=8, strength=3.0)
POSITIONS = ("last_prompt", "think_100")
RUNS = [name for name, each in SCENARIOS.items() if not each.alone]


def quick(*more: str) -> ValidateInstrument:
    return load_spec(NAME, [*QUICK, "scenarios=[nothing, direction]", "draws=2", *more])


def planted(name: str, seed: int = 0):
    return plant(SCENARIOS[name], SIZES, POSITIONS, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("validation") / "whole"
    validate.run_validation(quick(), out)
    return out


class TestSpec:
    def test_it_is_listed_as_a_study(self):
        assert NAME in list_studies() and NAME not in list_experiments()

    def test_it_reads_back_what_it_writes(self, tmp_path):
        spec, path = load_spec(NAME), tmp_path / "again.yaml"
        path.write_text(spec.to_yaml())
        assert load_spec(path) == spec and load_spec(path).digest() == spec.digest()

    def test_processes_decide_no_number(self):
        assert quick("workers=2").digest() == quick().digest() != quick("seed=1").digest()

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("scenarios=[nothing, noting]", "'noting' is no scenario; choose among nothing, direction"),
            ("scenarios=[nothing, nothing]", "nothing is named twice"),
            ("draws=0", "draws"),
            ("sizes.itmes=3", "did you mean 'sizes.items'"),
            (
                "probe.label=silent",
                "what is planted is acting, at resid_post: leave out probe.label, probe.site and probe.sites",
            ),
            ("probe.sites=[resid_post,mlp_out]", "what is planted is acting, at resid_post: leave out"),
            (
                "probe.site=mlp_out",
                "what is planted is acting, at resid_post: leave out probe.label, probe.site and probe.sites",
            ),
        ],
    )
    def test_what_cannot_be_run_is_refused_in_one_line(self, override, said):
        with pytest.raises(SpecError, match=re.escape(said)) as caught:
            quick(override)
        assert len(str(caught.value).splitlines()) == 1

    def test_the_site_that_is_planted_may_be_named(self):
        assert quick("probe.site=resid_post").probe.site == "resid_post"

    def test_every_check_has_a_label(self):
        labels = {row["measure"]: row["label"] for row in table(tuple(SCENARIOS), [], 0.05)}
        assert all(labels.values()) and labels["policy_rate"] == "policy rate"


class TestPlanted:
    @pytest.mark.parametrize("name", RUNS)
    def test_equal_seeds_give_equal_draws_and_others_do_not(self, name):
        one, same, other = planted(name), planted(name), planted(name, 1)
        assert one.rollouts == same.rollouts and np.array_equal(one.activations, same.activations)
        assert not np.array_equal(one.activations, other.activations)

    @pytest.mark.parametrize("name", RUNS)
    def test_the_population_shares_no_item_with_the_sample(self, name):
        rollouts = planted(name).rollouts
        parts = {split: {r.item_id for r in rollouts if r.split == split} for split in ("id", "ood")}
        assert (len(parts["id"]), len(parts["ood"])) == (SCENARIOS[name].times * SIZES.items, SIZES.population)
        assert not parts["id"] & parts["ood"]

    @pytest.mark.parametrize("name", RUNS)
    def test_patterns_find_spoken_chains_and_no_others(self, name):
        made, task = planted(name), find_task("risk")
        recorded = made.rollouts[: len(made.spoken)]
        verdicts = [judge_by_patterns(r.chain_text, task.subject(r.about)).verdict for r in recorded]
        assert [verdict == "verbalised" for verdict in verdicts] == made.spoken.tolist()
        assert set(verdicts) <= {"verbalised", "silent"}
        assert bool(made.spoken.any()) == (SCENARIOS[name].spoken > 0)
        assert not any(spoken and not r.acted for spoken, r in zip(made.spoken, recorded, strict=True))

    def test_a_direction_is_in_the_upper_layers_only_and_base_has_none(self):
        made = planted("direction")
        acted = np.array([r.acted for r in made.rollouts])

        def apart(values: np.ndarray) -> np.ndarray:
            return np.linalg.norm(values[:, acted].mean(axis=1) - values[:, ~acted].mean(axis=1), axis=-1)

        inside, base = apart(made.activations), apart(made.base)
        assert inside[1].min() > 2.5 and max(inside[0].max(), base.max()) < 0.8
        assert apart(planted("base").base)[1].min() > 2.5

    def test_a_leaking_word_goes_with_the_choice_and_no_word_is_shared_by_meanings(self):
        for name in ("word", "meaning"):
            made = planted(name)
            said = [next(w for w in r.think_text.split() if w.startswith(LEAK)) for r in made.rollouts]
            agrees = np.mean([w.startswith(LEAK[int(r.acted)]) for w, r in zip(said, made.rollouts, strict=True)])
            assert agrees == pytest.approx(FIDELITY, abs=0.05)
            assert len(set(said)) == (2 if name == "word" else len(set(said))) and (name == "word") == (
                len(set(said)) == 2
            )
            rows = {word: made.embeddings[made.vocabulary.encode([word])[0]] for word in set(said)}
            assert len({row.tobytes() for row in rows.values()}) == 2

    def test_chains_of_those_that_act_are_longer_where_length_is_planted(self):
        for name, there in (("length", True), ("direction", False)):
            made = planted(name)
            found = auroc(np.array([r.chain_tokens for r in made.rollouts]), np.array([r.acted for r in made.rollouts]))
            assert (found > 0.75) if there else (0.4 < found < 0.6)

    def test_items_choose_alike_only_where_they_leak(self):
        for name in RUNS:
            choices: dict[str, set[bool]] = {}
            for rollout in planted(name).rollouts:
                choices.setdefault(rollout.item_id, set()).add(rollout.acted)
            assert (max(map(len, choices.values())) == 1) == SCENARIOS[name].items
        groups = {r.group for r in planted("items, split by rollout").rollouts if r.split == "id"}
        assert len(groups) == 2 * SIZES.items * SIZES.rollouts

    def test_half_of_the_silent_ones_carry_what_they_do(self):
        made = planted("silent")
        acted = np.array([r.acted for r in made.rollouts])
        axis = made.activations[1, made.spoken].mean(axis=0) - made.activations[1, ~acted].mean(axis=0)
        along = np.einsum("rpw,pw->r", made.activations[1], axis) / np.sum(axis**2)
        silent = along[acted & ~made.spoken]
        assert np.mean(silent > 0) == pytest.approx(0.5, abs=0.08)
        assert np.mean(along[made.spoken] > 0) > 0.95


class TestDraw:
    def test_items_held_together_hide_a_leak_that_rollouts_dealt_out_show(self, tmp_path):
        found = {}
        for name in ("items", "items, split by rollout"):
            (tmp_path / name).mkdir()
            found[name] = draw(quick("sizes.width=48"), name, 0, tmp_path / name)
        leaking = found["items, split by rollout"]
        assert leaking["estimates"]["auroc"][1] > 0.6 > 0.56 > leaking["truth"]["auroc"]
        assert found["items"]["estimates"]["auroc"][1] < 0.5

    def test_the_truth_is_the_worth_of_what_was_fitted(self, tmp_path):
        found = draw(quick("sizes.population=1000", "sizes.items=44"), "direction", 0, tmp_path)
        value = found["estimates"]["auroc"][0]
        assert found["p_value"] == pytest.approx(0.05) and value > 0.9
        # A direction of 4 standard deviations; a probe of few rows in 8 dimensions reads most of it.
        assert 0.9 < found["truth"]["auroc"] < 0.999
        assert found["truth"]["beyond_words"] == pytest.approx(found["truth"]["auroc"] - 0.5, abs=0.06)
        assert 0.5 < found["truth"]["silent_but_decodable"] < 1
        assert found["truth"]["realised_fpr"] < 0.2 < 0.5 < found["truth"]["silent_but_decodable"]

    def test_the_truth_of_words_is_their_rate_at_the_threshold_that_was_set(self, tmp_path):
        spec = quick("sizes.items=44")
        assert draw(spec, "silent", 0, tmp_path)["truth"]["words_silent"] < 1
        rng = np.random.default_rng([spec.seed, crc32(b"silent"), 0])
        made = plant(SCENARIOS["silent"], spec.sizes, spec.probe.positions, rng)
        readouts = read_readouts(tmp_path)
        scores = np.array([row.text for row in readouts if row.part == "ood" and row.text is not None])
        acted = {r.rollout: bool(r.acted) and not made.spoken[r.rollout] for r in made.rollouts}
        quiet = scores[[acted[row.rollout] for row in readouts if row.part == "ood"]]
        for threshold in (scores.min() - 1, float(np.median(quiet)), scores.max()):
            results = {
                "link": {"text_baseline": {"threshold": threshold}},
                "probe": {"headline": {"accuracy_threshold": 0.0}},
            }
            found = _truth(made, readouts, results, 0.05)
            assert found["words_silent"] == pytest.approx((quiet > threshold).mean())
        del results["link"]["text_baseline"]
        assert "words_silent" not in _truth(made, readouts, results, 0.05)

    def test_a_draw_that_cannot_be_probed_says_why(self, tmp_path):
        found = draw(quick("sizes.items=20", "sizes.rollouts=2", "probe.inner_folds=12"), "nothing", 0, tmp_path)
        assert "too few" in found["undefined"]


def made_up(n: int, *, value: float = 0.6, low: float = 0.4, high: float = 0.8, truth: float = 0.5, p: float = 0.5):
    one = {
        "scenario": "nothing",
        "p_value": p,
        "estimates": {"auroc": [value, low, high], "beyond_words": [value, low, high], "realised_fpr": None},
        "truth": {"auroc": truth, "beyond_words": truth, "realised_fpr": truth},
    }
    return [one | {"draw": i} for i in range(n)]


class TestTable:
    @pytest.mark.parametrize(
        ("check", "draws", "value", "nominal", "reading"),
        [
            (Check("coverage", "auroc"), made_up(95) + made_up(5, truth=0.9), 0.95, 0.95, "compatible"),
            (Check("coverage", "auroc"), made_up(80) + made_up(20, truth=0.39), 0.80, 0.95, "too narrow"),
            (Check("coverage", "auroc"), made_up(100), 1.0, 0.95, "wide"),
            (Check("coverage", "auroc", None), made_up(100, truth=0.9), 0.0, 0.95, "for comparison"),
            (Check("above", "auroc"), made_up(98) + made_up(2, low=0.51), 0.02, 0.025, "compatible"),
            (Check("above", "auroc"), made_up(85) + made_up(15, low=0.51), 0.15, 0.025, "too often"),
            (Check("above", "beyond_words"), made_up(90, low=-0.1) + made_up(10), 0.10, 0.025, "too often"),
            (Check("above", "beyond_words", True), made_up(90, low=-0.1) + made_up(10), 0.10, None, "power"),
            (Check("found", "shuffled_labels"), made_up(95) + made_up(5, p=0.05), 0.05, 0.05, "compatible"),
            (Check("found", "shuffled_labels"), made_up(85) + made_up(15, p=0.05), 0.15, 0.05, "too often"),
            (Check("found", "shuffled_labels", True), made_up(5, p=0.05), 1.0, None, "power"),
            (Check("rate", "realised_fpr"), made_up(50, truth=0.2) + made_up(50, truth=0.1), 0.15, 0.05, "too often"),
            (Check("rate", "realised_fpr"), made_up(50, truth=0.02) + made_up(50, truth=0.0), 0.01, 0.05, "compatible"),
            (Check("bias", "auroc"), made_up(50) + made_up(50, value=0.7), 0.15, 0.0, "too high"),
            (Check("bias", "auroc"), made_up(50) + made_up(50, value=0.4), 0.0, 0.0, "compatible"),
        ],
    )
    def test_a_row_counts_draws_and_says_whether_it_holds(self, check, draws, value, nominal, reading):
        row = _row("nothing", check, draws, 0.05)
        assert row["found"]["value"] == pytest.approx(value)
        assert row["found"]["n"] == len(draws) and row["found"]["ci95"][0] <= value <= row["found"]["ci95"][1]
        assert (row["nominal"], row["reading"], row["n_undefined"]) == (nominal, reading, 0)

    def test_intervals_that_miss_are_counted_by_the_side_on_which_they_lie(self):
        draws = made_up(70) + made_up(20, truth=0.39) + made_up(7, truth=0.9) + made_up(2, truth=0.4)
        row = _row("nothing", Check("coverage", "auroc"), [*draws, {"scenario": "nothing", "undefined": "few"}], 0.05)
        assert row["misses"] == {"below": 7, "above": 20} and row["reading"] == "too narrow"
        assert found_wrong([row])[0].endswith("too narrow (7 lie below the truth, 20 above it).")
        assert "misses" not in _row("nothing", Check("bias", "auroc"), draws, 0.05)

    def test_draws_that_gave_nothing_are_counted_apart(self):
        draws = [*made_up(4), {"scenario": "nothing", "draw": 4, "undefined": "too few"}]
        assert _row("nothing", Check("coverage", "auroc"), draws, 0.05)["n_undefined"] == 1
        row = _row("nothing", Check("coverage", "realised_fpr"), draws, 0.05)
        assert (row["found"]["value"], row["reading"], row["n_undefined"]) == (None, "not estimated", 5)


class TestRun:
    def test_the_folder_says_what_was_done_and_found(self, finished):
        results = VALIDATION.read(finished / "results.json")
        lines = [json.loads(line) for line in (finished / "draws.jsonl").read_text().splitlines()]
        assert [(each["scenario"], each["draw"]) for each in lines] == [
            ("nothing", 0), ("direction", 0), ("nothing", 1), ("direction", 1)
        ]  # fmt: skip
        assert {row["scenario"] for row in results["rows"]} == {"nothing", "direction"}
        assert json.loads((finished / "manifest.json").read_text())["spec_digest"] == quick().digest()
        assert sorted(p.name for p in finished.iterdir() if not p.name.startswith(".")) == [
            "draws.jsonl", "manifest.json", "report.html", "results.json", "validation.yaml", "versions.json"
        ]  # fmt: skip
        power = next(r for r in results["rows"] if r["scenario"] == "direction" and r["measure"] == "auroc")
        assert (power["found"]["value"], power["reading"]) == (1.0, "power")

    def test_after_a_kill_it_goes_on_and_gives_what_a_whole_run_gives(self, finished, tmp_path, monkeypatch):
        out, made = tmp_path / "cut", []

        def kill(*arguments):
            made.append(arguments)
            if len(made) > 2:
                raise KeyboardInterrupt
            return draw(*arguments)

        monkeypatch.setattr(validate, "draw", kill)
        with pytest.raises(KeyboardInterrupt):
            validate.run_validation(quick(), out)
        kept = (out / "draws.jsonl").read_bytes()
        assert kept.count(b"\n") == 2
        (out / "draws.jsonl").write_bytes(kept + b'{"scenario": "noth')
        (out / ".draw-left.tmp").mkdir()
        monkeypatch.setattr(validate, "draw", lambda *arguments: made.append(arguments) or draw(*arguments))
        validate.run_validation(quick(), out, resume=True)
        assert len(made) == 5
        for name in ("draws.jsonl", "results.json"):
            assert (out / name).read_bytes() == (finished / name).read_bytes()
        assert not list(out.glob(".draw-*"))

    @pytest.mark.slow
    def test_several_processes_give_the_same_draws(self, finished, tmp_path):
        validate.run_validation(quick("workers=2", "draws=1", "scenarios=[nothing]"), tmp_path / "two")
        first = (finished / "draws.jsonl").read_bytes().splitlines(keepends=True)[0]
        assert (tmp_path / "two" / "draws.jsonl").read_bytes() == first

    def test_it_can_be_gone_on_with_but_not_mistaken(self, finished, tmp_path):
        out = Path(shutil.copytree(finished, tmp_path / "copy"))
        with pytest.raises(RunError, match="add --resume"):
            validate.run_validation(quick(), out)
        with pytest.raises(RunError, match="another validation"):
            validate.run_validation(quick("seed=1"), out, resume=True)
        lines = (out / "draws.jsonl").read_text().splitlines(keepends=True)
        bare = [json.dumps({key: value for key, value in json.loads(lines[0]).items() if key != left_out}) + "\n"
                for left_out in ("p_value", "estimates", "truth")]  # fmt: skip
        for wrong in (["[]\n"], ["1\n"], ["{}\n"], lines[1:], [*lines, lines[0]], ["x\n"], *([line] for line in bare)):
            (out / "draws.jsonl").write_text("".join(wrong))
            with pytest.raises(StoreError, match="does not hold this validation's draws"):
                validate.run_validation(quick(), out, resume=True)

    def test_draws_of_other_versions_are_not_pooled(self, finished, tmp_path):
        out = Path(shutil.copytree(finished, tmp_path / "copy"))
        made = json.loads((out / "versions.json").read_text())
        for versions, said in (
            (made | {"numpy": "1.0"}, f"numpy 1.0, now {made['numpy']}"),
            (None, "no versions.json"),
        ):
            (out / "versions.json").unlink()
            if versions:
                (out / "versions.json").write_text(json.dumps(versions))
            before = (out / "draws.jsonl").read_bytes()
            with pytest.raises(StoreError, match=re.escape(said)) as caught:
                validate.run_validation(quick(), out, resume=True)
            assert len(str(caught.value).splitlines()) == 1 and (out / "draws.jsonl").read_bytes() == before
            (out / "versions.json").touch()

    def test_draws_of_a_time_when_fewer_packages_were_recorded_go_on(self, finished, tmp_path, monkeypatch):
        out = Path(shutil.copytree(finished, tmp_path / "copy"))
        made = earlier_versions(json.loads((out / "versions.json").read_text()))
        (out / "versions.json").write_text(json.dumps(made))
        monkeypatch.setattr(validate, "draw", lambda *_: pytest.fail("a draw was made again"))
        validate.run_validation(quick(), out, resume=True)
        assert (out / "results.json").read_bytes() == (finished / "results.json").read_bytes()


class TestPage:
    def test_it_shows_every_row_and_marks_what_does_not_hold(self, finished):
        results = VALIDATION.read(finished / "results.json")
        wrong = next(row for row in results["rows"] if row["kind"] == "coverage")
        wrong |= {"found": {"value": 0.7, "ci95": [0.6, 0.8], "n": 100, "method": "wilson"}, "reading": "too narrow"}
        wrong["misses"] = {"below": 29, "above": 1}
        page = render(results, None)
        assert "24 items of 5 rollouts" in page
        assert page.count("missed: 29 below the truth, 1 above") == 1
        assert page.count(f'<tr class="wrong"><td>{escape(wrong["label"])}') == 1
        assert all(str(escape(row["label"])) in page for row in results["rows"]) and "70% [60%, 80%]" in page
        assert found_wrong([wrong])[0].startswith(
            f"With nothing planted, {wrong['label']}: 95% interval holds the truth in 70%"
        )

    def test_nothing_in_results_can_act(self, finished):
        results = VALIDATION.read(finished / "results.json")
        hostile = "<script>alert(1)</script>\u202e"
        results["organisms"]["from"] = results["organisms"]["rows"][0]["organism"] = hostile
        results["validation"]["question"] = results["scenarios"][0]["planted"] = results["rows"][0]["note"] = hostile
        page = render(results, {"command": hostile})
        assert "<script>alert" not in page and "\u202e" not in page

    def test_it_is_drawn_again_from_results_and_damage_is_one_line(self, finished, tmp_path):
        out = Path(shutil.copytree(finished, tmp_path / "copy"))
        before = (out / "report.html").read_bytes()
        (out / "report.html").unlink()
        assert report_validation(out).read_bytes() == before
        results = json.loads((out / "results.json").read_text())
        del results["rows"][0]["reading"]
        (out / "results.json").write_text(json.dumps(results))
        with pytest.raises(StoreError, match=r"rows\.0"):
            report_validation(out)
        (out / "results.json").unlink()
        with pytest.raises(RunError, match="has no results"):
            report_validation(out)

    def test_sentences_count_what_holds(self, finished):
        said = headline(VALIDATION.read(finished / "results.json"))
        assert said[0].startswith("2 draws of each of 2 scenarios") and "direction 100%" in said[1]

    def test_sentences_count_no_row_that_was_not_estimated(self, finished):
        results = VALIDATION.read(finished / "results.json")
        before = headline(results)[0]
        blank = {"found": {"value": None, "reason": "no draw gave it"}, "reading": "not estimated"}
        tests = [row for row in results["rows"] if row["kind"] in ("found", "above") and row["there"] is False]
        covers = [row for row in results["rows"] if row["kind"] == "coverage" and row["there"] is False]
        estimated = [sum(row["reading"] != "not estimated" for row in rows) for rows in (tests, covers)]
        assert f"of {estimated[0]} measures" in before and f"of {estimated[1]} intervals" in before
        next(row for row in tests if row["reading"] != "not estimated").update(blank)
        next(row for row in covers if row["reading"] != "not estimated").update(blank)
        after = headline(results)[0]
        assert f"of {estimated[0] - 1} measures" in after and f"of {estimated[1] - 1} intervals" in after

    def test_what_a_wide_interval_cannot_contradict_is_counted_apart(self, finished):
        results = VALIDATION.read(finished / "results.json")
        row = results["organisms"]["rows"][0]
        readings = ("shown", "not contradicted", "not contradicted", "contradicted", "not measured")
        results["organisms"]["rows"] = [row | {"reading": reading} for reading in readings]
        assert headline(results)[-1] == (
            "Of 4 figures expected of the planted truth of organisms: 1 shown, 2 not contradicted, 1 contradicted."
        )
        page = render(results, None)
        assert page.count(f'<tr class="wrong"><td>{row["organism"]}') == 1 and "its card" not in page


class TestOrganisms:
    def test_without_runs_the_shipped_summary_is_held_against_the_cards(self):
        found = organisms(())
        assert SHIPPED in found["from"] and "not by this validation" in found["from"]
        by = {(row["organism"], row["label"]): row for row in found["rows"]}
        assert by["risk-silent", "beyond the base model"]["reading"] == "shown"
        assert by["risk-verbal", "beyond the best of words"]["reading"] == "not contradicted"
        measured = json.loads((ROOT / SHIPPED).read_text())
        coin = next(each for each in measured if each["experiment"]["planted_truth"] == "coinflip")
        low, high = coin["probe"]["headline"]["auroc"]["ci95"]
        row = by["risk-coinflip", "probe's AUROC"]
        assert row["found"]["ci95"] == [low, high] and (row["reading"] == "not contradicted") is (low <= 0.5 <= high)

    @pytest.mark.parametrize(
        ("side", "interval", "reading"),
        [
            ("above", [0.6, 0.9], "shown"),
            ("above", [0.4, 0.9], "not shown"),
            ("reaches", [0.1, 0.9], "not contradicted"),
            ("reaches", [0.6, 0.9], "contradicted"),
            ("reaches", [0.1, 0.4], "contradicted"),
            ("not above", [0.1, 0.9], "not contradicted"),
            ("not above", [0.1, 0.4], "not contradicted"),
            ("not above", [0.6, 0.9], "contradicted"),
        ],
    )
    def test_only_an_interval_above_its_level_shows_anything(self, side, interval, reading):
        assert _reading(side, 0.5, {"value": 0.5, "ci95": interval}) == reading
        assert _reading(side, None, {"value": 0.5, "ci95": interval}) == "not measured"
        assert _reading(side, 0.5, {"value": None, "reason": "too few"}) == "not measured"

    def test_folders_without_results_or_planted_truth_are_named(self, tmp_path, monkeypatch):
        with pytest.raises(StoreError, match=r"results\.json"):
            organisms([str(tmp_path)])
        bare = {"experiment": {"planted_truth": None, "organism": None}, "command": None}
        monkeypatch.setattr("introspect.validation.organisms.summarise", lambda runs: [bare])
        with pytest.raises(SpecError, match="no organism of planted truth"):
            organisms(["runs/base"])


class TestShipped:
    def test_the_summary_is_a_validation_and_makes_the_section_of_every_report(self):
        summary = read_json(ROOT / "experiments" / "results" / "validate-instrument.json")
        extra = {key: summary.pop(key) for key in ("command", "versions", "machine")}
        VALIDATION.check(summary)
        section = arranged(summary | extra)
        assert section["n_draws"] == summary["validation"]["n_draws"] and extra["command"].startswith("introspect run")
        names = [line["name"] for line in section["lines"]]
        assert names[:3] == ["nothing", "direction", "base"] and "steering, a push" not in names
        assert any(row for line in section["lines"] for row in line["cells"]) and section["coverage"]

    def test_without_a_summary_or_with_few_draws_a_report_says_nothing_of_it(self, finished, monkeypatch, tmp_path):
        monkeypatch.setattr(instrument, "assets_root", lambda: tmp_path)
        assert instrument.shipped_validation.__wrapped__() is None
        summary = with_provenance(VALIDATION.read(finished / "results.json"), finished)
        (tmp_path / "experiments" / "results").mkdir(parents=True)
        for n_draws, there in ((49, False), (50, True)):
            summary["validation"]["n_draws"] = n_draws
            (tmp_path / instrument.SUMMARY).write_text(json.dumps(summary))
            assert (instrument.shipped_validation.__wrapped__() is not None) == there

    def test_the_section_says_what_was_measured_and_stands_only_where_that_was_probed(self, finished):
        summary = with_provenance(VALIDATION.read(finished / "results.json"), finished)
        run = {"label": "acted", "estimator": ESTIMATORS["logistic"].what}

        def said(probe: dict) -> str:
            environment = Environment(
                loader=PackageLoader("introspect.report", "."), autoescape=True, undefined=StrictUndefined
            )
            environment.filters |= {"plain": str, "share": str, "number": str}
            return str(
                environment.get_template("instrument.html.j2").module.instrument_section(arranged(summary), probe)
            )

        assert (
            "logistic probes of acting, 24 items of 5 rollouts, width 8, 50 bootstraps; other sizes, labels and "
            "estimators were not measured" in said(run)
        )
        assert "same analysis" not in said(run)
        ridge = {"estimator": ESTIMATORS["ridge"].what}
        for other in (run | {"label": "silent"}, run | ridge, {"value": None, "reason": "too few"}):
            assert not said(other).strip()
        summary["validation"]["probe"]["estimator"] = "ridge"
        assert "ridge probes of acting" in said(run | ridge) and not said(run).strip()


class TestCommand:
    @pytest.fixture
    def run(self):
        return lambda *words: CliRunner().invoke(app, list(words))

    def test_it_runs_prints_its_answer_and_resumes(self, run, tmp_path):
        options = [word for override in (*QUICK, "scenarios=[nothing]") for word in ("--set", override)]
        out = str(tmp_path / "out")
        done = run("run", NAME, "--limit", "1", "--out", out, *options)
        assert done.exit_code == 0, done.output
        assert "1 draws of each of 1 scenarios" in done.output and done.output.rstrip().endswith("report.html")
        again = run("run", NAME, "--limit", "1", "--out", out, *options, "--resume", "--json")
        summary = json.loads(again.stdout)
        assert summary["command"].split()[0] == "introspect" and summary["validation"]["n_draws"] == 1
        assert run("report", out).exit_code == 0

    def test_its_cost_is_said_before(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        options = [word for override in QUICK for word in ("--set", override)]
        cost = json.loads(run("run", NAME, "--dry-run", "--json", *options).stdout)
        assert cost["n_scenarios"] == len(SCENARIOS) and cost["seconds"] > 0 and cost["n_draws"] == 100
        assert not list(tmp_path.iterdir())

    def test_it_is_listed_and_shown(self, run):
        assert NAME in run("list", "experiments").output
        assert "scenarios:" in run("show", NAME).output

    def test_flags_of_one_run_are_refused(self, run):
        refused = run("run", NAME, "--model", "m")
        assert refused.exit_code != 0 and isinstance(refused.exception, SpecError | SystemExit)
