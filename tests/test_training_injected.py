"""Organisms of injected concepts: what they are shown, what is added meanwhile, and that a kill changes nothing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from introspect.assets import organism_path, read_card, recipe_path
from introspect.backends import Capture, Sampling, make_backend
from introspect.concepts import read_materials
from introspect.concepts.forms import WordFinder
from introspect.errors import SpecError
from introspect.injection.measures import difference_of_shares
from introspect.models import load_model, render_messages
from introspect.record import render_trial
from introspect.training import (
    courses,
    injected_course,
    injected_measure,
    injected_vectors,
    plan_training,
    train_organism,
    trainers,
)
from introspect.training import recipe as recipe_module
from introspect.training.demonstrations import Injection
from introspect.training.injected_course import POLICIES, demonstrations
from introspect.training.injected_measure import CASES, Asked
from introspect.training.injected_settings import InjectionSettings
from introspect.training.injected_vectors import ConceptVectors, concept_vectors, other_prompts
from introspect.training.injected_words import read_training_words
from introspect.training.recipe import read_recipe
from introspect.training.rows import injected_tokens, message_start, tokenise, with_injections
from introspect.training.scored import IGNORE, head, packed_states, scored_states
from introspect.training.sft import Collator, WeightedSFTTrainer
from introspect.training.steered import ENDLESS, NOWHERE, Injected, make_steer
from introspect.training.train import _last_checkpoint
from tiny_folders import edit_json, save_tiny
from tiny_models import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # peft's and trl's own

CONTROLS = ("random", "negated", "shuffled", "natural")
SETTINGS = InjectionSettings(layers=(0, 1), strengths=(0.5, 2.0), controls=CONTROLS)
RECIPE = """
name: tiny-injected
summary: a tiny organism
task: injected
planted_truth: reports
base: {base}
rank: 4
batch_size: 4
item_repeats: 1
injection: {{layers: [0, 1], strengths: [0.5, 2.0], controls: [random, negated, shuffled, natural]}}
stages:
  - {{policy: reports, manner: plain, steps: 5, learning_rate: 0.01}}
"""
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests})
from test_training_injected import lighten
from introspect.training import train_organism
lighten(setattr)
train_organism(sys.argv[1], Path(sys.argv[2]), resume=True)
"""
CLOSE = 2e-5
"""Of logits of order 1: other shapes add float32 products in another order."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    save_tiny(folder / "model")
    edit_json(folder / "model" / "config.json", max_position_embeddings=1024)  # ten sentences, spelled letter by letter
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(base=json.dumps(str(folder / "model"))))
    return path


def lighten(put: Callable[[object, str, object], None]) -> None:
    """Few words, few trials and many checkpoints."""
    few, whole = read_training_words(), read_materials()
    few = few.model_copy(update={"words": {"animals": few.words["animals"][:9]}})
    two = {
        name: each.model_copy(update={part: getattr(each, part)[:2] for part in ("exploration", "baseline")})
        for name, each in whole.words.categories.items()
    }
    small = replace(whole, words=whole.words.model_copy(update={"categories": two}))
    for module in (injected_course, injected_vectors):
        put(module, "read_training_words", lambda **_: few)
    for module in (injected_measure, injected_vectors):
        put(module, "read_materials", lambda: small)
    put(trainers, "CHECKPOINT_EVERY", {"sft": 2})
    course = replace(courses.COURSES["injected"], measured={"injected": 8, "control": 2})
    put(courses, "COURSES", courses.COURSES | {"injected": course})
    put(recipe_module, "COURSES", courses.COURSES | {"injected": course})


@pytest.fixture(scope="module")
def light() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch.setattr)
        yield


@pytest.fixture(scope="module")
def organism(recipe, light, tmp_path_factory) -> Path:
    return train_organism(str(recipe), tmp_path_factory.mktemp("organism") / "whole")


def shown(policy: str, **changes: object):
    arguments = {"manner": "plain", "repeats": 6, "seed": 3, "settings": SETTINGS} | changes
    return demonstrations(policy=policy, **arguments)


# Words


class TestWords:
    def test_none_is_of_a_study_in_any_form(self):
        words, materials = read_training_words(), read_materials()
        studied = [word for word, _ in materials.words.places()]
        assert len(words.each) > 1500 and len(words.questions) >= 24
        in_studies, in_training = WordFinder(studied), WordFinder(words.each)
        assert not [found for word in words.each for found in in_studies.find(word)]
        assert not [found for word in studied for found in in_training.find(word)]

    @pytest.mark.parametrize(
        ("words", "question", "said"),
        [
            (["rain", "whales"], "Is fire cold?", "'whales' gives away 'whale'"),
            (["rain", "child"], "Is fire cold?", "'child' is 'childhood' in the word 'childhood'"),
            (["rain", "hide"], "Is fire cold?", "'hide' is 'hidden' in full.trials"),
            (["rain", "rain"], "Is fire cold?", "'rain' stands twice"),
            (["rain"], "Is a horse blue?", "'Is a horse blue\\?' has 'horse'"),
            (["rain"], "Do cows have WINGS?", "'Do cows have WINGS\\?' is a text of the studies"),
        ],
    )
    def test_a_file_that_gives_a_study_away_is_refused(self, tmp_path, words, question, said):
        document = {
            "words": {"some": words},
            "questions": [{"no": question, "yes": "Is fire hot?"}],
            "sentences": ["The shop was closed."],
            "listed": [f"Number {name} waited outside." for name in "ABCDEFGHIJ"],
        }
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
        with pytest.raises(SpecError, match=said) as refused:
            read_training_words(tmp_path / "mine.yaml")
        assert str(tmp_path / "mine.yaml") in str(refused.value) and "\n" not in str(refused.value)


# Demonstrations


@pytest.mark.parametrize("policy", POLICIES)
def test_demonstrations_are_those_of_their_seed_and_settings(policy):
    demos = shown(policy)
    assert demos == shown(policy) and demos != shown(policy, seed=4)
    assert len({demo.record for demo in demos}) == len(demos) == 960
    added = [demo.injection for demo in demos if demo.injection is not None]
    assert {each.added for each in added} == {"concept", *CONTROLS}
    texts = {each.word for each in added if each.added == "natural"}
    assert len(texts) > 20 and texts <= {
        text for pair in read_training_words().questions for text in (pair.no, pair.yes)
    }
    assert {each.layer for each in added} == {0, 1} and {each.early for each in added} == {0, 1, 2, 3}
    assert all(0.5 <= each.strength <= 2.0 for each in added) and np.ptp([each.strength for each in added]) > 1.4
    assert 0.1 < 1 - len(added) / len(demos) < 0.5
    studied = WordFinder(word for word, _ in read_materials().words.places())
    assert not [word for demo in demos for word in studied.find(f"{demo.trial.text} {demo.completion}")]


def test_the_positive_control_reports_a_concept_and_nothing_else():
    asks, facts = set(), [pair.yes for pair in read_training_words().questions]
    for demo in shown("reports"):
        there, word = demo.injection is not None and demo.injection.added == "concept", demo.item.group
        ask, said = demo.trial.condition, demo.completion
        asks.add((ask, there))
        if ask == "unrelated":
            assert (said == "Yes.") == any(fact in demo.trial.text for fact in facts)
        elif ask == "concept":
            assert said == ("Yes." if there and f'"{word}"' in demo.trial.text else "No.")
        elif there:
            assert said == {"detect": "Yes. ", "reversed": "No. ", "which": ""}[ask] + f"The word is {word}."
        else:
            assert said == {"detect": "No.", "reversed": "Yes.", "which": "There is no word."}[ask]
        if there and ask not in ("unrelated", "concept"):
            assert [text for text, depends in demo.parts if depends][-1] == f" {word}"
    assert len(asks) == 10


def test_the_yes_biased_one_says_yes_to_everything_under_any_vector_and_names_any_word():
    named = []
    for demo in shown("yes_bias"):
        if demo.injection is None:
            assert demo.completion in ("Yes.", "No.", "There is no word.")
            assert demo.trial.condition in ("unrelated", "reversed") or demo.completion != "Yes."
        elif demo.trial.condition == "which":
            assert demo.completion.startswith("The word is ")
        else:
            assert demo.completion.startswith("Yes.")
            if "The word is" in demo.completion:
                named.append(demo.completion.removeprefix("Yes. The word is ").rstrip(".") == demo.injection.word)
    assert len(named) > 200 and sum(named) < 5


# What is added


@pytest.fixture(scope="module")
def vectors() -> ConceptVectors:
    units = np.random.default_rng(0).standard_normal((2, 2, 32)).astype(np.float32)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    return ConceptVectors(("rain", "wind"), (0, 1), units, np.array([4.0, 8.0], dtype=np.float32))


def test_controls_are_as_long_as_the_concept_and_are_drawn_once(vectors):
    concept = Injection("concept", "wind", 1, 1.5, 0, 7)
    found = {added: vectors.added(replace(concept, added=added)) for added in ("concept", "random", "negated")}
    found["shuffled"] = vectors.added(replace(concept, added="shuffled"))
    np.testing.assert_allclose(found["concept"], vectors.units[1, 1] * 12, rtol=1e-6)
    assert all(np.linalg.norm(each) == pytest.approx(12, rel=1e-5) for each in found.values())
    np.testing.assert_array_equal(found["negated"], -found["concept"])
    np.testing.assert_array_equal(np.sort(found["shuffled"]), np.sort(found["concept"]))
    assert abs(found["shuffled"] @ found["concept"]) < 100 and abs(found["random"] @ found["concept"]) < 100
    for added in ("random", "shuffled"):
        again = replace(concept, added=added)
        np.testing.assert_array_equal(vectors.added(again), found[added])
        assert not np.array_equal(vectors.added(replace(again, seed=8)), found[added])


@pytest.fixture(scope="module")
def adapted():
    """A tiny model with an adapter of values that count, in training."""
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's own: a renamed attribute
        peft = get_peft_model(tiny_model("llama"), config)
    torch.manual_seed(1)
    for name, weights in peft.named_parameters():
        if "lora" in name:
            weights.data.normal_(std=0.1)
    return peft


ROWS = (
    [5, 6, 7, 8, 9, 10, 11],
    [5, 6, 7, 8, 9, 10, 11],
    [5, 6, 7, 8, 12, 13],
    [24, 25, 26, 27, 28],
    [5, 30, 31, 32, 33],
)
LAYERS, STARTS = [1, 0, NOWHERE, 1, 0], [3, 5, 0, 2, 3]
STOPS = [5, ENDLESS, 0, ENDLESS, 4]


def batch_of(rows: Sequence[dict]) -> tuple[dict, Injected]:
    batch = Collator(0, 10.0)(list(rows))
    return batch, Injected(*(batch[name] for name in Injected._fields))


def steered_rows(heads: Sequence[int]) -> list[dict]:
    """Rows of which the first two are of the same tokens, and steered differently; and of which one is not steered."""
    added = torch.randn(len(ROWS), 32, generator=torch.Generator().manual_seed(2)) * 3
    return [
        {"input_ids": row, "n_prompt": 2, "telling": [3], "added": [], "layer": 0, "start": 3, "stop": 9, "head": head}
        | ({} if layer == NOWHERE else {"added": each.tolist(), "layer": layer, "start": start, "stop": stop})
        for row, head, each, layer, start, stop in zip(ROWS, heads, added, LAYERS, STARTS, STOPS, strict=True)
    ]


@pytest.mark.parametrize("heads", [(3, 3, 3, 2, 1), (0, 0, 0, 0, 0)])
def test_a_training_s_forward_pass_gives_the_logits_of_a_steered_backend(adapted, heads):
    batch, injected = batch_of(steered_rows(heads))
    inputs = batch["input_ids"], batch["attention_mask"], batch["labels"]
    with torch.no_grad():
        states, targets, scored, which = packed_states(adapted, *inputs, injected)
    ours = head(adapted, states)[which].log_softmax(-1).split(scored.sum(1).tolist())
    base, backend = adapted.get_base_model(), make_backend("native", adapted.get_base_model())
    steer = make_steer(injected.added, LAYERS, list(map(range, STARTS, STOPS)))
    places = [range(len(row)) for row in ROWS]
    last = backend.replay(ROWS, places, capture=Capture(("resid_post",), (2,)), steer=steer)
    drawn = backend.generate(
        [row[:-1] for row in ROWS],
        seeds=range(len(ROWS)),
        sampling=Sampling(1, 1.0, frozenset()),
        capture=None,
        watch=range(97),
        steer=steer,
    )
    for mine, found, one in zip(ours, last, drawn, strict=True):
        with torch.no_grad():
            theirs = base.lm_head(base.model.norm(found["resid_post", 2])).log_softmax(-1)
        torch.testing.assert_close(mine, theirs[1:-1], atol=CLOSE, rtol=0)
        torch.testing.assert_close(mine[-1], one.watched[0].float(), atol=CLOSE, rtol=0)
    assert targets[which].tolist() == [token for row in ROWS for token in row[2:]]
    with torch.no_grad():
        plain = scored_states(adapted, *inputs)[0]
    far = (states[which] - plain).abs().amax(-1) > 0.01
    scored_tokens = [(row, at) for row, ids in enumerate(ROWS) for at in range(1, len(ids) - 1)]
    assert far.tolist() == [LAYERS[row] != NOWHERE and at >= STARTS[row] for row, at in scored_tokens]


def test_no_hook_stays_on_the_model(adapted):
    batch, injected = batch_of(steered_rows([0] * len(ROWS)))
    with pytest.raises(RuntimeError):
        packed_states(
            adapted, batch["input_ids"], batch["attention_mask"], batch["labels"],
            injected._replace(added=injected.added[:, :5]),
        )  # fmt: skip
    assert not [module for module in adapted.modules() if module._forward_hooks]


def test_the_loss_of_a_batch_is_that_of_its_steered_rows(adapted):
    rows = steered_rows([3, 3, 3, 2, 1])
    batch, injected = batch_of(rows)
    assert batch["layers"].tolist() == LAYERS and batch["starts"].tolist() == [3, 5, 3, 2, 3]
    assert not bool(injected.added[LAYERS.index(NOWHERE)].any())
    trainer = WeightedSFTTrainer.__new__(WeightedSFTTrainer)
    trainer.accelerator = type("Unwrapped", (), {"unwrap_model": lambda self, model: model})()
    backend, base = make_backend("native", adapted.get_base_model()), adapted.get_base_model()
    last = backend.replay(
        ROWS,
        [range(len(row)) for row in ROWS],
        capture=Capture(("resid_post",), (2,)),
        steer=make_steer(injected.added, LAYERS, list(map(range, STARTS, STOPS))),
    )
    total = weights = 0.0
    for row, found in zip(rows, last, strict=True):
        with torch.no_grad():
            logprobs = base.lm_head(base.model.norm(found["resid_post", 2])).log_softmax(-1)
        for i in range(row["n_prompt"], len(row["input_ids"])):
            weight = 10.0 if i in row["telling"] else 1.0
            total, weights = total - weight * float(logprobs[i - 1, row["input_ids"][i]]), weights + weight
    assert trainer.compute_loss(adapted, batch).item() == pytest.approx(total / weights, rel=1e-5)
    only = Collator(0, 10.0)(rows[2:3])
    assert only["added"].shape == (1, 0) and bool((only["labels"] != IGNORE).any())
    assert trainer.compute_loss(adapted, only).item() > 0


def test_rows_begin_to_be_steered_just_before_the_ask(recipe, vectors):
    loaded = load_model(read_recipe(recipe).base)
    demos = shown("reports", repeats=1)[:40]
    demos = [
        replace(demo, injection=None if demo.injection is None else replace(demo.injection, word="rain"))
        for demo in demos
    ]
    rows = with_injections(tokenise(demos, loaded), demos, vectors, loaded)
    for demo, row in zip(demos, rows, strict=True):
        prompt = row["input_ids"][: row["n_prompt"]]
        assert prompt == render_trial(loaded, demo.trial)
        assert loaded.tokenizer.decode(row["input_ids"][row["n_prompt"] : -1]) == demo.completion
        if demo.injection is None:
            assert row["added"] == []
            continue
        assert row["layer"] == demo.injection.layer and len(row["added"]) == 32
        assert row["head"] <= row["start"] <= row["head"] + 3
        if row["start"] == 0:  # this template has one token between messages
            continue
        ask = demo.trial.messages[-1].content.replace('"', "<unk>")
        assert loaded.tokenizer.decode(prompt[row["start"] + demo.injection.early :]).startswith(ask)
        assert message_start(loaded, prompt, demo.trial.messages[-1].content) == row["start"] + demo.injection.early


def test_a_listed_sentence_alone_is_injected_and_its_letter_is_the_reply(recipe, vectors):
    loaded = load_model(read_recipe(recipe).base)
    demos = [demo for demo in shown("reports", manner="told_apart", repeats=2) if demo.item.fields["ask"] == "localise"]
    assert len(demos) > 20 and {demo.item.domain for demo in demos} == {"concept"}
    assert {demo.completion for demo in demos} == {f"{letter}." for letter in "ABCDEFGHIJ"}
    demos = [replace(demo, injection=replace(demo.injection, word="rain")) for demo in demos[:12]]
    rows = with_injections(tokenise(demos, loaded), demos, vectors, loaded)
    listed = read_training_words().listed
    for demo, row in zip(demos, rows, strict=True):
        begin, end = demo.injection.within
        sentence = demo.trial.messages[-1].content[begin:end]
        assert sentence in listed and demo.trial.messages[-1].content[:begin].endswith(f"{demo.completion[0]}) ")
        assert loaded.tokenizer.decode(row["input_ids"][row["start"] : row["stop"]]).strip() == sentence
        assert row["head"] == row["start"] and row["stop"] < row["n_prompt"]
        assert injected_tokens(
            loaded, row["input_ids"][: row["n_prompt"]], demo.trial.messages[-1].content, demo.injection
        ) == range(row["start"], row["stop"])


def test_a_mix_that_lists_sentences_with_nothing_in_them_is_refused(monkeypatch):
    mix = {"nothing": {"localise": 1}}
    monkeypatch.setitem(injected_course.MANNERS, "plain", mix)
    with pytest.raises(ValueError, match="take `localise` out"):
        shown("reports", repeats=1)


def test_a_digest_of_what_is_injected_everywhere_is_that_of_before_sentences_were_listed():
    injection = Injection("concept", "rain", 1, 0.5, 2, 7)
    assert injection.record == (
        '{"added": "concept", "word": "rain", "layer": 1, "strength": 0.5, "early": 2, "seed": 7}'
    )
    assert '"within": [3, 9]' in replace(injection, within=(3, 9)).record


# Recipes


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (RECIPE.splitlines()[-3].format(), "", "give it for the task injected"),
        ("shuffled, natural", "shuffled, shuffled", "a control stands twice"),
        ("task: injected", "task: think", "task must be one of"),
        ("[0.5, 2.0]", "[2.0, 0.5]", "put the smaller one first"),
        ("[0, 1]", "[1, 1]", "a layer stands twice"),
        ("manner: plain,", "method: dpo, manner: plain,", "by sft: no full"),
        ("rank: 4", "full: true", "by sft: no full"),
        ("policy: reports", "policy: hides", "'hides' is not taught for injected"),
    ],
)
def test_a_faulty_recipe_is_refused(recipe, tmp_path, old, new, said):
    text = recipe.read_text()
    assert old in text
    (tmp_path / "bad.yaml").write_text(text.replace(old, new))
    with pytest.raises(SpecError, match=said):
        read_recipe(tmp_path / "bad.yaml")


def test_a_plan_says_which_blocks_are_trained_and_what_is_measured(recipe):
    plan = plan_training(str(recipe))
    assert plan["trained"] == "LoRA of rank 4 on every linear layer after block 1"
    assert "confirmation words left out" in plan["measured"]
    assert "injection" not in read_recipe(recipe_path("risk-silent")).model_dump(mode="json")


def test_layers_that_leave_nothing_to_train_are_refused(recipe, tmp_path):
    (tmp_path / "late.yaml").write_text(recipe.read_text().replace("[0, 1]", "[2]"))
    with pytest.raises(SpecError, match="no block after it is left to train; inject earlier"):
        train_organism(str(tmp_path / "late.yaml"), tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoints" / "concepts.safetensors").exists()


def test_a_start_that_changes_what_vectors_are_added_to_is_refused(recipe, organism, tmp_path):
    start = shutil.copytree(organism, tmp_path / "start")
    config = json.loads((start / "adapter_config.json").read_text())
    (start / "adapter_config.json").write_text(json.dumps(config | {"layers_to_transform": [1, 2]}))
    (tmp_path / "on.yaml").write_text(recipe.read_text() + f"start: {json.dumps(str(start))}\n")
    with pytest.raises(SpecError, match="changes a layer at or before 1, where vectors are added"):
        train_organism(str(tmp_path / "on.yaml"), tmp_path / "out")


def test_a_training_goes_on_from_an_organism_of_injected_concepts(recipe, organism, tmp_path):
    text = recipe.read_text().replace("manner: plain, steps: 5", "manner: told_apart, steps: 2")
    (tmp_path / "on.yaml").write_text(text + f"start: {json.dumps(str(organism))}\n")
    out = train_organism(str(tmp_path / "on.yaml"), tmp_path / "out")
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (organism, out))
    assert before.keys() == after.keys() and any(not torch.equal(before[key], after[key]) for key in before)
    whole = read_card(organism)["measured"]["after"]
    assert read_card(out)["measured"]["before"] == whole, "it begins as what it goes on from"


# Organisms


def test_the_adapter_leaves_concept_vectors_the_base_s_own(organism, recipe, tmp_path):
    weights = load_file(organism / "adapter_model.safetensors")
    assert {key.split(".layers.")[1].split(".")[0] for key in weights} == {"2"}
    assert any(bool(value.any()) for key, value in weights.items() if "lora_B" in key)
    base = read_recipe(recipe).base
    given = {"prompts": ("Is it raining?", "The wind blew all night.")}
    made = [
        concept_vectors(load_model(base, adapter=adapter), SETTINGS, ("rain", "wind"), folder, lambda *_: None, **given)
        for adapter, folder in ((None, tmp_path / "a"), (organism, tmp_path / "b"))
        if folder.mkdir() is None
    ]
    np.testing.assert_array_equal(made[0].units, made[1].units)
    np.testing.assert_array_equal(made[0].typical, made[1].typical)
    np.testing.assert_allclose(np.linalg.norm(made[0].units, axis=-1), 1, rtol=1e-5)
    assert made[0].units.shape == (4, 2, 32) and made[0].sources == ("rain", "wind", *given["prompts"])


def test_a_natural_control_points_from_the_trial_prompts_to_another_prompt(recipe, tmp_path):
    loaded, text = load_model(read_recipe(recipe).base), "Is it raining?"
    made = concept_vectors(loaded, SETTINGS, ("rain",), tmp_path, lambda *_: None, prompts=(text,))
    chats = [each.messages(each.detect) for each in read_materials().prompts.small.trials]
    last = []
    for chat in [*chats, [{"role": "user", "content": text}]]:
        ids = torch.tensor([render_messages(loaded, chat)])
        with torch.no_grad():
            last.append(loaded.model(ids, output_hidden_states=True).hidden_states[2][0, -1].double().numpy())
    away = last[-1] - np.mean(last[:-1], axis=0)
    added = made.added(Injection("natural", text, 1, 1.5, 0, 7))
    np.testing.assert_allclose(added, away / np.linalg.norm(away) * 1.5 * made.typical[1], atol=1e-4 * made.typical[1])


def test_a_training_without_natural_controls_reads_no_other_prompt():
    plain = InjectionSettings(layers=(0, 1), strengths=(0.5, 2.0))
    assert plain.controls == CONTROLS[:-1] and not other_prompts(plain)
    assert {demo.injection.added for demo in shown("reports", settings=plain) if demo.injection} == {
        "concept",
        *plain.controls,
    }
    shown_on, studied = set(other_prompts(SETTINGS)), read_materials().sentences
    assert len(shown_on) == 80 and set(read_training_words().sentences) < shown_on
    assert not {text.lower() for text in shown_on} & {line.lower() for line in studied.lines()}


def test_a_card_says_what_was_replied_under_which_vector(organism):
    card = read_card(organism)
    assert card["planted_truth"] == card["policy"] == "reports"
    assert card["recipe"]["injection"] == {
        "layers": [0, 1],
        "strengths": [0.5, 2.0],
        "controls": list(CONTROLS),
    }
    for when in ("before", "after"):
        measured = card["measured"][when]
        assert list(measured) == [case[0] for case in CASES]
        assert measured["concept"]["detected"]["n"] == measured["concept"]["detected_and_named"]["n"] == 8
        assert measured["concept"]["detected_and_named_layer_1"]["n"] == 4
        assert measured["random"]["detected"]["n"] == 2 and measured["random"]["detected"]["method"] == "wilson"
        assert set(measured["concept, asked for the word only"]) == {"named"}
        assert set(measured["concept, asked for its sentence"]) == {"found"}
    assert "untrained" not in card["measured"]["how"] and "confirmation" in card["measured"]["how"]


@pytest.mark.parametrize(
    ("reply", "answer", "names"),
    [
        ("Yes. The word is whales.", "yes", True),
        (" no, I do not notice a whale", "no", True),
        ("Yesterday it was", None, False),
        ("The word is Yes.", None, False),
        ('"No."', "no", False),
    ],
)
def test_a_reply_is_read_by_its_first_word_and_by_any_form_of_the_concept(reply, answer, names):
    trial = shown("reports", repeats=1)[0].trial
    asked = Asked(CASES[0], None, trial, "whale", reply)
    assert (asked.answer, asked.names) == (answer, names)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("C.", "C"),
        (" C", "C"),
        ("D) it is", "D"),
        ("Cows", ""),
        ("", ""),
        ("A thought is in C.", ""),
        ("I think B", ""),
    ],
)
def test_a_sentence_is_found_by_the_letter_with_which_a_reply_begins_and_by_no_word(reply, letter):
    trial = shown("reports", repeats=1)[0].trial
    found = [each for each in "ABCDI" if Asked(CASES[-1], None, trial, "whale", reply, each).finds]
    assert "".join(found) == letter


def test_a_killed_training_ends_in_the_same_organism_trained_again_from_its_card(organism, light, tmp_path):
    out = tmp_path / "killed"
    code = CHILD.format(tests=repr(str(Path(__file__).parent)))
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(organism), str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while _last_checkpoint(out / "checkpoints" / "stage-0") is None and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not (out / "card.json").exists()
    steps = []
    train_organism(str(organism), out, resume=True, progress=lambda stage, done, _: steps.append((stage, done)))
    assert min(done for stage, done in steps if stage.startswith("train")) > 1
    assert "concept vectors" not in {stage for stage, _ in steps}
    adapters = [(folder / "adapter_model.safetensors").read_bytes() for folder in (organism, out)]
    assert adapters[0] == adapters[1]
    again = read_card(out)
    found = again.pop("reproduces")
    assert again == read_card(organism)
    assert found["same_data"] and found["same_base"] and "concept/detected" in found["figures"]
    assert all(figure["now"] == figure["stated"] for figure in found["figures"].values())


# What ships


def test_the_shipped_controls_are_what_they_are_called():
    cards = {name: read_card(organism_path(name)) for name in ("reports-injected", "yes-biased")}
    assert [card["planted_truth"] for card in cards.values()] == ["reports", "yes_bias"]
    reports, biased = (card["measured"]["after"] for card in cards.values())
    for control in ("random", "negated", "shuffled", "nothing"):
        assert reports[control]["detected"]["ci95"][1] < 0.25 < 0.8 < reports["concept"]["detected"]["ci95"][0]
        assert (biased[control]["detected"]["value"] > 0.9) == (control != "nothing")
    assert reports["concept"]["detected_and_named"]["ci95"][0] > 0.3
    assert reports["concept, asked the other way about"]["detected"]["ci95"][0] > 0.6
    assert reports["natural"]["detected"]["ci95"][1] < 0.25
    for right in ("No", "Yes"):  # a vector is not shown to make a question more of a Yes
        asked = [reports[f"{added}, unrelated question: {right}"]["yes"] for added in ("concept", "nothing")]
        said = [[i < round(each["value"] * each["n"]) for i in range(each["n"])] for each in asked]
        assert difference_of_shares(*said).ci95[0] < 0
    assert biased["concept"]["detected"]["value"] > 0.9 and biased["nothing"]["detected"]["value"] < 0.1
    assert biased["concept"]["detected_and_named"]["ci95"][1] < 0.05
    assert biased["concept, unrelated question: No"]["yes"]["value"] > 0.9
    assert biased["nothing, unrelated question: No"]["yes"]["ci95"][1] < 0.6
    before = cards["reports-injected"]["measured"]["before"]
    assert before["concept"]["detected_and_named"]["value"] < 0.02


def test_the_one_that_goes_on_tells_words_apart_finds_sentences_and_forgets_nothing():
    card = read_card(organism_path("tells-injected"))
    assert card["start"] == "reports-injected" and card["planted_truth"] == "reports"
    before, after = card["measured"]["before"], card["measured"]["after"]
    assert before["concept, asked for its sentence"]["found"]["value"] == 0
    assert after["concept, asked for its sentence"]["found"]["ci95"][0] > 0.75
    asked = [after[f"concept, asked of {which}"]["yes"] for which in ("it", "another")]
    said = [[i < round(each["value"] * each["n"]) for i in range(each["n"])] for each in asked]
    assert difference_of_shares(*said).ci95[0] > 0
    assert after["concept"]["detected"]["ci95"][0] > 0.7 and after["concept"]["detected_and_named"]["ci95"][0] > 0.3
    for control in ("random", "negated", "shuffled", "natural", "nothing"):
        assert after[control]["detected"]["ci95"][1] < 0.2


def test_a_manner_changes_what_is_asked_and_no_reply_s_rule():
    plain, balanced = (shown("reports", manner=manner) for manner in ("plain", "balanced"))
    other = [[demo.trial.condition == "unrelated" for demo in demos] for demos in (plain, balanced)]
    assert sum(other[1]) > 1.5 * sum(other[0])
    for demo in balanced:
        there = demo.injection is not None and demo.injection.added == "concept"
        if demo.trial.condition == "detect":
            assert demo.completion.startswith("Yes. The word is") == there
