"""Studies of natural states: what every kind holds to, and neurofeedback, whose labels words can tell or cannot."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

from introspect import cells as cell_files
from introspect import spec_kinds
from introspect.assets import assets_root
from introspect.backends import Capture, Generation
from introspect.cli.main import app
from introspect.errors import EstimateError, RunError, SpecError, StoreError
from introspect.natural import base
from introspect.natural.base import FILE
from introspect.natural.feedback_results import found_of
from introspect.natural.labels import draw_examples, make_labelling, shuffled
from introspect.natural.measures import accuracy, area, best_of, effect_size, minus, two_way
from introspect.natural.neurofeedback import NeurofeedbackStudy
from introspect.natural.page import render, report_natural
from introspect.natural.parts import Claim, Rank, above, coarse, p_above, plain, settled
from introspect.natural.results import NATURAL
from introspect.natural.sentences import SentencePairs, one_of_each
from introspect.natural.spec import NaturalSpec
from introspect.natural.study import STUDIES, make_study, natural_cost, run_natural
from introspect.natural.text_labels import CLASSIFIERS
from introspect.spec_kinds import load_spec
from introspect.stats import Estimate
from natural_materials import QUICK, cells_of, tiny_natural, tiny_study
from wording import check_page

KINDS = sorted(QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("natural")


@pytest.fixture(scope="module", params=KINDS)
def finished(request, folder, tmp_path_factory):
    """Kind, spec, folder and results of a study that is done."""
    out = tmp_path_factory.mktemp("finished") / "run"
    spec = tiny_natural(folder, request.param)
    return request.param, spec, out, run_natural(spec, out)


def test_every_kind_has_a_spec_a_study_a_shipped_experiment_and_a_test():
    kinds = {kind for kind, each in spec_kinds.STUDIES.items() if issubclass(each, NaturalSpec)}
    assert kinds == set(STUDIES) and set(KINDS) <= kinds
    for kind in kinds:
        assert load_spec(kind).study == kind
        assert kind in NATURAL.schema["properties"]["natural"]["properties"]["kind"]["enum"]


class TestEveryKind:
    def test_it_holds_what_any_study_holds(self, finished):
        kind, spec, out, results = finished
        assert (out / "natural.yaml").exists() and results["natural"]["kind"] == kind
        assert json.loads((out / "results.json").read_text()) == results
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["natural"] == spec.name and manifest["spec_digest"] == spec.digest()
        assert load_spec(out / "natural.yaml") == spec
        assert results["sentences"] and results["verdict"] and results["tables"]

    def test_nothing_over_claims_and_what_was_not_tested_is_said(self, finished):
        *_, out, results = finished
        page = check_page((out / "report.html").read_text(encoding="utf-8"))
        assert ["meta", "not tested"] in [row[:2] for row in page.rows]
        assert "not tested" in {each["finding"] for each in results["verdict"]}

    def test_a_killed_study_resumed_is_the_uninterrupted_one(self, finished, tmp_path):
        _, spec, out, results = finished
        shutil.copytree(out, tmp_path / "cut")
        whole = (out / FILE).read_bytes()
        (tmp_path / "cut" / FILE).write_bytes(whole[: len(whole) * 2 // 3])
        (tmp_path / "cut" / "results.json").unlink()
        assert run_natural(spec, tmp_path / "cut", resume=True) == results
        assert (tmp_path / "cut" / FILE).read_bytes() == whole
        assert (tmp_path / "cut" / "report.html").read_bytes() == (out / "report.html").read_bytes()

    def test_rows_that_do_not_hold_together_are_one_line(self, finished, tmp_path):
        _, spec, out, _ = finished
        shutil.copytree(out, tmp_path / "odd")
        rows = [json.loads(line) for line in (out / FILE).read_text().splitlines()]
        bare = [{key: row[key] for key in ("cell", "of", "kind", "number")} for row in rows]
        (tmp_path / "odd" / FILE).write_text("".join(json.dumps(row) + "\n" for row in bare))
        with pytest.raises(StoreError, match=f"{FILE} do not hold together"):
            run_natural(spec, tmp_path / "odd", resume=True)

    def test_a_finished_study_asks_the_model_for_nothing(self, finished, monkeypatch):
        kind, spec, out, results = finished
        monkeypatch.setattr(STUDIES[kind], "run", lambda *args: pytest.fail("a unit was run again"))
        assert run_natural(spec, out, resume=True) == results

    def test_the_dry_run_counts_what_is_run(self, finished):
        _, spec, out, _ = finished
        cost = natural_cost(spec)
        rows = [json.loads(each) for each in (out / FILE).read_text().splitlines()]
        assert cost.n_units == 1 + max(row["cell"] for row in rows)
        assert cost.n_passes > 0 and cost.n_tokens > cost.n_passes and np.isfinite(cost.seconds)

    def test_the_page_is_drawn_again_and_holds_no_markup_of_strangers(self, finished, tmp_path):
        _, _, out, results = finished
        page = (out / "report.html").read_bytes()
        assert report_natural(out).read_bytes() == page
        hostile = results | {"sentences": ["<script>alert(1)</script>"]}
        assert "<script>alert" not in render(hostile, None) and "&lt;script&gt;" in render(hostile, None)
        figures = [figure | {"y_title": "<b>"} for figure in results["figures"]]
        with pytest.raises(StoreError, match="y_title"):
            NATURAL.check(results | {"figures": figures})

    def test_rows_of_other_units_are_refused(self, finished, tmp_path):
        _, spec, out, _ = finished
        lines = [json.loads(line) for line in (out / FILE).read_text().splitlines()]
        last = lines[-1]["cell"]
        spoilt = {
            "number": [row | ({"number": 99} if row["cell"] == last else {}) for row in lines],
            "kind": [row | ({"kind": "another"} if row["cell"] == 0 else {}) for row in lines],
            "more": [*lines, lines[-1] | {"cell": last + 1, "of": 1}],
        }
        for name, rows in spoilt.items():
            shutil.copytree(out, tmp_path / name)
            (tmp_path / name / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
            with pytest.raises(StoreError, match=r"in this study|and the study has") as caught:
                run_natural(spec, tmp_path / name, resume=True)
            assert len(str(caught.value).splitlines()) == 1

    def test_rows_too_large_to_be_read_again_are_refused_at_the_start(self, finished, tmp_path, monkeypatch):
        kind, spec, _, _ = finished
        monkeypatch.setattr(base, "MOST_BYTES", 1000)
        if kind not in ("which-cue", "framing"):
            assert make_study(spec).n_kept() == 0
            return
        with pytest.raises(
            SpecError, match=r"activations of width 32 take 0\.0 GB in .* set a smaller limit, or fewer"
        ):
            run_natural(spec, tmp_path / "large")
        with pytest.raises(SpecError, match="set a smaller limit"):
            natural_cost(spec)
        assert not (tmp_path / "large").exists()

    def test_rows_that_are_too_large_are_not_called_damaged(self, finished, monkeypatch):
        _, spec, out, _ = finished
        monkeypatch.setattr(cell_files, "MOST_BYTES", 100)
        with pytest.raises(StoreError, match="has more than the 100 bytes"):
            run_natural(spec, out, resume=True)

    def test_as_many_activations_are_kept_as_are_foreseen(self, finished):
        _, spec, out, _ = finished
        study, width = make_study(spec), 4 * -(-4 * 32 // 3)
        kept = [json.loads(line) for line in (out / FILE).read_text().splitlines()]
        texts = [text for row in kept for text in [row.get("state"), *(row.get("states") or {}).values()] if text]
        assert len(texts) <= study.n_kept() and all(len(text) == width for text in texts)
        assert spec.study != "which-cue" or len(texts) == study.n_kept() > 0

    def test_other_versions_are_refused(self, finished, tmp_path):
        _, spec, out, _ = finished
        shutil.copytree(out, tmp_path / "other")
        manifest = json.loads((out / "manifest.json").read_text()) | {"texts": "0" * 64}
        (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(RunError, match="another texts; choose another --out"):
            run_natural(spec, tmp_path / "other", resume=True)
        with pytest.raises(RunError, match="add --resume"):
            run_natural(spec, out)


SHIPPED = sorted((assets_root() / "experiments" / "results").glob("natural-*.json"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_is_read_and_drawn(path):
    shipped = json.loads(path.read_text(encoding="utf-8"))
    results = {key: shipped[key] for key in NATURAL.schema["required"]}
    NATURAL.check(results)
    assert {"command", "versions", "machine"} == set(shipped) - set(results)
    check_page(render(results, None))


class TestCommand:
    def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(self, folder, tmp_path):
        spec, out = tiny_natural(folder, "neurofeedback"), tmp_path / "nothing"
        overrides = [f"--set={each}" for each in QUICK["neurofeedback"]]
        found = CliRunner().invoke(
            app, ["run", "neurofeedback", "--model", spec.model, *overrides, "--dry-run", "--json", "--out", str(out)]
        )
        assert found.exit_code == 0, found.output
        cost = json.loads(found.output)
        assert cost["n_units"] == 1 + 4 * 2 + 4 * 1 and cost["n_generated"] == 2 * 4 * 2 * 3
        assert not out.exists()

    def test_a_control_of_a_run_is_refused(self):
        found = CliRunner().invoke(app, ["run", "neurofeedback", "--no-negative-control"])
        assert isinstance(found.exception, SpecError) and "controls of its own" in str(found.exception)

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("examples=[3]", "give an even number"),
            ("examples=[4, 4]", "named twice"),
            ("exmples=[4]", "did you mean 'examples'"),
            ("components=[0]", "greater than or equal to 1"),
            ("depth=2", "less than or equal to 1"),
        ],
    )
    def test_what_cannot_be_run_is_refused_in_one_line(self, override, said):
        with pytest.raises(SpecError, match=re.escape(said)) as caught:
            load_spec("neurofeedback", [override])
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("limit=5", "5 pairs of sentences are too few"),
            ("layer=9", "layers 0 to 2"),
            ("sentences_file=nowhere.yaml", "cannot read nowhere.yaml"),
        ],
    )
    def test_what_the_model_or_the_texts_do_not_have_is_named(self, folder, override, said):
        with pytest.raises(SpecError, match=re.escape(said)):
            tiny_study(folder, "neurofeedback", override)

    def test_a_model_that_fails_its_self_test_is_refused(self, monkeypatch, folder, tmp_path):
        def fails(*_: object) -> None:
            raise RunError("the self-test failed")

        monkeypatch.setattr("introspect.cell_folder.self_test", fails)
        with pytest.raises(RunError, match="the self-test failed"):
            run_natural(tiny_natural(folder, "neurofeedback"), tmp_path / "failed")
        assert not (tmp_path / "failed").exists()


class TestLabels:
    def test_shipped_pairs_are_enough_and_halves_share_none(self):
        pairs = SentencePairs.read()
        fitted, held = pairs.halves(None, 0)
        assert len(fitted) == len(held) == len(pairs.pairs) >= 60
        assert not {each.pair for each in fitted} & {each.pair for each in held}
        assert sum(each.feature for each in held) == len(held) // 2
        assert pairs.halves(None, 1)[0] != fitted
        assert {each.pair for each in pairs.halves(20, 0)[0]} <= {each.pair for each in (*fitted, *held)}

    def test_one_of_each_pair_comes_first_and_sides_take_turns(self):
        assert one_of_each([7, 7, 3, 3, 5, 5]) == [0, 3, 4, 1, 2, 5]

    def test_directions_are_those_that_they_say_and_labels_halve_what_labels(self):
        rng = np.random.default_rng(0)
        feature = np.arange(40) % 2 == 0
        values = 0.1 * rng.standard_normal((40, 6))
        values[:, 1] += np.where(feature, 1.0, -1.0)
        values[:, 3] += 5 * rng.standard_normal(40)
        made = make_labelling(values, feature, components=[1, 2], with_feature=True, n_random=1, seed=0)
        assert made.names == ("pc1", "pc2", "feature", "random1")
        assert abs(made.units[0, 3]) > 0.99 and abs(made.units[1, 1]) > 0.9
        assert np.linalg.norm(made.units, axis=1) == pytest.approx(1)
        assert (made.labels(values)[:, 2] == feature).mean() > 0.95
        assert made.labels(values).sum(axis=0).tolist() == [20] * 4
        assert made.projected(values)[:, 0] == pytest.approx(values @ made.units[0] - np.median(values @ made.units[0]))
        with pytest.raises(EstimateError, match="alike along pc1"):
            make_labelling(np.ones((6, 3)), feature[:6], components=[1], with_feature=False, n_random=0, seed=0)
        with pytest.raises(SpecError, match="component 9"):
            make_labelling(values[:4], feature[:4], components=[9], with_feature=False, n_random=0, seed=0)

    def test_examples_are_balanced_nested_and_none_stands_twice(self):
        labels = np.arange(30) % 3 == 0
        rows = draw_examples(labels, 8, 4)
        for k in (2, 4, 6, 8):
            assert labels[rows[:k]].sum() == k // 2
        assert len(set(rows)) == 8 and (draw_examples(labels, 4, 4) == rows[:4]).all()
        again = np.array([shuffled(labels[rows], seed) for seed in range(40)])
        assert (again.reshape(40, 4, 2).sum(axis=2) == 1).all() and 0.3 < (again == labels[rows]).mean() < 0.7
        with pytest.raises(SpecError, match="24 examples need 12 sentences of either label, and there are 10"):
            draw_examples(labels, 24, 0)

    @pytest.mark.parametrize("name", CLASSIFIERS)
    def test_text_classifiers_read_a_label_that_words_carry_and_no_other(self, name):
        rng = np.random.default_rng(0)
        labels = np.arange(40) % 2 == 0
        filler = [" ".join(rng.choice(["one", "two", "three", "four"], 3)) for _ in labels]
        carried = [f"{'sunny' if y else 'rainy'} {more}" for y, more in zip(labels, filler, strict=True)]
        found = CLASSIFIERS[name](carried[:20], labels[:20], carried[20:])
        assert ((found > 0) == labels[20:]).mean() == 1.0
        assert abs(((CLASSIFIERS[name](filler[:20], labels[:20], filler[20:]) > 0) == labels[20:]).mean() - 0.5) < 0.35


class TestMeasures:
    def test_accuracy_counts_either_label_half_and_a_constant_answer_has_a_half(self):
        labels = np.array([True, False, False, False, False, False])
        constant, right = np.full((2, 6), -1.0), np.where(labels, 1.0, -1.0)[None].repeat(2, axis=0)
        ones = np.ones((1, 2)), np.ones((1, 6))
        assert accuracy(constant, labels)(*ones) == 0.5 and accuracy(right, labels)(*ones) == 1.0
        assert accuracy(np.zeros((2, 6)), labels)(*ones) == 0.5
        mixed = right.copy()
        mixed[0, 1] = 1.0
        assert accuracy(mixed, labels)(*ones)[0] == pytest.approx((1 + 9 / 10) / 2)

    def test_area_is_the_mean_over_contexts_and_needs_no_threshold(self):
        labels = np.array([True, True, False, False])
        scores = np.array([[9.0, 8, 7, 6], [1, 2, 3, 4]])
        assert area(scores, labels)(np.ones((1, 2)), np.ones((1, 4))) == pytest.approx(0.5)
        assert area(scores, labels)(np.array([[2.0, 0.0]]), np.ones((1, 4))) == pytest.approx(1.0)
        assert np.isnan(area(scores, labels)(np.ones((1, 2)), np.array([[1.0, 1, 0, 0]])))

    def test_effect_size_is_cohens_and_leaves_out_what_is_missing(self):
        rng = np.random.default_rng(1)
        values = rng.normal(size=(2, 30, 40)) + np.array([0.0, 0.8])[:, None, None]
        d = effect_size(values)(np.ones((1, 30)), np.ones((1, 40)))[0]
        pooled = np.sqrt((values[0].var() + values[1].var()) / 2)
        assert d == pytest.approx((values[1].mean() - values[0].mean()) / pooled) and d == pytest.approx(0.8, abs=0.15)
        values[0, 0, 0] = np.nan
        assert effect_size(values)(np.ones((1, 30)), np.ones((1, 40)))[0] == pytest.approx(d, abs=0.01)

    def test_the_best_is_looked_for_in_every_replicate_and_is_at_least_chance(self):
        labels = np.array([True, False] * 4)
        good, bad = np.where(labels, 1.0, -1.0)[None], np.where(labels, -1.0, 1.0)[None]
        ones = np.ones((1, 1)), np.ones((1, 8))
        assert best_of([accuracy(bad, labels)])(*ones) == 0.5
        gap = minus(accuracy(good, labels), best_of([accuracy(bad, labels), accuracy(good, labels)]))
        assert gap(*ones) == 0.0

    def test_intervals_cover_both_contexts_and_sentences(self):
        """Coverage of the mean of a table whose rows, columns and cells all vary; columns alone would be too narrow."""
        rng, held, narrow = np.random.default_rng(2), 0, 0
        for trial in range(60):
            table = 0.5 * rng.normal(size=(12, 1)) + rng.normal(size=(1, 30)) + rng.normal(size=(12, 30))

            def mean(contexts, sentences, table=table):
                return np.einsum("rc,cs,rs->r", contexts, table, sentences) / (
                    contexts.sum(axis=1) * sentences.sum(axis=1)
                )

            low, high = two_way(mean, 12, range(30), n=300, seed=trial).ci95
            held += low <= 0 <= high
            fixed = rng.multinomial(30, np.full(30, 1 / 30), size=300)
            found = mean(np.ones((300, 12)), fixed)
            narrow += np.quantile(found, 0.025) <= 0 <= np.quantile(found, 0.975)
        assert held >= 54 and narrow < held

    def test_too_few_groups_have_no_interval_and_few_contexts_are_held_fixed(self):
        def mean(contexts, sentences):
            return sentences.mean(axis=1)

        assert "3 groups" in two_way(mean, 8, [0, 0, 1, 1, 2], n=100, seed=0).reason
        assert "2 contexts held fixed" in two_way(mean, 2, range(6), n=100, seed=0).method
        whole = two_way(lambda c, s: np.ones(len(s)), 8, range(10), n=100, seed=0, share=True)
        assert whole.value == 1.0 and whole.ci95[0] == pytest.approx(1 / (1 + norm.ppf(0.975) ** 2 / 10), abs=1e-6)

    def test_logits_in_steps_are_warned_of(self):
        assert coarse("float32") == [] and "bfloat16" in coarse("bfloat16")[0]

    def test_a_finding_needs_every_interval_above(self):
        high, low, none = Estimate(1.0, (0.5, 1.5)), Estimate(1.0, (-0.5, 1.5)), Estimate.undefined("few")
        assert [above([high, high]), above([high, low]), above([high, none]), above([low, none]), above([])] == [
            "supported",
            "not supported",
            "cannot tell",
            "not supported",
            "not tested",
        ]
        assert plain("<b>x & y</b>") == " b x   y  b "

    def test_criteria_of_one_kind_are_corrected_for_how_many_there_are(self):
        def claim(name, *lows):
            return Claim(name, [(Estimate(1.0, (low, 2 - low), 9, "x"), 0.0) for low in lows], 30, "why")

        assert p_above(Estimate(1.0, (0.0, 2.0)), 0.0, 30) == pytest.approx(0.05)
        assert p_above(Estimate(1.0, (0.5, 2.0)), 0.5, 8) == pytest.approx(0.05)
        assert p_above(Estimate(1.0, (1.0, 1.0)), 0.0, 8) == 0 and p_above(Estimate(0.0, (0.0, 0.0)), 0.0, 8) == 1
        weak, strong = claim("weak", 0.01), claim("strong", 0.6)
        assert [each["finding"] for each in settled([weak])] == ["supported"]
        found = {each["criterion"]: each for each in settled([weak, strong, claim("other", -0.3)])}
        assert found["weak"]["finding"] == found["other"]["finding"] == "not supported"
        assert found["strong"]["finding"] == "supported" and "corrected for 3" in found["weak"]["reason"]
        [both] = settled([claim("both", 0.6, 0.01)])
        assert float(both["reason"].rpartition("= ")[2]) == pytest.approx(
            p_above(Estimate(1.0, (0.01, 2)), 0, 30), abs=0.01
        )
        ranked = strong._replace(rank=Rank(0.04, 99, "draws", "n"))
        assert [each["finding"] for each in settled([ranked])] == ["supported"]
        assert [each["finding"] for each in settled([ranked, weak])] == ["not supported", "not supported"]
        few = strong._replace(rank=Rank(0.5, 19, "draws", "n"))
        [one, _] = settled([few, weak])
        assert one["finding"] == "cannot tell" and one["reason"].endswith("19 draws give no less than 0.05: set n=40")
        assert [each["finding"] for each in settled([claim("no", -0.3)._replace(rank=few.rank)])] == ["not supported"]
        none = Claim("none", [(Estimate.undefined("few"), 0.0)], 30, "why")
        assert [each["finding"] for each in settled([none, weak])] == ["cannot tell", "supported"]


SENTENCE = re.compile(r"Sentence: ([^\n]+)\n(?:Label: ([01]))?")


def planted(monkeypatch, reads: str) -> None:
    """A model whose labels are read in words (naive Bayes on its examples), in its activations, or nowhere."""

    def log_odds(self, prompts):
        out = []
        for prompt in prompts:
            found = SENTENCE.findall(self.loaded.tokenizer.decode(list(prompt)))
            shown, (new, _) = found[:-1], found[-1]
            texts, labels = [text for text, _ in shown], np.array([label == "1" for _, label in shown])
            if reads == "words":
                [score] = CLASSIFIERS["words: counts and naive Bayes"](texts, labels, [new])
            elif reads == "activations":
                all_texts = [each.text for each in (*self.fitted, *self.held)]
                values = self.labelling.projected(self.activations)
                rows = [all_texts.index(text) for text in texts]
                # The direction among all that goes best with the labels that were shown, on the side that goes with it.
                fits = np.array([values[rows, d] @ np.where(labels, 1.0, -1.0) for d in range(values.shape[1])])
                best = int(np.argmax(np.abs(fits)))
                score = np.sign(fits[best]) * values[all_texts.index(new), best]
            else:
                score = np.random.default_rng(abs(hash(tuple(prompt))) % 2**32).normal()
            out.append((float(score), 0.9))
        return out

    monkeypatch.setattr(NeurofeedbackStudy, "_log_odds", log_odds)


def reported(folder, monkeypatch, reads, contexts=5):
    """Results of the report, of all shipped sentences, on a model that is planted; control is left out."""
    planted(monkeypatch, reads)
    study = tiny_study(
        folder, "neurofeedback", "limit=36", "examples=[8]", f"contexts={contexts}", "control.contexts=0"
    )
    return found_of(study, [rows_of(study, unit) for unit in study.cells()])


def rows_of(study, unit):
    return [{"kind": unit.kind, **row} for row in study.run(unit, [])]


class TestPlantedReports:
    def test_labels_read_in_words_gain_nothing_over_words(self, folder, monkeypatch):
        results = reported(folder, monkeypatch, "words")
        for cells in cells_of(results, "Labels of new sentences").values():
            right, _, words, _, beyond, *_ = cells
            assert right["value"] <= words["value"] and beyond["value"] <= 0 and beyond["ci95"][0] <= 0
        assert {v["finding"] for v in results["verdict"] if v["criterion"].startswith("report")} == {"not supported"}

    def test_labels_read_in_activations_are_found_and_those_of_shuffled_examples_are_not(self, folder, monkeypatch):
        results = reported(folder, monkeypatch, "activations", contexts=12)
        right, dealt, _, beyond_dealt, beyond_words, auc, *_ = cells_of(results, "Labels of new sentences")[
            "pc1, 8 examples"
        ]
        assert right["value"] > 0.8 and auc["value"] > 0.9 and dealt["value"] < 0.75
        assert beyond_dealt["ci95"][0] > 0 and beyond_words["ci95"][0] > 0
        found = {v["criterion"]: v["finding"] for v in results["verdict"]}
        assert found["report of pc1"] == "supported" and found["meta"] == "not tested"
        assert "Control: not tested." in results["sentences"]

    def test_labels_from_nowhere_are_not(self, folder, monkeypatch):
        results = reported(folder, monkeypatch, "nowhere")
        for cells in cells_of(results, "Labels of new sentences").values():
            assert cells[0]["ci95"][0] < 0.5 < cells[0]["ci95"][1]
        assert "supported" not in {v["finding"] for v in results["verdict"]}


class TestPlantedControl:
    def found(self, folder, shift, random=199, others=0.0):
        """`others`: how far what is asked for shifts a fifth of the random directions as well."""
        study = tiny_study(
            folder,
            "neurofeedback",
            "contexts=2",
            "control.contexts=5",
            "control.sentences=8",
            "control.written=0",
            f"control.random={random}",
        )
        rng = np.random.default_rng(3)
        of_sentence = rng.normal(size=(8, len(study.axes)))
        names = study.labelling_names

        def rows(unit):
            own = rows_of(study, unit)
            for row in own if unit.kind == "control" else []:
                values = of_sentence + 0.05 * rng.normal(size=of_sentence.shape)
                values[:, names.index(row["direction"])] += row["target"] * shift[row["arrangement"]]
                values[:, len(names) :] += row["target"] * others * (np.arange(random) % 5 == 0)
                row["implicit"] = values.tolist()
            return own

        results = found_of(study, [rows(unit) for unit in study.cells()])
        return results, {v["criterion"]: v["finding"] for v in results["verdict"]}

    def test_a_shift_on_request_is_found(self, folder):
        results, verdict = self.found(folder, {"true": 1.0, "shuffled": 0.0})
        assert verdict["control of pc1, same words"] == "supported"
        d, dealt, beyond, random = cells_of(results, "Implicit control")["pc1"]
        assert d["value"] > 0.5 and abs(dealt["value"]) < 0.2 and beyond["ci95"][0] > 0 and random["ci95"][0] > 0

    def test_a_shift_that_goes_beyond_the_mean_of_random_directions_and_not_beyond_them_is_none(self, folder):
        """A fifth of the directions shift further: it is one of them."""
        results, verdict = self.found(folder, {"true": 2.0, "shuffled": 0.0}, others=3.0)
        d, _, beyond, random = cells_of(results, "Implicit control")["pc1"]
        assert min(d["ci95"][0], beyond["ci95"][0], random["ci95"][0]) > 0.2
        assert verdict["control of pc1, same words"] == "not supported"
        [reason] = [each["reason"] for each in results["verdict"] if each["criterion"].startswith("control of pc1")]
        rank = float(re.search(r"rank among these p = ([\d.]+)", reason)[1])
        assert 0.1 < rank < 0.25 and float(re.search(r"; p = ([\d.]+)", reason)[1]) == rank

    def test_too_few_random_directions_say_nothing_and_how_many_would(self, folder):
        results, verdict = self.found(folder, {"true": 1.0, "shuffled": 0.0}, random=19)
        assert verdict["control of pc1, same words"] == "cannot tell"
        [reason] = [each["reason"] for each in results["verdict"] if each["criterion"].startswith("control of pc1")]
        assert reason.endswith("19 random directions give no less than 0.05: set control.random=80")
        assert any("Control may come to nothing" in each for each in results["warnings"])
        _, verdict = self.found(folder, {"true": 1.0, "shuffled": 1.0}, random=19)
        assert verdict["control of pc1, same words"] == "not supported", "by the digit, whatever the rank"

    def test_a_shift_by_the_digit_alone_is_seen_through(self, folder):
        results, verdict = self.found(folder, {"true": 1.0, "shuffled": 1.0})
        assert cells_of(results, "Implicit control")["pc1"][0]["ci95"][0] > 0
        assert verdict["control of pc1, same words"] == "not supported"

    def test_sentences_that_are_missing_under_one_arrangement_are_left_out_and_not_fatal(self, folder):
        study = tiny_study(folder, "neurofeedback", "control.sentences=8")
        done: list = []
        for unit in study.cells():
            done.append(study.run_cell(unit, done))
        for row in (row for unit in done for row in unit):
            if row["kind"] == "control" and row["arrangement"] == "shuffled":
                for what in ("implicit", "explicit", "reread", "written"):
                    row[what] = row[what][:-1]
        results = found_of(study, done)
        assert cells_of(results, "Implicit control")["pc1"][0]["value"] is not None
        assert "pc1" in cells_of(results, "Explicit control")

    def test_a_sentence_that_ends_at_once_keeps_its_place(self, folder):
        study = tiny_study(folder, "neurofeedback")
        inner = study.backend

        class Ends:
            name, replay = inner.name, staticmethod(inner.replay)

            @staticmethod
            def generate(prompts, **more):
                first, *rest = inner.generate(prompts, **more)
                stop = min(more["sampling"].stop_ids)
                states = {pair: values[:1] for pair, values in first.activations.items()}
                return [Generation([stop], "stop", states, first.watched), *rest]

        study.backend = Ends()
        rows = study.run(next(unit for unit in study.cells() if unit.kind == "control"), [])
        for row in rows:
            assert [len(row[what]) for what in ("explicit", "reread", "written")] == [2, 2, 2]
            assert row["explicit"][0] is None and row["reread"][0] is None and row["written"][0] == ""
            assert len(row["explicit"][1]) == len(study.axes) == len(row["reread"][1])


class TestTrials:
    def test_activations_are_means_over_the_sentence_alone(self, folder):
        study = tiny_study(folder, "neurofeedback")
        prompt = study.subject.asked("Write one sentence about something that you did.")
        text = study.held[3].text
        ids = [*prompt, *study.loaded.tokenizer(text, add_special_tokens=False).input_ids]
        [found] = study.backend.replay(
            [ids], [range(len(prompt), len(ids))], capture=Capture(("resid_post",), (study.layer,))
        )
        wanted = found["resid_post", study.layer].numpy().mean(axis=0)
        assert study.activations[len(study.fitted) + 3] == pytest.approx(wanted, abs=1e-4)

    def test_log_odds_are_those_of_the_prompt_alone(self, folder):
        import torch

        study = tiny_study(folder, "neurofeedback")
        prompts = [study.subject.led(study.subject.asked(f"one two {text}"), "Label:") for text in ("cat", "horse")]
        prompts = [(*each, *study.names.common) for each in prompts]
        for prompt, (odds, mass) in zip(prompts, study._log_odds(prompts), strict=True):
            with torch.inference_mode():
                said = torch.log_softmax(study.loaded.model(torch.tensor([prompt])).logits[0, -1], -1)
            zero, one = (float(said[study.names.tokens[label]]) for label in "01")
            assert odds == pytest.approx(one - zero, abs=1e-4) and mass == pytest.approx(np.exp(zero) + np.exp(one))

    def test_requests_differ_in_the_digit_alone_and_the_fixed_words_are_the_same(self, folder, monkeypatch):
        study = tiny_study(folder, "neurofeedback")
        seen: list = []
        assert study.labels.shape[1] == 2
        monkeypatch.setattr(
            study, "_read", lambda texts, prompt=None: seen.append((texts, prompt)) or np.zeros((0, 32))
        )
        study.run(next(unit for unit in study.cells() if unit.kind == "control"), [])
        (texts, zero), (again, one) = [each for each in seen if each[1] is not None]
        assert texts == again and len(zero) == len(one)
        differ = [
            (study.loaded.tokenizer.decode([a]), study.loaded.tokenizer.decode([b]))
            for a, b in zip(zero, one, strict=True)
            if a != b
        ]
        assert differ == [("0", "1")]
