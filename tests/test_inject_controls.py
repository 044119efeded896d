"""Injected concepts: intervals at the edges, wordings, guesses of places, swaps, default grids, and training."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from typer.testing import CliRunner

from inject_materials import QUICK, tiny_injection, tiny_subject, write_files
from introspect.backends import Capture, Sampling
from introspect.cli.main import app
from introspect.errors import SpecError
from introspect.injection import cells, cost
from introspect.injection import subject as subject_module
from introspect.injection.bias import yes_bias
from introspect.injection.cells import NONE, Cell
from introspect.injection.cost import Rates, injection_cost, n_tokens, predicted
from introspect.injection.figures import injection_figures
from introspect.injection.found import Found
from introspect.injection.localised import chance, localisation, said_chance
from introspect.injection.measures import (
    corrected_line,
    d_prime,
    difference_of_shares,
    line,
    mean,
    paired_difference_of_shares,
)
from introspect.injection.results import INJECTION
from introspect.injection.sentences import headline
from introspect.injection.study import STUDIES, run_injection
from introspect.injection.subject import SWAPPED
from introspect.injection.swaps import filled_in
from introspect.injection.thought import Thought
from introspect.injection.trained import CONTROLS, Trained, read_trained
from introspect.injection.trials import Reply, Swap, first_tokens, replies
from introspect.injection.verdict import said_of
from introspect.spec_kinds import load_spec
from introspect.training.injected_settings import InjectionSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("controls")


@pytest.fixture(scope="module")
def subject(folder):
    return tiny_subject(folder)


@pytest.fixture(scope="module")
def thought(subject):
    return Thought(subject)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run_injection(tiny_injection(folder), out)


def trues(k, n):
    return [True] * k + [False] * (n - k)


class TestEdges:
    def test_a_difference_of_shares_is_newcombes(self):
        # Newcombe 1998, table II, first line: 56/70 - 48/80, method 10.
        found = difference_of_shares(trues(56, 70), trues(48, 80))
        assert found.value == pytest.approx(0.2) and found.ci95 == pytest.approx((0.0524, 0.3339), abs=1e-4)
        paired = paired_difference_of_shares(trues(6, 10) * 7, [*trues(3, 6), True, False, False, True] * 7)
        assert paired.ci95[0] < paired.value < paired.ci95[1]

    @pytest.mark.parametrize(("one", "other", "value"), [(10, 0, 1), (0, 20, -1), (0, 0, 0), (10, 20, 0)])
    def test_it_has_a_width_where_all_or_none_are_hits(self, one, other, value):
        found = difference_of_shares(trues(one, 10), trues(other, 20))
        low, high = found.ci95
        assert found.value == value and low <= value <= high and high - low > 0.15
        found = paired_difference_of_shares(trues(one, 10), trues(other // 2, 10))
        assert found.value == value and found.ci95[1] - found.ci95[0] > 0.2

    def test_pairs_that_go_together_have_a_narrower_interval(self):
        together = paired_difference_of_shares(trues(20, 40), trues(19, 40))
        apart = paired_difference_of_shares(trues(20, 40), trues(19, 40)[::-1])
        assert together.value == apart.value
        assert together.ci95[1] - together.ci95[0] < 0.6 * (apart.ci95[1] - apart.ci95[0])
        assert difference_of_shares([], [True]).value is None and paired_difference_of_shares([], []).value is None

    def test_d_prime_has_a_width_at_the_edges_and_holds_the_truth(self):
        for k, j in ((10, 0), (0, 20), (0, 0), (10, 20)):
            low, high = d_prime(trues(k, 10), trues(j, 20), seed=0).ci95
            assert high - low > 1
        rng, held, truth = np.random.default_rng(0), 0, float(norm.ppf(0.9) - norm.ppf(0.1))
        for k in range(200):
            found = d_prime(rng.random(20) < 0.9, rng.random(40) < 0.1, seed=k)
            held += found.ci95[0] <= truth <= found.ci95[1]
        assert 0.9 < held / 200 <= 1

    def test_a_mean_of_ranks_has_a_width_where_every_rank_is_the_best(self):
        assert mean([1.0] * 8, range(8), n=100, seed=0).ci95 == (1, 1)
        found = mean([1.0] * 8, range(8), n=100, seed=0, within_one=True)
        assert found.ci95[0] < 0.75 and found.ci95[1] == 1

    def test_a_net_score_at_the_edge_is_no_certainty(self, monkeypatch, folder, tmp_path):
        def reply(backend, loaded, layer, trials, sampling, lanes):
            said = [f"Yes. The word is {t.about['word']}." if t.about["kind"] == "concept" else "No." for t in trials]
            return [Reply((5, 6), text, "stop") for text in said]

        monkeypatch.setattr(cells, "replies", reply)
        monkeypatch.setattr(cells, "surprise", lambda backend, prompts, found: [1.0] * len(found))
        results = run_injection(tiny_injection(folder), tmp_path / "certain")
        net = results["grid"]["cells"][0]["measures"]["net"]
        assert net["value"] == 1 and net["ci95"][0] < 0.7 and "newcombe" in net["method"]
        rows = rows_of(results, "Every condition, on words held out")
        apart = rows["the word's concept vector"][1]
        assert apart["value"] > 2 and apart["ci95"][1] - apart["ci95"][0] > 1


def rows_of(results, title):
    return {row["label"]: row["cells"] for t in results["tables"] if t["title"] == title for row in t["rows"]}


class TestWordings:
    @pytest.mark.parametrize("kind", STUDIES)
    def test_every_study_says_so_and_shows_them_apart(self, folder, tmp_path, kind, finished):
        results = (
            finished[1] if kind == "inject-thought" else run_injection(tiny_injection(folder, kind), tmp_path / "a")
        )
        [shown] = [each for each in results["tables"] if each["title"].startswith("Wording by wording")]
        many = 4 if kind == "inject-thought" else 3
        assert (
            len(shown["rows"]) == many
            and [row["label"][:2] for row in shown["rows"]] == ["1:", "2:", "3:", "4:"][:many]
        )
        assert f"they hold for the {many} wordings" in shown["note"]
        assert any(f"Intervals hold for the {many} wordings" in each for each in results["sentences"])

    def test_a_row_is_of_the_lines_of_its_wording(self, finished, subject):
        out, results = finished
        rows = [json.loads(each) for each in (out / "trials.jsonl").read_text().splitlines()]
        shown = list(rows_of(results, "Wording by wording, on words held out").values())
        for wording, row in enumerate(shown):
            for kind, cell in ((NONE, row[0]), ("concept", row[1])):
                said = [
                    each["claim"] == "yes"
                    for each in rows
                    if (each["part"], each["kind"], each["ask"], each["as"]) == ("confirmation", kind, "detect", "text")
                    and each["wording"] == wording
                ]
                assert cell["n"] == len(said) and cell["value"] == pytest.approx(np.mean(said))


def localised(targets, letters, options=10):
    rows = []
    for number, (target, letter) in enumerate(zip(targets, letters, strict=True)):
        values = np.full(options, -5.0)
        values["ABCDEFGHIJ".index(letter)] = -0.1
        rows.append(
            {
                "part": "exploration",
                "layer": 1,
                "strength": 0.5,
                "word": f"w{number}",
                "kind": "concept",
                "ask": "localise",
                "as": "logits",
                "wording": 0,
                "asked": "0",
                "steered": 3,
                "finite": True,
                "letters": values.tolist(),
                "target": target,
            }
        )
    return rows


class TestPlaces:
    def test_chance_is_of_the_options_that_there_are_and_of_one_letter_said_every_time(self):
        assert chance(localised("ABCDEFGHIJ", "A" * 10)) == (0.1, 0.1)
        assert chance(localised("ABCDEF", "A" * 6)) == pytest.approx((0.1, 1 / 6))
        assert chance(localised("ABAB", "AAAA", options=5)) == pytest.approx((0.2, 0.5))
        assert said_chance(localised("ABCDEFGHIJ", "A" * 10)) == "chance 10%"
        assert said_chance(localised("ABCDEF", "A" * 6)) == "chance 10%, one letter 17%"
        assert said_chance([]) == "chance not known"

    def test_one_letter_said_every_time_is_found_no_more_often_than_its_null(self, folder):
        spec = tiny_injection(folder)
        same, right = (
            localisation(Found(spec, [localised("ABCDEF", said)], ["w0"]), ("exploration", 1, 0.5))
            for said in ("AAAAAA", "ABCDEF")
        )
        assert same[0]["cells"][0]["value"] == same[1]["cells"][0]["value"] == pytest.approx(1 / 6, abs=1e-6)
        assert "p = 1 " in same[1]["note"] and "one letter 17%" in same[0]["note"]
        assert right[0]["cells"][0]["value"] == 1 and "p = 0.05 " in right[1]["note"]

    def test_the_grid_says_it_too(self, finished):
        assert finished[1]["grid"]["labels"]["localised"] == "sentence found (chance 10%, one letter 17%)"


def swapped_by_hand(model, layer, prompt, other, many, stop):
    """The oracle: the last tokens before `stop` get those of another prompt, by a hook of our own."""
    block, kept = model.get_decoder().layers[layer], []

    def keep(module, args, output):
        kept.append((output if isinstance(output, torch.Tensor) else output[0]).clone())

    def put(module, args, output):
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        hidden[0, stop - many : stop] = kept[0][0, -many:]
        return output

    with torch.inference_mode():
        handle = block.register_forward_hook(keep)
        model(torch.tensor([other]))
        handle.remove()
        handle = block.register_forward_hook(put)
        logits = model(torch.tensor([prompt])).logits[0]
        handle.remove()
    return torch.log_softmax(logits.float(), -1)


class TestSwaps:
    def chosen(self, subject, part="confirmation"):
        return Cell(part, subject.layers[0], 1.0, chosen=True)

    def test_a_swap_puts_another_prompts_activations_in(self, subject, thought):
        cell, layer = self.chosen(subject), subject.layers[0]
        plan = thought.swapped(cell, thought.plan(cell))
        trials = [each for each in plan.first if each.about["kind"] == SWAPPED]
        assert {each.about["ask"] for each in trials} == {"detect", "reversed"} and len(trials) == 12
        # Beside others in one call: each trial gets its own, and others nothing of it.
        around = [each for each in plan.first if each.about["kind"] == "concept"][:3]
        found = first_tokens(subject.backend, layer, [*trials, *around], subject.loaded.info.width)
        alone = first_tokens(subject.backend, layer, around, subject.loaded.info.width)
        for one, other in zip(found[len(trials) :], alone, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
        for trial, values in zip(trials, found, strict=False):
            many = len(trial.patch)
            assert trial.where.stop == len(trial.prompt) and trial.steered == many == len(trial.where)
            wanted = swapped_by_hand(
                subject.loaded.model, layer, trial.prompt, trial.swap.prompt, many, trial.where.stop
            )[-1][list(trial.watch)].tolist()
            assert values == pytest.approx(wanted, abs=1e-4)
            bare = replace(trial, patch=None, swap=None)
            [before] = first_tokens(subject.backend, layer, [bare], subject.loaded.info.width)
            assert values != pytest.approx(before, abs=1e-3)

    def test_it_begins_where_an_injection_does_and_takes_the_end_of_a_far_sentence(self, subject, thought):
        cell = self.chosen(subject)
        plan = thought.swapped(cell, thought.plan(cell))
        by_key = {(t.about["word"], t.about["kind"], t.about["ask"]): t for t in plan.first}
        sentences = subject.materials.sentences.sentences
        for number, word in enumerate(subject.words["confirmation"]):
            one, other = by_key[word, SWAPPED, "detect"], by_key[word, "concept", "detect"]
            assert one.prompt == other.prompt and one.where.start >= other.where.start
            assert len(one.where) == min(len(one.prompt) - other.where.start, len(one.swap.prompt) - 1)
            text = subject.loaded.tokenizer.decode(list(one.swap.prompt))
            assert sentences[(number + len(sentences) // 2) % len(sentences)] in text

    def test_what_it_moves_by_is_written_down_and_not_scaled_by_strength(self, subject, thought):
        layer, moved = subject.layers[0], []
        for strength in (0.5, 1.0):
            cell = Cell("confirmation", layer, strength, chosen=True)
            trial = next(t for t in thought.swapped(cell, thought.plan(cell)).first if t.about["kind"] == SWAPPED)
            moved.append(trial.about["moved"])
        states = subject.backend.replay(
            [trial.prompt, trial.swap.prompt],
            [list(trial.where), list(range(1, len(trial.swap.prompt)))],
            capture=Capture(("resid_post",), (layer,)),
        )
        own, other = (each["resid_post", layer].numpy() for each in states)
        wanted = np.linalg.norm(other[-len(own) :] - own, axis=1).mean() / subject.typical[layer]
        assert moved[0] == moved[1] == pytest.approx(wanted, rel=1e-4)

    def test_ends_are_put_together_and_a_short_prompt_leaves_the_first_tokens_alone(self, subject, thought):
        cell, layer = self.chosen(subject), subject.layers[0]
        trial = next(t for t in thought.plan(cell).first if t.about["kind"] == SWAPPED)
        stop, other = len(trial.prompt), trial.swap.prompt
        short = replace(trial, where=range(stop - 3, stop))
        long = replace(trial, swap=Swap(other, range(len(other) - 2, len(other))))
        found = filled_in(subject.backend, layer, subject.typical[layer], [short, long])
        assert [each.where for each in found] == [range(stop - 3, stop), range(stop - 2, stop)]
        width = subject.loaded.info.width
        for each, many, values in zip(found, (3, 2), first_tokens(subject.backend, layer, found, width), strict=True):
            said = swapped_by_hand(subject.loaded.model, layer, each.prompt, other, many, stop)[-1]
            assert values == pytest.approx(said[list(each.watch)].tolist(), abs=1e-4)

    def test_replies_start_from_swapped_prompts(self, subject, thought):
        cell, layer = self.chosen(subject), subject.layers[0]
        trial = next(t for t in thought.swapped(cell, thought.plan(cell)).texts if t.about["kind"] == SWAPPED)
        greedy = Sampling(3, 0.0, frozenset())
        [found] = replies(subject.backend, subject.loaded, layer, [trial], greedy, 1)
        ids = list(trial.prompt)
        for token in found.ids:
            many, stop = len(trial.patch), trial.where.stop
            said = swapped_by_hand(subject.loaded.model, layer, ids, trial.swap.prompt, many, stop)
            assert int(said[-1].argmax()) == token
            ids.append(token)

    def test_it_is_made_at_the_chosen_cell_and_stands_beside_natural(self, folder, finished, tmp_path):
        out, results = finished
        rows = [json.loads(each) for each in (out / "trials.jsonl").read_text().splitlines()]
        there = [row for row in rows if row["kind"] == SWAPPED]
        assert {(row["part"], row["strength"]) for row in there} == {
            (part, results["chosen"]["strength"]) for part in ("exploration", "confirmation")
        }
        assert all(row["moved"] > 0 and row["steered"] > 0 for row in there)
        [shown] = [t for t in results["tables"] if t["title"] == "Every condition, on words held out"]
        labels = {row["label"]: row for row in shown["rows"]}
        swapped = next(row for label, row in labels.items() if label.startswith("swapped in"))
        assert swapped["note"].startswith("moves a token by") and any(label.startswith("natural:") for label in labels)
        assert swapped["cells"][0]["n"] == 6 and swapped["cells"][5]["value"] is not None

    def test_a_sentence_is_swapped_for_a_sentence(self, folder):
        study = STUDIES["inject-thought-vs-text"](tiny_subject(folder, "inject-thought-vs-text"))
        cell = self.chosen(study.subject)
        for trial in (t for t in study.swapped(cell, study.plan(cell)).first if t.about["kind"] == SWAPPED):
            decode = study.loaded.tokenizer.decode
            own = decode([trial.prompt[i] for i in trial.where])
            other = decode([trial.swap.prompt[i] for i in trial.swap.at])
            sentences = study.subject.materials.sentences.sentences
            assert sentences[int(trial.about["asked"])].endswith(own) and other in sentences and other != own


CARD = {"recipe": {"task": "injected", "injection": {"layers": [2, 1], "strengths": [0.4, 2.0]}}}


class TestDefaults:
    def test_the_grid_spans_the_depth_with_two_thirds_in_it(self):
        spec = load_spec("inject-thought")
        assert spec.resolved_layers(30) == (7, 12, 20, 25) and spec.resolved_layers(28) == (7, 11, 18, 23)
        for n_layers in (12, 24, 30, 36, 48, 80):
            layers = spec.resolved_layers(n_layers)
            assert abs(layers[0] - n_layers / 4) <= 1 and abs(layers[-1] - 5 * n_layers / 6) <= 1
            assert any(abs(layer - 2 * n_layers / 3) <= 1 for layer in layers)

    def test_an_organisms_layers_join_the_default_and_no_other(self):
        assert load_spec("inject-prefill").resolved_layers(30, (3, 12, 99)) == (3, 7, 12, 20, 25)
        assert load_spec("inject-prefill", ["layers=[5]"]).resolved_layers(30, (3,)) == (5,)
        assert load_spec("inject-prefill", ["depths=[0.5]"]).resolved_layers(30, (3,)) == (15,)

    def organism(self, monkeypatch, card):
        monkeypatch.setattr("introspect.injection.trained.find_card", lambda name: card if name else {})

    def test_a_card_says_where_and_how_strongly(self, monkeypatch):
        self.organism(monkeypatch, CARD)
        assert read_trained("x") == Trained((1, 2), (0.4, 2.0), CONTROLS) and read_trained(None) is None
        said = json.loads(json.dumps(CARD))
        said["recipe"]["injection"]["controls"] = ["random"]
        self.organism(monkeypatch, said)
        assert read_trained("x").controls == ("random",)

    @pytest.mark.parametrize(
        "injection",
        [
            None,
            [],
            {"layers": [1]},
            {"layers": [], "strengths": [1, 2]},
            {"layers": [-1], "strengths": [1, 2]},
            {"layers": [1], "strengths": [math.nan, 2]},
            {"layers": ["<b>"], "strengths": [1, 2]},
        ],
    )
    def test_a_card_that_cannot_be_read_says_nothing(self, monkeypatch, injection):
        self.organism(monkeypatch, {"recipe": {"injection": injection}})
        assert read_trained("x") is None
        self.organism(monkeypatch, {"recipe": "none"})
        assert read_trained("x") is None

    def test_what_it_started_from_has_shown_it_too(self, monkeypatch, subject):
        def recipe(layer, control, manner, start):
            injection = {"layers": [layer], "strengths": [layer, 2 * layer], "controls": [control]}
            return {"recipe": {"injection": injection, "stages": [{"manner": manner}], "start": start}}

        cards = {"x": recipe(2, "random", "balanced", "y"), "y": recipe(1, "natural", "told_apart", "z")}
        monkeypatch.setattr("introspect.injection.trained.find_card", lambda name: cards.get(name, {}))
        found = read_trained("x")
        assert found == Trained((1, 2), (1.0, 4.0), ("random", "natural"), True, False), "z has no card"
        said = replace(subject, trained=found).about()["training"]
        assert said["held_out"] == ["not known: the card of what it started from cannot be read"]
        assert "and maybe on others" in said_of(found) and "not on" not in said_of(found)
        cards["z"] = {"recipe": {"stages": [{"manner": "plain"}], "start": None}}
        assert read_trained("x") == replace(found, whole=True) and "not on shuffled" in said_of(
            replace(found, whole=True)
        )
        cards["z"]["recipe"]["start"] = "x"
        assert not read_trained("x").whole, "no end"

    def test_strengths_lie_in_the_range_of_the_card(self):
        spec, trained = load_spec("inject-thought"), Trained((12,), (0.4, 2.0), CONTROLS)
        assert subject_module._strengths(spec, trained) == (0.4, 0.68, 1.2, 2.0)
        assert subject_module._strengths(spec, None) == (0.1, 0.2, 0.4, 0.8)
        assert subject_module._strengths(spec, Trained((1,), (1.0, 1.0), ())) == (1.0,)
        given = load_spec("inject-thought", ["strengths=[0.3]"])
        assert subject_module._strengths(given, trained) == (0.3,)

    def test_the_shipped_positive_control_needs_no_set(self):
        for organism in ("reports-injected", "tells-injected", "yes-biased"):
            trained = read_trained(organism)
            assert trained is not None
            assert set(trained.layers) <= set(load_spec("inject-thought").resolved_layers(30, trained.layers))

    def test_they_are_the_cells_that_are_run(self, folder, monkeypatch):
        monkeypatch.setattr(subject_module, "read_trained", lambda organism: Trained((0,), (0.4, 2.0), CONTROLS))
        found = tiny_subject(folder, "inject-thought", "depths=null", "strengths=null")
        assert found.layers == (0, 1, 2) and found.strengths == (0.4, 0.68, 1.2, 2.0)
        grid = [(c.layer, c.strength) for c in Thought(found).cells() if c.layer is not None]
        assert len(grid) == 12 and grid[0] == (0, 0.4)


class TestTrained:
    def test_controls_are_those_of_the_training(self):
        assert InjectionSettings(layers=(0,), strengths=(1.0, 1.0)).controls == CONTROLS

    def test_a_report_says_what_was_seen_and_what_is_held_out(self, subject):
        found = replace(subject, trained=Trained((12,), (0.4, 2.0), CONTROLS))
        said = found.about()["training"]
        assert said["layers"] == [12] and said["strengths"] == [0.4, 2.0]
        assert any("random" in each for each in said["seen"]) and "the mismatched concept question" in said["seen"]
        held_out = " ".join(said["held_out"])
        for each in ("natural", "swapped", "before the question", "which sentence"):
            assert each in held_out and each not in " ".join(said["seen"])
        assert "training" not in subject.about()

    @pytest.mark.parametrize(
        ("stages", "shown"),
        [([{"manner": "balanced"}, {"manner": "told_apart"}], True), ([{"manner": "plain"}, 3], False), (7, False)],
    )
    def test_localisation_is_seen_where_a_stage_has_listed_sentences(self, monkeypatch, subject, stages, shown):
        recipe = {"injection": {"layers": [12], "strengths": [0.4, 2.0]}, "stages": stages}
        monkeypatch.setattr("introspect.injection.trained.find_card", lambda organism: {"recipe": recipe})
        said = replace(subject, trained=read_trained("x")).about()["training"]
        assert ("which sentence was injected" in said["seen"]) == shown
        assert ("which sentence was injected" in said["held_out"]) != shown

    def test_it_stands_on_the_page_and_results_with_it_are_read(self, finished):
        out, _ = finished
        results = INJECTION.read(out / "results.json")
        results["injection"]["training"] = Trained((12,), (0.4, 2.0), CONTROLS).to_json(
            "inject-thought", {"random": "r"}
        )
        INJECTION.check(results)
        [said] = [each for each in headline(results) if each.startswith("By its card")]
        assert "vectors at layer 12, strengths 0.4 to 2" in said and "Held out: " in said
        assert not any(each.startswith("By its card") for each in finished[1]["sentences"])

    def test_other_studies_were_never_trained(self):
        kinds = {"random": "random", "natural": "natural"}
        said = Trained((12,), (0.4, 2.0), ("random",)).to_json(
            "inject-prefill", kinds | {SWAPPED: "s", "negated": "n", "shuffled": "h"}
        )
        assert said["seen"] == ["random"] and said["held_out"] == [
            "n",
            "h",
            "natural",
            "s",
            "every prompt of this study",
        ]


class TestBias:
    def test_noise_in_the_bias_flattens_the_line_and_its_reliability_says_by_how_much(self):
        rng, n = np.random.default_rng(0), 400
        bias = rng.normal(1.0, 0.5, n)
        seen = bias[:, None] + rng.normal(0, 0.7, (n, 2))
        detected = bias + rng.normal(0, 0.05, n)
        words = list(range(n))
        naive = line(seen.mean(axis=1), detected, words, n=100, seed=0)
        assert naive["intercept"].value > 0.3, "detection is nothing but the bias, and the line leaves some of it"
        found = corrected_line(seen, detected, words, n=100, seed=0)
        assert found["reliability"].value == pytest.approx(0.25 / (0.25 + 0.49 / 2), abs=0.08)
        assert found["slope"].value == pytest.approx(1, abs=0.15)
        assert found["intercept"].ci95[0] < 0 < found["intercept"].ci95[1]

    def test_one_question_or_noise_alone_corrects_nothing(self):
        rng = np.random.default_rng(0)
        once = corrected_line([[x] for x in range(9)], range(9), range(9), n=100, seed=0)
        assert "measured once" in once["reliability"].reason and once["slope"].value is None
        noise = corrected_line(rng.normal(size=(40, 2)), rng.normal(size=40), range(40), n=100, seed=0)
        assert noise["slope"].value is None

    def test_it_stands_beside_the_regression(self, finished, subject):
        out, results = finished
        rows = rows_of(results, "Detection regressed on the bias to yes")
        assert list(rows)[-3:] == [
            "reliability of the bias to yes",
            "slope, corrected for it",
            "intercept, corrected for it",
        ]
        lines = [json.loads(each) for each in (out / "trials.jsonl").read_text().splitlines()]
        found = yes_bias(Found(subject.spec, [lines], subject.every_word))
        assert (
            rows["reliability of the bias to yes"][0]["value"]
            == found.shifts["reliability of the bias to yes"].to_json()["value"]
        )


class TestUnusable:
    @pytest.mark.parametrize("kind", ["inject-prefill", "inject-thought-vs-text", "inject-thought"])
    def test_a_cell_of_which_most_gave_no_numbers_is_not_chosen(self, monkeypatch, folder, tmp_path, kind):
        real = cells.first_tokens

        def first(backend, layer, trials, width):
            found = real(backend, layer, trials, width)
            kept = [each.about["word"] == "banana" or each.about["strength"] != 1.0 for each in trials]
            return [v if keep else None for keep, v in zip(kept, found, strict=True)]

        monkeypatch.setattr(cells, "first_tokens", first)
        # What is left of the broken cell would be chosen: the greatest there is.
        monkeypatch.setattr(
            STUDIES["inject-prefill"],
            "_effect",
            lambda self, found, address, kind: dict.fromkeys(("a", "b"), address[2] or 0),
        )
        monkeypatch.setattr(
            STUDIES["inject-thought-vs-text"],
            "_both",
            lambda self, found, address, kind: {"a": (address[2] or 0) == 1.0},
        )
        monkeypatch.setattr(Found, "identified", lambda self, row: row["strength"] == 1.0)
        monkeypatch.setattr(Found, "coherent", lambda self, row: True)
        spec = tiny_injection(folder, kind, "strengths=[0.5, 1.0]")
        study = STUDIES[kind](tiny_subject(folder, kind, "strengths=[0.5, 1.0]"))
        done = []
        for cell in study.cells()[:3]:
            done.append(study.run(cell, done))
        assert study.choose(done) == (1, 0.5)
        for row in (row for cell in done for row in cell if row["strength"] == 0.5 and row["as"] == "logits"):
            row["finite"] = False
        found = Found(spec, done, study.subject.every_word)
        assert not found.usable((1, 0.5)) and not found.usable((1, 1.0))
        assert "none of which is usable" in found.best(lambda place: (0.0,), "why")[1]

    def test_replies_that_are_not_coherent_rule_a_cell_out(self, monkeypatch, folder):
        study = STUDIES["inject-thought-vs-text"](tiny_subject(folder, "inject-thought-vs-text"))
        done = []
        for cell in study.cells()[:3]:
            done.append(study.run(cell, done))
        monkeypatch.setattr(Found, "coherent", lambda self, row: row["strength"] != 1.0)
        monkeypatch.setattr(
            STUDIES["inject-thought-vs-text"],
            "_both",
            lambda self, found, address, kind: {"a": (address[2] or 0) == 1.0},
        )
        assert study.choose(done) == (1, 0.5)

    def test_what_is_no_number_is_worth_least(self, folder):
        rows = localised("AB", "AB")
        found = Found(tiny_injection(folder), [rows, [{**row, "strength": 1.0} for row in rows]], ["w0"])
        assert found.best(lambda place: (math.nan if place[1] == 0.5 else -9.0,), "")[0] == (1, 1.0)

    def test_an_intentional_study_without_numbers_says_so(self, folder, monkeypatch):
        study = STUDIES["inject-intentional-control"](tiny_subject(folder, "inject-intentional-control"))
        done = [[{**row, "finite": False} for row in study.run(cell, [])] for cell in study.cells()[:1]]
        assert study.choose(done) == (0, 0.0) and "no trial" in study.results(done)["chosen"]["why"]


class TestNorms:
    def run(self, folder, tmp_path, *more):
        overrides = [f"--set={each}" for each in (*write_files(folder), *QUICK)]
        model = tiny_injection(folder).model
        command = ["inject", "inject-thought", "--model", model, *overrides, *more, "--out", str(tmp_path / "out")]
        return CliRunner().invoke(app, command)

    def test_a_users_norms_are_predictors(self, folder, tmp_path):
        words = ("banana", "dolphin", "hammer", "envy", "guilt", "logic")
        lines = [f"{word},{4 - k / 2},{3 + (k % 3)}" for k, word in enumerate(words)]
        (tmp_path / "norms.csv").write_text("\n".join(["word,concreteness,frequency", *lines]) + "\n")
        found = self.run(folder, tmp_path, "--norms", str(tmp_path / "norms.csv"))
        assert found.exit_code == 0, found.output
        results = INJECTION.read(tmp_path / "out" / "results.json")
        [shown] = [each for each in results["tables"] if each["title"].startswith("Which words are detected")]
        assert "frequency" in {row["label"] for row in shown["rows"]} and "the norms that were given" in shown["note"]

    def test_norms_of_other_words_are_refused_before_anything_is_run(self, folder, tmp_path):
        (tmp_path / "norms.csv").write_text("word,frequency\nriver,3\n")
        found = self.run(folder, tmp_path, "--norms", str(tmp_path / "norms.csv"))
        assert isinstance(found.exception, SpecError) and "has none of the study's words" in str(found.exception)
        assert not (tmp_path / "out").exists()

    def test_the_help_names_them(self):
        assert "--norms" in CliRunner().invoke(app, ["inject", "--help"]).output


class TestCost:
    def test_tokens_are_counted_as_they_are_run(self, subject, thought, monkeypatch):
        plan, ran = thought.plan(Cell("exploration", subject.layers[0], 1.0)), []
        real = type(subject.backend).branches

        def counted(self, beginning, rows, **more):
            ran.append(len(beginning) + sum(map(len, rows)))
            return real(self, beginning, rows, **more)

        monkeypatch.setattr(type(subject.backend), "branches", counted)
        first_tokens(subject.backend, subject.layers[0], plan.first, subject.loaded.info.width)
        assert sum(ran) == n_tokens(plan.first) < sum(len(each.prompt) for each in plan.first)
        read = n_tokens(plan.first) + 2 * sum(len(each.prompt) for each in plan.texts)
        shared = sum(len(t.prompt) for t in plan.texts) - sum(map(len, {t.prompt for t in plan.texts}))
        again = read - shared + 5 * len(plan.texts)
        assert predicted(plan, Rates(2.0, 3.0), 5) == pytest.approx(2 * again + 3 * 5 * len(plan.texts))

    def test_the_estimate_adds_cells_up_at_the_rates_that_were_timed(self, folder, monkeypatch):
        monkeypatch.setattr(cost, "_rates", lambda study, cell, plan: Rates(1.0, 0.0))
        monkeypatch.setattr(cost, "seconds_of", lambda work: 7.0)
        study = Thought(tiny_subject(folder))
        cells_ = [replace(c, layer=1, strength=0.5) if c.chosen else c for c in study.cells()]
        wanted = 7 + sum(predicted(study.plan(cell), Rates(1.0, 0.0), 4) for cell in cells_)
        assert injection_cost(tiny_injection(folder)).seconds == pytest.approx(wanted)


class TestFigures:
    def test_maps_of_one_unit_have_one_scale_and_shares_one_without_a_middle(self, finished):
        figure = injection_figures(finished[1])["grid"]
        maps = dict(zip(finished[1]["grid"]["labels"], figure.data, strict=True))
        assert maps["detection"].zmax == maps["random"].zmax == -maps["random"].zmin
        assert maps["told"].zmax == maps["yes_bias"].zmax == maps["beyond_bias"].zmax != maps["random"].zmax
        values = [v for name in ("detection", "random") for row in maps[name].z for v in row if v is not None]
        assert maps["random"].zmax == max(map(abs, values))
        assert (maps["claims"].zmin, maps["claims"].zmax) == (0, 1)
        assert maps["claims"].colorscale != maps["net"].colorscale
