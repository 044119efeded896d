"""Injected concepts: what a bias to yes cannot make, whatever questions' own answers are; and what guesses name."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest

from inject_materials import tiny_injection
from introspect.injection import cells
from introspect.injection.bias import bias_table, yes_bias
from introspect.injection.cells import NONE
from introspect.injection.found import SUREST, Found, leaning
from introspect.injection.sentences import headline, warnings_of
from introspect.injection.study import run_injection
from introspect.injection.thought import NAMING
from introspect.injection.trained import Trained
from introspect.injection.trials import Reply
from introspect.injection.verdict import NOT, SUPPORTED, UNKNOWN, no_guess, said_of, verdict
from wording import check_text

AT = ("exploration", 1, 0.5)
WITHOUT = {"detect": -5.0, "reversed": 4.0, "unrelated_no": -8.0, "unrelated_yes": 3.0}
"""Log-odds of Yes without injection: the questions differ in what they leave room for."""
WORDS = tuple(f"w{number}" for number in range(8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bias")


@pytest.fixture(scope="module")
def spec(folder):
    return tiny_injection(folder)


def log_probabilities(log_odds):
    """Of Yes and of No."""
    return {"yes": -float(np.logaddexp(0, -log_odds)), "no": -float(np.logaddexp(0, log_odds))}


def row_of(word, kind, ask, log_odds, asked="", part="exploration"):
    layer, strength = (None, None) if kind == NONE else AT[1:]
    about = {"part": part, "layer": layer, "strength": strength, "word": word, "category": "c", "kind": kind}
    about |= {"ask": ask, "wording": WORDS.index(word), "asked": asked, "as": "logits", "steered": 3, "finite": True}
    return about | log_probabilities(log_odds)


def found_with(spec, bias, rng, spread=3.0, kinds=("concept",), part="exploration"):
    """A study in which log-odds of every prompt, drawn around `WITHOUT`, go through `bias(kind, ask, log_odds)`."""
    rows = []
    for word in WORDS:
        for ask, middle in WITHOUT.items():
            for asked in ("0", "1") if ask.startswith("unrelated") else ("",):
                before = middle + float(rng.normal(0, spread))
                rows.append(row_of(word, NONE, ask, before, asked, part))
                rows += [row_of(word, kind, ask, bias(kind, ask, before), asked, part) for kind in kinds]
    return Found(spec, [rows], WORDS)


BIASES = {
    "a push of one size": lambda x: x + 6,
    "a push up to one level": lambda x: 5.0,
    "half of the way to a level": lambda x: 0.5 * x + 4,
    "a push that stops": lambda x: max(x, min(x + 9, 4.0)),
    "none": lambda x: x,
    "a push towards No": lambda x: x - 7,
}


class TestBias:
    @pytest.mark.parametrize("name", BIASES)
    def test_no_bias_is_a_detection_word_by_word_whatever_was_answered_without(self, spec, name):
        rng = np.random.default_rng(0)
        for _ in range(20):
            found = found_with(spec, lambda kind, ask, x: BIASES[name](x), rng)
            told, beyond = found.told(AT, "concept"), found.beyond(AT, "detect", "unrelated_no")
            assert set(told) == set(beyond) == set(WORDS)
            assert max(*told.values(), *beyond.values()) < 1e-9

    def test_a_push_of_one_size_is_one_shift_in_log_odds_and_many_in_probability(self, spec):
        found = found_with(spec, lambda kind, ask, x: x + 6, np.random.default_rng(0), spread=0)
        assert list(found.balanced(AT, "concept").values()) == pytest.approx([0.0] * 8, abs=1e-9)
        assert found.level(AT, "detect").value == found.level(AT, "unrelated_no").value == pytest.approx(6)
        assert found.shifts(AT, "concept").value > 3 * found.shifts(AT, "concept", "unrelated_no").value

    def test_a_push_up_to_a_level_shifts_most_what_was_surest_and_so_shifts_alone_do_not_do(self, spec):
        found = found_with(spec, lambda kind, ask, x: 7.0, np.random.default_rng(0), spread=0)
        assert min(found.balanced(AT, "concept").values()) == pytest.approx(4.5)
        assert list(found.told(AT, "concept").values()) == pytest.approx([0.0] * 8)

    def test_what_was_apart_without_injection_is_no_detection_either(self, spec):
        turned = {"detect": 3.0, "reversed": -3.0, "unrelated_no": -2.0, "unrelated_yes": 2.0}
        rows = [row_of(w, kind, a, x) for w in WORDS for a, x in turned.items() for kind in (NONE, "concept")]
        found = Found(spec, [rows], WORDS)
        assert list(found.told(AT, "concept").values()) == [0.0] * 8

    def test_answers_surer_than_99_percent_are_alike_and_unequal_ones_are_not(self, spec):
        def sure(kind, ask, x):
            return {"detect": 9.0, "reversed": 6.0, "unrelated_no": 5.5}.get(ask, x)

        found = found_with(spec, sure, np.random.default_rng(0), spread=0)
        assert list(found.told(AT, "concept").values()) == pytest.approx([0.0] * 8)
        assert found.beyond_bias(AT).value == pytest.approx(0)
        less = found_with(spec, lambda kind, ask, x: sure(kind, ask, x) - 5, np.random.default_rng(0), spread=0)
        assert list(less.told(AT, "concept").values()) == pytest.approx([1.5] * 8)
        assert pytest.approx(math.log(0.99 / 0.01)) == SUREST

    def test_a_report_is_found_over_a_bias(self, spec):
        def reports(kind, ask, x):
            return x + 3 + {"detect": 12, "reversed": -12}.get(ask, 0)

        found = found_with(spec, reports, np.random.default_rng(0), spread=0.5)
        assert min(found.told(AT, "concept").values()) > 3
        assert found.beyond_bias(AT).ci95[0] > 5

    def test_a_pair_is_held_against_itself_and_not_means_against_means(self, spec):
        # A push that stops, on questions that lie far apart: of their means it would look like a detection.
        rows = []
        for word in WORDS:
            for ask, asked, before in (("detect", "", 0.0), ("unrelated_no", "0", -8.0), ("unrelated_no", "1", 8.0)):
                rows.append(row_of(word, NONE, ask, before, asked))
                rows.append(row_of(word, "concept", ask, min(before + 6, 8.0), asked))
        assert max(Found(spec, [rows], WORDS).beyond(AT, "detect", "unrelated_no").values()) <= 0

    def test_the_regression_leaves_nothing_of_pushes_in_one_of_its_columns(self, spec):
        rng = np.random.default_rng(0)
        # By word, as vectors push differently.
        pushes = {word: float(rng.uniform(1, 6)) for word in WORDS}
        for to_level, column in ((False, 0), (True, 1)):
            rows = []
            for word in WORDS:
                for ask, middle in (("detect", -4.5), ("unrelated_no", -1.0)):
                    for asked in ("0", "1") if ask.startswith("unrelated") else ("",):
                        rows.append(row_of(word, NONE, ask, middle, asked))
                        after = (0 if to_level else middle) + pushes[word] / 2
                        rows.append(row_of(word, "concept", ask, after, asked))
            found = Found(spec, [rows], WORDS)
            lines = yes_bias(found)
            assert lines[column]["intercept"].value == pytest.approx(0, abs=1e-6)
            assert lines[column]["slope"].value == pytest.approx(1)
            assert abs(lines[1 - column]["intercept"].value) > 2
            shown = bias_table(found, lines)
            assert [each["label"] for each in shown["columns"]] == ["shifts of log-odds", "log-odds as they stand"]
            [intercept] = [row["cells"] for row in shown["rows"] if row["label"] == "intercept"]
            assert intercept == [lines[0]["intercept"].to_json(), lines[1]["intercept"].to_json()]
            check_text(shown["note"])


class TestVerdict:
    """Vectors of words alone push, so that no control of the same norm says anything of it."""

    @pytest.mark.parametrize("bias", ["one size", "one level"])
    def test_a_bias_that_only_words_vectors_push_is_seen_through(self, monkeypatch, folder, tmp_path, bias):
        def log_odds(about):
            before = WITHOUT.get(about["ask"], -4.0)
            if about["kind"] != "concept":
                return before
            return before + 6 if bias == "one size" else 6.0

        results = self.run(monkeypatch, folder, tmp_path, log_odds)
        found = {each["criterion"]: each["finding"] for each in results["verdict"]}
        assert found["grounded"] == found["internal"] == "not supported"
        concept, random = self.shown(results)
        assert concept["P(yes) - P(no), shift"]["value"] > 1 and abs(random["P(yes) - P(no), shift"]["value"]) < 0.1
        assert concept["both polarities, log-odds"]["value"] < 0.1
        assert concept["beyond the bias to yes, log-odds"]["value"] < 0.5

    def test_answers_that_words_vectors_turn_round_are_no_report(self, monkeypatch, folder, tmp_path):
        """Both polarities move apart then, and so does what is surest of No without: here, questions of fact."""

        def log_odds(about):
            before = WITHOUT.get(about["ask"], -4.0)
            return -before if about["kind"] == "concept" else before

        results = self.run(monkeypatch, folder, tmp_path, log_odds)
        found = {each["criterion"]: each["finding"] for each in results["verdict"]}
        concept, _ = self.shown(results)
        assert concept["both polarities, log-odds"]["ci95"][0] > 1
        assert found["grounded"] == found["internal"] == "not supported"

    def test_a_report_on_the_same_questions_is_found(self, monkeypatch, folder, tmp_path):
        def log_odds(about):
            turned = {"detect": 5.0, "reversed": -4.0}
            before = WITHOUT.get(about["ask"], -4.0)
            return turned.get(about["ask"], before) if about["kind"] == "concept" else before

        results = self.run(monkeypatch, folder, tmp_path, log_odds)
        assert {e["criterion"]: e["finding"] for e in results["verdict"]}["grounded"] == "supported"
        concept, _ = self.shown(results)
        assert concept["both polarities, log-odds"]["ci95"][0] > 3

    def run(self, monkeypatch, folder, tmp_path, log_odds):
        def first(backend, layer, trials, width):
            out = []
            for each in trials:
                name = str(sorted((k, str(v)) for k, v in each.about.items()))
                noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 0.3, len(each.watch))
                values = -3.0 + noise
                if each.about["ask"] not in (*NAMING, "localise"):
                    said = log_probabilities(log_odds(each.about) + float(noise[0]))
                    values = np.array([said["yes"] - math.log(2)] * 2 + [said["no"] - math.log(2)] * 2)
                out.append([float(value) for value in values])
            return out

        monkeypatch.setattr(cells, "first_tokens", first)
        monkeypatch.setattr(
            cells, "replies", lambda backend, loaded, layer, trials, *_: [Reply((5,), "Yes.", "stop")] * len(trials)
        )
        monkeypatch.setattr(cells, "surprise", lambda backend, prompts, found: [1.0] * len(found))
        return run_injection(tiny_injection(folder), tmp_path / "planted")

    def shown(self, results):
        [shown] = [each for each in results["tables"] if each["title"] == "Every condition, on words held out"]
        columns = [each["label"] for each in shown["columns"]]
        rows = {row["label"]: dict(zip(columns, row["cells"], strict=True)) for row in shown["rows"]}
        return rows["the word's concept vector"], rows["random direction, same norm"]

    def test_it_says_which_controls_the_training_had(self, spec):
        found = found_with(spec, lambda kind, ask, x: x, np.random.default_rng(0))
        for controls, said in (
            (("random", "negated", "shuffled"), "trained on random, shuffled, and not on natural, swapped"),
            (("random", "shuffled", "natural"), "trained on random, shuffled, natural, and not on swapped"),
            ((), "trained on none, and not on random, shuffled, natural, swapped"),
            (("random", "shuffled", "natural", "swapped"), "trained on random, shuffled, natural, swapped"),
        ):
            grounded = verdict(found, AT, Trained((1,), (0.5, 1.0), controls))[1]
            assert grounded["criterion"] == "grounded" and grounded["reason"].endswith(said)
            check_text(grounded["reason"])
        assert "trained" not in verdict(found, AT)[1]["reason"] and said_of(None) == ""


def reply_of(word, text, kind="concept", ask="detect"):
    about = row_of(word, kind, ask, 0.0)
    for key in ("yes", "no", "finite"):
        del about[key]
    return about | {"as": "text", "text": text, "finish": "stop", "nats": 1.0, "claim": text.split()[0].lower()[:3]}


class TestGuesses:
    SAID = ("rain", "owl", "iron", "lamp", "salt", "rope", "milk", "sand")

    def found(self, spec, texts):
        rows = [reply_of(word, text) for word, text in zip(WORDS, texts, strict=True)]
        rows = [row | {"word": word} for row, word in zip(rows, self.SAID, strict=True)]
        none = [reply_of(word, "no.", NONE) for word in WORDS for _ in range(2)]
        return Found(spec, [none, rows], self.SAID)

    def rows(self, found):
        return found.rows(AT, "concept", "detect", "text")

    def test_identification_given_detection_is_of_the_replies_that_claim(self, spec):
        texts = ["Yes. The word is rain.", "Yes. The word is milk.", "Yes, iron.", "No. It is lamp.", *["No."] * 4]
        found = self.found(spec, [text[0].lower() + text[1:] for text in texts])
        rows = self.rows(found)
        assert found.share(rows, found.identified).value == pytest.approx(2 / 8)
        given = found.given_claim(rows)
        assert given.value == pytest.approx(2 / 3) and given.n == 3 and given.method == "clopper-pearson"
        assert "no reply claims a thought" in found.given_claim(rows[4:]).to_json()["reason"]

    def test_words_dealt_out_are_those_of_the_replies_that_are_judged(self, spec):
        right = self.found(spec, [f"yes. The word is {word}." for word in self.SAID])
        null, p = right.dealt_out(self.rows(right), right.with_claim)
        assert null.value == pytest.approx(1 / 8, abs=0.05) and p == pytest.approx(1 / 20)
        assert verdict(right, AT)[0]["finding"] == SUPPORTED
        one = self.found(spec, ["yes. The word is rain, or an owl, iron, a lamp, salt or a rope, milk, sand."] * 8)
        assert one.net(AT).ci95[0] > 0
        null, p = one.dealt_out(self.rows(one), one.with_claim)
        assert (null.value, p) == (1.0, 1.0)
        assert verdict(one, AT)[0]["finding"] == NOT, "every word is named every time: a guess, though a net score"

    def test_a_finding_needs_both(self):
        assert no_guess(SUPPORTED, 0.05) == SUPPORTED and no_guess(SUPPORTED, 0.06) == NOT
        assert no_guess(SUPPORTED, None) == UNKNOWN and no_guess(NOT, 0.01) == NOT


class TestSentences:
    def test_a_model_that_never_says_yes_or_no_is_warned_of(self):
        about = {"n_exploration": 60, "n_confirmation": 60}
        counts = {"n_not_finite": 0, "n_without_token": 0}
        for value, warned in ((0.0, True), (0.3, True), (0.6, False), (None, False)):
            mass = {"value": None, "reason": "none"}
            if value is not None:
                mass = {"value": value, "ci95": [value, value], "n": 9, "method": "m"}
            row = {"label": "probability that is on Yes or No, without injection", "cells": [mass]}
            said = warnings_of({"injection": about, "counts": counts, "tables": [{"rows": [row]}]})
            assert bool(said) == warned
            for each in said:
                check_text(each)

    def test_what_share_of_what_is_said(self, monkeypatch, folder, tmp_path):
        # All replies with a word's vector claim and are coherent; none of them names its word.
        results = TestVerdict().run(monkeypatch, folder, tmp_path, lambda about: 0.0)
        [said] = [each for each in results["sentences"] if each.startswith("A thought is claimed")]
        name = "of all replies are coherent and name the word with the claim"
        assert f"With a word's vector 0% [0%, 46%] {name}, 0% [0%, 46%] of those that claim a thought;" in said
        assert said.endswith("coherent are 100% [54%, 100%] of all.")
        concept = results["tables"][0]["rows"][1]
        labels = [each["label"] for each in results["tables"][0]["columns"]]
        concept["cells"][labels.index("names it, of those that claim")] = {"value": None, "reason": "none"}
        [said] = [each for each in headline(results) if each.startswith("A thought is claimed")]
        assert f"0% [0%, 46%] {name}; coherent are" in said

    def test_leaning_is_what_the_protocol_asks_for(self):
        assert leaning(log_probabilities(0.0)) == pytest.approx(0)
        assert leaning(log_probabilities(3.0)) == pytest.approx(math.tanh(1.5))
