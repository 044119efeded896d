"""Shifted runs: another style and nothing else, replayed as it stands, and read by everything that reads a run."""

from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from introspect.assets import data_path
from introspect.cli import main
from introspect.errors import ModelError, RunError, SpecError, StoreError
from introspect.experiment import load_experiment
from introspect.models import load_model, render_messages
from introspect.notebook import open_run
from introspect.results import read_results
from introspect.rollout import read_rollouts
from introspect.run import verify_run
from introspect.saved_probes import apply_probe, save_run_probe
from introspect.sections import HINT_KINDS, HintSpec, SteeringSpec, VerdictSpec
from introspect.shift import drafts, estimate_shift, list_styles, measure, read_style, shift_run, shifting
from introspect.shift import source as shift_source
from introspect.shift.language import Language, TaskWords
from introspect.shift.measure import score_completions, share_changed
from introspect.shift.paraphrase import ParaphraseRules
from introspect.shift.source import read_source
from introspect.shift.template import with_template
from introspect.store import StoreReader
from introspect.tasks.hints import hint_trials
from introspect.tasks.item import read_items
from introspect.tasks.task import Message
from introspect.transcripts.replay import file_digest
from scripted import read_lines, run_scripted, save_roomy
from tiny_folders import edit_json

LANGUAGES = ("german", "french", "spanish")
STYLES = ("paraphrase", "template", "language")


def said(job) -> str:
    """A chain and an answer that follow from the item; one item in eleven gives none."""
    item = job.item
    if sum(map(ord, item.item_id)) % 11 == 0:
        return "<think>\nI think about it.\n</think>\nNo."
    answer = "risky" if item.fields["category"] == "living" else "safe"
    return f"<think>\nThere are two options. One is 45, the other 90. I can answer now.\n</think>\nAnswer: {answer}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roomy(tmp_path_factory.mktemp("model") / "roomy")


@pytest.fixture(scope="module", autouse=True)
def _untested_model():
    """The self-test of the model is tested where it belongs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafts, "self_test", lambda *_: [])
        yield


def recorded(model: Path, out: Path, *more: str) -> Path:
    quick = (
        *("organism=null", "negative_control=null", "dtype=float32", "capture.layers=[0]", "limit={id: 60, ood: 8}"),
        *("probe.bootstrap=20", "probe.permutations=1", "probe.inner_folds=2", "probe.penalties=[0.01]"),
        *("probe.positions=[last_prompt, before_answer]", "generation.max_new_tokens=150"),
    )
    with pytest.MonkeyPatch.context() as patch:
        run_scripted(patch, model, load_experiment("probe-risk", [*quick, *more]), out, said)
    return out


@pytest.fixture(scope="module")
def run(model, tmp_path_factory) -> Path:
    return recorded(model, tmp_path_factory.mktemp("source") / "run")


@pytest.fixture(scope="module")
def shifted(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shifted") / "all"
    shift_run(run, [read_style(name) for name in STYLES], out)
    return out


def by_number(run: Path) -> dict:
    return {each.rollout: each for each in read_rollouts(run / "rollouts.jsonl")}


def respec(run: Path, folder: Path, **changes: object) -> Path:
    """A copy of a run with a changed spec."""
    shutil.copytree(run, folder)
    spec = load_experiment(folder / "experiment.yaml").model_copy(update=changes)
    (folder / "experiment.yaml").write_text(spec.to_yaml())
    return folder


def content(run: Path) -> dict[str, bytes]:
    files = [run / "rollouts.jsonl", run / "shift.jsonl", run / "experiment.yaml", run / "verdicts.jsonl"]
    files += [run / "readouts.jsonl", *(run / "activations").iterdir()]
    return {file.name: file.read_bytes() for file in files if not file.name.startswith(".")}


class TestEveryStyle:
    @pytest.mark.parametrize("style", STYLES)
    def test_keeps_what_was_asked_about_and_what_was_done(self, run, shifted, style):
        before, after = by_number(run), by_number(shifted / style)
        assert after
        for number, each in after.items():
            source = before[number]
            for name in (
                "item_id",
                "group",
                "condition",
                "split",
                "domain",
                "sample",
                "seed",
                "fields",
                "facts",
                "finish",
            ):
                assert getattr(each, name) == getattr(source, name)
            assert (each.answer, each.acted, each.options) == (source.answer, source.acted, source.options)
            assert each.think_status == source.think_status == "closed"
            assert each.token_ids != source.token_ids

    @pytest.mark.parametrize("style", STYLES)
    def test_is_whole_and_says_of_what_it_was_made(self, run, shifted, style):
        folder = shifted / style
        assert verify_run(folder) == []
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["shifted_from"]["run"] == "run"
        assert len(manifest["shifted_from"]["rollouts_digest"]) == 64
        assert manifest["style"]["name"] == style
        assert (
            manifest["model"]["weight_digest"]
            == json.loads((run / "manifest.json").read_text())["model"]["weight_digest"]
        )
        results = read_results(folder / "results.json")
        assert f"in another style ({style}), replayed and not sampled" in results["warnings"][0]
        assert results["experiment"]["name"] == f"probe-risk-{style}"
        assert results["behaviour"]["policy_rate"]["id"]["value"] is not None
        assert "headline" in results["probe"]
        assert open_run(folder).tokens(next(iter(by_number(folder))), layer=0) is not None

    @pytest.mark.parametrize("style", STYLES)
    def test_activations_and_logits_are_the_models_own_on_the_shifted_tokens(self, model, shifted, style):
        folder = shifted / style
        plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(model)
        reader = StoreReader(folder / "activations")
        columns = reader.columns()
        for each in list(by_number(folder).values())[::20]:
            with torch.inference_mode():
                out = plain(torch.tensor([each.token_ids]), output_hidden_states=True)
            mine = np.flatnonzero(columns["rollout"] == each.rollout)
            positions = columns["position"][mine]
            stored = torch.from_numpy(reader.read("resid_post", 0)[mine])
            torch.testing.assert_close(stored, out.hidden_states[1][0, positions], atol=1e-5, rtol=1e-5)
            assert positions[0] == len(each.prompt_ids) - 1 and len(positions) == len(each.completion_ids)
            names = list(each.options)
            ids = [tokenizer(f"Answer: {name}", add_special_tokens=False).input_ids[len("Answer:")] for name in names]
            start = len(each.prompt_ids)
            wanted = out.logits[0, start - 1 : -1].log_softmax(-1)[:, ids]
            torch.testing.assert_close(torch.tensor(each.option_logprobs), wanted, atol=2e-5, rtol=1e-4)

    def test_a_probe_of_the_source_is_applied_to_it(self, run, shifted, tmp_path):
        probe = save_run_probe(run, tmp_path / "probe", layer=None, position=None, estimator="ridge")
        found = apply_probe(probe, shifted / "template").summary
        assert 0 <= found["auroc"]["value"] <= 1

    def test_the_same_shift_gives_the_same_bytes(self, run, shifted, tmp_path):
        shift_run(run, [read_style("paraphrase")], tmp_path / "again")
        assert content(tmp_path / "again") == content(shifted / "paraphrase")

    def test_is_read_beside_the_models_input_embeddings_and_other_verdicts_are_told(self, run, tmp_path):
        """Where the source asked for them, and had its chains read by hand."""
        spec = load_experiment(run / "experiment.yaml")
        changes = {
            "probe": spec.probe.model_copy(update={"embedding": "input"}),
            "verdicts": VerdictSpec(headline="labels", labels="sheet.csv"),
        }
        source = respec(run, tmp_path / "source", **changes)
        shift_run(source, [read_style("paraphrase")], tmp_path / "out")
        results = read_results(tmp_path / "out" / "results.json")
        assert any("labels given by hand; here they are the patterns'" in each for each in results["warnings"])
        assert "not at hand" not in json.dumps(results)

    def test_a_file_is_digested_piece_by_piece(self, run, tmp_path):
        assert read_source(run, None).rollouts_digest == file_digest(run / "rollouts.jsonl")
        file, size = tmp_path / "large", 1 << 25
        with file.open("wb") as sparse:
            sparse.truncate(size)
        tracemalloc.start()
        found = shift_source._digest(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found == hashlib.sha256(bytes(size)).hexdigest() and peak < size / 8


class TestParaphrase:
    def test_the_chain_is_in_other_words_and_the_prompt_is_not(self, run, shifted):
        before, after = by_number(run), by_number(shifted / "paraphrase")
        for number, each in after.items():
            assert each.prompt_ids == before[number].prompt_ids and each.prompt_text == before[number].prompt_text
            assert "I count two choices" in each.think_text or "wo choices" in each.think_text
            assert "45" in each.think_text and "90" in each.think_text
            assert (
                each.think_text == each.completion_text[len("<think>") : -len(f"</think>\nAnswer: {each.answer}</s>")]
            )
            assert each.chain_text.startswith("<think>\n") and each.chain_text.endswith("</think>\nAnswer: ")

    def test_rollouts_without_a_chain_and_an_answer_are_left_out_and_counted(self, run, shifted):
        silent = [each for each in by_number(run).values() if each.answer is None]
        told = json.loads((shifted / "paraphrase" / "manifest.json").read_text())["shift"]
        assert silent
        assert told["left_out"] == {"has no chain before an answer that names an option": len(silent)}
        assert set(by_number(run)) - set(by_number(shifted / "paraphrase")) == {each.rollout for each in silent}
        assert not json.loads((shifted / "template" / "manifest.json").read_text())["shift"]["left_out"]

    def test_how_far_it_is_from_its_source_is_stated(self, run, shifted):
        told = json.loads((shifted / "paraphrase" / "manifest.json").read_text())["shift"]
        rows = read_lines(shifted / "paraphrase" / "shift.jsonl")[1:]
        before, after = by_number(run), by_number(shifted / "paraphrase")
        assert told["prompt_tokens_changed"]["value"] == 0
        for row in rows[:3]:
            chains = [
                each[row["rollout"]].token_ids[
                    len(each[row["rollout"]].prompt_ids) : each[row["rollout"]].answer_position
                ]
                for each in (before, after)
            ]
            assert row["chain_changed"] == round(share_changed(*chains), 5)
        mean = np.mean([row["chain_changed"] for row in rows])
        assert told["chain_tokens_changed"]["value"] == pytest.approx(mean, abs=1e-5) and mean > 0.2
        assert told["chain_logprob_a_token"]["source"]["value"] == pytest.approx(
            np.mean([row["logprob_source"] for row in rows]), abs=1e-5
        )
        assert told["lexical_verdicts"] == {"n": len(rows), "changed": 0}

    def rules(self) -> ParaphraseRules:
        return read_style("paraphrase").rules

    @pytest.mark.parametrize(
        ("sentence", "words"),
        [
            ("So I think about it.", "So I turn over it."),
            ("One is 45, the other 90.", "On one side stands 45, on the opposite side 90."),
            ("I do not have to decide.", "I don't need to settle it."),
            (" I have compared them.", " By this point I've compared them."),
            ("So far I see B.", "Up to this point I see B."),
        ],
    )
    def test_phrases_keep_the_case_of_their_place(self, sentence, words):
        keys = (str(i) for i in range(40))
        found = {self.rules().reword(sentence, ("A", "B"), key) for key in keys}
        assert words in found
        lead = words.strip()
        assert {each.strip().removesuffix(lead[1:])[-1:].lower() for each in found} == {lead[:1].lower()}

    def test_an_opener_takes_the_capital_of_a_small_word_only(self):
        found = {self.rules().reword(text, (), str(i)) for text in ("The cat.", "Paris.", "I go.") for i in range(40)}
        assert {"Well, the cat.", "Well, Paris.", "OK, I go.", "The cat."} <= found
        assert not any("the cat" in each and "," not in each for each in found)

    def test_names_of_options_stay(self):
        assert "so far" in self.rules().reword("I take so far.", ("so far", "near"), "0")
        assert "choices" in self.rules().reword("There are two choices.", ("choices", "none"), "0")

    def test_what_would_be_reworded_again_is_refused(self):
        given = {"summary": "x", "openers": ["Well,"], "begins": [], "phrases": {"x y": "pick"}}
        with pytest.raises(ValueError, match="would be reworded again"):
            ParaphraseRules.model_validate(given)

    def test_a_think_block_that_words_would_end_leaves_no_rollout(self, run):
        style = read_style("paraphrase")
        moved = style.rules.model_copy(update={"phrases": {"answer now": "answer </think> now"}})
        with pytest.raises(SpecError, match=r"no rollout can be put into .* has its think span elsewhere"):
            estimate_shift(run, [replace(style, rules=moved)])

    def test_a_rollout_that_would_answer_otherwise_is_none(self, run):
        style, work = read_style("paraphrase"), drafts.Work(run, [], 2, offline=True)
        job, rollout = next(pair for pair in drafts.matched(work.source, work.prepared) if pair[1].answer == "safe")
        ids = AutoTokenizer.from_pretrained(work.source.spec.model)("risky", add_special_tokens=False).input_ids
        at = rollout.answer_position - len(rollout.prompt_ids)
        other = drafts.Draft(job, [*rollout.completion_ids[:at], *ids, rollout.completion_ids[-1]])
        assert drafts._read(work.prepared, style, drafts.Draft(job, rollout.completion_ids), rollout).answer == "safe"
        longer = rollout.model_copy(update={"completion_ids": other.completion_ids})
        assert drafts._read(work.prepared, style, other, longer) == drafts.OTHER_ANSWER


class TestTemplate:
    def test_messages_stay_and_their_marks_do_not(self, run, shifted, model):
        tokenizer = AutoTokenizer.from_pretrained(model)
        before, after = by_number(run), by_number(shifted / "template")
        assert set(before) == set(after)
        for number, each in after.items():
            source = before[number]
            text = f"User: {source.prompt_text}\n\nAssistant:\n"
            assert each.prompt_ids == tokenizer(text, add_special_tokens=False).input_ids
            assert each.prompt_text == source.prompt_text and each.completion_ids == source.completion_ids
            moved = len(each.prompt_ids) - len(source.prompt_ids)
            assert tuple(place + moved for place in source.spans.think) == each.spans.think
            assert each.spans.prompt == (0, len(each.prompt_ids))

    @pytest.mark.parametrize("name", ["plain", "alpaca", "llama-2"])
    def test_a_think_block_that_the_prompt_opens_stays_open(self, tmp_path, name):
        folder = save_roomy(tmp_path / "model")
        (folder / "chat_template.jinja").write_text(
            "<s>{% for m in messages %}<user>{{ m.content }}{% endfor %}<bot><think>{{ '\\n' }}"
        )
        loaded = load_model(str(folder), dtype="float32")
        messages = [{"role": role, "content": role.title()} for role in ("system", "user", "assistant", "user")]
        other = with_template(loaded, read_style(f"template:{name}").rules, render_messages(loaded, messages))
        text = loaded.tokenizer.decode(render_messages(other, messages))
        assert text.startswith("<s>") and text.endswith("<think>\n") and text.count("<think>") == 1
        assert "<user>" not in text and "System" in text and text.count("User") >= 2
        assert loaded.tokenizer.chat_template != other.tokenizer.chat_template

    def test_a_token_that_marks_turns_is_style(self, tmp_path):
        folder = save_roomy(tmp_path / "model")
        (folder / "chat_template.jinja").write_text("{% for m in messages %}<s>{{ m.content }}{% endfor %}<s>")
        loaded = load_model(str(folder), dtype="float32")
        messages = [{"role": "user", "content": "hi"}]
        other = with_template(loaded, read_style("template").rules, render_messages(loaded, messages))
        assert loaded.tokenizer.decode(render_messages(other, messages)) == "User: hi\n\nAssistant:\n"

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("User: hello. Assistant:", "drops or changes words of the user turn"),
            ("{{ messages[0].content }} <think>", "cannot be found in the style template:"),
            ("{{ messages[0].nothing.more }}", "refuses the prompt"),
        ],
    )
    def test_one_that_hides_the_prompt_or_the_format_is_refused(self, run, tmp_path, template, message):
        file = tmp_path / "mine.yaml"
        file.write_text(f"name: mine\nsummary: mine\ntemplate: {json.dumps(template)}\n")
        with pytest.raises((SpecError, ModelError), match=message):
            shift_run(run, [read_style(f"template:{file}")], tmp_path / "out")
        assert not (tmp_path / "out" / "rollouts.jsonl").exists()


class TestLanguage:
    def test_the_prompt_is_translated_and_the_chain_is_not(self, run, shifted):
        before, after = by_number(run), by_number(shifted / "language")
        for number, each in after.items():
            assert each.completion_ids == before[number].completion_ids
            lines = each.prompt_text.split("\n")
            assert len(lines) == 4 and lines[0].endswith("Wähle eine Möglichkeit.")
            assert lines[3].startswith("Denke zuerst nach und schreibe dann Answer: ")
            assert {line.split(":")[0] for line in lines[1:3]} == {"safe", "risky"}
            assert str(each.fields["sure_amount"]) in lines[1] + lines[2]

    @pytest.mark.parametrize(("language", "task"), [*product(LANGUAGES, ("risk", "sampling"))])
    def test_has_words_for_every_item_that_ships_and_no_others(self, language, task):
        rules = read_style(f"language:{language}").rules
        words, seen, found = rules.tasks[task], set(), []
        for item in read_items(data_path(f"{task}.jsonl")):
            new = rules.translate(task, Message("user", item.prompt), item.options, item.item_id).content
            found.append(new)
            seen |= set(item.prompt.replace(",", " ").replace(".", " ").split())
            assert len(new.split("\n")) == len(item.prompt.split("\n"))
            assert not {"choose", "chance", "against", "first", "otherwise", "wins"} & set(new.lower().split())
        assert not words.keep_other_lines and len(set(found)) > len(found) / 2
        for name in words.lists:
            assert {word.split()[0] for word in words.lists[name]} <= seen

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_has_words_for_every_hint_and_leaves_the_question(self, language):
        rules = read_style(f"language:{language}").rules
        item = read_items(data_path("questions.jsonl"))[0]
        hints = HintSpec(kinds=HINT_KINDS, difficulty=("plain", "computed"), arms=("incorrect", "correct"))
        for each in [item, *read_items(data_path("questions.jsonl"))[1:40]]:
            for trial in hint_trials(each, hints):
                kind = trial.facts.get("hint", "none")
                for message in trial.messages:
                    new = rules.translate("hints", message, each.options, "x").content
                    before, after = set(message.content.split("\n")), set(new.split("\n"))
                    kept = {line for line in before & after if line.strip()}
                    assert each.prompt.split("\n")[0] in kept or message.role != "user"
                    own = before - set(each.prompt.split("\n")) - {""}
                    if kind in ("sycophancy", "unethical") or (kind == "consistency" and message.role == "user"):
                        assert not own & kept
                    assert "Think first" not in new
        assert rules.translate("hints", Message("assistant", "Answer: D"), "ABCD", "x").content == "Answer: D"

    def test_the_most_specific_sentence_that_fits_the_line_wins_and_others_are_tried(self):
        words = TaskWords(
            sentences={
                "a {text}": "1 {text}",
                "a {text}.": "2 {text}!",
                "b {number}.": "3 {number}",
                "it is {text}.": "4 {text}.",
                "it is {text} and {text2}.": "5 {text2}, {text}.",
                "it is red.": "6.",
                "{text} is {text2} {text3}.": "7 {text3}",
                "It is hot.": "8",
            }
        )
        language = Language(name="x", summary="x", tasks={"t": words})

        def new(text: str) -> str:
            return language.translate("t", Message("user", text), (), "item i").content

        assert new("a dog. b 7.\n\na cat") == "2 dog! 3 7\n\n1 cat"
        assert new("it is No. 4. b 7.") == "4 No. 4. 3 7"  # {text} takes more where the rest is no sentence else
        assert new("a big dog") == "1 big dog"
        assert new("it is red.") == "6." and new("it is red and blue.") == "5 blue, red."
        assert new("It is hot.") == "8"  # of fewer characters than the sentence of fillers
        with pytest.raises(SpecError, match=r"item i: x has no words for 'c'"):
            new("c")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ({"sentences": {"a {noun}": "b"}}, "stands for nothing"),
            ({"sentences": {"a": "b {text}"}}, "stands for nothing"),
            ({"sentences": {"{text} {text}": "b"}}, "stands twice"),
        ],
    )
    def test_fillers_that_stand_for_nothing_are_refused(self, words, message):
        with pytest.raises(ValueError, match=message):
            TaskWords.model_validate(words)


class TestMeasures:
    def test_share_changed_is_the_edit_distance(self):
        def slow(one, two):
            if not one or not two:
                return len(one) + len(two)
            if one[0] == two[0]:
                return slow(one[1:], two[1:])
            return 1 + min(slow(one[1:], two), slow(one, two[1:]), slow(one[1:], two[1:]))

        drawn = np.random.default_rng(0)
        for _ in range(40):
            one, two = (drawn.integers(0, 3, drawn.integers(0, 7)).tolist() for _ in range(2))
            expected = slow(one, two) / max(len(one), len(two), 1)
            assert share_changed(one, two) == pytest.approx(expected)

    @pytest.mark.parametrize("room", [1, 1 << 28])
    def test_log_probabilities_are_the_models_own_in_any_pack(self, model, monkeypatch, room):
        monkeypatch.setattr(measure, "LOGIT_BYTES", room)
        loaded = load_model(str(model), dtype="float32")
        sequences = [[4, 10, 11, 5, 20, 21], [4, 12, 5, 30], [4, 9, 9, 9, 9, 9, 5, 7, 8]]
        starts, told = [4, 3, 7], []
        found = score_completions(loaded, sequences, starts, [[6, 7], [8], []], lambda *at: told.append(at), "score")
        for ids, start, watch, each in zip(sequences, starts, [[6, 7], [8], []], found, strict=True):
            with torch.inference_mode():
                logprobs = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            wanted = [float(logprobs[place - 1, ids[place]]) for place in range(start, len(ids))]
            assert each.logprobs == pytest.approx(wanted, abs=1e-5)
            assert each.watched == pytest.approx(logprobs[start - 1 : -1][:, watch].numpy(), abs=1e-5)
        assert told[-1] == ("score", 3, 3)


class TestInterrupted:
    @pytest.mark.parametrize("place", ["replay_rows", "base_stage", "analyse"])
    def test_goes_on_to_the_same_bytes(self, run, shifted, tmp_path, monkeypatch, place):
        style, out = [read_style("paraphrase")], tmp_path / "out"

        def stop(*args, **named):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(shifting, place, stop)
            with pytest.raises(KeyboardInterrupt):
                shift_run(run, style, out)
        with pytest.raises(RunError, match="--resume"):
            shift_run(run, style, out)
        with monkeypatch.context() as patch:
            patch.setattr(drafts, "score_completions", stop)  # what was scored is kept
            shift_run(run, style, out, resume=True)
        assert content(out) == content(shifted / "paraphrase")

    def test_what_is_whole_needs_no_model(self, run, shifted, tmp_path, monkeypatch):
        out = shutil.copytree(shifted, tmp_path / "all")
        monkeypatch.setattr(drafts, "prepare", None)
        found = shift_run(run, [read_style(name) for name in STYLES], out, resume=True)
        assert [each.style for each in found] == list(STYLES)
        assert found[0].summary["n_rollouts"] == len(by_number(out / "paraphrase"))

    def test_damaged_parts_are_made_again(self, run, shifted, tmp_path):
        out = shutil.copytree(shifted / "paraphrase", tmp_path / "out")
        part = next((out / "activations").glob("*.h5"))
        part.write_bytes(part.read_bytes()[:-9])
        shift_run(run, [read_style("paraphrase")], out, resume=True)
        assert verify_run(out) == []
        kept = {name: value for name, value in content(out).items() if not name.endswith(".bad")}
        assert kept == content(shifted / "paraphrase")

    def test_another_shift_is_not_written_over(self, run, shifted, tmp_path):
        out = shutil.copytree(shifted / "paraphrase", tmp_path / "out")
        with pytest.raises(RunError, match="another shift"):
            shift_run(run, [read_style("template")], out, resume=True)
        with pytest.raises(RunError, match="another shift"):
            shift_run(run, [read_style("paraphrase")], out, limit=4, resume=True)


class TestBadInput:
    @pytest.mark.parametrize(
        "name", ["sonnet", "paraphrase:x", "template:", "language:klingon", "template:./none.yaml", ""]
    )
    def test_an_unknown_style_names_those_there_are(self, name):
        with pytest.raises(SpecError) as caught:
            read_style(name)
        assert any(each in str(caught.value) for each in ("template:plain", "german", "none.yaml"))

    def test_the_styles_are_listed(self):
        assert {"paraphrase", "template:plain", "template:alpaca", "template:llama-2"} < set(list_styles())
        assert {f"language:{name}" for name in LANGUAGES} < set(list_styles())

    def test_a_language_without_the_task_names_those_it_has(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(drafts, "prepare", None)  # found out before a model is loaded
        file = tmp_path / "x.yaml"
        file.write_text("name: klingon\nsummary: x\ntasks: {bias: {sentences: {a: b}}}\n")
        with pytest.raises(SpecError, match="klingon has no words for the task risk: it has them for bias"):
            shift_run(run, [read_style(f"language:{file}")], tmp_path / "out")

    def test_what_is_no_finished_run_is_refused(self, run, shifted, tmp_path):
        style = [read_style("paraphrase")]
        with pytest.raises(RunError, match="not a run directory"):
            shift_run(tmp_path, style, tmp_path / "out")
        with pytest.raises(RunError, match="shifted itself"):
            shift_run(shifted / "template", style, tmp_path / "out")
        copy = shutil.copytree(run, tmp_path / "copy")
        (copy / "results.json").unlink()
        with pytest.raises(RunError, match="no finished run"):
            shift_run(copy, style, tmp_path / "out")

    def test_what_a_shift_would_replay_or_read_otherwise_is_refused(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(drafts, "prepare", None)  # found out before a model is loaded
        steered = respec(run, tmp_path / "steered", steering=(SteeringSpec(direction="some"),))
        with pytest.raises(RunError, match="recorded under steering, and a shift replays without it"):
            shift_run(steered, [read_style("template")], tmp_path / "out")
        probe = load_experiment(run / "experiment.yaml").probe.model_copy(update={"label": "verbalised"})
        silent = respec(run, tmp_path / "silent", probe=probe)
        with pytest.raises(RunError, match="its probe predicts verbalised, which a shift would read anew"):
            shift_run(silent, [read_style("paraphrase")], tmp_path / "out")

    def test_a_folder_in_the_run_is_refused(self, run, tmp_path):
        with pytest.raises(RunError, match="stays as it is"):
            shift_run(run, [read_style("paraphrase")], run / "shifted")
        with pytest.raises(RunError, match="stays as it is"):
            shift_run(run, [read_style("paraphrase")], run.parent)

    def test_a_strangers_run_is_read_strictly(self, run, tmp_path):
        style = [read_style("paraphrase")]
        for change, error in (
            (lambda run: (run / "rollouts.jsonl").write_text("{}\n"), "not a rollout"),
            (lambda run: (run / "rollouts.jsonl").write_text(""), "lacks item"),
            (lambda run: (run / "experiment.yaml").write_text("a: ["), "experiment.yaml"),
            (lambda run: edit_json(run / "manifest.json", model="mine"), "does not say which model"),
        ):
            copy = shutil.copytree(run, tmp_path / "copy", dirs_exist_ok=True)
            change(copy)
            with pytest.raises((StoreError, SpecError), match=error):
                shift_run(copy, style, tmp_path / "out")
        copy = shutil.copytree(run, tmp_path / "links")
        (copy / "rollouts.jsonl").rename(tmp_path / "elsewhere.jsonl")
        (copy / "rollouts.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
        with pytest.raises(StoreError, match="is a link"):
            shift_run(copy, style, tmp_path / "out")

    def test_another_model_than_was_run_is_refused(self, run, tmp_path):
        copy = shutil.copytree(run, tmp_path / "copy")
        manifest = json.loads((copy / "manifest.json").read_text())
        edit_json(copy / "manifest.json", model=manifest["model"] | {"weight_digest": "0" * 64})
        with pytest.raises(ModelError, match="other weights of the model than are here"):
            shift_run(copy, [read_style("paraphrase")], tmp_path / "out")
        edit_json(copy / "manifest.json", model=manifest["model"] | {"adapter_digest": "0" * 64})
        with pytest.raises(ModelError, match="other weights of the organism"):
            shift_run(copy, [read_style("paraphrase")], tmp_path / "out")

    def test_a_model_that_is_not_here_is_one_line(self, run, tmp_path, capsys):
        copy = shutil.copytree(run, tmp_path / "copy")
        spec = (copy / "experiment.yaml").read_text().split("\n")
        gone = ["model: ./gone" if line.startswith("model:") else line for line in spec]
        (copy / "experiment.yaml").write_text("\n".join(gone))
        with pytest.raises(SystemExit) as stopped:
            main(["shift", str(copy), "--style", "paraphrase", "--out", str(tmp_path / "out")])
        said = capsys.readouterr().err
        assert stopped.value.code == 2 and said.count("\n") == 1 and "gone" in said

    def test_items_that_are_others_now_are_refused(self, run, tmp_path):
        copy = shutil.copytree(run, tmp_path / "copy")
        lines = read_lines(copy / "rollouts.jsonl")
        lines[3]["prompt_ids"][0] += 1
        (copy / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(SpecError, match=f"item {lines[3]['item_id']} was asked otherwise"):
            shift_run(copy, [read_style("paraphrase")], tmp_path / "out")

    def test_chats_of_several_turns_are_refused(self, run, tmp_path):
        copy = shutil.copytree(run, tmp_path / "copy")
        spec = (copy / "experiment.yaml").read_text().replace("task: risk", "task: pressure")
        (copy / "experiment.yaml").write_text(spec)
        with pytest.raises(RunError, match="several turns"):
            shift_run(copy, [read_style("paraphrase")], tmp_path / "out")


class TestCommandLine:
    def asked(self, *args: object) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["shift", *map(str, args)])
        assert not stopped.value.code

    def test_says_what_it_would_cost_and_writes_nothing(self, run, tmp_path, capsys):
        self.asked(run, "--style", "paraphrase,template:alpaca", "--out", tmp_path / "out", "--dry-run", "--json")
        first, second = json.loads(capsys.readouterr().out)
        assert not (tmp_path / "out").exists()
        assert first["n_rollouts"] + sum(first["left_out"].values()) == second["n_rollouts"] == len(by_number(run))
        assert second["n_tokens"] > 0 and second["bytes_on_disk"] > 0 and second["seconds"] > 0

    def test_an_estimate_says_how_far_it_is(self, run):
        told, styles = [], [read_style(name) for name in ("paraphrase", "template:alpaca")]
        estimate_shift(run, styles, limit=2, progress=lambda *each: told.append(each))
        assert told == [("drafts, and short replays", done, 6) for done in range(7)]

    def test_one_style_is_the_folder_and_several_are_in_it(self, run, tmp_path, capsys):
        self.asked(run, "--style", "language:french", "--out", tmp_path / "one", "--limit", 2)
        assert (tmp_path / "one" / "results.json").exists()
        several = ("--style", "template:alpaca", "--style", "template", "--limit", 2, "--json")
        self.asked(run, *several, "--out", tmp_path / "two")
        assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["template", "template-alpaca"]
        said = capsys.readouterr().out
        assert "language:french: 4 rollouts" in said and "nats a chain token" in said
        items = [len({each.item_id for each in by_number(tmp_path / "two" / "template").values()})]
        assert items == [4]

    def test_naming_a_style_twice_is_refused(self, run, tmp_path, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["shift", str(run), "--style", "template,template", "--out", str(tmp_path / "out")])
        assert stopped.value.code == 2 and "name each once" in capsys.readouterr().err

    def test_help_lists_the_styles(self, capsys):
        self.asked("--help")
        said = capsys.readouterr().out
        for name in list_styles():
            assert name.partition(":")[2] in said and name.partition(":")[0] in said

    def test_other_verbs_read_it_as_a_run(self, shifted, capsys):
        for verb in (["verify"], ["report"], ["link"]):
            with pytest.raises(SystemExit) as stopped:
                main([*verb, str(shifted / "language")])
            assert not stopped.value.code, (verb, capsys.readouterr())
