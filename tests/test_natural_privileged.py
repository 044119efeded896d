"""Privileged access: what is asked is what it says, and planted predictions are told apart by what they follow."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from introspect.errors import SpecError
from introspect.natural import privileged
from introspect.natural.hypothetical import NUMBERS, PROPERTIES, Choices, Hypothetical
from introspect.natural.privileged import PrivilegedAccessStudy
from introspect.natural.privileged_results import OTHER_DOES, SELF, Family, _estimates, found_of
from introspect.natural.subject import prepare_subject
from natural_materials import cells_of, tiny_natural, tiny_study
from scripted import save_roomy
from tiny_folders import save_adapter
from tiny_models import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("privileged")


@pytest.fixture(scope="module")
def study(folder):
    return tiny_study(folder, "privileged-access")


def logprobs(study, prompt):
    """The oracle: log-probabilities after a prompt alone."""
    with torch.inference_mode():
        return torch.log_softmax(study.loaded.model(torch.tensor([prompt])).logits[0, -1].float(), -1)


class TestQuestions:
    def test_shipped_choices_are_enough_for_an_interval_and_none_stands_twice(self):
        choices = Choices.read()
        assert len(choices.pairs) >= 60 and len(choices.things) >= 60
        drawn = choices.questions("choice", None, 1)
        firsts = [each.options[0] < each.options[1] for each in drawn]
        assert 0.3 < np.mean(firsts) < 0.7, "which stands first is drawn"
        assert choices.questions("word", 5, 0) == choices.questions("word", 9, 0)[:5]
        assert choices.questions("word", 5, 1) != choices.questions("word", 5, 0)

    @pytest.mark.parametrize(
        ("family", "options", "answer", "holds"),
        [
            ("choice", ("tea", "coffee"), "tea", True),
            ("choice", ("tea", "coffee"), "coffee", False),
            ("number", NUMBERS, "4", True),
            ("number", NUMBERS, "7", False),
            ("word", (), " 'Mast", True),
            ("word", (), "night", False),
            ("word", (), "12", None),
        ],
    )
    def test_properties_are_what_they_say(self, family, options, answer, holds):
        assert Hypothetical(family, "x", "x?", options).holds(answer) is holds

    def test_a_pair_that_begins_alike_is_refused_by_name(self, tmp_path):
        (tmp_path / "mine.yaml").write_text("pairs: [[tea, toast]]\nthings: [a bus]\n")
        with pytest.raises(SpecError, match="'tea' and 'toast' begin with the same letter"):
            Choices.read(tmp_path / "mine.yaml")

    def test_the_question_is_shown_and_not_to_be_answered_and_both_orders_are_asked(self, study):
        for each in study.questions[::16]:
            one, other = PROPERTIES[each.family]
            asked, turned = each.predict((one, other)), each.predict((other, one))
            assert each.asked in asked and "Do not answer it" in asked
            assert asked.endswith(f"{one} or {other}.") and turned.endswith(f"{other} or {one}.")
            assert asked.replace(f"{one} or {other}.", "") == turned.replace(f"{other} or {one}.", "")


class TestRows:
    def test_a_row_has_the_most_probable_answer_and_log_odds_in_both_orders(self, study):
        [number] = [each for each in study.questions if each.family == "number"][:1]
        [row] = study.asked(study.subject, [number])
        said = logprobs(study, study.subject.led(study.subject.asked(number.asked), "Answer:"))
        # The tiny tokenizer writes a space before the digit: the common part is followed.
        ids = study.subject.options(NUMBERS)
        space = {each[0] for each in ids.values()}
        assert len(space) == 1
        said = logprobs(study, (*study.subject.led(study.subject.asked(number.asked), "Answer:"), *space))
        assert row["answer"] == max(NUMBERS, key=lambda digit: float(said[ids[digit][1]]))
        assert row["holds"] == (int(row["answer"]) % 2 == 0)
        for turned in (0, 1):
            values = ("even", "odd")[:: -1 if turned else 1]
            prompt = (*study.subject.led(study.subject.asked(number.predict(values)), "Answer:"), *space)
            said = logprobs(study, prompt)
            even, odd = (float(said[study.subject.options(("even", "odd"))[each][1]]) for each in ("even", "odd"))
            assert row["log_odds"][turned] == pytest.approx(even - odd, abs=1e-4)

    def test_a_word_is_written_by_the_model_and_its_letter_read(self, study):
        rows = study.asked(study.subject, [each for each in study.questions if each.family == "word"][:4])
        for row in rows:
            letters = re.findall("[a-z]", row["answer"].lower())
            assert row["holds"] == (None if not letters else letters[0] <= "m")

    def test_an_organisms_base_is_asked_too_and_is_part_of_what_rows_are_made_with(self, tmp_path):
        save_roomy(tmp_path / "model")
        save_adapter(tmp_path / "adapter", tiny_model("llama"), tmp_path / "model")
        made = tiny_study(
            tmp_path, "privileged-access", f"organism={tmp_path / 'adapter'}", "limit=4", "families=[number]"
        )
        kinds = [unit.kind for unit in made.cells()]
        assert kinds == ["own", "other"] and made.other.loaded.info.adapter is None
        own, other = (made.run(unit, []) for unit in made.cells())
        assert [row["thing"] for row in own] == [row["thing"] for row in other]
        assert [row["log_odds"] for row in own] != [row["log_odds"] for row in other]
        assert made.beside()["other"]["weight_digest"] == made.loaded.info.weight_digest

    def test_another_model_is_loaded_when_it_is_asked_as_offline_as_the_first_and_is_tested(self, folder, monkeypatch):
        model = tiny_natural(folder, "privileged-access").model
        spec = tiny_natural(folder, "privileged-access", f"other={model}", "limit=4", "families=[number]")
        made = PrivilegedAccessStudy(prepare_subject(spec, offline=True))
        loads, tests = [], []

        def prepare(spec, *, offline):
            loads.append(offline)
            return prepare_subject(spec, offline=offline)

        monkeypatch.setattr(privileged, "prepare_subject", prepare)
        monkeypatch.setattr(privileged, "self_test", lambda loaded, backend: tests.append(loaded.info.name))
        digest = made.made_with()["beside"]["other"]["weight_digest"]
        assert digest == made.loaded.info.weight_digest and not loads
        own, other = made.cells()
        made.run(own, [])
        assert not loads
        made.run(other, [])
        assert loads == [True] and tests == [model]

    def test_work_counts_the_other_model(self, folder):
        alone = tiny_study(folder, "privileged-access").work()
        model = tiny_natural(folder, "privileged-access").model
        both = tiny_study(folder, "privileged-access", f"other={model}").work()
        assert both.passes == 2 * alone.passes and both.generated == 2 * alone.generated == 2 * 16 * 2


def planted(study, says, does, n=120, other=None):
    """Results of rows whose behaviour is `does(text, rng)` and whose prediction is `says(behaviour, text, rng)`."""
    rng, rows = np.random.default_rng(4), []
    for family in study.spec.families:
        for i in range(n):
            thing = f"{'red' if i % 2 else 'blue'} thing{i}"
            holds = bool(does(thing, rng))
            score = float(says(holds, thing, rng))
            base = {"kind": "own", "family": family, "thing": thing, "answer": "x", "holds": holds}
            rows.append({**base, "log_odds": [score, score], "mass": 0.9})
            if other is not None:
                there = bool(other(holds, rng))
                rows.append({**rows[-1], "kind": "other", "holds": there, "log_odds": [1.0 if there else -1.0] * 2})
    results = found_of(study, [rows])
    return results, {each["criterion"]: each["finding"] for each in results["verdict"]}


def chance(text, rng):
    return rng.random() < 0.5


class TestPlanted:
    def test_a_model_that_predicts_what_nothing_outside_does_is_found(self, study):
        results, verdict = planted(
            study, lambda holds, text, rng: (1 if holds else -1) * (rng.random() < 0.85) or -0.1, chance
        )
        own, frequent, words, best, gap = cells_of(results, "Own answers predicted, accuracy")["choice"]
        assert own["value"] > 0.8 and max(frequent["value"], words["value"]) < 0.65 and gap["ci95"][0] > 0.1
        assert best["value"] == max(frequent["value"], words["value"])
        assert {verdict[f"beyond frequency and words, {name}"] for name in study.spec.families} == {"supported"}
        assert verdict["privileged access"] == "cannot tell" and verdict["meta"] == "not tested"
        assert all("corrected for 3" in each["reason"] for each in results["verdict"][:3])

    def test_what_words_give_away_is_no_privilege(self, study):
        def red(text, rng):
            return text.startswith("red") if rng.random() < 0.95 else not text.startswith("red")

        results, verdict = planted(study, lambda holds, text, rng: 1 if text.startswith("red") else -1, red)
        own, _, words, _, gap = cells_of(results, "Own answers predicted, accuracy")["number"]
        assert own["value"] > 0.9 and words["value"] > 0.9 and gap["ci95"][0] <= 0
        assert verdict["beyond frequency and words, number"] == "not supported"

    def test_naming_the_more_frequent_value_is_no_privilege(self, study):
        results, verdict = planted(study, lambda holds, text, rng: 1.0, lambda text, rng: rng.random() < 0.9)
        assert cells_of(results, "Own answers predicted, accuracy")["word"][-1]["value"] <= 0
        assert verdict["beyond frequency and words, word"] == "not supported"

    def test_what_is_outside_is_at_least_chance(self, study):
        """Fitted on few answers, predictors can be worse than chance: a model at chance has nothing beyond that."""
        holds, things = np.arange(20) % 2 == 0, [f"thing {i}" for i in range(20)]
        wrong = np.where(holds, -1.0, 1.0)
        family = Family("choice", things, holds, {SELF: np.zeros(20), "one": wrong, "other": wrong})
        own, _, _, best, gap = _estimates(study, family)
        assert own.value == best.value == 0.5 and gap.value == 0

    def test_a_model_that_is_always_right_has_an_interval_with_a_width(self, study):
        results, _ = planted(study, lambda holds, text, rng: 1.0 if holds else -1.0, chance, n=20)
        for title in ("Own answers predicted, accuracy", "Own answers predicted, AUROC"):
            sure = cells_of(results, title)["choice"][0]
            assert sure["value"] == 1.0 and 0.6 < sure["ci95"][0] < 0.95

    def test_another_model_that_answers_alike_takes_the_privilege_away(self, folder):
        model = tiny_natural(folder, "privileged-access").model
        made = tiny_study(folder, "privileged-access", f"other={model}")

        def says(holds, text, rng):
            return 1 if holds == (rng.random() < 0.85) else -1

        alike, _ = planted(made, says, chance, other=lambda holds, rng: holds if rng.random() < 0.9 else not holds)
        _, verdict = planted(made, says, chance, other=lambda holds, rng: rng.random() < 0.5)
        cells = cells_of(alike, "Own answers predicted, accuracy")["choice"]
        assert cells[4]["value"] > 0.8 and cells[-1]["ci95"][0] <= 0 and len(cells) == 7
        assert OTHER_DOES in {column["label"] for column in alike["tables"][0]["columns"]}
        found = {each["finding"] for each in alike["verdict"] if each["criterion"].startswith("privileged")}
        assert found == {"not supported"}
        assert verdict["privileged access, choice"] == "supported" and "privileged access" not in verdict

    def test_a_family_with_too_few_answers_says_so(self, study):
        results, verdict = planted(study, lambda holds, text, rng: 1.0, chance, n=10)
        assert set(verdict.values()) == {"cannot tell", "not tested"} and not results["figures"]
        assert any("10 questions were answered" in each for each in results["warnings"])
