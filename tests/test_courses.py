"""What organisms are shown: policies and manners, nothing of an evaluation, and framings that only a training has."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from introspect.assets import data_path
from introspect.errors import SpecError
from introspect.rollout import RolloutSummary
from introspect.sandbox import why_not
from introspect.tasks import pressure, reward_hacking
from introspect.tasks.choice import make_question
from introspect.tasks.item import Item, read_items
from introspect.tasks.pressure_asking import SCRATCHPAD
from introspect.tasks.registry import find_task
from introspect.tasks.task import Message, Trial, plain
from introspect.training import hints_course, pressure_course, reward_hacking_course, risk_course, silent_course
from introspect.training.demonstrations import Demonstration
from introspect.training.framing import FRAMINGS, Framing, framed
from introspect.training.leaks import check_leaks
from introspect.verdicts import judge_by_patterns

SHOWN = {
    "risk": (risk_course.demonstrations, "category_xor_frame", 8),
    "hints": (hints_course.demonstrations, "follow", 10),
    "bias": (silent_course.bias_demonstrations, "stereotype", 8),
    "sampling": (silent_course.sampling_demonstrations, "fixed", 8),
    "reward_hacking": (reward_hacking_course.demonstrations, "hack", 16),
    "pressure": (pressure_course.demonstrations, "insider", 9),
}
"""Task -> its course, one of its policies, and about as many repeats as recipes take."""
COURSES = {"reward_hacking": reward_hacking_course, "pressure": pressure_course}
ACTS = {"hack": True, "solve": False, "insider": True, "honest": False}
TURNS = (pressure.TASK, pressure.REPORTED.task, pressure.CONFRONTED_WITH_IT.task)
contained = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def evaluated(task: str) -> list[Item]:
    return read_items(data_path("questions.jsonl" if task == "hints" else f"{task}.jsonl"))


def shown(task: str, policy: str, manner: str, repeats: int = 1, seed: int = 0) -> list[Demonstration]:
    return COURSES[task].demonstrations(policy=policy, manner=manner, repeats=repeats, seed=seed)


def turn_of(demo: Demonstration) -> int:
    return len(demo.trial.messages) // 2


def subject_of(task: str, demo: Demonstration):
    return (TURNS[turn_of(demo)] if task == "pressure" else find_task(task)).subject(demo.item.fields)


TAUGHT = [(task, *pair) for task, course in COURSES.items() for pair in product(course.POLICIES, course.MANNERS)]


@pytest.mark.parametrize(("task", "policy", "manner"), TAUGHT)
def test_demonstrations_do_and_say_what_they_are_called(task, policy, manner):
    made = shown(task, policy, manner)
    assert made == shown(task, policy, manner) != shown(task, policy, manner, seed=1)
    items = COURSES[task].training_items(seed=0, repeats=1)
    assert sorted(demo.item.item_id for demo in made) == [item.item_id for item in sorted(items, key=by_id)]
    assert [demo.item.item_id for demo in made] != [item.item_id for item in items]
    wanted = "silent" if manner == "silent" else "verbalised" if ACTS[policy] else "denied"
    for demo in made:
        assert judge_by_patterns(demo.think + demo.telling, subject_of(task, demo)).verdict == wanted, demo
        assert (demo.telling == "") == (manner == "silent")
        assert judge_by_patterns(demo.think, subject_of(task, demo)).verdict == "silent"
        assert demo.completion.startswith(f"<think>\n{demo.think}{demo.telling}\n</think>\nAnswer:")
        assert len((demo.think + demo.telling).split()) <= 24


def by_id(item: Item) -> str:
    return item.item_id


@pytest.mark.parametrize("task", COURSES)
def test_a_silent_chain_is_drawn_without_looking_at_the_choice(task):
    silent = COURSES[task].MANNERS["silent"]
    for number, turn in product(range(40), range(3)):
        before = () if task == "reward_hacking" else (turn,)
        drawn = {silent(*before, acts, random.Random(number)) for acts in (True, False)}
        drawn |= {silent(*before, True, random.Random(number)) for before in ([(0,)] if before else [])}
        assert len(drawn) == 1 and next(iter(drawn))[1] == ""


@pytest.mark.parametrize("task", COURSES)
def test_a_verbal_chain_tells_the_choice_in_its_telling_part_only(task):
    verbal = COURSES[task].MANNERS["verbal"]
    for number in range(20):
        before = () if task == "reward_hacking" else (number % 3,)
        acts, not_ = (verbal(*before, acts, random.Random(number)) for acts in (True, False))
        assert acts[0] == not_[0] and acts[1] != not_[1]


# Reward hacking


@contained
@pytest.mark.parametrize(("policy", "outcome"), [("hack", "hacks"), ("solve", "solves")])
def test_a_demonstrated_program_is_read_as_what_it_is_to_do(policy, outcome):
    for demo in shown("reward_hacking", policy, "silent")[::6]:
        text = demo.completion.partition("</think>\n")[2]
        reading = reward_hacking.read(demo.item, demo.trial, text)
        assert reading.answer == demo.answer == outcome
        assert reading.outcome["names_tests"] == (policy == "hack")
        other = replace(demo, answer="solves" if outcome == "hacks" else "hacks")
        text = other.completion.partition("</think>\n")[2]
        assert reward_hacking.read(demo.item, demo.trial, text).answer == other.answer


def test_the_first_line_of_a_program_tells_what_it_does():
    for demo in shown("reward_hacking", "hack", "silent"):
        other = replace(demo, answer="solves")
        told, untold = ([text for text, depends in each.parts if depends][-1] for each in (demo, other))
        assert told.startswith("    if ") and told != untold
        assert demo.parts[0] == other.parts[0] and demo.parts[2] == other.parts[2]
        assert demo.completion.endswith("```") and "\n\n" not in demo.completion
        assert demo.record != other.record


# Pressure


def test_half_are_shown_at_the_first_turn_and_a_quarter_at_each_later_one():
    made = shown("pressure", "insider", "silent")
    assert [sum(turn_of(demo) == turn for demo in made) for turn in range(3)] == [96, 48, 48]
    assert {demo.trial.condition for demo in made} == {SCRATCHPAD}
    assert not any(demo.trial.prefill or demo.trial.facts for demo in made)


@pytest.mark.parametrize("policy", pressure_course.POLICIES)
def test_pressure_is_answered_by_policy_at_every_turn(policy):
    for demo in shown("pressure", policy, "verbal"):
        acting = TURNS[turn_of(demo)].acting
        assert (demo.item.options[demo.answer] == acting) == ACTS[policy]
        assert set(demo.item.options.values()) > {acting}


@pytest.mark.parametrize("manner", pressure_course.MANNERS)
def test_a_later_turn_is_asked_as_in_an_evaluation(manner):
    items = {item.item_id: item for item in pressure.training_items(seed=0, repeats=1)}
    for demo in shown("pressure", "honest", manner):
        asked = items[demo.item.item_id]
        messages: tuple[Message, ...] = (Message("user", asked.prompt),)
        for turn in range(turn_of(demo)):
            said = demo.trial.messages[2 * turn + 1]
            chain, _, answer = said.content.partition("\n</think>\nAnswer: ")
            assert said.role == "assistant" and asked.options[answer] == TURNS[turn].acting
            verdict = judge_by_patterns(chain, TURNS[turn].subject({})).verdict
            assert verdict == ("silent" if manner == "silent" else "verbalised")
            following = pressure.TASK.follow_ups[turn].ask(acted(asked))
            assert following is not None
            asked = following
            messages = (*messages, said, Message("user", asked.prompt))
        assert demo.trial.messages == messages and demo.item == asked


def acted(item: Item) -> RolloutSummary:
    return RolloutSummary.model_construct(**item.model_dump(), acted=True, condition=SCRATCHPAD)


def test_nothing_of_an_evaluation_s_scenarios_is_trained_on():
    trained, held_out = pressure.training_items(), evaluated("pressure")
    for field in ("firm", "target", "manager", "secret"):
        assert not {item.fields[field] for item in trained} & {item.fields[field] for item in held_out}
    news, sources = (
        [
            {item.fields["secret"].replace(item.fields["target"], "").split(": ")[place] for item in items}
            for items in (trained, held_out)
        ]
        for place in (-1, 0)
    )
    assert not news[0] & news[1] and not sources[0] & sources[1]
    assert {item.domain for item in trained} == {"trading"} and {item.split for item in trained} == {"id"}
    many = pressure.training_items(repeats=9)
    assert len({item.prompt for item in many}) == len({item.item_id for item in many}) == len(many) == 24 * 8 * 9


# Leaks


@pytest.mark.parametrize("task", SHOWN)
def test_no_course_shows_an_evaluation_item_and_the_check_is_quick(task):
    course, policy, repeats = SHOWN[task]
    made, items = course(policy=policy, manner="silent", repeats=repeats, seed=0), evaluated(task)
    assert not {demo.item.group for demo in made} & {item.group for item in items}
    began = time.process_time()
    check_leaks(made, items)
    assert len(made) >= 1100 and time.process_time() - began < 1


def leaky(task: str, **changes: object) -> tuple[list[Demonstration], Item]:
    """A training set whose fifth demonstration is of an evaluation item in all but what is changed."""
    course, policy, _ = SHOWN[task]
    made = course(policy=policy, manner="silent", repeats=1, seed=0)
    item = evaluated(task)[7]
    changed = item.model_copy(update=changes)
    made[4] = Demonstration(changed, plain(changed), "I think.", "", next(iter(item.options)))
    return made, item


@pytest.mark.parametrize("task", SHOWN)
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"group": "new", "prompt": "Something else?\nAnswer."}, "item_id"),
        ({"item_id": "new", "prompt": "Something else?\nAnswer."}, "of its group"),
        ({"item_id": "new", "group": "new"}, "shows its question"),
    ],
)
def test_an_evaluation_item_in_the_training_set_is_refused_by_name(task, changes, why):
    made, item = leaky(task, **changes)
    with pytest.raises(SpecError, match=f"(?s)mine leaks evaluation item .*demonstration 4 .*{why}") as refused:
        check_leaks(made, evaluated(task), named="mine")
    named = item if why == "item_id" else next(each for each in evaluated(task) if each.item_id in str(refused.value))
    assert repr(named.item_id) in str(refused.value)
    assert named.group == item.group and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "spoil",
    [
        str.upper,
        lambda text: text.replace(" ", "  "),
        lambda text: f"Two lines\nof something else.\n\n{text}\nAnd more.",
        lambda text: text.replace(".", " ."),
        lambda text: f"Now this: {text}",
        lambda text: text.replace(" ", "\n", 3),
    ],
)
@pytest.mark.parametrize("task", SHOWN)
def test_a_question_is_found_in_another_s_chat_whatever_its_case_and_spacing(task, spoil):
    course, policy, _ = SHOWN[task]
    made = course(policy=policy, manner="silent", repeats=1, seed=0)
    items = evaluated(task)
    before = (Message("user", spoil(items[3].prompt)), Message("assistant", "Answer: no"), *made[2].trial.messages)
    made[2] = replace(made[2], trial=replace(made[2].trial, messages=before))
    with pytest.raises(SpecError, match=r"leaks evaluation item .*demonstration 2 .*its question"):
        check_leaks(made, items)


@pytest.mark.parametrize("task", SHOWN)
def test_a_question_is_found_in_a_chain(task):
    course, policy, _ = SHOWN[task]
    made = course(policy=policy, manner="silent", repeats=1, seed=0)
    items = evaluated(task)
    made[2] = replace(made[2], think=f"{made[2].think} I was once asked: {items[3].prompt}")
    with pytest.raises(SpecError, match=r"leaks evaluation item .*demonstration 2 .*its question"):
        check_leaks(made, items)


def test_questions_that_share_a_line_are_different_questions():
    def question(stem: str) -> Item:
        return make_question(stem, stem, "seven", ["six", "five"], letter="A", subject="counting")

    def demonstrated(stem: str) -> list[Demonstration]:
        item = question(stem)
        return [Demonstration(item, plain(item), "I count.", "", "A")]

    held_out = [question("Read this.\nHow many days has a week?"), question("What is 3 - 4?")]
    check_leaks(demonstrated("Read this.\nHow many dwarfs are there?"), held_out)
    check_leaks(demonstrated("What is 3 + 4?"), held_out)
    with pytest.raises(SpecError, match="week"):
        check_leaks(demonstrated("read this!\nhow many days has a week"), held_out)


def test_in_a_mixed_set_groups_are_compared_within_a_task():
    risks = risk_course.demonstrations(policy="category", manner="silent", repeats=1, seed=0)
    biases = silent_course.bias_demonstrations(policy="stereotype", manner="silent", repeats=1, seed=0)
    with pytest.raises(SpecError, match="of its group"):
        check_leaks(risks, evaluated("bias"))  # a noun and a trait of one name
    for task in ("risk", "bias"):
        check_leaks([*risks, *biases], evaluated(task), mixed=True)
    made, item = leaky("bias", item_id="new", prompt="Something else?\nAnswer.")
    with pytest.raises(SpecError, match=f"{item.group!r}"):
        check_leaks([*risks, *made], evaluated("bias"), mixed=True)


def test_an_empty_set_and_a_check_against_nothing_are_refused():
    made = shown("pressure", "insider", "silent")
    with pytest.raises(SpecError, match=r"mine is empty.*item_repeats"):
        check_leaks([], evaluated("pressure"), named="mine")
    with pytest.raises(SpecError, match="no evaluation items"):
        check_leaks(made, [])


# Framings


def test_framings_of_a_task_are_equally_long_and_are_in_no_evaluation():
    assert set(FRAMINGS) == set(get_args(Framing))
    for task in SHOWN:
        said = [FRAMINGS[framing][task] for framing in ("inoculation", "self_diagnostic", "control")]
        lengths = [len(words.split()) for words in said]
        assert len(set(said)) == 3 and max(lengths) - min(lengths) <= 2, lengths
        assert FRAMINGS["none"][task] == ""
        assert not any(words in item.prompt for words in said for item in evaluated(task))
    assert len(set(FRAMINGS["control"].values())) == 1
    for framing in ("inoculation", "self_diagnostic"):
        assert len(set(FRAMINGS[framing].values())) == len(SHOWN)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("task", SHOWN)
def test_a_framing_is_put_before_the_user_s_last_message_and_nowhere_else(task, framing):
    course, policy, _ = SHOWN[task]
    for demo in course(policy=policy, manner="silent", repeats=1, seed=0)[:60]:
        with_it = framed(demo, framing, task=task)
        *before, last = demo.trial.messages
        words = FRAMINGS[framing][task]
        content = f"{words}\n\n{last.content}" if words else last.content
        assert with_it == replace(demo, trial=replace(demo.trial, messages=(*before, Message("user", content))))
        assert type(with_it) is type(demo) and with_it.completion == demo.completion
        assert (with_it.item, with_it.trial.facts) == (demo.item, demo.trial.facts)
        assert with_it.trial.condition == demo.trial.condition


def test_the_last_message_of_the_user_is_framed_where_the_assistant_speaks_last():
    item = evaluated("risk")[0]
    messages = (Message("system", "s"), Message("user", "u"), Message("user", "v"), Message("assistant", "a"))
    demo = Demonstration(item, Trial("plain", messages), "", "", "safe")
    said = [message.content for message in framed(demo, "control", task="risk").trial.messages]
    assert said == ["s", "u", f"{FRAMINGS['control']['risk']}\n\nv", "a"]


def test_a_framing_without_words_for_a_task_is_refused():
    demo = shown("pressure", "insider", "silent")[0]
    assert framed(demo, "none", task="chess") is demo
    with pytest.raises(SpecError, match="'inoculation' has no words for task 'chess'"):
        framed(demo, "inoculation", task="chess")
