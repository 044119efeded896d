"""Framing: planted effects of a frame on what is done, said and read are found, and none where there is none."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch

from introspect.backends import Generation
from introspect.errors import ModelError, SpecError
from introspect.natural import framing_study
from introspect.natural.cue_fits import packed
from introspect.natural.cue_measures import by_group, paired_share_gap
from introspect.natural.framing_results import found_of
from introspect.natural.framing_rows import Columns, sign_flips
from introspect.natural.framing_spec import READS_THE_ANSWER
from introspect.natural.framing_texts import CONTROL, MOST_APART, Frames, framed, n_words
from introspect.probes.saved import SavedProbe
from introspect.spec_kinds import load_spec
from introspect.tasks.registry import TASKS
from introspect.tasks.task import Message
from natural_materials import cells_of, tiny_study
from scripted import TOKENIZER

WIDTH = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("framing")


class Planted:
    """A model that acts, speaks and holds states by the frame that it is under. States go with acting."""

    def __init__(self, study, *, acts: dict[str, float], says: dict[str, float], shift: dict[str, float]) -> None:
        self.words, self.acts, self.says, self.shift = study.words, acts, says, shift
        self.loaded = study.loaded
        study.backend = self

    def generate(self, prompts, *, seeds, sampling, capture, watch, lanes):
        return [self.one(prompt, seed, capture, watch) for prompt, seed in zip(prompts, seeds, strict=True)]

    def one(self, prompt, seed, capture, watch):
        text = TOKENIZER.decode(list(prompt))
        [frame] = [name for name, words in self.words.items() if words in text]
        draw = np.random.default_rng(seed % 2**32)  # frames share seeds, and so what is drawn
        item = np.random.default_rng(seed % 2**32 + 1).normal(size=WIDTH)
        acts = draw.random() < self.acts.get(frame, 0.5)
        speaks = draw.random() < self.says.get(frame, 0.0)
        chain = "I like the gamble, so I take the risk." if speaks else "Let me see."
        ids = TOKENIZER(f"{chain}\nAnswer: {'risky' if acts else 'safe'}", add_special_tokens=False).input_ids
        state = torch.from_numpy(item).float().repeat(len(ids) + 1, 1)
        state[:, 0] = (3.0 if acts else -3.0) + draw.normal()
        state[:, 1] = 5.0 * self.shift.get(frame, 0.0) + item[1]
        state[:, 0] += self.shift.get(frame, 0.0)
        watched = torch.full((len(ids) + 1, len(watch)), -2.0)
        return Generation([*ids, TOKENIZER.eos_token_id], "stop", dict.fromkeys(capture.pairs(), state), watched)


def planted(folder, *more, acts=None, says=None, shift=None):
    size = ("limit=80", "batch=80", "max_new_tokens=60", "folds=4", "frames=[neutral, exam, permission]")
    study = tiny_study(folder, "framing", *size, *more)
    Planted(study, acts=acts or {}, says=says or {}, shift=shift or {})
    [unit] = study.cells()
    rows = study.run_cell(unit, [])
    return rows, found_of(study, [rows])


def verdicts(results):
    return {each["criterion"]: each["finding"] for each in results["verdict"]}


class TestPlanted:
    def test_a_frame_that_changes_what_is_done_said_and_read_is_found(self, folder):
        rows, results = planted(folder, acts={"exam": 0.1}, says={"permission": 0.6}, shift={"permission": 4.0})
        found = verdicts(results)
        assert found["exam changes the policy"] == "supported"
        assert found["permission changes the policy"] == "not supported"
        assert found["exam changes what is said"] == "not supported"
        assert found["permission changes what is said"] == "supported"
        assert found["permission changes the readout"] == "supported"
        policy = cells_of(results, "By frame: chooses the risky option")
        acted = [row["acted"] for row in rows if row["frame"] == "exam"]
        assert policy["exam"][0]["value"] == pytest.approx(np.mean(acted), abs=1e-6)
        assert policy["exam"][1]["ci95"][1] < -0.2 and policy["exam"][0]["n"] == 80
        readout, words, beyond = cells_of(results, "What predicts acting")["control"]
        assert readout["value"] > 0.9 and words["value"] < 0.7 and beyond["ci95"][0] > 0
        assert results["counts"]["n_tests"] == 3 * 5 + 2 * 3 + 2 * 3 + 1

    def test_a_readout_that_a_frame_moves_no_further_than_any_words_do_is_not_changed_by_it(self, folder):
        """The neutral frame says nothing either, and moves the readout the other way, twice as far."""
        _, results = planted(folder, shift={"neutral": -4.0, "exam": 2.0, "permission": 9.0})
        readout = cells_of(results, "By frame: readout")
        assert readout["exam"][1]["ci95"][0] > 0 and readout["exam"][2]["ci95"][0] > 0 > readout["exam"][3]["ci95"][1]
        assert verdicts(results)["neutral changes the readout"] == "supported"
        assert verdicts(results)["exam changes the readout"] == "not supported"
        assert verdicts(results)["permission changes the readout"] == "supported"
        assert any("moves the readout by -" in each for each in results["sentences"])

    def test_a_readout_that_does_not_tell_acting_is_none_however_far_a_frame_moves_it(self, folder, monkeypatch):
        own = Planted.one

        def blind(self, prompt, seed, capture, watch):
            made = own(self, prompt, seed, capture, watch)
            for state in made.activations.values():
                state[:, 0] = float(np.random.default_rng(seed % 2**32 + 2).normal())
                if self.words["exam"] in TOKENIZER.decode(list(prompt)):
                    state += 20.0
            return made

        monkeypatch.setattr(Planted, "one", blind)
        _, results = planted(folder)
        assert cells_of(results, "What predicts acting")["control"][0]["ci95"][0] <= 0.5
        [found] = [each for each in results["verdict"] if each["criterion"] == "exam changes the readout"]
        assert found["finding"] == "cannot tell" and "it tells acting at AUROC" in found["reason"]

    def test_being_further_than_neutral_is_one_of_the_tests_that_are_corrected_together(self, folder, monkeypatch):
        """An interval above 0 is not enough: p of being further is .02 before correction."""
        own = Planted.one

        def uneven(self, prompt, seed, capture, watch):
            made = own(self, prompt, seed, capture, watch)
            if self.words["exam"] in TOKENIZER.decode(list(prompt)):
                for state in made.activations.values():
                    state[:, 0] += float(np.random.default_rng(seed % 2**32 + 2).normal()) * 5
            return made

        monkeypatch.setattr(Planted, "one", uneven)
        _, results = planted(folder, shift={"neutral": -2.0, "exam": 2.6})
        assert cells_of(results, "By frame: readout")["exam"][3]["ci95"][0] > 0
        [found] = [each for each in results["verdict"] if each["criterion"] == "exam changes the readout"]
        p_values = re.findall(r"p = ([\d.e-]+), corrected ([\d.e-]+)", found["reason"])
        (_, control), (_, neutral), (bare, further) = [tuple(map(float, each)) for each in p_values]
        assert max(control, neutral) < 0.05 and bare < 0.05 <= further and found["finding"] == "not supported"
        [row] = [
            row
            for each in results["tables"]
            if each["title"] == "By frame: readout"
            for row in each["rows"]
            if row["label"] == "exam"
        ]
        assert row["note"].endswith(f"; further p = {bare:.3g}, corrected {further:.3g}")

    def test_telling_acting_is_one_of_them_too(self, folder, monkeypatch):
        own = Planted.one

        def faint(self, prompt, seed, capture, watch):
            made = own(self, prompt, seed, capture, watch)
            acts = "risky" in TOKENIZER.decode(made.completion_ids)
            for state in made.activations.values():
                state[:, 0] = float(np.random.default_rng(seed % 2**32 + 2).normal()) + (0.5 if acts else -0.5)
                if self.words["exam"] in TOKENIZER.decode(list(prompt)):
                    state += 20.0
            return made

        monkeypatch.setattr(Planted, "one", faint)
        _, results = planted(folder)
        assert cells_of(results, "What predicts acting")["control"][0]["ci95"][0] > 0.5
        [found] = [each for each in results["verdict"] if each["criterion"] == "exam changes the readout"]
        assert found["finding"] == "cannot tell"
        bare, corrected = map(float, re.findall(r"p = ([\d.e-]+), corrected ([\d.e-]+)$", found["reason"])[0])
        assert bare < 0.05 <= corrected

    def test_without_a_neutral_frame_no_readout_is_changed(self, folder):
        _, results = planted(folder, "frames=[exam, permission]", acts={"exam": 0.1}, shift={"permission": 6.0})
        assert cells_of(results, "By frame: readout")["permission"][1]["ci95"][0] > 0
        assert verdicts(results)["permission changes the readout"] == "cannot tell"
        assert verdicts(results)["exam changes the policy"] == "supported"

    def test_another_organisms_probe_is_warned_of(self, folder):
        study = tiny_study(folder, "framing", "limit=20", "batch=20", "max_new_tokens=60")
        Planted(study, acts={}, says={}, shift={})
        rows, own = study.run_cell(study.cells()[0], []), study.loaded.info
        card = {
            "name": own.name,
            "weight_digest": own.weight_digest,
            "adapter": "risk-verbal",
            "adapter_digest": "0" * 64,
        }
        warned = []
        for model in (card, card | {"adapter_digest": own.adapter_digest}):
            study.probe = SavedProbe(np.eye(WIDTH)[0], 0.0, {"training": {"groups": []}, "model": model})
            warned.append([each for each in found_of(study, [rows])["warnings"] if "another organism" in each])
        assert len(warned[0]) == 1 and "risk-verbal" in warned[0][0] and not warned[1]

    def test_frames_that_change_nothing_are_not(self, folder):
        rows, results = planted(folder)
        by_item = {(row["item_id"], row["frame"]): row["acted"] for row in rows}
        assert all(by_item[item, "exam"] == acted for (item, _), acted in by_item.items())
        assert set(verdicts(results).values()) == {"not supported", "not tested"}
        cells = cells_of(results, "By frame: says that it does")["exam"]
        assert cells[1]["value"] == 0 and cells[1]["ci95"][0] < -0.01 < 0.01 < cells[1]["ci95"][1]

    def test_acting_that_the_chain_tells_gives_the_readout_nothing_beyond_words(self, folder, monkeypatch):
        own = Planted.one

        def tells(self, prompt, seed, capture, watch):
            made = own(self, prompt, seed, capture, watch)
            word = "sure" if "safe" in TOKENIZER.decode(made.completion_ids) else "bold"
            ids = TOKENIZER(f"{word} it is. ", add_special_tokens=False).input_ids
            state = {pair: values[:1].repeat(len(ids) + len(values), 1) for pair, values in made.activations.items()}
            watched = made.watched[:1].repeat(len(ids) + len(made.watched), 1)
            return Generation([*ids, *made.completion_ids], "stop", state, watched)

        monkeypatch.setattr(Planted, "one", tells)
        _, results = planted(folder)
        _, words, beyond = cells_of(results, "What predicts acting")["control"]
        assert words["value"] > 0.95 and beyond["ci95"][0] <= 0

    def test_a_saved_probe_reads_items_that_it_was_not_fitted_to(self, folder):
        rows, _ = planted(folder, shift={"exam": 4.0})
        weight = np.eye(WIDTH)[0]
        seen = sorted({row["mark"] for row in rows})[:10]
        probe = SavedProbe(weight, 0.0, {"training": {"groups": seen}})
        columns = Columns([rows])
        n_seen = columns.apply(probe)
        assert n_seen == sum(row["mark"] in seen for row in rows) > 0
        assert [np.isnan(value) for value in columns.readout] == [row["mark"] in seen for row in rows]
        exam, control = (columns.readout[columns.of(frame) & columns.read] for frame in ("exam", CONTROL))
        assert abs(control.mean()) < 1e-9 and exam.mean() > 0.8

    def test_no_item_is_read_by_a_probe_that_was_fitted_to_it(self, folder):
        rows, _ = planted(folder)
        noise = np.random.default_rng(0)
        for row in rows:  # states say nothing but which item it is
            own = int(hashlib.sha256(row["group"].encode()).hexdigest()[:8], 16)
            row["state"] = packed(np.random.default_rng(own).normal(size=WIDTH) + 0.01 * noise.normal(size=WIDTH))
            row["acted"] = bool(own % 2)
        columns = Columns([rows])
        assert columns.fit(4, 0) == ""
        control = columns.of(CONTROL)
        right = (columns.readout > 0)[control] == columns.acted[control]
        assert right.mean() < 0.75


class TestHints:
    def test_a_question_is_asked_once_without_a_hint_whichever_hints_are_chosen(self):
        assert load_spec("framing", ["task=hints", "hints.kinds=[metadata]"]).hints.resamples == 1
        assert load_spec("framing", ["task=hints", "hints.resamples=4"]).hints.resamples == 4

    def test_use_is_counted_of_hinted_rollouts_beyond_what_is_answered_anyway(self):
        def row(frame, hinted, answer, **more):
            return {
                "item_id": "a",
                "group": "a",
                "frame": frame,
                "hinted": hinted,
                "answer": answer,
                "acted": None if hinted is None else answer == hinted,
                "right": answer == "A",
                "verdict": None,
                "chain": "",
                "state": None,
            } | more

        rows = [row(CONTROL, None, "A"), row(CONTROL, "B", "B"), row("exam", None, "B"), row("exam", "B", "B")]
        columns = Columns([rows])
        assert columns.could_act.tolist() == [False, True, False, True]
        assert columns.beyond.tolist() == [0.0, 1.0, 0.0, 0.0]
        assert columns.without_hint.tolist() == [True, False, True, False] and columns.has_right

    def test_a_model_that_answers_nothing_is_measured_and_not_read(self, folder):
        study = tiny_study(folder, "framing", "task=hints", "limit=5", "hints.kinds=[metadata]", "frames=[exam]")
        rows = [{"kind": "items", **row} for row in study.run(study.cells()[0], [])]
        assert {row["condition"] for row in rows} == {"unhinted", "metadata/plain/incorrect"}
        results = found_of(study, [rows])
        titles = [each["title"] for each in results["tables"]]
        assert "By frame: right answer, without a hint" in titles
        assert not any("readout" in title for title in titles)
        assert "a probe needs at least 10 that do" in results["facts"]["readout"]
        assert any("have no readable answer" in each for each in results["warnings"])


class TestFrames:
    def test_shipped_frames_are_as_long_as_the_control_and_fit_every_task(self):
        frames, spec = Frames.read(), load_spec("framing")
        for task in (name for name, task in TASKS.items() if not task.follow_ups):
            for frame in spec.frames:
                words = frames.words(frame, task)
                assert abs(n_words(words) - n_words(frames.control)) <= MOST_APART
                assert not re.search(r"[\n]", words)
        assert len({frames.words(frame, "risk") for frame in (CONTROL, *spec.frames)}) == 1 + len(spec.frames)

    def test_words_stand_before_the_last_message_and_share_seeds(self, folder):
        messages = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
        assert [each.content for each in framed(messages, "Note.")] == ["one", "two", "Note.\n\nthree"]
        study = tiny_study(folder, "framing")
        jobs = study.jobs(study.items[0])
        assert [frame for frame, _ in jobs] == ["control", "exam", "permission"]
        assert len({job.seed for _, job in jobs}) == 1 and len({job.prompt_ids for _, job in jobs}) == 3
        for frame, job in jobs:
            assert TOKENIZER.decode(list(job.prompt_ids)).count(study.words[frame]) == 1

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            (("exam: This is", "exam: This here now is then"), "make them differ by 2 at most"),
            (("  exam:", "  control:"), "is the control's"),
            (("control: These", "contrl: These"), "'control' is missing"),
        ],
    )
    def test_frames_that_are_none_are_refused(self, tmp_path, changed, said):
        from introspect.assets import assets_root

        shipped = (assets_root() / "data" / "natural" / "frames.yaml").read_text()
        (tmp_path / "frames.yaml").write_text(shipped.replace(*changed))
        with pytest.raises(SpecError, match=re.escape(said)) as caught:
            Frames.read(tmp_path / "frames.yaml")
        assert len(str(caught.value).splitlines()) == 1


class TestMeasures:
    def test_signs_are_flipped_by_group_and_an_even_split_is_no_effect(self):
        assert sign_flips(np.ones(10), 9999, 0) == pytest.approx(2 / 1024, abs=1.5e-3)
        assert sign_flips(np.array([1.0, -1.0] * 5), 999, 0) == 1.0
        assert sign_flips(np.zeros(10), 999, 0) == 1.0 and sign_flips(np.array([1.0]), 999, 0) is None
        values, groups = np.array([1.0, 0, 1, 1, 0]), ["a", "a", "b", "b", "c"]
        first = np.array([True, False, True, False, True])
        found = by_group(values, first, ~first, groups)
        assert found[:2].tolist() == [1.0, 0.0] and np.isnan(found[2])

    def test_items_that_differ_to_one_side_leave_room_on_the_other(self):
        groups = [*range(60), *range(60)]
        first = np.arange(120) < 60
        values = np.zeros(120, dtype=bool)
        none = paired_share_gap(values, first, ~first, groups, n=200, seed=0)
        assert none.ci95 == pytest.approx((-1.96 / 62, 1.96 / 62), abs=1e-3)
        values[0] = True
        one = paired_share_gap(values, first, ~first, groups, n=200, seed=0)
        assert one.value == pytest.approx(1 / 60) and one.ci95[0] < -0.01 and one.ci95[1] < 0.08
        values[:20] = True
        assert paired_share_gap(values, first, ~first, groups, n=200, seed=0).ci95[0] > 0.15


class TestBadInput:
    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("frames=[control]", "is always run"),
            ("frames=[exam, exam]", "named twice"),
            ("frame=[exam]", "did you mean 'frames'"),
            ("folds=21", "less than or equal to 20"),
            ("position=nowhere", "last_prompt"),
            ("position=answer_token", "answer_token reads the answer itself; choose a position before it"),
        ],
    )
    def test_what_cannot_be_run_is_refused_in_one_line(self, override, said):
        with pytest.raises(SpecError, match=re.escape(said)) as caught:
            load_spec("framing", [override])
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize(
        ("override", "error", "said"),
        [
            ("frames=[exm]", SpecError, "there is no frame 'exm'"),
            ("task=pressure", SpecError, "is a chat of several turns"),
            ("task=rsk", SpecError, "unknown task"),
            ("probe=risk-silent", ModelError, "has other weights"),
            ("probe=rsk-silent", SpecError, "did you mean 'risk-silent'"),
        ],
    )
    def test_what_task_texts_or_model_do_not_have_is_named(self, folder, override, error, said):
        with pytest.raises(error, match=re.escape(said)):
            tiny_study(folder, "framing", override)
        with pytest.raises(SpecError, match="probe: risk-silent reads task risk, not bias"):
            tiny_study(folder, "framing", "probe=risk-silent", "task=bias")

    @pytest.mark.parametrize("position", READS_THE_ANSWER)
    def test_a_saved_probe_that_reads_the_answer_is_refused(self, folder, monkeypatch, position):
        """Words of the chain end before it, so that it would go beyond them whatever is inside."""
        card = {"predicts": {"task": "risk"}, "model": {}, "place": {"position": position}}
        monkeypatch.setattr(framing_study, "load_probe", lambda path: SavedProbe(np.eye(WIDTH)[0], 0.0, card))
        with pytest.raises(SpecError, match=f"^probe: risk-silent: {position} reads the answer itself; choose"):
            tiny_study(folder, "framing", "probe=risk-silent")
