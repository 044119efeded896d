"""Measures of the validation whose truth is planted apart: what is planted, what is true of it, and what is said so."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from markupsafe import escape

from introspect.link import Readout
from introspect.metrics.hint_rows import hint_rows
from introspect.spec_kinds import load_spec
from introspect.stats import CHANCE, auroc
from introspect.validation import validate
from introspect.validation.alone import APART, alone, numbers
from introspect.validation.facts import draw
from introspect.validation.labelled import write_labels
from introspect.validation.linked import hint_estimates, linked_truths
from introspect.validation.measures import MEASURES
from introspect.validation.page import render
from introspect.validation.planted import ALIGNED, OF_ITEM, OF_KIND, plant
from introspect.validation.population import increments
from introspect.validation.scenarios import SCENARIOS, Check
from introspect.validation.sentences import headline
from introspect.validation.spec import Sizes, ValidateInstrument
from introspect.validation.table import ESTIMATED_AS, _row

QUICK = (
    "sizes={items: 44, rollouts: 4, population: 200, layers: 2, width: 8, strength: 4.0}",
    "probe.positions=[think_100]",
    "probe.inner_folds=2",
    "probe.penalties=[0.01]",
    "probe.permutations=19",
    "probe.bootstrap=50",
)
SIZES = Sizes(items=40, rollouts=4, population=600, layers=2, width=8, strength=3.0)
LINK = ("misread", "said, and there before", "said, and there only then", "hints, used", "hints, read only")
ALONE = [name for name, each in SCENARIOS.items() if each.alone]


def quick(*more: str) -> ValidateInstrument:
    return load_spec("validate-instrument", [*QUICK, *more])


def planted(name: str, seed: int = 0):
    positions = SCENARIOS[name].positions or ("last_prompt", "think_100")
    return plant(SCENARIOS[name], SIZES, positions, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> dict:
    """Scenario -> its folder and what one draw found."""
    out = {}
    for name in LINK:
        folder = tmp_path_factory.mktemp("draw")
        out[name] = folder, draw(quick(), name, 0, folder)
    return out


class TestPlanted:
    def test_hints_move_those_that_are_motivated_and_no_others(self):
        made = planted("hints, used")
        rows = hint_rows(made.rollouts, {})
        category = dict(zip(rows.rollout.tolist(), rows.category.tolist(), strict=True))
        assert len(category) == len(made.acted) and set(category.values()) == {"motivated", "resistant", "aligned"}
        assert [category[i] == "motivated" for i in range(len(category))] == made.acted.tolist()
        share = np.mean([name == "aligned" for name in category.values()])
        assert share == pytest.approx(ALIGNED, abs=0.05)
        aligned = {r.item_id for r in made.rollouts if category.get(r.rollout) == "aligned"}
        assert not any(
            r.item_id in aligned for r in made.rollouts if category.get(r.rollout) in ("motivated", "resistant")
        )

    @pytest.mark.parametrize(("name", "inside"), [("hints, used", 1.0), ("hints, read only", 0.0)])
    def test_activations_carry_the_kind_of_hint_and_its_use_only_where_that_is_planted(self, name, inside):
        made = planted(name)
        kind = np.array([r.facts.get("hint") == "sycophancy" for r in made.rollouts[: len(made.acted)]])

        def apart(label: np.ndarray) -> float:
            values = made.activations[1, :, 0]
            return float(np.linalg.norm(values[label].mean(axis=0) - values[~label].mean(axis=0)))

        assert apart(kind) == pytest.approx(OF_KIND * SIZES.strength, abs=0.4)
        assert apart(made.acted) == pytest.approx(inside * SIZES.strength, abs=0.5)

    def test_where_it_is_there_only_then_the_middle_of_the_chain_carries_nothing(self):
        for name, there in (("said, and there before", True), ("said, and there only then", False)):
            made = planted(name)
            middle, end = np.moveaxis(made.activations[1], 1, 0)
            for values, carried in ((middle, there), (end, True)):
                gap = np.linalg.norm(values[made.acted].mean(axis=0) - values[~made.acted].mean(axis=0))
                assert (gap > 3) if carried else (gap < 0.6)

    def test_what_is_whispered_is_labelled_and_carried_and_no_pattern_knows_it(self, tmp_path):
        made = planted("misread")
        assert made.whispered.sum() > 20 and not (made.whispered & (made.spoken | ~made.acted)).any()
        write_labels(tmp_path / "sheet.csv", made, 0.5, np.random.default_rng(0))
        with (tmp_path / "sheet.csv").open(encoding="utf-8", newline="") as file:
            rows = {int(row["rollout"]): row["relies"] == "yes" for row in csv.DictReader(file)}
        says = made.spoken | made.whispered
        assert all(said == says[number] for number, said in rows.items())
        sample = sum(r.split == "id" for r in made.rollouts)
        assert max(rows) < sample and len(rows) == pytest.approx(sample / 2, rel=0.25)


class TestTruth:
    @pytest.mark.parametrize("name", LINK)
    def test_every_check_of_a_draw_has_what_it_asks_for(self, drawn, name):
        found = drawn[name][1]
        for check in SCENARIOS[name].checks:
            if check.kind in ("coverage", "bias", "above"):
                assert ESTIMATED_AS.get(check.measure, check.measure) in found["estimates"], check
            if check.kind in ("coverage", "bias", "rate"):
                assert 0 <= found["truth"][check.measure] <= 1, check

    @pytest.mark.parametrize("name", ALONE)
    def test_every_check_of_numbers_alone_has_what_it_asks_for(self, name):
        found = alone(quick(), name, np.random.default_rng(0))
        for check in SCENARIOS[name].checks:
            if check.kind == "found":
                assert 0 < found["p_values"][check.measure] <= 1
            else:
                low, high = found["estimates"][check.measure][1:]
                assert low <= found["estimates"][check.measure][0] <= high
                assert -4 <= found["truth"][check.measure] <= 4

    def test_what_is_held_against_a_truth_says_which(self):
        for name, scenario in SCENARIOS.items():
            for check in scenario.checks:
                assert bool(MEASURES[check.measure].truth) or check.kind in ("found", "above"), (name, check)

    def test_the_truth_before_the_first_mention_is_that_of_rollouts_at_their_own_last_position(self):
        def readout(number: int, part: str, value: float, before: tuple[str, ...], *, late: float = -9.0) -> Readout:
            along = {"think_50": value, "think_100": late}
            words = {name: {"text_chain": -score} for name, score in along.items()}
            return Readout(
                rollout=number, part=part, headline=value, text=None, along=along, words=words, aligned=False,
                mention=0.5 + number / 1000, before_mention=before,
            )  # fmt: skip

        both = ("think_50", "think_100")
        dev = [readout(i, "dev", i / 60, ()) for i in range(60)]
        ood = [
            readout(100, "ood", 0.99, both[:1]),
            readout(101, "ood", 0.7, both[:1]),
            readout(102, "ood", 0.0, both, late=-8.0),
            readout(103, "ood", 5.0, ()),
        ]
        said = np.arange(104) >= 100
        made = SimpleNamespace(
            acted=said,
            spoken=said,
            whispered=~said & said,
            rollouts=[SimpleNamespace(group=str(i)) for i in range(104)],
        )
        about = SCENARIOS["said, and there before"]
        found = linked_truths(made, [*dev, *ood], {"threshold": 0.0}, about, 0.05)
        # Of 60 groups two pass a threshold at 5%; the fourth rollout has no position before its mention.
        assert found["before_mention"] == pytest.approx(2 / 3) and found["first_mention"] == pytest.approx(0.6015)
        assert found["words_before_mention"] == pytest.approx(0.0) and "silent_corrected" not in found
        assert linked_truths(made, [*dev, *ood], {}, about, 0.05) == {}

    def test_a_choice_that_is_there_only_then_is_not_read_before(self, drawn):
        truth = drawn["said, and there only then"][1]["truth"]
        assert truth["before_mention"] < 0.25 < 0.6 < truth["auroc"]

    def test_each_kind_of_hint_has_its_own_threshold(self, drawn):
        used, read = (drawn[name][1]["truth"] for name in ("hints, used", "hints, read only"))
        assert used["second_kind_at_common"] > used["second_kind_fpr"]
        assert used["motivated_auroc"] > 0.8 and abs(read["motivated_auroc"] - 0.5) < 0.15
        assert used["motivated"] > 0.5 > max(used["resistant"], used["aligned"])

    def test_figures_of_hints_are_those_of_their_kinds(self):
        def estimate(value: float) -> dict:
            return {"value": value, "ci95": [value - 0.1, value + 0.1], "n": 9, "method": "m"}

        every = {"decodable": {name: estimate(0.3) for name in ("motivated", "resistant", "aligned")}}
        link = {
            "thresholds": [
                {"conditions": "b", "realised_fpr": estimate(0.2)},
                {"conditions": "a", "realised_fpr": estimate(0.1)},
            ],
            "categories": {"all_kinds": {**every, "auroc": {"resistant_and_aligned": estimate(0.7)}}},
        }
        found = hint_estimates(link, ("a", "b"))
        assert (found["first_kind_fpr"][0], found["second_kind_fpr"][0]) == (0.1, 0.2)
        assert all(found[name] == numbers(estimate(0.3)) for name in ("motivated", "resistant", "aligned"))
        assert found["motivated_auroc"][0] == 0.7 and hint_estimates(link, ()) == hint_estimates({}, ("a", "b")) == {}

    def test_the_corrected_rate_is_of_those_that_say_nothing_at_all(self, drawn):
        truth = drawn["misread"][1]["truth"]
        # Those that whisper carry it all, and the patterns take them for silent.
        assert truth["silent_corrected"] < truth["silent_but_decodable"]
        assert truth["silent_uncorrected"] == truth["silent_corrected"]

    def test_increments_are_over_what_a_baseline_is_worth_and_never_over_less_than_chance(self):
        rng = np.random.default_rng(0)
        labels = rng.random(400) < 0.5
        ood = np.arange(100, 400)
        scores = {"length": rng.normal(size=400) - labels, "logits": labels + rng.normal(size=400)}
        scores["base_model"] = 3 * labels + rng.normal(size=400)
        probe = 2 * labels + rng.normal(size=400)
        stage = SimpleNamespace(ood=ood, labels=labels)
        outcome = SimpleNamespace(
            headline=SimpleNamespace(scores=probe), baseline_scores=scores, baselines={"best": {"name": "length"}}
        )
        found = increments(stage, outcome)
        worth = {name: auroc(each[ood], labels[ood]) for name, each in (scores | {"probe": probe}).items()}
        assert worth["length"] < CHANCE and found["beyond_length"] == worth["probe"] - CHANCE == found["beyond_best"]
        assert found["beyond_every"] == found["beyond_logits"] == worth["probe"] - worth["logits"]
        assert found["beyond_base"] < 0


class TestAlone:
    def test_equal_generators_give_equal_draws_and_others_do_not(self):
        for name in ALONE:
            one, same, other = (alone(quick(), name, np.random.default_rng(seed)) for seed in (0, 0, 1))
            assert one == same != other

    def test_errors_of_labels_are_corrected_to_the_truth(self):
        rng = np.random.default_rng(0)
        labels = np.arange(10**5) % 2 == 0
        for name, apart in (("labels with errors", APART), ("labels with errors, nothing there", 0.0)):
            found = alone(quick("sizes.items=300"), name, np.random.default_rng(0))
            scores = apart * labels + OF_ITEM * rng.normal(size=len(labels)) + rng.normal(size=len(labels))
            assert found["truth"]["auroc_corrected"] == pytest.approx(auroc(scores, labels), abs=0.006)
            for estimate, tolerance in (("auroc_corrected", 0.12), ("auroc_by_second", 0.08)):
                assert found["truth"][estimate] == found["truth"]["auroc_corrected"]
                assert found["estimates"][estimate][0] == pytest.approx(found["truth"][estimate], abs=tolerance)

    def test_a_probe_is_carried_over_along_one_direction_only(self):
        big = quick("sizes={items: 100, population: 1000, layers: 2, width: 16, strength: 3.0}")
        one, two = (
            alone(big, f"transfer, {name}", np.random.default_rng(1)) for name in ("one direction", "two directions")
        )
        assert one["truth"]["transfer"] > 0.9 and abs(one["truth"]["transfer_below"]) < 0.05
        assert two["truth"]["transfer"] < 0.8 and two["truth"]["transfer_below"] > 0.15
        for found in (one, two):
            for name, truth in found["truth"].items():
                assert found["estimates"][name][0] == pytest.approx(truth, abs=0.1)

    def test_pushes_are_what_they_were_planted_to_be(self):
        big = quick("sizes.items=4000")
        for name in ("steering, a push", "steering, a push like others"):
            found = alone(big, name, np.random.default_rng(0))
            assert found["estimates"]["push_change"][0] == pytest.approx(found["truth"]["push_change"], abs=0.08)
            assert found["estimates"]["push_beyond"][0] == pytest.approx(found["truth"]["push_beyond"], abs=0.08)
            assert found["estimates"]["share_change"][0] == pytest.approx(found["truth"]["share_change"], abs=0.04)
        assert alone(big, "steering, a push", np.random.default_rng(0))["p_values"]["push_p"] == pytest.approx(1 / 41)


class TestTable:
    def test_tests_besides_that_of_shuffled_labels_are_counted_by_their_own_p(self):
        draws = [
            {
                "scenario": "s",
                "draw": i,
                "p_value": None,
                "p_values": {"push_p": 0.01 if i < 3 else None if i < 4 else 1.0},
            }
            for i in range(10)
        ]
        row = _row("s", Check("found", "push_p"), draws, 0.05)
        assert row["found"]["value"] == pytest.approx(3 / 9) and row["n_undefined"] == 1

    def test_levels_are_those_of_the_measure(self):
        one = {"scenario": "s", "draw": 0, "p_value": 1.0, "truth": {}}
        for measure, level in (("transfer", "0.5"), ("before_mention", "0.05"), ("push_change", "0")):
            draws = [one | {"estimates": {measure: [0.3, 0.2, 0.4]}}]
            row = _row("s", Check("above", measure), draws, 0.05)
            assert row["asked"] == f"interval above {level}" and row["found"]["value"] == float(float(level) < 0.2)

    def test_draws_of_an_earlier_version_lack_a_measure_and_are_counted_so(self):
        old = {"scenario": "s", "draw": 0, "p_value": 1.0, "estimates": {}, "truth": {}}
        for check in (Check("coverage", "before_mention"), Check("found", "push_p")):
            assert _row("s", check, [old], 0.05)["n_undefined"] == 1


@pytest.fixture(scope="module")
def pushes(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("validation") / "pushes"
    validate.run_validation(quick("scenarios=[nothing, 'steering, a push']", "draws=1"), out)
    return out


class TestRun:
    def test_numbers_alone_are_drawn_oftener_and_said_apart(self, pushes):
        results = json.loads((pushes / "results.json").read_text())
        lines = [json.loads(line) for line in (pushes / "draws.jsonl").read_text().splitlines()]
        assert [(each["scenario"], each["draw"]) for each in lines] == [
            ("nothing", 0),
            *(("steering, a push", i) for i in range(10)),
        ]
        assert [(each["alone"], each["n_draws"]) for each in results["scenarios"]] == [(False, 1), (True, 10)]
        assert headline(results)[0].startswith(
            "1 draws of each of 1 scenarios, each analysed as a run is; and 10 draws of each of 1 scenarios, in each "
            "of which numbers are put to one measure: of "
        )
        assert results["warnings"][0].startswith("1 draws of a scenario are few")
        for scenario in results["scenarios"]:
            del scenario["alone"], scenario["n_draws"]
        assert headline(results)[0].startswith("1 draws of each of 2 scenarios, each analysed as a run is: of ")

    def test_the_page_says_what_is_true_and_what_has_no_truth(self, pushes):
        results = json.loads((pushes / "results.json").read_text())
        assert {each["label"] for each in results["truths"]} >= {"policy rate", "steering, change of log-odds"}
        page = render(results, None)
        for each in (*results["truths"], *results["without_truth"]):
            assert str(escape(each["label"])) in page and str(escape(each.get("truth") or each["reason"])) in page
        hostile = "<script>alert(1)</script>"
        for key, part in (("truths", "truth"), ("without_truth", "reason")):
            results[key][0] |= {"label": hostile, part: hostile}
        assert "<script>alert" not in render(results, None)

    def test_a_file_of_an_earlier_version_is_drawn_still(self, pushes):
        results = json.loads((pushes / "results.json").read_text())
        del results["truths"], results["without_truth"]
        for scenario in results["scenarios"]:
            del scenario["alone"], scenario["n_draws"]
        validate.VALIDATION.check(results)
        assert "held against no truth" not in render(results, None)

    def test_the_cost_is_of_each_sort_of_draw(self, monkeypatch):
        made = []
        seconds = {"hints, used": 5.0, "steering, a push": 0.5}
        monkeypatch.setattr(validate, "_timed", lambda spec, name: made.append(name) or seconds.get(name, 2.0))
        spec = quick("scenarios=[nothing, direction, 'hints, used', 'steering, a push']", "draws=3")
        cost = validate.validation_cost(spec)
        assert made == ["nothing", "hints, used", "steering, a push"]
        assert cost.seconds == pytest.approx(3 * (2 + 2 + 5) + 30 * 0.5)
