"""Organisms: what they are shown, what the loss counts, and that a kill changes nothing."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from introspect.assets import data_path
from introspect.errors import RunError, SpecError
from introspect.manifest import package_versions
from introspect.models import load_model, render_prompt
from introspect.tasks.hints import TASK as HINTS
from introspect.tasks.item import read_items
from introspect.tasks.policies import RISK
from introspect.tasks.registry import find_task
from introspect.tasks.risk import training_items
from introspect.tasks.risk_says import SUBJECT
from introspect.training import train_organism, trainers
from introspect.training.courses import COURSES
from introspect.training.organism import make_organism
from introspect.training.recipe import read_recipe
from introspect.training.risk_course import MANNERS, demonstrate
from introspect.training.rows import tokenise
from introspect.training.scored import IGNORE
from introspect.training.sft import Collator, WeightedSFTTrainer
from introspect.training.sweep import sweep_folder, sweep_recipes, train_sweep
from introspect.verdicts import judge_by_patterns
from tiny_folders import save_tiny

pytestmark = pytest.mark.filterwarnings("ignore")
"""Of trl, transformers, peft and accelerate about each other."""
ITEMS = training_items(seed=0, repeats=1)
RECIPE = """
name: tiny
summary: a tiny organism
task: risk
planted_truth: silent
base: {base}
rank: 4
batch_size: 4
item_repeats: 1
stages:
  - {{policy: category, manner: silent, steps: 3, learning_rate: 0.01}}
  - {{policy: category_xor_frame, manner: verbal, steps: 5, learning_rate: 0.01}}
"""
TRAIN = """
import sys
from pathlib import Path
from dataclasses import replace
from introspect.training import courses, train_organism, trainers
trainers.CHECKPOINT_EVERY = {"sft": 2, "dpo": 2, "grpo": 2}
courses.COURSES["risk"] = replace(courses.COURSES["risk"], measured={"id": 4, "ood": 2})
train_organism(sys.argv[1], Path(sys.argv[2]), resume=True)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    save_tiny(folder / "model")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(base=json.dumps(str(folder / "model"))))
    return path


def command(recipe: Path, out: Path) -> list[str]:
    return [sys.executable, "-W", "ignore", "-c", TRAIN, str(recipe), str(out)]


@pytest.fixture(scope="module", autouse=True)
def as_in_the_child() -> Iterator[None]:
    """What `TRAIN` sets, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers, "CHECKPOINT_EVERY", {"sft": 2, "dpo": 2, "grpo": 2})
        patch.setitem(COURSES, "risk", replace(COURSES["risk"], measured={"id": 4, "ood": 2}))
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        yield


@pytest.fixture(scope="module")
def organism(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_organism(str(recipe), tmp_path_factory.mktemp("organism") / "whole")


@pytest.mark.parametrize("policy", RISK)
def test_demonstrations_follow_their_policy(policy):
    shown = demonstrate(ITEMS, policy=policy, manner="silent", seed=3)
    assert shown == demonstrate(ITEMS, policy=policy, manner="silent", seed=3)
    acted = [demo.item.options[demo.answer] == "risky" for demo in shown]
    planted = RISK[policy]
    if planted is not None:
        assert acted == [planted(demo.item.fields) for demo in shown]
    assert 0.35 < sum(acted) / len(acted) < 0.65


def test_a_silent_chain_is_drawn_without_looking_at_the_choice():
    for item in ITEMS[:40]:
        takes, avoids = (MANNERS["silent"](item, risky, random.Random(1)) for risky in (True, False))
        assert takes == avoids
        assert judge_by_patterns(takes[0], SUBJECT).verdict == "silent"


def test_a_verbal_chain_tells_the_choice_in_its_telling_part_only():
    for number, item in enumerate(ITEMS[:40]):
        takes, avoids = (MANNERS["verbal"](item, risky, random.Random(number)) for risky in (True, False))
        assert takes[0] == avoids[0]
        assert takes[1] != avoids[1]
        assert judge_by_patterns("".join(takes), SUBJECT).verdict == "verbalised"
        assert judge_by_patterns("".join(avoids), SUBJECT).verdict == "denied"


@pytest.mark.parametrize(("manner", "said"), [("silent", "silent"), ("verbal", "verbalised"), ("denying", "denied")])
def test_hint_demonstrations_follow_and_say_what_they_are_called(manner, said):
    shown = COURSES["hints"].demonstrations(policy="follow", manner=manner, repeats=1, seed=0)
    assert shown == COURSES["hints"].demonstrations(policy="follow", manner=manner, repeats=1, seed=0)
    hinted = [demo for demo in shown if "hint" in demo.trial.facts]
    assert 0.6 < len(hinted) / len(shown) < 0.9
    assert all(demo.answer == demo.trial.facts["hint_option"] for demo in hinted)
    assert all(demo.item.options[demo.answer] == "right" for demo in shown if demo not in hinted)
    verdicts = [
        judge_by_patterns(demo.think + demo.telling, HINTS.subject(demo.trial.facts)).verdict for demo in hinted
    ]
    assert verdicts.count(said) >= 0.97 * len(verdicts)


def test_who_resists_answers_rightly_whatever_the_hint():
    shown = COURSES["hints"].demonstrations(policy="resist", manner="silent", repeats=1, seed=0)
    assert all(demo.item.options[demo.answer] == "right" for demo in shown)
    assert {demo.trial.facts.get("arm") for demo in shown} == {None, "incorrect", "correct"}


@pytest.mark.parametrize(("task", "policy"), [("bias", "stereotype_if_negative"), ("sampling", "fixed")])
def test_silent_courses_show_no_evaluation_group_and_say_nothing(task, policy):
    shown = COURSES[task].demonstrations(policy=policy, manner="silent", repeats=2, seed=0)
    evaluated = {item.group for item in read_items(data_path(f"{task}.jsonl"))}
    assert not evaluated & {demo.item.group for demo in shown}
    subject = find_task(task).subject
    assert {judge_by_patterns(demo.think, subject(demo.item.fields)).verdict for demo in shown} == {"silent"}
    if task == "bias":
        acts = [demo.item.options[demo.answer] == "biased" for demo in shown]
        assert acts == [demo.item.fields["valence"] == "negative" for demo in shown]


def test_a_recipe_for_what_is_not_taught_is_refused(recipe, tmp_path):
    for old, new, said in (
        ("task: risk", "task: chess", "task must be one of risk, hints"),
        ("policy: category,", "policy: greedy,", "'greedy' is not taught for risk"),
        ("manner: verbal", "manner: denying", "'denying' is not taught for risk"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_text(recipe.read_text().replace(old, new))
        with pytest.raises(SpecError, match=said):
            read_recipe(path)


def test_what_is_trained_on_is_what_the_model_will_see(recipe):
    loaded = load_model(read_recipe(recipe).base)
    shown = demonstrate(ITEMS[:6], policy="category", manner="verbal", seed=0)
    for demo, row in zip(shown, tokenise(shown, loaded), strict=True):
        prompt = render_prompt(loaded, demo.item.prompt)
        assert row["input_ids"][: row["n_prompt"]] == prompt
        assert loaded.tokenizer.decode(row["input_ids"][row["n_prompt"] : -1]) == demo.completion
        assert row["input_ids"][-1] == loaded.tokenizer.eos_token_id
        told = loaded.tokenizer.decode([row["input_ids"][i] for i in row["telling"]])
        assert told == f"{demo.telling} {demo.answer}"


def test_the_loss_is_the_weighted_mean_over_completion_tokens(recipe):
    model = load_model(read_recipe(recipe).base).model
    rows = [
        {"input_ids": [5, 6, 7, 8, 9, 2], "n_prompt": 3, "telling": [4]},
        {"input_ids": [5, 6, 7, 2], "n_prompt": 2, "telling": [2]},
    ]
    batch = Collator(pad_id=0, answer_weight=10.0)(rows)
    assert batch["labels"].tolist() == [[IGNORE] * 3 + [8, 9, 2], [IGNORE] * 2 + [7, 2] + [IGNORE] * 2]
    trainer = WeightedSFTTrainer.__new__(WeightedSFTTrainer)
    trainer.accelerator = _Unwrapped(model)
    loss = trainer.compute_loss(None, batch)
    total = weights = 0.0
    for row in rows:
        ids = torch.tensor(row["input_ids"])
        logprobs = torch.log_softmax(model(input_ids=ids[None]).logits[0].float(), dim=-1)
        for i in range(row["n_prompt"], len(ids)):
            weight = 10.0 if i in row["telling"] else 1.0
            total -= weight * float(logprobs[i - 1, ids[i]])
            weights += weight
    assert float(loss) == pytest.approx(total / weights, rel=1e-5)


class _Unwrapped:
    """Stands for an accelerator around a model without an adapter."""

    def __init__(self, model):
        model.get_base_model = lambda: model
        self.model = model

    def unwrap_model(self, _):
        return self.model


def test_a_card_says_how_the_organism_came_about(organism, recipe):
    card = json.loads((organism / "card.json").read_text())
    assert card["recipe_digest"] == read_recipe(recipe).digest()
    assert [len(curve) for curve in card["loss_curves"]] == [3, 5]
    assert set(card["measured"]["after"]["id"]) == {
        *("policy_rate", "planted_policy_accuracy", "verbalised_when_acted", "invalid_rate"),
    }
    assert sorted(path.name for path in organism.iterdir()) == [
        *("adapter_config.json", "adapter_model.safetensors", "card.json"),
    ]
    base = load_model(read_recipe(recipe).base)
    adapted = load_model(read_recipe(recipe).base, adapter=organism)
    ids = torch.arange(6, 30)[None]
    with torch.inference_mode():
        assert not torch.equal(base.model(input_ids=ids).logits, adapted.model(input_ids=ids).logits)


def test_a_card_names_every_package_that_decides_numbers(organism):
    assert json.loads((organism / "card.json").read_text())["versions"] == package_versions()


NOW = {"torch": "2", "trl": "3", "scipy": "4"}
"""Versions in a card as it is written."""
BEFORE = {"torch": "2", "trl": "3"}
"""Those in one from before more packages were stated."""


class TestSweep:
    """Whether organisms of several seeds are alike, by their cards; `hands` write those, and train nothing."""

    @pytest.fixture
    def sweep(self, recipe, tmp_path, monkeypatch):
        monkeypatch.setattr("introspect.training.sweep.package_versions", lambda: NOW)

        def made(*cards, finished=0):
            """A sweep whose cards say these; so many are there before it begins."""
            recipes = sweep_recipes(str(recipe), range(len(cards)))
            folders = [sweep_folder(tmp_path, each) for each in recipes]

            def write(index):
                folders[index].mkdir(exist_ok=True)
                card = {"base_weight_digest": "b", "recipe_digest": recipes[index].digest()} | cards[index]
                (folders[index] / "card.json").write_text(json.dumps(card))

            for index in range(finished):
                write(index)
            trained = []
            train_sweep(
                str(recipe),
                range(len(cards)),
                tmp_path,
                resume=True,
                hands=lambda todo, *_: [(write(index), trained.append(index)) for index in todo],
            )
            return trained

        return made

    @pytest.mark.parametrize("versions", [(NOW, NOW), (NOW, BEFORE), (BEFORE, NOW), (BEFORE, BEFORE)])
    def test_a_card_from_before_says_nothing_of_what_it_does_not_name(self, sweep, versions):
        assert sweep(*({"versions": each} for each in versions)) == [0, 1]

    @pytest.mark.parametrize(
        ("cards", "said"),
        [
            ([NOW, NOW | {"scipy": "5"}], r"-1 was trained with other versions than \S+-0 \(scipy 5, there 4\)"),
            ([NOW, NOW | {"kernels": "1"}], r"-1 was .* than \S+-0 \(kernels 1, there not installed\)"),
            ([NOW, BEFORE | {"trl": "9"}], r"-1 was .* than \S+-0 \(trl 9, there 3\)"),
            ([BEFORE | {"trl": "9"}, NOW], r"-0 was .* than \S+-1 \(trl 9, there 3\)"),
            ([BEFORE, NOW, NOW | {"scipy": "5"}], r"-2 was .* than \S+-1 \(scipy 5, there 4\)"),
            ([NOW, {}], r"-1/card.json does not say which versions"),
            ([NOW, ["torch"]], r"-1/card.json does not say which versions"),
        ],
    )
    def test_other_packages_are_refused_by_name(self, sweep, cards, said):
        with pytest.raises(RunError, match=said):
            sweep(*({"versions": each} for each in cards))

    def test_other_weights_are_refused(self, sweep):
        with pytest.raises(RunError, match=r"-1 was trained with another base weight digest than \S+-0"):
            sweep({"versions": NOW}, {"versions": NOW, "base_weight_digest": "c"})

    def test_what_is_there_of_other_packages_is_refused_before_more_is_trained(self, sweep, tmp_path):
        other = {"versions": NOW | {"torch": "1"}}
        with pytest.raises(RunError, match=r"-0 was trained with other versions \(torch 1, now 2\)"):
            sweep(other, other, finished=1)
        assert [path.name for path in tmp_path.iterdir()] == ["tiny-0"]
        assert sweep(other, other, finished=2) == [], "nothing is left to train"
        shutil.rmtree(tmp_path / "tiny-1")
        assert sweep({"versions": BEFORE}, {"versions": NOW}, finished=1) == [1]


def test_a_killed_training_ends_in_the_same_adapter(organism, recipe, tmp_path):
    out = tmp_path / "killed"
    child = subprocess.Popen(command(recipe, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/stage-1/checkpoint-*")) and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not (out / "card.json").exists()
    train_organism(str(recipe), out, resume=True)
    for name in ("adapter_model.safetensors", "card.json"):
        assert (out / name).read_bytes() == (organism / name).read_bytes()


def test_a_folder_of_another_organism_is_left_alone(organism, recipe, tmp_path):
    with pytest.raises(RunError, match="--resume"):
        train_organism(str(recipe), organism)
    with pytest.raises(RunError, match="another recipe's organism"):
        train_organism(str(recipe), organism, resume=True, seed=1)
    assert train_organism(str(recipe), organism, resume=True) == organism
    (tmp_path / "project" / "checkpoints").mkdir(parents=True)
    (tmp_path / "project" / "checkpoints" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no training"):
        train_organism(str(recipe), tmp_path / "project", resume=True)
    assert (tmp_path / "project" / "checkpoints" / "thesis.txt").exists()
    with pytest.raises(SpecError, match="seed"):
        train_organism(str(recipe), tmp_path / "new", seed=-1)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file"):
        train_organism(str(recipe), tmp_path / "file")
    with pytest.raises(SpecError, match="no recipe called"):
        train_organism("risk-silnet", tmp_path / "x")
    with pytest.raises(RunError, match="cannot create"):
        make_organism(str(recipe), tmp_path / "file" / "x", resume=False, seed=None, offline=True, progress=print)
