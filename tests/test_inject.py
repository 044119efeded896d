"""Injected concepts: trials do what they say, what is planted is found, controls see through a bias to yes."""

from __future__ import annotations

import json
import math
import re
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import norm
from typer.testing import CliRunner

from inject_materials import QUICK, tiny_injection, tiny_subject, write_files
from introspect.backends import Capture, Sampling
from introspect.cells import Cells
from introspect.cli.main import app
from introspect.concepts import covered, read_norms
from introspect.errors import EstimateError, RunError, SpecError, StoreError
from introspect.injection import cells, intentional
from introspect.injection import subject as subject_module
from introspect.injection.cells import NONE, Cell
from introspect.injection.claims import Listener, is_coherent, read_claim, readable, repetition
from introspect.injection.cost import injection_cost
from introspect.injection.measures import coefficients, d_prime, exact, line, mean, permuted
from introspect.injection.page import render, report_injection
from introspect.injection.results import INJECTION
from introspect.injection.spec import CoherenceSpec
from introspect.injection.study import NAMED, STUDIES, run_injection
from introspect.injection.subject import VECTORS, pick_words, prepare_subject
from introspect.injection.thought import NAMING, Thought
from introspect.injection.trained import Trained
from introspect.injection.trials import Chats, Reply, Trial, first_tokens, name_tokens, replies, surprise
from introspect.injection.verdict import above
from introspect.injection.words import added_logits, final_scale, predictors
from introspect.manifest import earlier_versions
from introspect.spec_kinds import load_spec
from introspect.stats import Estimate

OVER_CLAIMING = re.compile(r"\b(knows|believes|is aware|aware of)\b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inject")


@pytest.fixture(scope="module")
def subject(folder):
    return tiny_subject(folder)


@pytest.fixture(scope="module")
def thought(subject):
    return Thought(subject)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run_injection(tiny_injection(folder), out)
    return out


def plain_logprobs(subject, trial, layer):
    """The oracle: one prompt alone, with a hook of our own that adds the vector."""
    model = subject.loaded.model
    block = model.get_decoder().layers[layer]

    def add(module, args, output):
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        stop = min(trial.where.stop, hidden.shape[1])
        hidden[:, trial.where.start : stop] += torch.from_numpy(trial.vector)
        return output

    handle = block.register_forward_hook(add) if trial.vector is not None else None
    try:
        with torch.inference_mode():
            logits = model(torch.tensor([trial.prompt])).logits[0, -1]
    finally:
        if handle is not None:
            handle.remove()
    return torch.log_softmax(logits.float(), -1)[list(trial.watch)].tolist()


class TestTrials:
    def test_every_trial_of_a_cell_is_what_its_prompt_and_vector_make_of_the_model(self, subject, thought):
        layer = subject.layers[0]
        trials = thought.plan(Cell("exploration", layer, 1.0)).first
        picked = [*trials[:13], trials[20], trials[-1]]
        assert {each.about["ask"] for each in picked} >= {"detect", "reversed", "which", "concept", "localise"}
        found = first_tokens(subject.backend, layer, picked, subject.loaded.info.width)
        for trial, values in zip(picked, found, strict=True):
            assert values == pytest.approx(plain_logprobs(subject, trial, layer), abs=1e-4)

    def test_injection_changes_what_is_read_and_none_does_not(self, subject, thought):
        layer, width = subject.layers[0], subject.loaded.info.width
        trial = thought.plan(Cell("exploration", layer, 1.0)).first[0]
        bare = replace(trial, vector=None)
        one, other = first_tokens(subject.backend, layer, [trial, bare], width)
        assert one != pytest.approx(other, abs=1e-3)
        assert other == pytest.approx(plain_logprobs(subject, bare, layer), abs=1e-4)

    def test_the_injection_begins_just_before_the_ask_and_the_cache_only_one_ends_there(self, subject, thought):
        trials = thought.plan(Cell("confirmation", subject.layers[0], 1.0, chosen=True)).first
        assert any(each.about["kind"] == "before" for each in trials)
        for each in trials:
            if each.about["ask"] == "detect" and each.swap is None:
                wording = subject.prompts.trials[each.about["wording"]]
                at = Chats(subject.loaded).tokens_of(each.prompt, wording.detect)
                before = each.about["kind"] == "before"
                assert (each.where.stop if before else each.where.start) == max(1, at.start - 1)
                assert each.where.start == 1 if before else each.where.stop > len(each.prompt)

    def test_a_sentence_is_injected_and_nothing_else_and_places_are_balanced(self, subject, thought):
        trials = thought.plan(Cell("exploration", subject.layers[0], 1.0)).first
        found = [each for each in trials if each.about["ask"] == "localise"]
        assert [each.about["target"] for each in found] == list("ABCDEF")
        for each in found:
            text = subject.loaded.tokenizer.decode(list(each.prompt[each.where.start : each.where.stop]))
            block = subject.materials.sentences.sentences[:10]
            assert text == block["ABCDEF".index(each.about["target"])]

    def test_strengths_are_parts_of_a_typical_norm_and_all_vectors_have_it(self, subject, thought):
        layer = subject.layers[0]
        states = subject.at_rest[layer]
        typical = float(np.median(np.linalg.norm(states, axis=1)))
        for kind in VECTORS:
            added = thought.added(Cell("exploration", layer, 0.5), "banana", kind)
            assert np.linalg.norm(added) == pytest.approx(0.5 * typical, rel=1e-4)
        concept, negated, shuffled = (subject.vector("banana", layer, k) for k in ("concept", "negated", "shuffled"))
        assert np.array_equal(concept, -negated) and not np.array_equal(concept, shuffled)
        assert np.sort(concept) == pytest.approx(np.sort(shuffled), abs=1e-6)
        own = subject.directions["banana"][layer].unit
        assert concept @ own == pytest.approx(typical, rel=1e-4)

    def test_the_natural_control_is_the_way_to_another_prompt(self, subject):
        layer, sentences = subject.layers[0], subject.materials.sentences.sentences
        here = Chats(subject.loaded).render(subject.prompts.trials[0].messages(subject.prompts.trials[0].detect))
        there = Chats(subject.loaded).render([{"role": "user", "content": sentences[len(sentences) // 2]}])
        one, other = subject.backend.replay(
            [here, there], [[len(here) - 1], [len(there) - 1]], capture=Capture(("resid_post",), (layer,))
        )
        difference = (other["resid_post", layer] - one["resid_post", layer])[0].numpy()
        word = subject.every_word[0]
        natural = subject.vector(word, layer, "natural")
        assert np.corrcoef(natural, difference)[0, 1] > 0.9999 and natural @ difference > 0
        held_out = subject.vector(subject.words["confirmation"][0], layer, "natural")
        assert np.array_equal(held_out, natural)  # the first word of either part is asked in the first wording

    def test_a_dose_that_breaks_the_model_gives_none_and_its_neighbours_go_on(self, subject, thought):
        layer, width = subject.layers[0], subject.loaded.info.width
        one, other = thought.plan(Cell("exploration", layer, 1.0)).first[:2]

        class Overflows:
            def branches(self, beginning, rows, steer):
                for numbers, logits in subject.backend.branches(beginning, rows, steer=steer):
                    logits[0] = torch.nan
                    yield numbers, logits

        found = first_tokens(Overflows(), layer, [one, other], width)
        assert found[0] is None and found[1] == pytest.approx(plain_logprobs(subject, other, layer), abs=1e-4)

    def test_replies_are_drawn_by_seed_and_surprise_is_that_of_the_model_alone(self, subject, thought):
        layer = subject.layers[0]
        trials = thought.plan(Cell("exploration", layer, 1.0)).texts[:3]
        sampling = Sampling(4, 1.0, frozenset())
        one, again = (replies(subject.backend, subject.loaded, layer, trials, sampling, 8) for _ in range(2))
        assert one == again and len({each.ids for each in one}) > 1
        [nats] = surprise(subject.backend, [trials[0].prompt], one[:1])
        ids = torch.tensor([[*trials[0].prompt, *one[0].ids]])
        with torch.inference_mode():
            said = torch.log_softmax(subject.loaded.model(ids).logits[0], -1)
        start = len(trials[0].prompt) - 1
        wanted = [float(said[start + k, token]) for k, token in enumerate(one[0].ids)]
        assert nats == pytest.approx(-np.median(wanted), abs=1e-4)
        assert surprise(subject.backend, [trials[0].prompt], [Reply((), "", "stop")]) == [None]

    def test_names_of_one_beginning_are_not_told_apart(self, subject):
        found = name_tokens(subject.loaded, ("apple", "axe", "bread"), "The word is")
        assert found.alone() == ("bread",) and found.common == tuple(subject.loaded.tokenizer(" ").input_ids)

    def test_words_take_turns_over_categories_and_less_is_the_beginning_of_more(self, subject):
        words = subject.materials.words
        four = pick_words(words, "exploration", (), 4, 0)
        assert four == pick_words(words, "exploration", (), 6, 0)[:4]
        assert [words.place[word].category for word in four] == ["things", "ideas"] * 2
        assert pick_words(words, "exploration", (), 6, 1) != pick_words(words, "exploration", (), 6, 0)
        assert set(pick_words(words, "exploration", ("ideas",), None, 0)) == {"envy", "guilt", "logic"}
        with pytest.raises(SpecError, match="no category 'idea' of words; choose among things, ideas"):
            pick_words(words, "exploration", ("idea",), None, 0)


class TestClaims:
    @pytest.mark.parametrize(
        ("text", "claim"),
        [
            ("Yes. The word is rain.", "yes"),
            ("no", "no"),
            ("Well, I would say yes, rain.", "yes"),
            ("I do not notice one. Yes it is so.", "no"),
            ("I don’t think so", "no"),
            ("The rain in Spain.", None),
            ("Yesterday and nobody", None),
            ("one two three four five six seven eight nine ten eleven twelve yes", None),
            ("", None),
        ],
    )
    def test_a_claim_is_the_first_yes_or_no(self, text, claim):
        assert read_claim(text).claim == claim

    def test_a_word_counts_with_the_claim_or_after_it(self):
        listener = Listener(["rain", "owl"])
        assert listener.with_claim("Yes, it is about Rains. An owl?") == ["rain", "owl"]
        assert listener.with_claim("It is rain, yes.") == ["rain"]
        assert listener.with_claim("It is rain. Yes.") == []
        assert listener.with_claim("No, no rain.") == [] and listener.anywhere("No, no rain.") == ["rain"]

    def test_coherence_has_three_parts(self):
        spec = CoherenceSpec(letters=0.7, repetition=0.5, nats=2.0)
        good = "Yes, there is a word."
        assert is_coherent(good, "stop", 3.0, 2.0, spec)
        assert not is_coherent(good, "stop", 4.1, 2.0, spec)
        assert not is_coherent("so so so so so so so", "length", 3.0, 2.0, spec)
        assert not is_coherent("#$%^&*@~ a", "stop", 3.0, 2.0, spec)
        assert not is_coherent(good, "not_finite", 3.0, 2.0, spec) and not is_coherent("", "stop", None, 2.0, spec)
        assert repetition("a b a b a") == pytest.approx(0.5) and readable("ab#$") == 0.5


class TestMeasures:
    def test_d_prime_is_the_textbooks(self):
        hits, false = [True] * 8 + [False] * 2, [True] * 1 + [False] * 9
        found = d_prime(hits, false, seed=0)
        assert found.value == pytest.approx(norm.ppf(8.5 / 11) - norm.ppf(1.5 / 11))
        assert found.ci95[0] < found.value < found.ci95[1]
        assert d_prime([False] * 6, [False] * 12, seed=0).value == pytest.approx(0)

    def test_a_line_and_what_is_left_where_x_is_zero(self):
        x = np.linspace(-1, 1, 40)
        found = line(x, 0.3 + 2 * x, list(range(40)), n=100, seed=0)
        assert [round(found[k].value, 6) for k in ("r", "slope", "intercept")] == [1.0, 2.0, 0.3]
        assert line([1, 1, 1], [1, 2, 3], range(3), n=100, seed=0)["r"].value is None

    def test_coefficients_are_standardised_and_few_words_have_none(self):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(2, 60))
        found = coefficients({"a": 100 * a, "b": b}, 2 * a + 0.01 * b, range(60), n=100, seed=0)
        assert found["a"].value == pytest.approx(1, abs=0.02) and abs(found["b"].value) < 0.05
        few = coefficients({"a": a[:8], "b": b[:8]}, a[:8], range(8), n=100, seed=0)
        assert "8 words are too few for 2 predictors" in few["a"].reason

    def test_dealing_words_out_again_gives_what_is_guessed_anyway(self):
        named = np.zeros((20, 20), dtype=bool)
        named[:, 0] = True
        null, p = permuted(named, n=199, seed=0)
        assert null.value == pytest.approx(0.05) and p == 1.0
        assert permuted(np.eye(20, dtype=bool), n=199, seed=0)[1] == pytest.approx(1 / 200)

    def test_shares_are_exact_and_means_over_words(self):
        assert exact([True, False]).method == "clopper-pearson" and exact([]).value is None
        found = mean([1.0, 3.0, None, 2.0, 2.0, 2.0, 2.0], list("aabcdef"), n=100, seed=0)
        assert found.value == 2.0 and found.n == 6

    def test_a_criterion_needs_every_interval_above(self):
        high, low, none = (
            Estimate(1.0, (0.5, 2.0), 9, "x"),
            Estimate(1.0, (-0.5, 2.0), 9, "x"),
            Estimate.undefined("few"),
        )
        assert above([high, high], 0) == "supported" and above([high, low], 0) == "not supported"
        assert above([high, none], 0) == "cannot tell" and above([low, none], 0) == "not supported"


class TestPredictors:
    def test_added_logits_pass_through_the_norms_scale(self, subject):
        model = subject.loaded.model
        scale = model.get_decoder().norm.weight
        scale.data.copy_(torch.linspace(0.5, 2.0, len(scale)))
        try:
            assert final_scale(subject.loaded) == pytest.approx(scale.numpy(), abs=1e-4)
            vectors = np.eye(32)[:2]
            wanted = (vectors * scale.numpy()) @ model.get_output_embeddings().weight.numpy().T
            assert added_logits(subject.loaded, vectors) == pytest.approx(wanted, abs=1e-4)
        finally:
            scale.data.fill_(1.0)

    def test_norms_of_a_user_take_the_place_of_categories(self, folder, subject, tmp_path):
        words = subject.words["exploration"]
        ours = predictors(subject, 1, words)
        assert ours["concrete"]["banana"] == 1.0 and ours["concrete"]["envy"] == 0.0 and "frequency" not in ours
        own = subject.directions["envy"][1]
        assert ours["norm"]["envy"] == pytest.approx(own.norm, rel=1e-5)
        logits = added_logits(subject.loaded, own.vector[None].astype(float))[0]
        first = subject.loaded.tokenizer(" envy", add_special_tokens=False).input_ids[0]
        assert ours["verbalisability"]["envy"] == pytest.approx(logits.max(), abs=1e-4)
        assert ours["own"]["envy"] == pytest.approx(logits[first], abs=1e-4)
        (tmp_path / "norms.csv").write_text("word,concreteness,frequency\nEnvy,1.5,3.2\nbanana,5,4.1\n")
        normed = replace(subject, norms=covered(read_norms(tmp_path / "norms.csv"), words))
        theirs = predictors(normed, 1, words)
        assert theirs["concrete"] == {"envy": 1.5, "banana": 5.0} and theirs["frequency"]["envy"] == 3.2


REPORTER, BIASED, DEAF = "reporter", "biased", "deaf"


def planted(monkeypatch, truth: str) -> None:
    """A model that reports a concept and nothing else; one that says yes to whatever is unusual; one that is deaf."""

    def says_yes(about):
        right = about["ask"] not in ("reversed", "unrelated_no")
        moved = about["kind"] not in (NONE, "before")
        if truth == BIASED:
            return 0.9 if moved else 0.2
        if truth == REPORTER and about["ask"] in ("detect", "reversed", "concept", "concept_other"):
            there = about["kind"] == "concept" and about["ask"] != "concept_other"
            return 0.9 if there == right else 0.05
        return 0.5 if about["ask"] in ("detect", "reversed") else 0.9 if right else 0.05

    def first(backend, layer, trials, width):
        out = []
        for each in trials:
            about, n = each.about, len(each.watch)
            noise = np.random.default_rng(zlib.crc32(str(sorted(about.items())).encode())).normal(0, 0.01, n)
            if about["ask"] in NAMING:
                values = -3.0 + 0.001 * noise
                if truth == REPORTER and about["kind"] == "concept" and about["ask"] == "which":
                    names = [*NAMES[about["part"]]]
                    values[names.index(about["word"])] = -0.1
            elif about["ask"] == "localise":
                values = -2.3 + noise
                if truth == REPORTER and about["kind"] == "concept":
                    values["ABCDEFGHIJ".index(about["target"])] = -0.1
            else:
                p = float(np.clip(says_yes(about) + noise[0], 0.01, 0.98))
                values = np.log([p / 2, p / 2, (1 - p) / 2, (1 - p) / 2])
            out.append([float(value) for value in values])
        return out

    def reply(backend, loaded, layer, trials, sampling, lanes):
        out = []
        for each in trials:
            about, spin = each.about, each.seed % 10
            yes = spin < 10 * says_yes(about)
            word = about["word"] if truth == REPORTER else ("apple", "banana", "envy")[spin % 3]
            text = f"Yes. The word is {word}." if yes else "No."
            out.append(Reply((5, 6), text, "stop"))
        return out

    NAMES = {"exploration": [], "confirmation": []}
    init = Thought.__init__

    def started(self, subject):
        init(self, subject)
        NAMES.update({part: list(names.alone()) for part, names in self.names.items()})

    monkeypatch.setattr(Thought, "__init__", started)
    monkeypatch.setattr(cells, "first_tokens", first)
    monkeypatch.setattr(cells, "replies", reply)
    monkeypatch.setattr(cells, "surprise", lambda backend, prompts, found: [1.0] * len(found))


def rows_of(results, title):
    return {row["label"]: row["cells"] for t in results["tables"] if t["title"] == title for row in t["rows"]}


class TestPlantedTruth:
    def run(self, monkeypatch, folder, tmp_path, truth):
        planted(monkeypatch, truth)
        results = run_injection(tiny_injection(folder), tmp_path / truth)
        return results, {each["criterion"]: each["finding"] for each in results["verdict"]}

    def test_a_reporter_is_found_and_its_controls_pass(self, monkeypatch, folder, tmp_path):
        results, verdict = self.run(monkeypatch, folder, tmp_path, REPORTER)
        assert verdict == {
            "accurate": "supported",
            "grounded": "supported",
            "internal": "supported",
            "asked by name": "supported",
            "which sentence": "supported",
            "meta": "not tested",
        }
        table = rows_of(results, "Every condition, on words held out")
        claims, apart, named, given, coherent, shift, told = (
            each["value"] for each in table["the word's concept vector"][:7]
        )
        assert claims >= 0.5 and named == claims and given == coherent == 1.0 and apart > 0.5
        assert shift == pytest.approx(0.85 * 2, abs=0.1)
        assert told == pytest.approx((math.log(9) + math.log(19)) / 2, abs=0.2), "as it stands: less than it shifted by"
        assert abs(table["random direction, same norm"][5]["value"]) < 0.1
        other = rows_of(results, "Controls that are asked another question")
        assert other["injected sentence found: letter that gained most"][0]["value"] == 1.0
        assert other["rank of the word's gain among the words, first token"][0]["value"] == 1.0
        assert other["the one minus the other"][0]["value"] > 0.3
        assert other["asked about the injected word, beyond about another"][0]["value"] > 1
        assert abs(other["shift on unrelated questions, answer No"][0]["value"]) < 0.3

    def test_a_bias_to_yes_is_seen_through(self, monkeypatch, folder, tmp_path):
        results, verdict = self.run(monkeypatch, folder, tmp_path, BIASED)
        assert verdict["grounded"] == "not supported" and verdict["internal"] == "not supported"
        assert verdict["asked by name"] == verdict["which sentence"] == "not supported"
        table = rows_of(results, "Every condition, on words held out")
        concept, random = table["the word's concept vector"], table["random direction, same norm"]
        assert concept[5]["value"] > 1 and random[5]["value"] > 1, "it says yes, and to a random direction too"
        assert abs(concept[6]["value"]) < 0.1 and abs(concept[7]["value"]) < 0.2, "with both polarities that cancels"
        line = rows_of(results, "Detection regressed on the bias to yes")
        assert line["r, over words and cells"][0] == concept[8]
        other = rows_of(results, "Controls that are asked another question")
        assert other["shift on unrelated questions, answer No"][0]["value"] > 1

    def test_in_a_deaf_model_nothing_is_found(self, monkeypatch, folder, tmp_path):
        results, verdict = self.run(monkeypatch, folder, tmp_path, DEAF)
        assert verdict["accurate"] == verdict["grounded"] == "not supported"
        assert not OVER_CLAIMING.search((tmp_path / DEAF / "report.html").read_text().partition("<script")[0])
        assert any("signal detection" in sentence for sentence in results["sentences"])


class TestDirectory:
    def test_it_holds_what_any_run_holds(self, finished):
        names = {each.name for each in finished.iterdir()}
        assert names >= {"injection.yaml", "manifest.json", "trials.jsonl", "results.json", "report.html"}
        results = INJECTION.read(finished / "results.json")
        assert results["injection"]["kind"] == "inject-thought" and results["chosen"]["layer"] == 1
        assert len(results["grid"]["cells"]) == 2 and any("6 words a cell are few" in w for w in results["warnings"])
        assert any("of the first token's probability is on Yes or No" in warning for warning in results["warnings"])
        assert any("12 of 12 words are more than one token" in warning for warning in results["warnings"])
        manifest = json.loads((finished / "manifest.json").read_text())
        assert manifest["model"]["weight_digest"] and manifest["doctor"]

    @pytest.mark.parametrize("cut", [0.3, 0.999])
    def test_a_killed_study_resumed_is_the_uninterrupted_one(self, finished, folder, tmp_path, cut):
        out = tmp_path / "killed"
        out.mkdir()
        for name in ("injection.yaml", "manifest.json"):
            (out / name).write_bytes((finished / name).read_bytes())
        whole = (finished / "trials.jsonl").read_bytes()
        (out / "trials.jsonl").write_bytes(whole[: int(cut * len(whole))])
        run_injection(tiny_injection(folder), out, resume=True)
        assert (out / "trials.jsonl").read_bytes() == whole
        assert (out / "results.json").read_bytes() == (finished / "results.json").read_bytes()

    def test_whole_cells_are_kept_and_not_made_again(self, finished, folder, tmp_path, monkeypatch):
        out = tmp_path / "kept"
        out.mkdir()
        for name in ("injection.yaml", "manifest.json", "trials.jsonl"):
            (out / name).write_bytes((finished / name).read_bytes())
        monkeypatch.setattr(cells, "first_tokens", lambda *args: pytest.fail("a cell was made again"))
        run_injection(tiny_injection(folder), out, resume=True)

    def test_other_versions_or_another_study_are_refused(self, finished, folder, tmp_path):
        with pytest.raises(RunError, match="add --resume"):
            run_injection(tiny_injection(folder), finished)
        with pytest.raises(RunError, match="another study"):
            run_injection(tiny_injection(folder, "inject-thought", "seed=1"), finished, resume=True)
        out = tmp_path / "other"
        out.mkdir()
        for name in ("injection.yaml", "trials.jsonl"):
            (out / name).write_bytes((finished / name).read_bytes())
        manifest = json.loads((finished / "manifest.json").read_text())
        manifest["versions"]["torch"] = "0.1"
        (out / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(RunError, match=r"made with other versions \(torch 0\.1, now .*install what they were made"):
            run_injection(tiny_injection(folder), out, resume=True)
        del manifest["versions"]
        (out / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(RunError, match="does not say which versions made the rows"):
            run_injection(tiny_injection(folder), out, resume=True)
        manifest = json.loads((finished / "manifest.json").read_text())
        del manifest["method"]  # as before rows had one
        (out / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(RunError, match="another method"):
            run_injection(tiny_injection(folder), out, resume=True)
        (out / "manifest.json").unlink()
        with pytest.raises(RunError, match=r"has rows and no manifest\.json"):
            run_injection(tiny_injection(folder), out, resume=True)

    def test_rows_of_a_time_when_fewer_packages_were_recorded_go_on(self, finished, folder, tmp_path, monkeypatch):
        out = tmp_path / "earlier"
        shutil.copytree(finished, out)
        manifest = json.loads((finished / "manifest.json").read_text())
        manifest["versions"] = earlier_versions(manifest["versions"])
        (out / "manifest.json").write_text(json.dumps(manifest))
        monkeypatch.setattr(cells, "first_tokens", lambda *args: pytest.fail("a cell was made again"))
        run_injection(tiny_injection(folder), out, resume=True)
        assert (out / "trials.jsonl").read_bytes() == (finished / "trials.jsonl").read_bytes()

    @pytest.mark.parametrize("said", ["layers", "strengths", "prompts", "words", "texts"])
    def test_rows_of_another_plan_are_refused(self, finished, folder, tmp_path, said):
        shutil.copytree(finished, tmp_path / "other")
        manifest = json.loads((finished / "manifest.json").read_text())
        change = {"layers": [0], "strengths": [0.5, 2.0], "prompts": "full", "words": {"exploration": []}, "texts": "0"}
        assert manifest[said] != change[said]
        (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest | {said: change[said]}))
        with pytest.raises(RunError, match=f"another {said}; choose another --out"):
            run_injection(tiny_injection(folder), tmp_path / "other", resume=True)

    def test_a_card_that_was_edited_meanwhile_makes_another_plan(self, folder, tmp_path, monkeypatch):
        def after_one(what: str, done: int, total: int) -> None:
            if done == 1:
                raise KeyboardInterrupt

        spec = tiny_injection(folder, "inject-thought", "depths=null", "strengths=null")
        said = Trained((0,), (0.4, 2.0), ("random",))
        monkeypatch.setattr(subject_module, "read_trained", lambda organism: said)
        with pytest.raises(KeyboardInterrupt):
            run_injection(spec, tmp_path / "a", progress=after_one)
        edited = replace(said, strengths=(0.4, 3.0))
        monkeypatch.setattr(subject_module, "read_trained", lambda organism: edited)
        with pytest.raises(RunError, match="another strengths"):
            run_injection(spec, tmp_path / "a", resume=True)
        assert len(Cells(tmp_path / "a" / "trials.jsonl", NAMED).cells) == 1

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda row: {key: row[key] for key in ("cell", "of", *NAMED)},
            lambda row: {key: value for key, value in row.items() if key not in ("yes", "no")},
            lambda row: row | {"layer": [1]},
            lambda row: row | {"yes": "no"},
            lambda row: row | {"strength": {0.5: 1.0, 1.0: 0.5}.get(row["strength"])},
            lambda row: row | {"part": "confirmation"},
        ],
    )
    def test_rows_that_do_not_hold_together_are_one_line(self, finished, folder, tmp_path, spoil):
        shutil.copytree(finished, tmp_path / "odd")
        rows = [json.loads(line) for line in (finished / "trials.jsonl").read_text().splitlines()]
        text = "".join(json.dumps(spoil(row)) + "\n" for row in rows)
        (tmp_path / "odd" / "trials.jsonl").write_text(text)
        with pytest.raises(
            StoreError, match=r"trials.jsonl do not hold together \(.*\); choose another --out"
        ) as caught:
            run_injection(tiny_injection(folder), tmp_path / "odd", resume=True)
        assert len(str(caught.value).splitlines()) == 1
        assert (tmp_path / "odd" / "trials.jsonl").read_text() == text, "nothing is lost"

    def test_words_that_another_batch_has_are_no_rows_of_this_one(self, folder, monkeypatch):
        monkeypatch.setattr(intentional, "BATCH", 2)
        study, again = (
            STUDIES["inject-intentional-control"](tiny_subject(folder, "inject-intentional-control")) for _ in range(2)
        )
        one, other, *more = study.cells()
        assert one == other and more
        done = [study.run_cell(one, [])]
        done.append(study.run_cell(other, done))
        assert study.is_of(1, done[1][0]) and not study.is_of(0, done[1][0])
        with pytest.raises(StoreError, match=r"do not hold together \(what stands for cell 1 is not Cell\(part='expl"):
            again.run_cell(more[0], [done[0], done[0]])

    def test_a_fault_of_our_own_in_rows_that_were_just_made_is_none_of_theirs(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr(Thought, "choose", lambda self, done: {}["ours"])
        with pytest.raises(KeyError, match="ours"):
            run_injection(tiny_injection(folder), tmp_path / "fresh")

    @pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
    def test_what_is_no_number_is_no_row(self, tmp_path, number):
        named = "".join(f', "{key}": "x"' for key in NAMED)
        (tmp_path / "trials.jsonl").write_text(f'{{"cell": 0, "of": 1{named}, "yes": {number}}}\n')
        with pytest.raises(StoreError, match="does not hold this study's rows"):
            Cells(tmp_path / "trials.jsonl", NAMED)

    @pytest.mark.parametrize("damage", [b"[]\n", b'{"cell": 1, "of": 1}\n', b"nonsense\n", b'{"cell": 0, "of": "a"}\n'])
    def test_damaged_trials_are_one_line(self, tmp_path, damage):
        (tmp_path / "trials.jsonl").write_bytes(damage)
        with pytest.raises(StoreError, match=r"trials.jsonl does not hold this study's rows; choose another --out"):
            Cells(tmp_path / "trials.jsonl", NAMED)

    def test_the_page_is_drawn_again_and_holds_no_markup_of_strangers(self, finished, tmp_path):
        results = INJECTION.read(finished / "results.json")
        bad = "<script>alert(1)</script>‮"
        results["examples"][0]["text"] = results["sentences"][0] = results["injection"]["question"] = bad
        results["tables"][0]["rows"][0]["label"] = results["warnings"][0] = bad
        INJECTION.check(results)
        page = render(results, {"command": bad})
        assert "<script>alert" not in page and "‮" not in page and "&lt;script&gt;alert" in page
        before = (finished / "report.html").read_bytes()
        (finished / "report.html").unlink()
        assert report_injection(finished).read_bytes() == before
        found = CliRunner().invoke(app, ["report", str(finished), "--json"])
        assert found.exit_code == 0 and json.loads(found.output)["report"].endswith("report.html")
        with pytest.raises(RunError, match=r"no results\.json"):
            report_injection(tmp_path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r["grid"]["labels"].update(net="<b>net</b>"),
            lambda r: r["verdict"][0].update(finding="proven"),
            lambda r: r["grid"]["cells"][0]["measures"]["net"].update(value="1"),
            lambda r: r.update(extra=1),
        ],
    )
    def test_results_that_do_not_fit_are_refused(self, finished, change):
        results = INJECTION.read(finished / "results.json")
        change(results)
        with pytest.raises(StoreError):
            INJECTION.check(results)

    def test_results_that_do_not_hold_together_are_one_line(self, finished, tmp_path):
        results = INJECTION.read(finished / "results.json")
        del results["grid"]["cells"][0]["measures"]["net"]
        (tmp_path / "results.json").write_text(json.dumps(results))
        with pytest.raises(StoreError, match="does not hold together"):
            report_injection(tmp_path)


class TestLeftOut:
    def test_trials_without_numbers_or_tokens_are_counted_and_the_study_goes_on(self, monkeypatch, folder, tmp_path):
        real = cells.first_tokens

        def first(backend, layer, trials, width):
            found = real(backend, layer, trials, width)
            return [None if each.about["strength"] == 1.0 else v for each, v in zip(trials, found, strict=True)]

        monkeypatch.setattr(cells, "first_tokens", first)
        results = run_injection(tiny_injection(folder), tmp_path / "broken")
        broken = results["grid"]["cells"][1]
        assert broken["n_not_finite"] > 0 and broken["measures"]["detection"]["value"] is None
        assert results["chosen"]["strength"] == 0.5
        assert any("outside the usable range (layer 1, strength 1:" in w for w in results["warnings"])

    def test_a_wording_with_nothing_before_its_ask_has_no_cache_only_trial(self, finished):
        # The tiny template puts one token before a message: the first, at which nothing is injected.
        results = INJECTION.read(finished / "results.json")
        assert results["counts"]["n_without_token"] > 0
        assert any("there was no token to inject at" in warning for warning in results["warnings"])

    def test_activations_without_a_norm_are_refused(self, subject):
        broken = replace(subject)
        broken.__dict__["at_rest"] = {1: np.zeros((3, 32))}
        with pytest.raises(EstimateError, match="layer 1 have no norm"):
            broken.typical  # noqa: B018


class TestOtherKinds:
    @pytest.mark.parametrize("kind", [k for k in STUDIES if k != "inject-thought"])
    def test_they_run_and_resume_and_are_drawn(self, folder, tmp_path, kind):
        spec = tiny_injection(folder, kind)
        results = run_injection(spec, tmp_path / "a")
        whole = (tmp_path / "a" / "trials.jsonl").read_bytes()
        (tmp_path / "a" / "trials.jsonl").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "a" / "results.json").unlink()
        assert run_injection(spec, tmp_path / "a", resume=True) == results
        assert (tmp_path / "a" / "trials.jsonl").read_bytes() == whole
        assert {"criterion": "meta", "finding": "not tested"}.items() <= results["verdict"][-1].items()
        assert "<main>" in (tmp_path / "a" / "report.html").read_text()

    def test_a_sentence_alone_is_injected(self, folder):
        study = STUDIES["inject-thought-vs-text"](tiny_subject(folder, "inject-thought-vs-text"))
        for each in study.plan(Cell("exploration", 1, 1.0)).first:
            text = study.loaded.tokenizer.decode(list(each.prompt[each.where.start : each.where.stop]))
            assert text == study.subject.materials.sentences.sentences[int(each.about["asked"].partition("/")[0])]

    def test_a_prefill_is_injected_up_to_the_word_and_only_own_words_vectors_are(self, folder):
        study = STUDIES["inject-prefill"](tiny_subject(folder, "inject-prefill"))
        for each in study.plan(Cell("exploration", 1, 1.0)).first:
            after = study.loaded.tokenizer.decode(list(each.prompt[each.where.stop :]))
            assert after.startswith(each.about["asked"])
            own = each.about["ask"].endswith("_own")
            assert (each.about["asked"] == each.about["word"]) == own
            if each.about["kind"] == "concept":
                wanted = study.subject.vector(each.about["word"], 1, "concept")
                assert np.array_equal(each.vector, wanted)

    def test_a_prefill_ends_before_the_word_wherever_else_the_chat_has_it(self, folder, tmp_path):
        spec, own = tiny_injection(folder, "inject-prefill"), ["hat", "ant", "user", "assistant"]
        told = yaml.safe_load((folder / "words.yaml").read_text())
        told["categories"]["things"]["exploration"] = own
        (tmp_path / "words.yaml").write_text(yaml.safe_dump(told))
        study = STUDIES["inject-prefill"](
            prepare_subject(spec.model_copy(update={"words_file": str(tmp_path / "words.yaml"), "limit": 12}))
        )
        trials = study.plan(Cell("exploration", 1, 1.0)).first
        assert {each.about["word"] for each in trials} >= set(own)
        for each in trials:
            question = each.about["ask"].partition("_")[0]
            after = study.loaded.tokenizer.decode(list(each.prompt[each.where.stop :]))
            asked = getattr(study.subject.prompts.prefill[each.about["wording"]], question)
            word, rest = after[: len(each.about["asked"])], after[len(each.about["asked"]) :]
            assert word == each.about["asked"] and asked in rest and rest.index(asked) < 30

    def test_cosines_of_a_forced_sentence_are_those_of_its_tokens(self, folder):
        subject = tiny_subject(folder, "inject-intentional-control", "layers=[0, 2]")
        study = STUDIES["inject-intentional-control"](subject)
        rows = study.run(Cell("exploration"), [])
        assert [row["ask"] for row in rows[:5]] == ["think", "avoid", "search", "mention", "plain"] and len(rows) == 30
        [trial] = [
            t for t in study.plan(Cell("exploration")).first if (t.about["word"], t.about["ask"]) == ("envy", "avoid")
        ]
        [row] = [row for row in rows if (row["word"], row["ask"]) == ("envy", "avoid")]
        sentence = subject.materials.sentences.sentences[int(row["asked"])]
        assert subject.loaded.tokenizer.decode(list(trial.prompt[trial.where.start :])) == sentence
        [found] = subject.backend.replay([trial.prompt], [list(trial.where)], capture=Capture(("resid_post",), (2,)))
        states = found["resid_post", 2].float().numpy()
        unit = subject.directions["envy"][2].unit
        cosines = states @ unit / np.linalg.norm(states, axis=1)
        assert row["own"][1] == pytest.approx(cosines.mean(), abs=1e-4)


class TestCommand:
    def test_a_spec_that_was_written_out_is_read_again(self, tmp_path):
        spec = load_spec("inject-prefill")
        (tmp_path / "again.yaml").write_text(spec.to_yaml())
        assert load_spec(tmp_path / "again.yaml") == spec

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("strengths=[0]", "greater than 0"),
            ("strengths=[1e9]", "less than or equal to 1000"),
            ("strengths=[]", "at least 1 item"),
            ("strengths=[1, 1]", "named twice"),
            ("strenghts=[1]", "did you mean 'strengths'"),
            ("limit=0", "greater than or equal to 1"),
            ("layers=[]", "no layers"),
        ],
    )
    def test_what_cannot_be_run_is_refused_in_one_line(self, override, said):
        with pytest.raises(SpecError, match=re.escape(said)) as caught:
            load_spec("inject-thought", [override])
        assert len(str(caught.value).splitlines()) == 1

    def test_a_layer_that_the_model_lacks_is_named(self, folder):
        with pytest.raises(SpecError, match="layers 0 to 2, not 7"):
            tiny_subject(folder, "inject-thought", "layers=[7]")

    @pytest.mark.parametrize("verb", ["inject", "run"])
    def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(self, folder, tmp_path, verb):
        overrides = [f"--set={each}" for each in (*write_files(folder), *QUICK)]
        model = tiny_injection(folder).model
        out = tmp_path / "nothing"
        found = CliRunner().invoke(
            app, [verb, "inject-thought", "--model", model, *overrides, "--dry-run", "--json", "--out", str(out)]
        )
        assert found.exit_code == 0, found.output
        cost = json.loads(found.output)
        assert cost["n_cells"] == 6 and cost["n_trials"] > 100 and math.isfinite(cost["seconds"])
        assert not out.exists()

    def test_other_controls_are_run_at_the_chosen_cell_and_not_in_the_grid(self, finished):
        rows = [json.loads(each) for each in (finished / "trials.jsonl").read_text().splitlines()]
        chosen = INJECTION.read(finished / "results.json")["chosen"]["strength"]
        strengths = {kind: {r["strength"] for r in rows if r["kind"] == kind} for kind in (*VECTORS, "before")}
        assert strengths["concept"] == strengths["random"] == {0.5, 1.0}
        assert all(strengths[kind] == {chosen} for kind in ("negated", "shuffled", "natural", "before"))
        parts = {r["part"] for r in rows if r["kind"] == "negated"}
        assert parts == {"exploration", "confirmation"}
        keys = [
            (r["part"], r["layer"], r["strength"], r["word"], r["kind"], r["ask"], r["asked"], r["as"]) for r in rows
        ]
        assert len(set(keys)) == len([r for r in rows if r["kind"] != "none" or r["as"] != "text"]) + len(
            {key for key, r in zip(keys, rows, strict=True) if r["kind"] == "none" and r["as"] == "text"}
        ), "no trial is run twice"

    def test_the_dry_run_counts_what_is_run(self, folder, finished):
        cost = injection_cost(tiny_injection(folder))
        rows = [json.loads(each) for each in (finished / "trials.jsonl").read_text().splitlines()]
        assert cost.n_trials == sum(row["as"] == "logits" for row in rows)
        assert cost.n_replies == sum(row["as"] == "text" for row in rows)

    def test_another_kind_of_experiment_is_sent_to_run(self):
        found = CliRunner().invoke(app, ["inject", "probe-risk"])
        assert isinstance(found.exception, SpecError) and "introspect run probe-risk" in str(found.exception)
        found = CliRunner().invoke(app, ["run", "inject-thought", "--no-negative-control"])
        assert isinstance(found.exception, SpecError) and "controls of its own" in str(found.exception)

    def test_a_model_that_fails_its_self_test_is_refused(self, monkeypatch, folder, tmp_path):
        def fails(*_: object) -> None:
            raise RunError("the self-test failed")

        monkeypatch.setattr("introspect.cell_folder.self_test", fails)
        with pytest.raises(RunError, match="the self-test failed"):
            run_injection(tiny_injection(folder), tmp_path / "failed")
        assert not (tmp_path / "failed").exists()


def test_a_trial_is_one_object():
    assert Trial({}, (1, 2)).steered == 0 and Trial({}, (1, 2), np.zeros(2), range(1, 9)).steered == 1
