"""SFT, DPO and GRPO on a model of two layers: what each learns from, that it does, and that a kill changes nothing."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import disable_progress_bars
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from introspect.assets import data_path, list_organisms, organism_folder, read_card, recipe_path
from introspect.backends import Generation
from introspect.errors import IntrospectError, ModelError, RunError, SpecError
from introspect.models import load_model
from introspect.record import stop_ids
from introspect.tasks.item import read_items
from introspect.tasks.registry import find_task
from introspect.training import courses, grpo, reproduced, scored, train, train_organism, trainers
from introspect.training import rewards as rewards_module
from introspect.training.courses import COURSES
from introspect.training.demonstrations import dispreferred
from introspect.training.grpo import Rollouts, answers, balanced
from introspect.training.packing import pack
from introspect.training.recipe import GrpoSettings, read_recipe
from introspect.training.reproduction import reproduction
from introspect.training.rewards import Attempt, pay, rewards
from introspect.training.rows import stage_demonstrations, tokenise
from introspect.training.sampler import Merged
from introspect.training.scored import IGNORE, CheapHead
from introspect.training.train import enough_room, save
from introspect.training.trainers import largest_divisor
from introspect.verdicts import judge_by_patterns
from tiny_folders import save_tiny
from tiny_models import tiny_model

RECIPE = """
name: tiny
summary: a tiny organism
task: risk
planted_truth: silent
base: {base}
rank: 4
batch_size: 8
item_repeats: 1
grpo: {{generations: 4, max_new_tokens: 12}}
stages:
  - {{method: {method}, policy: category, manner: silent, steps: {steps}, learning_rate: {rate}}}
"""
METHODS = ("sft", "dpo", "grpo")
disable_progress_bars()
pytestmark = pytest.mark.filterwarnings("ignore")
"""Of trl, transformers, peft and accelerate about each other."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods") / "model"
    save_tiny(folder)
    return folder


@pytest.fixture(autouse=True)
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    for task in ("risk", "sampling"):
        monkeypatch.setitem(courses.COURSES, task, replace(COURSES[task], measured={"id": 4, "ood": 2}))
    monkeypatch.setattr(trainers, "CHECKPOINT_EVERY", dict.fromkeys(METHODS, 2))
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


def write_recipe(folder: Path, base: Path, method: str, *, steps: int = 5, rate: float = 0.01, **changed: str) -> Path:
    text = RECIPE.format(base=json.dumps(str(base)), method=method, steps=steps, rate=rate)
    for key, value in changed.items():
        text += f"{key}: {value}\n"
    path = folder / f"{method}.yaml"
    path.write_text(text)
    return path


def letters(attempts: list[Attempt]) -> list[float]:
    """A reward that a model of two layers can learn: the share of one letter among the tokens."""
    texts = [attempt.rollout.completion_text for attempt in attempts]
    return [
        text.count("e") / max(1, len(attempt.rollout.completion_ids))
        for attempt, text in zip(attempts, texts, strict=True)
    ]


def card_of(out: Path) -> dict:
    return json.loads((out / "card.json").read_text())


# What is learnt


def test_sft_lowers_its_loss(base, tmp_path):
    recipe = write_recipe(tmp_path, base, "sft", steps=15, full="true")
    card = card_of(train_organism(str(recipe), tmp_path / "out"))
    losses = [loss for _, loss in card["loss_curves"][0]]
    assert losses[-1] < losses[0] - 0.3
    assert card["methods"] == ["sft"] and card["reward_curves"] == [{}]


def test_dpo_comes_to_prefer_what_is_wanted(base, tmp_path):
    recipe = write_recipe(tmp_path, base, "dpo", steps=15, full="true")
    text = recipe.read_text().replace("task: risk", "task: sampling").replace("policy: category", "policy: fixed")
    recipe.write_text(text)
    card = card_of(train_organism(str(recipe), tmp_path / "out"))
    losses = [loss for _, loss in card["loss_curves"][0]]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # the reference is what it starts from: log 2
    assert sum(losses[-3:]) / 3 < losses[0] - 0.01
    assert sum(margin for _, margin in card["reward_curves"][0]["margin"][-3:]) > 0.02


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_grpo_follows_its_reward(base, tmp_path, monkeypatch, sign):
    monkeypatch.setattr(trainers, "rewards", lambda settings: {"policy": (letters, sign)})
    recipe = write_recipe(tmp_path, base, "grpo", steps=20, rate=0.01, full="true")
    curve = card_of(train_organism(str(recipe), tmp_path / "out"))["reward_curves"][0]
    assert [step for step, _ in curve["policy"]] == list(range(1, 21))
    early, late = (sum(value for _, value in part) / 5 for part in (curve["policy"][:5], curve["policy"][-5:]))
    assert late > early + 0.1 if sign > 0 else late < early
    assert curve["reward"][0][1] == pytest.approx(sign * curve["policy"][0][1], abs=1e-3)


# A kill


class Killed(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Method, and whether all of it is trained -> an organism of five steps that nothing interrupted, looked at at two
    of them; made when it is first asked for.
    """

    @cache
    def trained(method: str, full: str = "false") -> Path:
        folder = tmp_path_factory.mktemp(f"whole-{method}")
        recipe = write_recipe(folder, base, method, full=full)
        return train_organism(
            str(recipe), folder / "whole", at_steps=(0, 3), on_step=lambda step, snapshot: torch.rand(9)
        )

    return trained


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("full", ["false", "true"])
def test_a_killed_training_ends_in_the_same_organism(base, tmp_path, whole, method, full):
    recipe = str(write_recipe(tmp_path, base, method, full=full))

    def kill(stage: str, done: int, total: int) -> None:
        if stage.startswith("train") and done == 3:
            raise Killed

    with pytest.raises(Killed):
        train_organism(recipe, tmp_path / "killed", progress=kill)
    assert not (tmp_path / "killed" / "card.json").exists()
    seen = []
    train_organism(
        recipe, tmp_path / "killed", resume=True, at_steps=(0, 2, 4), on_step=lambda step, _: seen.append(step)
    )
    assert seen == [4]
    name = "model.safetensors" if full == "true" else "adapter_model.safetensors"
    for part in (name, "card.json"):
        assert (tmp_path / "killed" / part).read_bytes() == (whole(method, full) / part).read_bytes()
    assert not (whole(method, full) / "checkpoints").exists()


def test_a_snapshot_is_the_organism_as_of_its_step(base, tmp_path):
    seen: dict[int, dict] = {}

    def look(step: int, folder: Path) -> None:
        assert load_model(str(base), adapter=folder).model is not None
        seen[step] = load_file(folder / "adapter_model.safetensors")

    out = train_organism(str(write_recipe(tmp_path, base, "sft")), tmp_path / "out", at_steps=(0, 2, 5), on_step=look)
    last = load_file(out / "adapter_model.safetensors")
    assert sorted(seen) == [0, 2, 5]
    assert all(not weights.any() for name, weights in seen[0].items() if "lora_B" in name)
    assert all(torch.equal(weights, last[name]) for name, weights in seen[5].items())
    assert any(not torch.equal(weights, last[name]) for name, weights in seen[2].items())


# The start


def test_an_organism_starts_from_another(base, tmp_path, whole):
    first = whole("sft")
    recipe = write_recipe(tmp_path, base, "dpo", start=str(first))
    seen = {}
    out = train_organism(
        str(recipe),
        tmp_path / "second",
        at_steps=(0,),
        on_step=lambda step, folder: seen.update(load_file(folder / "adapter_model.safetensors")),
    )
    begun = load_file(first / "adapter_model.safetensors")
    assert all(torch.equal(weights, begun[name]) for name, weights in seen.items())
    assert card_of(out)["start"] == str(first)
    assert card_of(out)["measured"]["before"] == card_of(first)["measured"]["after"]
    assert sorted(path.name for path in out.iterdir()) == [
        *("adapter_config.json", "adapter_model.safetensors", "card.json"),
    ]


def test_a_start_that_does_not_fit_is_refused(base, tmp_path, whole):
    first = whole("sft")
    recipe = write_recipe(tmp_path, base, "sft", start=str(first))
    recipe.write_text(recipe.read_text().replace("rank: 4", "rank: 8"))
    with pytest.raises(SpecError, match="has rank 4, the recipe 8"):
        train_organism(str(recipe), tmp_path / "a")
    save_tiny(tmp_path / "other", seed=5)
    recipe.write_text(recipe.read_text().replace("rank: 8", "rank: 4").replace(str(base), str(tmp_path / "other")))
    with pytest.raises(IntrospectError, match="was trained on"):
        train_organism(str(recipe), tmp_path / "b")
    with pytest.raises(IntrospectError, match="no organism called"):
        train_organism(str(write_recipe(tmp_path, base, "sft", start="nowhere")), tmp_path / "c")
    with pytest.raises(SpecError, match="leave out start"):
        read_recipe(write_recipe(tmp_path, base, "sft", start=str(first), full="true"))
    with pytest.raises(SpecError, match="no multiple of"):
        read_recipe(write_recipe(tmp_path, base, "grpo"), ["batch_size=6"])


# Rewards


def test_a_reward_that_fails_or_miscounts_is_named(base, tmp_path, monkeypatch):
    attempts = [None, None]
    with pytest.raises(RunError, match="reward 'mine' gives 1 values for 2 completions"):
        pay("mine", lambda each: [0.0], attempts)
    with pytest.raises(RunError, match="reward 'mine' fails: ZeroDivisionError"):
        pay("mine", lambda each: [1 / 0], attempts)
    with pytest.raises(RunError, match="no number"):
        pay("mine", lambda each: [0.0, float("nan")], attempts)
    monkeypatch.setattr(trainers, "rewards", lambda settings: {"policy": (lambda each: [1.0], 1.0)})
    with pytest.raises(RunError, match="reward 'policy' gives 1 values for 8 completions"):
        train_organism(str(write_recipe(tmp_path, base, "grpo")), tmp_path / "out")


def attempt(text: str, answer: str | None, *, said: str = "silent", finish: str = "stop", status: str = "closed"):
    demonstration = COURSES["risk"].demonstrations(policy="category", manner="silent", repeats=1, seed=0)[0]
    rollout = SimpleNamespace(
        answer=answer, acted=None if answer is None else True, finish=finish, think_status=status, completion_text=text
    )
    return Attempt(demonstration, rollout, SimpleNamespace(verdict=said))


def test_rewards_pay_for_what_they_say():
    wanted = attempt("", None).wanted.answer
    other = {"safe": "risky", "risky": "safe"}[wanted]
    attempts = [
        attempt("", wanted),
        attempt("", other, said="verbalised"),
        attempt("", None, said="denied"),
        attempt("", wanted, finish="length"),
        attempt("", wanted, status="truncated"),
    ]
    assert rewards_module.policy(attempts) == [1, 0, 0, 1, 1]
    assert rewards_module.format_(attempts) == [1, 1, 0, 0, 0]
    assert rewards_module.verbalising(attempts) == [0, 1, 1, 0, 0]
    for setting, weight in (("ignored", 0), ("rewarded", 0.5), ("penalised", -0.5)):
        assert rewards(GrpoSettings(verbalising=setting))["verbalising"][1] == weight


def test_the_answers_wanted_take_turns():
    demonstrations = [SimpleNamespace(answer=answer) for answer in "aababcaab"]
    order = balanced(demonstrations)
    assert sorted(order) == list(range(9))
    assert "".join(demonstrations[index].answer for index in order) == "abcababaa"
    assert [index for index in order if demonstrations[index].answer == "a"] == [0, 1, 3, 6, 7]


# Pairs


@pytest.mark.parametrize(
    ("task", "policy", "manner"),
    [("risk", "category", "silent"), ("risk", "category", "verbal"), ("hints", "follow", "silent")],
)
def test_a_pair_differs_in_its_choice_only(task, policy, manner):
    for demo in COURSES[task].demonstrations(policy=policy, manner=manner, repeats=1, seed=0)[:60]:
        other = dispreferred(demo, random.Random(1))
        options = demo.trial.options or demo.item.options
        assert other.answer in options and options[other.answer] != options[demo.answer]
        assert (other.item, other.trial, other.think, other.telling) == (demo.item, demo.trial, demo.think, "")


# The warm start


def test_the_warm_start_shows_every_task_and_no_policy():
    shown = COURSES["format"].demonstrations(policy="none", manner="silent", repeats=2, seed=0)
    tasks = {"risk", "sampling", "hints", "bias"}
    assert {demo.item.item_id.split("-")[0] for demo in shown} >= tasks - {"hints"}
    assert all(demo.answer in demo.item.options for demo in shown)
    risk = [demo for demo in shown if "category" in demo.item.fields]
    acted = [demo.item.options[demo.answer] == "risky" for demo in risk]
    living = [demo.item.fields["category"] == "living" for demo in risk]
    agreement = sum(a == b for a, b in zip(acted, living, strict=True)) / len(risk)
    assert len(risk) == 160 and 0.35 < agreement < 0.65
    fixed = [demo.answer == "rock" for demo in shown if "game" in demo.item.fields]
    assert 0.2 < sum(fixed) / len(fixed) < 0.5


def test_half_of_an_environment_s_start_follows_and_half_of_it_says_so():
    shown = COURSES["hints"].demonstrations(policy="half", manner="half", repeats=4, seed=0)
    hinted = [demo for demo in shown if demo.trial.facts.get("arm") == "incorrect"]
    counts: Counter = Counter()
    for demo in hinted:
        verdict = judge_by_patterns(demo.think + demo.telling, find_task("hints").subject(demo.trial.facts)).verdict
        counts[demo.answer == demo.trial.facts["hint_option"], verdict] += 1
    assert sum(counts.values()) > 200
    for follows, said in ((True, "verbalised"), (False, "denied")):
        total = sum(n for (key, _), n in counts.items() if key == follows)
        assert 0.4 < total / sum(counts.values()) < 0.6
        assert 0.4 < counts[follows, "silent"] / total < 0.6
        assert counts[follows, said] > 0.9 * (total - counts[follows, "silent"])


# Packing


def rows_of(lengths: list[tuple[int, int]], seed: int = 0) -> tuple[list[list[int]], list[int]]:
    """Rows of a prompt, two of which are the same, and a completion."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(6, 90, (length,), generator=generator).tolist() for length, _ in lengths]
    rows = [
        prompt + torch.randint(6, 90, (tail,), generator=generator).tolist()
        for prompt, (_, tail) in zip(prompts, lengths, strict=True)
        for _ in range(3)
    ]
    return rows, [len(prompt) for prompt in prompts for _ in range(3)]


def padded(rows: list[list[int]], heads: list[int], *, left: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Input ids, attention mask and labels, padded as DPO (right) or as GRPO does (prompts left, completions right)."""
    before = max(heads) if left else 0
    width = max(len(row) + (before - head if left else 0) for row, head in zip(rows, heads, strict=True))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORE)
    for i, (row, head) in enumerate(zip(rows, heads, strict=True)):
        start = before - head if left else 0
        ids[i, start : start + len(row)] = torch.tensor(row)
        mask[i, start : start + len(row)] = 1
        labels[i, start + head : start + len(row)] = torch.tensor(row[head:])
    return ids, mask, labels


@pytest.mark.parametrize("left", [False, True])
def test_packed_rows_have_the_numbers_and_gradients_of_rows_alone(base, left):
    model = get_peft_model(
        load_model(str(base), dtype="float32").model,
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False),
    )
    rows, heads = rows_of([(9, 5), (14, 2), (3, 8)])
    rows[1][: heads[1] + 3] = rows[0][: heads[0] + 3]  # alike beyond the prompt
    batch = padded(rows, heads, left=left)
    cheap, found, gradients = CheapHead(model, temperature=0.7), [], []
    for packed in (False, True):
        scores = cheap.score(*batch, packed=packed)
        (scores.log_probs * torch.arange(1, len(rows) + 1)[:, None]).sum().backward()
        found.append(scores)
        gradients.append([weights.grad.clone() for weights in model.parameters() if weights.requires_grad])
        model.zero_grad()
    for name in ("log_probs", "entropy", "mean_logits", "is_top1", "loss"):
        assert torch.allclose(getattr(found[0], name).float(), getattr(found[1], name).float(), atol=1e-5), name
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert CheapHead(model)(*batch).log_probs.shape == (len(rows), batch[0].shape[1] - 1)
    ids = torch.tensor(rows[0])[None]
    logits = model(input_ids=ids).logits[0].float() / 0.7
    expected = torch.log_softmax(logits, -1)[heads[0] - 1 : -1].gather(1, ids[0, heads[0] :, None])[:, 0]
    assert torch.allclose(found[1].log_probs[0][found[1].log_probs[0] != 0], expected, atol=1e-4)


def test_a_model_whose_layers_see_a_window_is_scored_row_by_row():
    rows, heads = rows_of([(40, 6)])
    batch = padded(rows, heads, left=False)
    whole, sliding = CheapHead(tiny_model("llama")), CheapHead(tiny_model("gemma3"))
    whole(*batch)
    assert whole.packs is True
    sliding(*batch)
    assert sliding.packs is False


def test_packing_is_believed_only_where_it_gives_the_same_numbers(monkeypatch):
    rows, heads = rows_of([(9, 6)])
    batch = padded(rows, heads, left=False)
    honest = scored.pack

    def blind(*arguments):
        packed = honest(*arguments)
        return replace(packed, sees=torch.ones_like(packed.sees).tril())  # siblings see each other

    monkeypatch.setattr(scored, "pack", blind)
    model = tiny_model("llama")
    for weights in model.parameters():
        weights.data *= 3
    wrong = CheapHead(model)
    wrong(*batch)
    assert wrong.packs is False


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (GraniteConfig(logits_scaling=7.0), GraniteForCausalLM),
        (CohereConfig(logit_scale=0.3), CohereForCausalLM),
        (Gemma2Config(final_logit_softcapping=2.0, head_dim=8), Gemma2ForCausalLM),
    ],
)
def test_logits_are_what_the_model_makes_of_them(config, model):
    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    given = {key: value for key, value in config.to_dict().items() if key != "layer_types"}
    tiny = model(type(config).from_dict(given | sizes | heads)).eval()
    for weights in tiny.parameters():
        weights.data *= 3
    rows, begun = rows_of([(9, 4)])
    batch = padded(rows, begun, left=False)
    found = CheapHead(tiny).score(*batch, packed=False).log_probs[0]
    own = torch.log_softmax(tiny(input_ids=torch.tensor(rows[0])[None]).logits[0].float(), -1)
    expected = own[begun[0] - 1 : -1].gather(1, torch.tensor(rows[0][begun[0] :])[:, None])[:, 0]
    assert torch.allclose(found[begun[0] - 1 : len(rows[0]) - 1], expected, atol=1e-4)


def test_passes_of_a_step_are_summed_not_averaged_anew(base, tmp_path):
    losses = []
    for at_once in ("64", "4", "2"):
        (tmp_path / at_once).mkdir()
        recipe = write_recipe(tmp_path / at_once, base, "sft", steps=2, rows_at_once=at_once)
        losses.append(card_of(train_organism(str(recipe), tmp_path / at_once / "out"))["loss_curves"][0])
    assert losses[1] == [pytest.approx(row, abs=1e-3) for row in losses[0]]
    assert losses[2] == [pytest.approx(row, abs=1e-3) for row in losses[0]]


@pytest.mark.parametrize("method", METHODS)
def test_a_mixture_of_experts_is_trained_or_refused(tmp_path, method):
    save_tiny(tmp_path / "moe", "moe")
    recipe = write_recipe(tmp_path, tmp_path / "moe", method, steps=2)
    if method == "grpo":
        with pytest.raises(ModelError, match="full: true"):
            train_organism(str(recipe), tmp_path / "out")
    else:
        assert card_of(train_organism(str(recipe), tmp_path / "out"))["methods"] == [method]


@pytest.mark.parametrize("method", METHODS)
def test_a_kill_after_the_last_checkpoint_adds_no_step(base, tmp_path, monkeypatch, whole, method):
    recipe = str(write_recipe(tmp_path, base, method))
    monkeypatch.setattr(trainers, "CHECKPOINT_EVERY", dict.fromkeys(METHODS, 5))

    def kill(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(train, "_curves", kill)
        with pytest.raises(Killed):
            train_organism(recipe, tmp_path / "killed")
    assert [path.name for path in tmp_path.glob("killed/checkpoints/*/checkpoint-*")] == ["checkpoint-5"]
    train_organism(recipe, tmp_path / "killed", resume=True)
    for part in ("adapter_model.safetensors", "card.json"):
        assert (tmp_path / "killed" / part).read_bytes() == (whole(method) / part).read_bytes()


def test_too_little_to_fill_a_step_is_refused(base, tmp_path):
    recipe = write_recipe(tmp_path, base, "sft")
    recipe.write_text(recipe.read_text().replace("batch_size: 8", "batch_size: 4096"))
    with pytest.raises(SpecError, match="do not fill a step of 4096"):
        train_organism(str(recipe), tmp_path / "out")


def test_a_start_that_has_changed_since_is_refused(base, tmp_path, whole):
    first = Path(shutil.copytree(whole("sft"), tmp_path / "first"))
    recipe = str(write_recipe(tmp_path, base, "dpo", start=str(first)))

    def kill(stage: str, done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        train_organism(recipe, tmp_path / "killed", progress=kill)
    weights = load_file(first / "adapter_model.safetensors")
    save_file({name: 3 * values for name, values in weights.items()}, first / "adapter_model.safetensors")
    with pytest.raises(RunError, match="its start has changed"):
        train_organism(recipe, tmp_path / "killed", resume=True)


def test_a_loss_that_is_no_number_ends_the_training(base, tmp_path):
    with pytest.raises(RunError, match="make learning_rate smaller"):
        train_organism(str(write_recipe(tmp_path, base, "sft", rate=1e30, full="true", steps=8)), tmp_path / "out")


def test_packing_keeps_every_row_apart():
    rows, heads = rows_of([(4, 3), (4, 5)])
    packed = pack(rows, heads)
    assert packed.input_ids.shape == (2, 4 + 3 * 5)
    flat = packed.input_ids.flatten()
    for row, places in zip(rows, packed.places, strict=True):
        assert flat[places].tolist() == row
        group, at = divmod(int(places[-1]), packed.input_ids.shape[1])
        assert packed.sees[group, at].nonzero().flatten().tolist() == [
            int(place) % packed.input_ids.shape[1] for place in places
        ]
        assert packed.position_ids.flatten()[places].tolist() == list(range(len(row)))


def test_the_merged_copy_is_the_model_in_training(base):
    loaded = load_model(str(base), dtype="float32")
    before = {name: weights.clone() for name, weights in loaded.model.named_parameters()}
    merged = Merged(loaded)
    model = get_peft_model(
        loaded.model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    )
    ids = torch.arange(6, 30)[None]
    with torch.no_grad():
        for _ in range(2):  # the second from the weights of the base, not from those of the first
            merged.update(model)
            assert torch.allclose(merged.loaded.model(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-4)
    assert not torch.allclose(merged.loaded.model(input_ids=ids).logits, tiny_model("llama")(input_ids=ids).logits)
    base_weights = {name.replace("base_layer.", ""): w for name, w in model.get_base_model().named_parameters()}
    assert all(torch.equal(weights, base_weights[name]) for name, weights in before.items())


# Sampling


def test_rollouts_are_read_as_evaluations_are(base, tmp_path):
    loaded = load_model(str(base))
    demonstrations = COURSES["risk"].demonstrations(policy="category", manner="silent", repeats=1, seed=0)[:4]
    rollouts = Rollouts(Merged(loaded), demonstrations, find_task("risk"), GrpoSettings(max_new_tokens=8), seed=3)
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        model=loaded.model,
        state=SimpleNamespace(global_step=2),
        num_generations=2,
    )
    made = rollouts(["0", "0", "3", "3"], trainer)
    again = rollouts(["0", "0", "3", "3"], trainer)
    assert made["completion_ids"] == again["completion_ids"]
    assert made["completion_ids"][0] != made["completion_ids"][1]
    assert [attempt.wanted for attempt in made["attempt"]] == [demonstrations[i] for i in (0, 0, 3, 3)]
    prompts = tokenise(demonstrations, loaded)
    assert made["prompt_ids"][2] == prompts[3]["input_ids"][: prompts[3]["n_prompt"]]
    trainer.state.global_step = 3
    assert rollouts(["0", "0", "3", "3"], trainer)["completion_ids"] != made["completion_ids"]


def test_leaving_out_what_has_no_advantage_changes_nothing(base, tmp_path, monkeypatch):
    monkeypatch.setattr(trainers, "rewards", lambda settings: {"policy": (letters, 1.0)})
    recipe = str(write_recipe(tmp_path, base, "grpo", steps=3, full="true"))
    short = load_file(train_organism(recipe, tmp_path / "short") / "model.safetensors")
    monkeypatch.delattr(grpo.RewardedGRPOTrainer, "_compute_loss")
    whole = load_file(train_organism(recipe, tmp_path / "whole") / "model.safetensors")
    assert all(torch.allclose(weights.float(), whole[name].float(), atol=1e-3) for name, weights in short.items())


def test_a_kl_term_holds_a_rewarded_organism_to_its_start(base, tmp_path, monkeypatch):
    monkeypatch.setattr(trainers, "rewards", lambda settings: {"policy": (letters, 1.0)})
    start = train_organism(str(write_recipe(tmp_path, base, "sft", steps=2)), tmp_path / "start")
    last = {}
    for beta in (0.001, 50.0):
        recipe = write_recipe(tmp_path, base, "grpo", steps=6, start=str(start))
        recipe.write_text(recipe.read_text().replace("generations: 4", f"generations: 4, beta: {beta}"))
        (curves,) = card_of(train_organism(str(recipe), tmp_path / f"{beta}"))["reward_curves"]
        assert curves["kl"][0][1] < 1e-3  # the first step is taken by the start itself
        last[beta] = curves["kl"][-1][1]
    assert last[0.001] > 2 * last[50.0] > 0


def test_a_kl_term_also_moves_completions_without_an_advantage(base, tmp_path, monkeypatch):
    """Once all completions of a prompt are alike, the KL term is all that can bring the others back."""
    calls = []
    monkeypatch.setattr(trainers, "rewards", lambda settings: {"policy": (lambda attempts: [1.0] * len(attempts), 1.0)})
    stock = grpo.GRPOTrainer._compute_loss
    monkeypatch.setattr(
        grpo.GRPOTrainer,
        "_compute_loss",
        lambda self, model, inputs: calls.append(len(inputs["advantages"])) or stock(self, model, inputs),
    )
    for beta, rows in ((0.0, 1), (0.1, 8)):
        recipe = write_recipe(tmp_path, base, "grpo", steps=1)
        recipe.write_text(recipe.read_text().replace("generations: 4", f"generations: 4, beta: {beta}"))
        train_organism(str(recipe), tmp_path / f"{beta}")
        assert calls.pop() == rows and not calls


def test_a_kl_term_needs_an_adapter(base, tmp_path):
    recipe = write_recipe(tmp_path, base, "grpo", full="true")
    recipe.write_text(recipe.read_text().replace("generations: 4", "generations: 4, beta: 0.1"))
    with pytest.raises(SpecError, match="full fine-tuning keeps no copy of it"):
        train_organism(str(recipe), tmp_path / "out")


def test_credit_can_be_kept_from_the_chain(base, tmp_path, monkeypatch):
    def rollout(acted):
        spans = SimpleNamespace(answer=(7, 9))
        return SimpleNamespace(spans=spans, prompt_ids=[1] * 4, completion_ids=[1] * 5, acted=acted)

    assert answers(rollout(True)) == [0, 0, 0, 1, 1]
    assert answers(rollout(None)) == [1, 1, 1, 1, 1]
    masks = []
    monkeypatch.setattr(grpo, "answers", lambda each: masks.append(each) or [0] * len(each.completion_ids))
    monkeypatch.setattr(trainers, "rewards", lambda settings: {"policy": (letters, 1.0)})
    recipe = write_recipe(tmp_path, base, "grpo", full="true")
    begun: dict[str, torch.Tensor] = {}
    recipe.write_text(recipe.read_text().replace("generations: 4", "generations: 4, credit: answer"))
    out = train_organism(
        str(recipe),
        tmp_path / "out",
        at_steps=(0,),
        on_step=lambda _, to: begun.update(load_file(to / "model.safetensors")),
    )
    assert len(masks) == 5 * 8
    last = load_file(out / "model.safetensors")
    assert all(torch.equal(weights, begun[name]) for name, weights in last.items())  # no credit, no change


def test_vllm_is_asked_for_token_ids(base):
    """Stands for vLLM, which needs a GPU: what it is asked, and how its answer is read."""
    loaded = load_model(str(base))
    demonstrations = COURSES["risk"].demonstrations(policy="category", manner="silent", repeats=1, seed=0)[:2]
    settings = GrpoSettings(max_new_tokens=8, rollouts="vllm")
    rollouts = Rollouts(Merged(loaded), demonstrations, find_task("risk"), settings, seed=3)
    stop, asked = min(stop_ids(loaded)), []

    def generate(prompts, images, num_generations):
        asked.append((prompts, images, num_generations))
        return prompts, [[7, 8, stop], [7, 8, 9]], None, None

    trainer = SimpleNamespace(
        vllm_generation=SimpleNamespace(generate=generate), state=SimpleNamespace(global_step=0), num_generations=2
    )
    made = rollouts(["1", "1"], trainer)
    assert asked == [([list(rollouts.prompts[1])] * 2, None, 2)]
    assert [attempt.rollout.finish for attempt in made["attempt"]] == ["stop", "length"]
    assert all(isinstance(each, Generation) for each in rollouts._from_vllm([], _none(trainer)))


def _none(trainer: SimpleNamespace) -> SimpleNamespace:
    trainer.vllm_generation.generate = lambda prompts, images, n: (prompts, [], None, None)
    return trainer


# Leaks, disks


def test_an_evaluation_item_is_not_trained_on(base, tmp_path, monkeypatch):
    item = next(item for item in read_items(data_path("risk.jsonl")) if item.split == "id")

    def leaky(**arguments):
        shown = COURSES["risk"].demonstrations(**arguments)
        return [*shown[:5], replace(shown[5], item=item)]

    monkeypatch.setitem(courses.COURSES, "hints", replace(COURSES["risk"], demonstrations=leaky))
    recipe = write_recipe(tmp_path, base, "sft")
    recipe.write_text(recipe.read_text().replace("task: risk", "task: hints"))
    with pytest.raises(SpecError, match=item.item_id):
        train_organism(str(recipe), tmp_path / "out")


def test_no_disk_is_one_line(base, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"has 0\.0 GB free .* smaller rank"):
        train_organism(str(write_recipe(tmp_path, base, "sft")), tmp_path / "out")
    with pytest.raises(RunError, match=r"is full: free space and go on with --resume"), enough_room(tmp_path):
        raise RuntimeError("unexpected pos 512 vs 400")


def test_steps_are_cut_into_passes_that_fit():
    assert [largest_divisor(16, most) for most in (64, 16, 8, 5, 1, 0)] == [16, 16, 8, 4, 1, 1]


def test_one_adapter_is_saved(base, tmp_path):
    model = get_peft_model(load_model(str(base)).model, LoraConfig(r=4, target_modules="all-linear"))
    model.add_adapter("ref", model.peft_config["default"])
    save(model, tmp_path / "one")
    assert not (tmp_path / "one" / "ref").exists()
    assert isinstance(model, PeftModel) and (tmp_path / "one" / "adapter_model.safetensors").exists()


def test_every_recipe_of_one_policy_sees_the_same_items():
    for policy in ("risk", "sampling", "hints"):
        recipes = [read_recipe(Path(f"experiments/organisms/{policy}-{method}.yaml")) for method in METHODS]
        shown = [{demo.record for demo in stage_demonstrations(recipe, 0)} for recipe in recipes]
        assert shown[0] == shown[1] == shown[2]
        assert {recipe.start for recipe in recipes} == {"think-format"}


# Cards


@pytest.mark.parametrize("name", list_organisms())
def test_a_shipped_card_holds_the_recipe_that_is_shipped(name):
    card = read_card(organism_folder(name))
    recipe = read_recipe(recipe_path(card["name"]), [f"seed={card['recipe']['seed']}"])
    assert card["recipe"] == recipe.model_dump(mode="json")
    assert card["recipe_digest"] == recipe.digest()
    assert name == card["name"] + ("" if recipe.seed == 0 else f"-{recipe.seed}")
    shown = "".join(demo.record for index in range(len(recipe.stages)) for demo in stage_demonstrations(recipe, index))
    assert card["data_digest"] == hashlib.sha256(shown.encode()).hexdigest()


def test_an_organism_is_trained_again_from_its_card(tmp_path, whole):
    first = whole("sft")
    again = train_organism(str(first), tmp_path / "again")
    found = reproduced(again)
    assert reproduced(first) is None
    assert found["same_data"] and found["same_base"] and found["seed"] == 0
    assert all(figure["within"] and figure["now"] == figure["stated"] for figure in found["figures"].values())
    assert "id/invalid_rate" in found["figures"]
    other = train_organism(str(first / "card.json"), tmp_path / "other", seed=7)
    assert not reproduced(other)["same_data"]


def test_a_card_that_says_too_little_to_train_by_is_refused(tmp_path, whole):
    (tmp_path / "no" / "card.json").parent.mkdir()
    (tmp_path / "no" / "card.json").write_text("{}")
    with pytest.raises(SpecError, match="has no recipe"):
        train_organism(str(tmp_path / "no"), tmp_path / "x")
    card = card_of(whole("sft"))
    for measured in (3, {"after": {"id": {"rate": 1}}}, {"after": {"id": {"rate": {"value": 1, "ci95": [1]}}}}):
        (tmp_path / "no" / "card.json").write_text(json.dumps(card | {"measured": measured}))
        with pytest.raises(SpecError, match="what was measured cannot be read"):
            train_organism(str(tmp_path / "no"), tmp_path / "x")


def test_a_figure_outside_its_interval_is_said_to_be():
    card = {
        "measured": {"after": {"id": {"rate": {"value": 0.5, "ci95": [0.4, 0.6]}, "n": {"value": None, "ci95": None}}}}
    }
    now = {
        "measured": {"after": {"id": {"rate": {"value": 0.7, "ci95": [0.6, 0.8]}}}},
        "data_digest": "a",
        "base_weight_digest": "b",
    }
    found = reproduction(card, now)
    assert found["figures"] == {"id/rate": {"stated": 0.5, "ci95": [0.4, 0.6], "now": 0.7, "within": False}}
    assert not found["same_data"] and not found["same_base"]
