"""Injected concepts: the mismatched question, places, an unrelated question after the same sentence, answers in text,
and which words: planted truths both ways.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from inject_materials import tiny_injection, tiny_subject
from introspect.concepts import fill
from introspect.injection import cells
from introspect.injection.cells import NONE, Cell
from introspect.injection.cost import Rates, predicted
from introspect.injection.elsewhere import ELSEWHERE, elsewhere
from introspect.injection.found import Found
from introspect.injection.in_text import both_ways, text_table
from introspect.injection.localised import letter_said
from introspect.injection.prefill import Prefill
from introspect.injection.study import STUDIES, run_injection
from introspect.injection.thought import NAMING, Thought
from introspect.injection.thought_text import ThoughtText
from introspect.injection.trials import SHORT, Reply
from introspect.injection.verdict import BY_NAME, NOT, SUPPORTED, UNKNOWN, WHICH_SENTENCE, above, verdict
from introspect.injection.words import BEGINNING, familiarity, together
from introspect.stats import Estimate
from wording import check_text

AT = ("confirmation", 1, 0.5)
WORDS = tuple(f"w{number}" for number in range(12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("asked")


@pytest.fixture(scope="module")
def spec(folder):
    return tiny_injection(folder)


@pytest.fixture(scope="module")
def subject(folder):
    return tiny_subject(folder)


@pytest.fixture(scope="module")
def thought(subject):
    return Thought(subject)


@pytest.fixture(scope="module")
def study(folder):
    return ThoughtText(tiny_subject(folder, "inject-thought-vs-text"))


def row_of(word, kind, ask, asked="", **more):
    layer, strength = (None, None) if kind == NONE else AT[1:]
    about = {"part": AT[0], "layer": layer, "strength": strength, "word": word, "category": "c", "kind": kind}
    about |= {"ask": ask, "wording": WORDS.index(word), "asked": asked, "as": "logits", "steered": 3}
    return about | more


def read_of(word, kind, ask, log_odds, asked=""):
    both = {"yes": -float(np.logaddexp(0, -log_odds)), "no": -float(np.logaddexp(0, log_odds))}
    return row_of(word, kind, ask, asked, finite=True, **both)


def reply_of(word, kind, ask, text, asked="", **more):
    said = {"as": "text", "text": text, "finish": "stop", "nats": 1.0, "claim": text.lower().strip(".") or None}
    return row_of(word, kind, ask, asked) | said | more


def named(spec, own, other, rng, spread=2.0, apart=0.0):
    """The two questions about a word, whose log-odds without injection are of one kind; `own` and `other` say what an
    injection makes of them.

    Args:
        apart: by how much more easily the first is answered Yes without injection.
    """
    rows = []
    for word in WORDS:
        for ask, after, more in (("concept", own, apart), ("concept_other", other, 0.0)):
            before = -3 + more + float(rng.normal(0, spread))
            asked = f"{word}-{ask}"
            rows.append(read_of(word, NONE, ask, before, asked))
            rows.append(read_of(word, "concept", ask, after(before) + float(rng.normal(0, 1)), asked))
    return Found(spec, [rows], WORDS)


def finding(found):
    return above(list(found.plainly(AT, "concept", "concept_other")), 0)


BIASES = {
    "a push of one size": lambda x: x + 6,
    "a push up to one level": lambda x: 5.0,
    "half of the way to a level": lambda x: 0.5 * x + 2,
    "a push that stops": lambda x: max(x, min(x + 9, 4.0)),
    "none": lambda x: x,
}


class TestMismatched:
    @pytest.mark.parametrize(
        ("name", "apart"),
        # A push that stops is not part of the way to one level: the two questions have to be alike.
        [(name, apart) for name in BIASES for apart in (0.0, 1.5, -1.5) if name != "a push that stops" or not apart],
    )
    def test_yes_to_every_word_is_no_finding_whatever_the_bias(self, spec, name, apart):
        rng = np.random.default_rng(0)
        found = [finding(named(spec, BIASES[name], BIASES[name], rng, apart=apart)) for _ in range(25)]
        assert found.count(SUPPORTED) <= 2

    @pytest.mark.parametrize("bias", [0.0, 4.0])
    def test_yes_to_the_injected_word_alone_is_found(self, spec, bias):
        rng = np.random.default_rng(0)
        found = named(spec, lambda x: x + bias + 5, lambda x: x + bias, rng)
        more, higher = found.plainly(AT, "concept", "concept_other")
        assert more.value == pytest.approx(5, abs=1.5) and higher.ci95[0] > 0 and finding(found) == SUPPORTED
        other_way = named(spec, lambda x: x, lambda x: x + 5, rng)
        assert finding(other_way) == NOT

    def test_noise_alone_brings_the_lesser_below_zero_and_the_plain_differences_not(self, spec):
        rng = np.random.default_rng(0)
        lesser, plain = [], []
        for _ in range(20):
            found = named(spec, lambda x: x + 4, lambda x: x + 4, rng)
            lesser.append(found.by_word(found.beyond(AT, "concept", "concept_other")).value)
            plain.append([each.value for each in found.plainly(AT, "concept", "concept_other")])
        assert np.mean(np.array(lesser) < 0) >= 0.8 and np.mean(lesser) < -0.7
        assert np.abs(np.mean(plain, axis=0)).max() < 0.3

    def test_the_verdict_says_all_three_and_rests_on_the_two(self, spec):
        found = named(spec, lambda x: x + 5, lambda x: x, np.random.default_rng(0))
        [said] = [each for each in verdict(found, AT) if each["criterion"] == BY_NAME]
        more, higher = found.plainly(AT, "concept", "concept_other")
        lesser = found.by_word(found.beyond(AT, "concept", "concept_other"))
        assert said["finding"] == SUPPORTED and "in text" not in said["reason"]
        for each in (more, higher, lesser):
            assert f"{each.value:.2f} [" in said["reason"]
        check_text(said["reason"])

    @pytest.mark.parametrize("name", ["a push of one size", "a push up to one level"])
    def test_the_verdict_needs_both(self, spec, name):
        # Answered Yes more easily of one word, without injection: one of the two differences is above 0.
        for apart in (3.0, -3.0):
            found = named(spec, BIASES[name], BIASES[name], np.random.default_rng(0), spread=0.3, apart=apart)
            more, higher = found.plainly(AT, "concept", "concept_other")
            if (apart > 0) == (name == "a push of one size"):
                assert max(more.ci95[0], higher.ci95[0]) > 0.5
            [said] = [each for each in verdict(found, AT) if each["criterion"] == BY_NAME]
            assert said["finding"] == NOT

    def test_without_rows_nothing_is_found_either_way(self, spec):
        found = {each["criterion"]: each["finding"] for each in verdict(Found(spec, [], WORDS), AT)}
        assert found[BY_NAME] == found[WHICH_SENTENCE] == UNKNOWN


class TestPlanted:
    """Whole studies of models that say Yes to any word's vector; and one that tells words apart."""

    def run(self, monkeypatch, folder, tmp_path, truth):
        def right(about):
            if about["ask"] == "concept_other":
                return truth == "any word"
            return about["ask"] not in ("reversed", "unrelated_no")

        def yes(about):
            if about["ask"] in ("unrelated_no", "unrelated_yes"):
                return about["ask"] == "unrelated_yes"
            there = about["kind"] == "concept"
            return right(about) if there else about["ask"] == "reversed"

        def first(backend, layer, trials, width):
            out = []
            for each in trials:
                about, n = each.about, len(each.watch)
                noise = np.random.default_rng(zlib.crc32(str(sorted(about.items())).encode())).normal(0, 0.1, n)
                values = -3.0 + noise
                if about["ask"] == "localise" and truth == "this word" and about["kind"] == "concept":
                    values["ABCDEFGHIJ".index(about["target"])] = -0.1
                elif about["ask"] not in (*NAMING, "localise"):
                    log_odds = (3 if yes(about) else -3) + noise[0]
                    values = np.array([log_odds / 2, log_odds / 2 - 1, -log_odds / 2, -log_odds / 2 - 1]) - 2
                out.append([float(value) for value in values])
            return out

        def reply(backend, loaded, layer, trials, sampling, lanes):
            assert all((each.most(24) == SHORT) == each.short for each in trials)
            out = []
            for each in trials:
                about = each.about
                text = "Yes." if yes(about) else "No."
                if about["ask"] == "localise":
                    text = f"It is {about['target']}." if truth == "this word" else "A thought."
                elif about["ask"] in ("detect", "which") and yes(about):
                    text = f"Yes. The word is {about['word']}."
                out.append(Reply((5, 6), text, "stop"))
            return out

        monkeypatch.setattr(cells, "first_tokens", first)
        monkeypatch.setattr(cells, "replies", reply)
        monkeypatch.setattr(cells, "surprise", lambda backend, prompts, found: [1.0] * len(found))
        results = run_injection(tiny_injection(folder), tmp_path / "planted")
        return results, {each["criterion"]: each["finding"] for each in results["verdict"]}

    def cells_of(self, results, title):
        [shown] = [each for each in results["tables"] if each["title"] == title]
        return {row["label"]: [each["value"] for each in row["cells"]] for row in shown["rows"]}

    def test_a_model_that_singles_words_out_passes_and_says_so_in_text(self, monkeypatch, folder, tmp_path):
        results, found = self.run(monkeypatch, folder, tmp_path, "this word")
        assert found["grounded"] == found[BY_NAME] == found[WHICH_SENTENCE] == SUPPORTED
        said = self.cells_of(results, "Controls as they are answered in text")
        assert said["asked about the injected word: Yes"] == [0, 1, None, 1]
        assert said["asked about another word: Yes"][:2] == [0, 0]
        assert said["both: Yes to the one and No to the other"] == [0, 1, 0, 1]
        assert said["unrelated question, answer No: Yes"] == [0, 0, None, 0]
        assert said["unrelated question, answer Yes: Yes"] == [1, 1, None, 0]
        assert said["injected sentence found: the letter that is named"][1] == 1
        assert any(each.startswith("Asked by name: supported") for each in results["sentences"])

    def test_one_that_says_yes_to_any_word_is_seen_through_by_name_and_not_by_presence(
        self, monkeypatch, folder, tmp_path
    ):
        results, found = self.run(monkeypatch, folder, tmp_path, "any word")
        assert found["accurate"] == found["grounded"] == SUPPORTED, "that there is a thought, and which, it says"
        assert found[BY_NAME] == found[WHICH_SENTENCE] == NOT
        said = self.cells_of(results, "Controls as they are answered in text")
        assert said["asked about the injected word: Yes"][3] == 0 == said["asked about another word: Yes"][1] - 1
        assert said["injected sentence found: the letter that is named"][1] == 0
        others = self.cells_of(results, "Controls that are asked another question")
        assert abs(others["the mismatched question: by how much more they shift"][0]) < 0.5
        [reason] = [each["reason"] for each in results["verdict"] if each["criterion"] == BY_NAME]
        assert "in text Yes is said of 100%" in reason


class TestInText:
    @pytest.mark.parametrize(
        ("text", "letter"),
        [
            ("C", "C"),
            ("The letter is B.", "B"),
            ("A) The train", "A"),
            ("A", "A"),
            ("A train left. It is D", "D"),
            ("I think it is a C.", "C"),
            ("I.", "I"),
            ("K", None),
            ("It's I'm", None),
            ("The train", None),
            ("", None),
        ],
    )
    def test_a_letter_is_the_first_that_stands_alone(self, text, letter):
        assert letter_said(text, 10) == letter

    def test_both_ways_is_of_one_words_two_replies_and_a_push_leaves_nothing(self, spec):
        says = {"w0": ("Yes.", "No."), "w1": ("Yes.", "Yes."), "w2": ("No.", "No."), "w3": ("Yes.", "")}
        rows = [
            reply_of(word, "concept", ask, text)
            for word, texts in says.items()
            for ask, text in zip(("detect", "reversed"), texts, strict=True)
        ]
        found = Found(spec, [rows], WORDS)
        assert both_ways(found, AT, "concept") == {"w0": True, "w1": False, "w2": False, "w3": False}
        [shown] = text_table(found, AT)
        line = {row["label"]: row["cells"] for row in shown["rows"]}
        assert line["asked the other way round: No"][1]["value"] == 0.5
        check_text(shown["note"])

    def test_rows_of_earlier_studies_have_no_such_table(self, spec):
        assert text_table(Found(spec, [[reply_of("w0", "concept", "detect", "Yes.")]], WORDS), AT) == []

    def test_short_replies_are_cut_off_early_and_each_comes_back_in_its_place(self, thought, subject):
        plan = thought.plan(Cell("confirmation", subject.layers[0], 1.0, chosen=True))
        asked = {(each.about["kind"], each.about["ask"]) for each in plan.texts if each.short}
        wanted = {("concept", ask) for ask in ("reversed", "concept", "concept_other", "unrelated_yes", "localise")}
        assert asked == wanted | {("random", "reversed")}
        bare = thought.plan(Cell("confirmation"))
        assert {each.about["ask"] for each in bare.texts if each.short} == {ask for _, ask in wanted} - {"localise"}
        for part, chosen in (("exploration", False), ("exploration", True)):
            assert not any(t.short for t in thought.plan(Cell(part, subject.layers[0], 1.0, chosen=chosen)).texts)
        some = [*plan.texts[-9:], plan.texts[0]]
        longer = thought.spec.model_copy(update={"text": replace_tokens(thought.spec.text, SHORT + 4)})
        thought.spec, before = longer, thought.spec
        try:
            found = thought._replies(subject.layers[0], some)
            alone = [thought._replies(subject.layers[0], [each])[0] for each in some]
        finally:
            thought.spec = before
        assert found == alone
        assert {len(reply.ids) for t, reply in zip(some, found, strict=True) if t.short} <= set(range(SHORT + 1))
        assert max(len(reply.ids) for reply in found) == SHORT + 4

    def test_the_estimate_counts_them_as_short(self, thought, subject):
        plan = thought.plan(Cell("confirmation", subject.layers[0], 1.0, chosen=True))
        n_short = sum(each.short for each in plan.texts)
        assert n_short == 6 * len(subject.words["confirmation"])
        whole = predicted(replace(plan, texts=[replace(t, short=False) for t in plan.texts]), Rates(0, 1.0), 24)
        assert whole - predicted(plan, Rates(0, 1.0), 24) == n_short * (24 - SHORT)
        assert predicted(plan, Rates(0, 1.0), 4) == 4 * len(plan.texts), "never longer than the study's replies"

    def test_localisation_is_asked_the_same_in_text(self, thought, subject):
        plan = thought.plan(Cell("confirmation", subject.layers[0], 1.0, chosen=True))
        first = {t.about["word"]: t for t in plan.first if t.about["ask"] == "localise"}
        texts = {t.about["word"]: t for t in plan.texts if t.about["ask"] == "localise"}
        assert set(first) == set(texts) == set(subject.words["confirmation"])
        for word, trial in texts.items():
            assert trial.where == first[word].where and trial.about["target"] == first[word].about["target"]
            assert np.array_equal(trial.vector, first[word].vector) and len({t.seed for t in texts.values()}) == 6


def replace_tokens(text, many):
    return text.model_copy(update={"max_new_tokens": many})


class TestElsewhere:
    @pytest.mark.parametrize("ask", ELSEWHERE)
    def test_it_is_the_same_sentence_under_the_same_vector_and_another_question(self, study, ask):
        for chosen in (False, True):
            first = study.plan(Cell("exploration", 1, 1.0, chosen=chosen)).first
            asked = {t.about["word"]: t for t in first if (t.about["kind"], t.about["ask"]) == ("concept", "thought")}
            elsewhere = {t.about["word"]: t for t in first if t.about["ask"] == ask}
            assert set(asked) == set(elsewhere) == set(study.subject.words["exploration"])
            texts, decode = study.subject.materials.sentences, study.loaded.tokenizer.decode
            questions = texts.asked_for_a_word if ask == "elsewhere_word" else [pair.no for pair in texts.questions]
            for word, trial in elsewhere.items():
                other = asked[word]
                stop = trial.where.stop
                assert trial.where == other.where and trial.prompt[:stop] == other.prompt[:stop]
                assert np.array_equal(trial.vector, other.vector) and trial.watch == other.watch
                _, index, _ = trial.about["asked"].split("/")
                said, unasked = decode(list(trial.prompt[stop:])), decode(list(other.prompt[stop:]))
                assert questions[int(index)] in said and not set(words_of(unasked)) & {"thought", "mind"} & set(
                    words_of(said)
                )
                assert said[-11:] == unasked[-11:] == "The word is"[-11:] or said[-8:] == unasked[-8:]

    @pytest.mark.parametrize("ask", ELSEWHERE)
    def test_its_prompt_without_injection_is_run_once_and_is_what_it_is_held_against(self, study, ask):
        bare = [t for t in study.plan(Cell("exploration")).first if t.about["ask"] == ask]
        assert all(t.vector is None and t.about["kind"] == NONE for t in bare)
        keys = [(t.about["wording"], t.about["asked"]) for t in bare]
        assert len(set(keys)) == len(keys) == len({t.prompt for t in bare})
        there = {(t.about["wording"], t.about["asked"]): t.prompt for t in bare}
        for each in study.plan(Cell("exploration", 1, 1.0)).first:
            if each.about["ask"] == ask:
                assert there[each.about["wording"], each.about["asked"]] == each.prompt

    def test_a_sentence_at_the_end_of_its_wording_stands_alone_before_it(self, study):
        wording = study.subject.prompts.thought_text[0]
        place = cells.Place(0, "banana")
        last = wording.model_copy(update={"thought": "Which word is in your mind while you read this: {sentence}"})
        filled, _ = study._text(place, last, "Rain fell.", "elsewhere")
        assert filled.text.startswith("Rain fell.\n") and "mind" not in filled.text
        start, stop = filled.at["sentence"]
        assert filled.text[start:stop] == "Rain fell."
        same, asked = study._text(place, last, "Rain fell.", "thought")
        assert same == fill(last.thought, sentence="Rain fell.") and asked == []

    def test_a_file_without_facts_of_a_word_asks_for_yes_or_no_alone(self, study):
        texts = study.subject.materials.sentences
        wording = study.subject.prompts.trials[0]
        assert [ask for ask, *_ in elsewhere(texts, wording, 3)] == list(ELSEWHERE)
        without = texts.model_copy(update={"asked_for_a_word": ()})
        assert [ask for ask, *_ in elsewhere(without, wording, 3)] == ["elsewhere"]

    def run(self, monkeypatch, folder, tmp_path, pushes=(), repeats=True, names=True, lost=()):
        tokens: dict[str, list[str]] = {}
        init = ThoughtText.__init__

        def started(self, subject):
            init(self, subject)
            tokens.update({part: list(found.alone()) for part, found in self.names.items()})
            tokens["sentences"] = list(subject.materials.sentences.sentences)

        def first(backend, layer, trials, width):
            out = []
            for each in trials:
                about = each.about
                name = str(sorted((key, str(value)) for key, value in about.items()))
                values = np.random.default_rng(zlib.crc32(name.encode())).normal(-3, 0.01, len(each.watch))
                own = tokens[about["part"]]
                if about["kind"] == "concept" and about["word"] in own:
                    gains = about["ask"] == "thought" or about["ask"] in pushes
                    values[own.index(about["word"])] += 2 if gains else 0
                numbers = [float(value) for value in values]
                out.append(None if about["kind"] == "concept" and about["ask"] in lost else numbers)
            return out

        def reply(backend, loaded, layer, trials, sampling, lanes):
            out = []
            for each in trials:
                about = each.about
                text = "Nothing."
                if about["ask"] == "repeat" and repeats:
                    text = tokens["sentences"][int(about["asked"])]
                if about["ask"] == "thought" and about["kind"] == "concept" and names:
                    text = str(about["word"])
                out.append(Reply((5, 6), text, "stop"))
            return out

        monkeypatch.setattr(ThoughtText, "__init__", started)
        monkeypatch.setattr(cells, "first_tokens", first)
        monkeypatch.setattr(cells, "replies", reply)
        monkeypatch.setattr(cells, "surprise", lambda backend, prompts, found: [1.0] * len(found))
        monkeypatch.setattr(Found, "coherent", lambda self, row: True)
        results = run_injection(tiny_injection(folder, "inject-thought-vs-text"), tmp_path / "text")
        return results, {each["criterion"]: each for each in results["verdict"]}

    def held(self, results):
        [shown] = [each for each in results["tables"] if each["title"] == "What that is held against"]
        return {row["label"]: row["cells"][0]["value"] for row in shown["rows"]}

    def test_a_word_that_gains_where_it_is_asked_for_alone_is_grounded(self, monkeypatch, folder, tmp_path):
        results, found = self.run(monkeypatch, folder, tmp_path)
        assert found["grounded"]["finding"] == SUPPORTED and found["accurate"]["finding"] == SUPPORTED
        held = self.held(results)
        assert all(
            held[f"rank of the gain where the word is asked for, minus that for {label}"] > 0.2
            for label in ELSEWHERE.values()
        )
        assert set(ELSEWHERE) < set(results["grid"]["labels"])

    @pytest.mark.parametrize("ask", ELSEWHERE)
    def test_a_vector_that_pushes_its_word_where_another_question_is_asked_is_not(
        self, monkeypatch, folder, tmp_path, ask
    ):
        results, found = self.run(monkeypatch, folder, tmp_path, pushes=[ask])
        held = self.held(results)
        for each, label in ELSEWHERE.items():
            beyond = held[f"rank of the gain where the word is asked for, minus that for {label}"]
            assert (
                (held[f"rank of the gain where an unrelated question is asked, for {label}"] == 1)
                == (beyond == 0)
                == (each == ask)
            )
        assert all(value > 0 for label, value in held.items() if "concept minus" in label), "beyond those of no word"
        assert found["grounded"]["finding"] == NOT and "unrelated question" in found["grounded"]["reason"]

    @pytest.mark.parametrize("ask", ELSEWHERE)
    def test_without_the_numbers_of_a_question_that_was_asked_nothing_is_grounded(
        self, monkeypatch, folder, tmp_path, ask
    ):
        results, found = self.run(monkeypatch, folder, tmp_path, lost=[ask])
        assert found["grounded"]["finding"] == UNKNOWN and results["counts"]["n_not_finite"] > 0

    def test_where_nothing_is_repeated_without_injection_nothing_can_be_told(self, monkeypatch, folder, tmp_path):
        _, found = self.run(monkeypatch, folder, tmp_path, pushes=ELSEWHERE, repeats=False)
        assert found["accurate"]["finding"] == UNKNOWN
        assert "repeated in 0% [0%, 46%] of replies, too few" in found["accurate"]["reason"]
        check_text(found["accurate"]["reason"])

    def test_where_it_is_repeated_and_not_named_that_is_a_finding(self, monkeypatch, folder, tmp_path):
        _, found = self.run(monkeypatch, folder, tmp_path, pushes=ELSEWHERE, names=False)
        assert found["accurate"]["finding"] == NOT and "too few" not in found["accurate"]["reason"]

    @pytest.mark.parametrize(("n", "repeated", "finding"), [(50, 0, UNKNOWN), (50, 2, UNKNOWN), (50, 20, NOT)])
    def test_the_floor_is_where_no_naming_could_be_found(self, study, n, repeated, finding, monkeypatch):
        words = [f"v{number}" for number in range(n)]
        monkeypatch.setattr(ThoughtText, "_repeats", lambda self, row: row["text"] == "it")
        rows = [
            row_of("w0", NONE, "repeat")
            | {"word": word, "as": "text", "text": "it" if k < repeated else "", "nats": 1.0}
            for k, word in enumerate(words)
        ]
        nothing = Estimate(0.0, (-0.05, 0.05), n, "m")
        found = Found(study.spec, [rows], words)
        assert study._accurate(found, AT, nothing)[0] == finding
        assert study._accurate(found, AT, Estimate(0.3, (0.1, 0.5), n, "m"))[0] == SUPPORTED

    def test_methods_of_what_rows_mean_were_raised(self):
        methods = {name: kind.METHOD for name, kind in STUDIES.items()}
        assert methods["inject-thought"] == methods["inject-thought-vs-text"] == 4
        assert methods["inject-prefill"] == Prefill.METHOD == 3 and methods["inject-intentional-control"] == 2


def words_of(text):
    return text.lower().replace("?", " ").replace(".", " ").split()


class TestWords:
    def found(self, spec, n=40):
        words = tuple(f"v{number}" for number in range(n))
        return Found(spec.model_copy(update={"bootstrap": 200}), [], words), words

    def planted(self, spec, by, n=60):
        """Words whose concreteness and familiarity go together, and an outcome that hangs on one of them."""
        found, words = self.found(spec, n)
        rng = np.random.default_rng(0)
        concrete = {word: float(k % 2) for k, word in enumerate(words)}
        familiar = {word: 2 * concrete[word] + float(rng.normal(0, 0.7)) for word in words}
        cause = concrete if by == "concrete" else familiar
        outcome = {word: cause[word] + float(rng.normal(0, 0.3)) for word in words}
        return found, {"concrete": concrete, "familiar": familiar}, outcome

    def test_what_familiarity_explains_is_not_put_down_to_concreteness(self, spec):
        found, known, outcome = self.planted(spec, "familiar")
        alone = together(found, {"concrete": known["concrete"]}, outcome)["concrete"]
        both = together(found, known, outcome)
        assert alone.ci95[0] > 0.4, "alone it looks like it"
        assert both["concrete"].ci95[0] < 0.1 and both["familiar"].ci95[0] > 0.7

    def test_what_concreteness_explains_is_found_beside_familiarity(self, spec):
        found, known, outcome = self.planted(spec, "concrete")
        both = together(found, known, outcome)
        assert both["concrete"].ci95[0] > 0.5 and both["familiar"].ci95[0] < 0.1

    def test_it_is_of_the_words_of_which_all_is_known_and_refuses_too_few(self, spec):
        found, known, outcome = self.planted(spec, "familiar")
        few = dict(list(known["concrete"].items())[:20])
        some = together(found, {**known, "concrete": few}, outcome)
        assert some["concrete"].n == some["familiar"].n == 20
        fewer = dict(list(few.items())[:9])
        refused = together(found, {**known, "concrete": fewer}, outcome)
        # Four of the nine are concrete: too few to be told apart in resamples; what is left goes on alone.
        assert "same for all but 4 of the 9 words" in refused["concrete"].reason
        assert refused["familiar"].value is None or refused["familiar"].n == 9
        rng = np.random.default_rng(1)
        more = {f"x{k}": {word: float(rng.normal()) for word in few} for k in range(5)}
        assert (
            "20 words are too few for 6 predictors (at least 30)"
            in together(found, more | {"c": few}, outcome)["c"].reason
        )

    def test_familiarity_is_the_models_own_log_probability_of_all_tokens(self, subject):
        words = ("banana", "envy")
        found = familiarity(subject.loaded, subject.backend, words)
        tokenizer = subject.loaded.tokenizer
        for word in words:
            begin, whole = (
                tokenizer(text, add_special_tokens=False).input_ids for text in (BEGINNING, f"{BEGINNING} {word}")
            )
            with torch.inference_mode():
                said = torch.log_softmax(subject.loaded.model(torch.tensor([whole])).logits[0].float(), -1)
            wanted = sum(float(said[k - 1, whole[k]]) for k in range(len(begin), len(whole)))
            assert found[word] == pytest.approx(wanted, abs=1e-3)
        assert math.isfinite(sum(found.values())) and all(value < 0 for value in found.values())
