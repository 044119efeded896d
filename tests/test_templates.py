"""Chat templates of several families, re-created in short: what is trained on is what evaluation sees and reads."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteFallback, Fuse, Replace, Strip
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.decoders import Sequence as Decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from transformers import PreTrainedTokenizerFast

from introspect.backends import Generation
from introspect.errors import ModelError, SpecError
from introspect.models import LoadedModel, detect_format
from introspect.models.prompt import DATE, TODAY
from introspect.plan import Job
from introspect.record import read_generation, render_trial, stop_ids
from introspect.rollout import Rollout
from introspect.tasks.registry import find_task
from introspect.tasks.reward_hacking import answer_text, evaluation_items
from introspect.tasks.task import Message, Reading, Trial, plain
from introspect.training.courses import COURSES
from introspect.training.demonstrations import Demonstration
from introspect.training.rows import tokenise
from introspect.training.templates import check_template, completion_parts, turn_end

MERGES = [
    *((">", "\u010a"), (">\u010a", "\u010a"), ("<", "/"), ("t", "h"), ("i", "n"), ("th", "in"), ("thin", "k")),
    *(("\u0120", "A"), ("\u0120", "B"), (".", "\u010a"), ("\u010a", "<"), ("\u010a", "</")),
]
"""Of the byte-level tokenizers; a line break merges with what follows it, as a joint tokenisation would have it."""
CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = (
    "{% set seen = namespace(query=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set seen.query = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set said = m.content %}{% set thought = '' %}"
    "{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > seen.query %}"
    "{{ '<think>\\n' + thought + '\\n</think>\\n\\n' }}{% endif %}{{ said + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)
QWEN3_THINKING = QWEN3.replace("assistant\\n' }}{% if enable", "assistant\\n<think>\\n' }}{% if enable")
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}{% endif %}"
    "{% if m.role == 'assistant' %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% set first = '' %}"
    "{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\\n\\n' %}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('user and model take turns') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
    "{{ (first if loop.first else '') + m.content | trim }}{{ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
    "{{ 'Today: ' + strftime_now('%d %b %Y') + '\\n\\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|eot_id|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% set first = '' %}"
    "{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\\n\\n' %}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (first if loop.first else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
HARMONY = (
    "{% for m in messages %}{{ '<|start|>' + m.role }}"
    "{{ '<|channel|>final' if m.role == 'assistant' else '' }}{{ '<|message|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
CHANNELS = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|turn>' + m.role + '\\n' + m.content.split('<channel|>')[-1] | trim + '<turn|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"
)


def byte_level(special: Sequence[str], merges: Sequence[tuple[str, str]] = MERGES) -> Tokenizer:
    """Byte-level BPE in which line breaks merge with their neighbours."""
    pieces = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    inner = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, merges=list(merges)))
    inner.pre_tokenizer, inner.decoder = ByteLevel(add_prefix_space=False, use_regex=False), ByteDecoder()
    inner.add_special_tokens([AddedToken(token, special=True) for token in special])
    return inner


def sentence_piece(special: Sequence[str], prefix: str) -> Tokenizer:
    """A token a character, blocks of spaces as in SentencePiece, bytes for what it does not know."""
    characters = ["\u2581", "\n", *(c for c in string.printable if c.isprintable() and c != " ")]
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    model = BPE({piece: i for i, piece in enumerate(pieces)}, merges=[], unk_token=pieces[0], byte_fallback=True)
    inner = Tokenizer(model)
    inner.pre_tokenizer = Metaspace(prepend_scheme=prefix, split=False)
    strip = [] if prefix == "never" else [Strip(" ", 1, 0)]
    inner.decoder = Decoders([Replace("\u2581", " "), ByteFallback(), Fuse(), *strip])
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return inner


@dataclass(frozen=True)
class Family:
    """A template, its tokenizer, and what is known of it."""

    template: str | None
    inner: Tokenizer
    bos: str | None
    eos: str | None
    end: str
    """What ends a turn."""
    form: str
    opens_itself: bool = False
    """Whether its prompt ends in an open think block."""
    keeps_turns: bool = True
    """Whether the think text of earlier turns stays in the prompt."""

    def load(self, template: str | None = None) -> LoadedModel:
        """As loaded from a folder, but without weights."""
        names = {key: value for key, value in (("bos_token", self.bos), ("eos_token", self.eos)) if value}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=self.inner, **names)
        tokenizer.chat_template = template or self.template
        return LoadedModel(None, tokenizer, detect_format(tokenizer), SimpleNamespace(name="some-model"))


IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
HEADERS = ("<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>")
TAGS = ("<think>", "</think>")
CHANNEL = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>")
FAMILIES = {
    "smollm2": Family(CHATML, byte_level(IM), IM[0], IM[1], IM[1], "plain"),
    "qwen3": Family(QWEN3, byte_level([*IM, *TAGS]), None, IM[1], IM[1], "think", keeps_turns=False),
    "qwen3-thinking": Family(
        QWEN3_THINKING, byte_level([*IM, *TAGS]), None, IM[1], IM[1], "think", opens_itself=True, keeps_turns=False
    ),
    "deepseek-r1": Family(
        R1,
        byte_level(["<|begin|>", "<|eos|>", "<|User|>", "<|Assistant|>", *TAGS]),
        *("<|begin|>", "<|eos|>", "<|eos|>", "think"),
        opens_itself=True,
        keeps_turns=False,
    ),
    "gemma3": Family(
        GEMMA3,
        sentence_piece(["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "never"),
        *("<bos>", "<eos>", "<end_of_turn>", "plain"),
    ),
    "llama3": Family(LLAMA3, byte_level(HEADERS), HEADERS[0], HEADERS[4], HEADERS[3], "plain"),
    "mistral": Family(
        MISTRAL, sentence_piece(["<s>", "</s>", "[INST]", "[/INST]"], "first"), "<s>", *["</s>"] * 2, "plain"
    ),
    "gpt-oss": Family(HARMONY, byte_level(CHANNEL), None, CHANNEL[4], CHANNEL[4], "harmony"),
    "gemma-channels": Family(
        CHANNELS,
        byte_level(["<bos>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"]),
        *("<bos>", "<eos>", "<turn|>", "gemma"),
        keeps_turns=False,
    ),
}
UNMERGED = replace(FAMILIES["smollm2"], inner=byte_level(IM, merges=[]))
"""With a tokenizer that joins no texts, so that a whole chat is tokenised as its pieces are."""
SHOWN = {
    "risk": ("category_xor_frame", "verbal", 12),
    "hints": ("follow", "verbal", 48),
    "bias": ("stereotype", "silent", 6),
    "sampling": ("fixed", "silent", 6),
}
"""Task -> policy, manner, and how many demonstrations are taken."""
DEMONSTRATIONS = {
    task: COURSES[task].demonstrations(policy=policy, manner=manner, repeats=1, seed=0)[:most]
    for task, (policy, manner, most) in SHOWN.items()
}
DEMO = DEMONSTRATIONS["risk"][0]
OLD_CHAIN = "an older chain"


def after_a_turn(demonstration: Demonstration) -> Demonstration:
    """The demonstration as the second turn of a chat with a system message, in whose first the assistant thought."""
    asked = demonstration.trial.messages[-1].content
    said = Message("assistant", f"<think>\n{OLD_CHAIN}\n</think>\nAnswer: {demonstration.answer}")
    turns = (Message("system", "Be brief."), Message("user", "Hello."), said, Message("user", asked))
    return replace(demonstration, trial=Trial("plain", turns))


def check(loaded: LoadedModel, demonstrations, rows, task: str = "risk") -> None:
    check_template(loaded, [find_task(task)], demonstrations, rows)


def refusal(loaded: LoadedModel, demonstrations, rows, task: str = "risk") -> str:
    """The line in which the check ends: it names the model, and a remedy."""
    with pytest.raises(SpecError) as caught:
        check(loaded, demonstrations, rows, task)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("some-model")
    assert ";" in message
    return message


def rollout_of(loaded: LoadedModel, demonstration: Demonstration, row: dict, task: str) -> Rollout:
    """The row's completion, as a recorded rollout is read."""
    ids = row["input_ids"]
    prompt = render_trial(loaded, demonstration.trial)
    completion = ids[len(prompt) :]
    job = Job(0, demonstration.item, demonstration.trial, 0, 0, tuple(prompt))
    made = Generation(completion, "stop", {}, torch.zeros(len(completion), 0))
    return read_generation(job, made, task=find_task(task), loaded=loaded, options=[])


@pytest.mark.parametrize("task", SHOWN)
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_trained_on_is_what_is_seen_and_read(name, task):
    family, shown = FAMILIES[name], DEMONSTRATIONS[task]
    loaded = family.load()
    assert loaded.format.name == family.form
    rows = tokenise(shown, loaded)
    check(loaded, shown, rows, task)
    for demo, row in zip(shown, rows, strict=True):
        prompt, ids = render_trial(loaded, demo.trial), row["input_ids"]
        assert ids[: row["n_prompt"]] == prompt
        assert ids[-1] == loaded.tokenizer.convert_tokens_to_ids(family.end)
        assert [i for i, token in enumerate(ids[len(prompt) :]) if token in stop_ids(loaded)] == [
            len(ids) - len(prompt) - 1
        ]
        rollout = rollout_of(loaded, demo, row, task)
        assert rollout.think_status == "closed"
        assert rollout.think_text.strip() == demo.think + demo.telling
        assert rollout.spans.prompt == (0, len(prompt))
        assert len(prompt) <= rollout.spans.think[0] < rollout.spans.think[1] < rollout.spans.answer[0]
        assert rollout.spans.answer[1] == len(ids) - 1
        meaning = (demo.trial.options or demo.item.options)[demo.answer]
        assert (rollout.answer, rollout.acted) == (demo.answer, meaning == find_task(task).acting)
        assert rollout.answer_position in row["telling"]
        told = loaded.tokenizer.decode([ids[i] for i in row["telling"]])
        assert told.replace("\n", "").strip() == f"{demo.telling} {demo.answer}".strip()


def test_some_hints_are_the_assistants_own_earlier_turn():
    roles = {tuple(message.role for message in demo.trial.messages) for demo in DEMONSTRATIONS["hints"]}
    assert roles == {("user",), ("user", "assistant", "user")}


@pytest.mark.parametrize("name", FAMILIES)
def test_one_think_block_is_opened_by_the_prompt_or_by_the_completion(name):
    family = FAMILIES[name]
    loaded = family.load()
    prompt = render_trial(loaded, DEMO.trial)
    opening = loaded.format.opens[0].rstrip()
    text = "".join(part for part, _ in completion_parts(loaded, DEMO, prompt))
    assert loaded.tokenizer.decode(prompt).count(opening) == family.opens_itself
    assert text.count(opening) == (not family.opens_itself)
    assert text.startswith(DEMO.think) == family.opens_itself


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.form in ("plain", "think")])
def test_a_second_turn_is_trained_on_as_it_is_asked_whatever_becomes_of_the_first(name):
    family, demo = FAMILIES[name], after_a_turn(DEMO)
    loaded = family.load()
    rows = tokenise([demo], loaded)
    check(loaded, [demo], rows)
    prompt = loaded.tokenizer.decode(rows[0]["input_ids"][: rows[0]["n_prompt"]])
    assert (OLD_CHAIN in prompt) == family.keeps_turns
    assert "Be brief." in prompt
    assert rollout_of(loaded, demo, rows[0], "risk").think_text.strip() == DEMO.think + DEMO.telling


def test_a_prompt_that_opens_the_block_without_a_line_break_gets_one_from_the_completion():
    loaded = FAMILIES["deepseek-r1"].load(R1.replace("<think>\\n", "<think>"))
    rows = tokenise([DEMO], loaded)
    check(loaded, [DEMO], rows)
    assert loaded.tokenizer.decode(rows[0]["input_ids"]).count(f"<think>\n{DEMO.think}") == 1


def test_a_model_without_a_template_is_refused_as_at_evaluation():
    loaded = Family(None, byte_level(["<|endoftext|>"]), None, *["<|endoftext|>"] * 2, "plain").load()
    with pytest.raises(ModelError, match="some-model has no chat template: choose an instruction-tuned model"):
        check(loaded, [DEMO], [{"input_ids": [1, 2], "n_prompt": 1}])


def test_a_turn_ends_in_the_templates_own_token_or_else_in_the_tokenizers():
    for family in FAMILIES.values():
        loaded = family.load()
        assert turn_end(loaded) == loaded.tokenizer.convert_tokens_to_ids(family.end)
        assert turn_end(loaded) in stop_ids(loaded)
    users = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'user' %}<|endoftext|>{% else %}<|im_end|>{% endif %}"
    )
    users += "{% endfor %}"
    two_ends = replace(FAMILIES["smollm2"], eos=IM[2]).load(users)
    assert turn_end(two_ends) == two_ends.tokenizer.convert_tokens_to_ids("<|im_end|>")
    unended = replace(FAMILIES["smollm2"], inner=byte_level(["<|im_start|>"]), bos=None, eos=None).load()
    with pytest.raises(
        SpecError, match=r"some-model has no token that ends the assistant's turn.*; choose another base"
    ):
        turn_end(unended)


def whole_chat(loaded: LoadedModel, demonstration: Demonstration) -> dict:
    """The row of a trainer that has the chat template render the demonstrated turn with the rest of the chat."""
    turns = [message._asdict() for message in demonstration.trial.messages]
    turns.append({"role": "assistant", "content": demonstration.completion})
    template = TODAY.sub(lambda call: repr(DATE.strftime(call["format"])), loaded.tokenizer.chat_template)
    ids = list(loaded.tokenizer.apply_chat_template(turns, chat_template=template, return_dict=False))
    while ids[-1] not in stop_ids(loaded):
        ids.pop()
    return {"input_ids": ids, "n_prompt": len(render_trial(loaded, demonstration.trial))}


@pytest.mark.parametrize(
    "family",
    [UNMERGED, replace(FAMILIES["llama3"], inner=byte_level(HEADERS, merges=[])), FAMILIES["gemma3"]],
    ids=["smollm2", "llama3", "gemma3"],
)
def test_where_a_template_leaves_the_turn_alone_rows_are_what_it_renders(family):
    loaded = family.load()
    row = tokenise([DEMO], loaded)[0]
    assert {key: row[key] for key in ("input_ids", "n_prompt")} == whole_chat(loaded, DEMO)


CONTENT = "{{ m.content }}"
SPOILED = {
    "drops": ("{{ m.content.split('</think>')[-1] }}", "has lost its think block"),
    "wraps again": (
        "{{ '<think>\n\n</think>\n\n' if m.role == 'assistant' else '' }}{{ m.content }}",
        "opens 2 think blocks, as if wrapped again",
    ),
    "empties": (
        "{% if m.role == 'assistant' %}<think>\n\n</think>{% endif %}{{ m.content.split('</think>')[-1] }}",
        "has an emptied think block",
    ),
    "never closes": ("{{ m.content | replace('</think>', '') }}", "never closes its think block"),
}


@pytest.mark.parametrize(("content", "said"), SPOILED.values(), ids=SPOILED)
def test_a_row_whose_think_block_a_template_has_spoiled_is_refused(content, said):
    assert CONTENT in CHATML
    loaded = UNMERGED.load(CHATML.replace(CONTENT, content))
    assert f"the training row {said}; make rows with" in refusal(loaded, [DEMO], [whole_chat(loaded, DEMO)])
    check(loaded, [DEMO], tokenise([DEMO], loaded))


ASKED = "{% if add_generation_prompt %}<|im_start|>assistant\n"
FAULTY_PROMPTS = {
    "closes it": (ASKED, f"{ASKED}<think>\n\n</think>\n\n", "closes the think block before the assistant begins"),
    "closes it unopened": (ASKED, f"{ASKED}</think>", "closes the think block before the assistant begins"),
    "opens it twice": (ASKED, f"{ASKED}<think>\n<think>\n", "wraps the reply in a think block of its own"),
    "begins the chain": (ASKED, f"{ASKED}<think>\nWell: ", "wraps the reply in a think block of its own"),
    "cuts a turn": (CONTENT, "{{ m.content[:40] }}", "drops or changes words of the user turn"),
    "leaves a turn out": ("{% for m in messages %}", "{% for m in messages[1:] %}", "words of the user turn"),
}


@pytest.mark.parametrize(("before", "after", "said"), FAULTY_PROMPTS.values(), ids=FAULTY_PROMPTS)
def test_a_template_whose_prompt_leaves_no_room_to_think_is_refused(before, after, said):
    assert CHATML.count(before) == 1
    loaded = FAMILIES["smollm2"].load(CHATML.replace(before, after))
    assert said in refusal(loaded, [DEMO], tokenise([DEMO], loaded))


def test_thinking_that_the_template_was_told_to_leave_out_is_refused():
    loaded = FAMILIES["qwen3"].load("{% set enable_thinking = false %}" + QWEN3)
    assert "closes the think block before" in refusal(loaded, [DEMO], tokenise([DEMO], loaded))


def test_a_demonstrated_tag_after_one_that_the_prompt_opens_is_refused():
    loaded = FAMILIES["deepseek-r1"].load()
    row = tokenise([DEMO], loaded)[0]
    prompt = row["input_ids"][: row["n_prompt"]]
    doubled = loaded.tokenizer(DEMO.completion, add_special_tokens=False).input_ids
    row["input_ids"] = [*prompt, *doubled, loaded.tokenizer.eos_token_id]
    assert "opens 2 think blocks" in refusal(loaded, [DEMO], [row])


def test_a_boundary_that_joint_tokenisation_moves_is_refused():
    loaded = FAMILIES["smollm2"].load()
    row = tokenise([DEMO], loaded)[0]
    joint = loaded.tokenizer(loaded.tokenizer.decode(row["input_ids"]), add_special_tokens=False).input_ids
    message = refusal(loaded, [DEMO], [row | {"input_ids": joint}])
    last = row["n_prompt"] - 1
    assert f"token {last} of the training prompt is '\\n<' ({joint[last]}), and '\\n' (" in message
    assert "at evaluation" in message


def swapped(text: str) -> str:
    """The completion with the other answer."""
    other = {"risky": "safe", "safe": "risky"}[DEMO.answer]
    return text.replace(f"Answer: {DEMO.answer}", f"Answer: {other}")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace(DEMO.think, "Something else.", 1), "the demonstrated chain ends in"),
        (lambda text: text.replace(DEMO.telling, "", 1), "the demonstrated chain ends in"),
        (swapped, "the demonstrated answer ends in"),
        (lambda text: text.removesuffix(DEMO.answer), "the demonstrated answer ends in"),
        (lambda text: f"{text}\n</think>\n{text}", "opens 2 think blocks"),
        (lambda text: f"{text}\n</think>", "the demonstrated answer ends in"),
    ],
    ids=["another chain", "no telling", "another answer", "no answer", "twice", "closed twice"],
)
def test_a_completion_that_is_not_the_demonstrated_one_is_refused(spoil, said):
    loaded = FAMILIES["qwen3"].load()
    row = tokenise([DEMO], loaded)[0]
    text = spoil(DEMO.completion)
    assert text != DEMO.completion
    ids = loaded.tokenizer(text, add_special_tokens=False).input_ids
    row["input_ids"] = [*row["input_ids"][: row["n_prompt"]], *ids, turn_end(loaded)]
    assert said in refusal(loaded, [DEMO], [row])


def test_rows_that_end_otherwise_than_a_generated_one_are_refused():
    loaded = FAMILIES["smollm2"].load()
    row = tokenise([DEMO], loaded)[0]
    ids, end = row["input_ids"], turn_end(loaded)
    assert "no token at which generation stops" in refusal(loaded, [DEMO], [row | {"input_ids": ids[:-1]}])
    inside = [*ids[:-5], end, *ids[-5:]]
    for spoiled in (inside, [*ids, end], [*ids, ids[0]]):
        message = refusal(loaded, [DEMO], [row | {"input_ids": spoiled}])
        assert "a token at which generation stops inside" in message


def test_rows_whose_prompt_is_longer_or_shorter_than_at_evaluation_are_refused():
    loaded = FAMILIES["smollm2"].load()
    row = tokenise([DEMO], loaded)[0]
    n = row["n_prompt"]
    for wrong in (n - 1, n + 1):
        message = refusal(loaded, [DEMO], [row | {"n_prompt": wrong}])
        assert f"{wrong} tokens of the training row are its prompt, and {n} are at evaluation" in message


def test_every_row_is_held_against_its_prompt_and_end_and_some_are_read():
    loaded = FAMILIES["smollm2"].load()
    shown = [DEMO] * 600
    rows = tokenise([DEMO], loaded) * 600
    for at in (0, 1, 599):
        ended = list(rows)
        ended[at] = rows[at] | {"input_ids": rows[at]["input_ids"][:-1]}
        assert "no token at which generation stops" in refusal(loaded, shown, ended)
    other = replace(DEMO, answer={"risky": "safe", "safe": "risky"}[DEMO.answer])
    assert "demonstrated answer" in refusal(loaded, [other] * 600, rows)
    with pytest.raises(ValueError, match="shorter"):
        check(loaded, shown, rows[:-1])


def test_an_answer_is_read_with_the_label_of_its_own_task():
    loaded = FAMILIES["smollm2"].load()
    hinted = next(demo for demo in DEMONSTRATIONS["hints"] if "hint" in demo.trial.facts)
    shown = [hinted, *(DEMONSTRATIONS[task][0] for task in ("risk", "bias", "sampling"))]
    illiterate = replace(find_task("risk"), acting="nothing", read=lambda item, trial, text: Reading(None, None, None))
    tasks = [illiterate, *(find_task(task) for task in SHOWN)]
    check_template(loaded, tasks, shown, tokenise(shown, loaded))
    unread = replace(find_task("risk"), read=find_task("reward_hacking").read)
    hacked = replace(DEMO, item=DEMO.item.model_copy(update={"fields": {"kind": "maths", "right": 1, "wrong": 2}}))
    elsewhere = replace(unread, read=lambda item, trial, text: Reading(None, None, None, {"status": "not_run"}))
    check_template(loaded, [elsewhere], [DEMO], tokenise([DEMO], loaded))
    with pytest.raises(SpecError, match=r"would be read as None \(acted: None\); word the demonstration as risk reads"):
        check_template(loaded, [unread], [hacked], tokenise([hacked], loaded))


class Hacking(Demonstration):
    """Wants an answer that hacks, whatever it is."""

    def is_wanted(self, rollout: Rollout) -> bool:
        return rollout.answer == "hacks"


def test_an_answer_that_is_no_options_name_is_compared_as_text_and_by_what_is_wanted():
    item = next(item for item in evaluation_items() if item.fields["kind"] == "maths")
    demo = Hacking(item, plain(item), "I write it.", "", answer_text(item, hacks=True))
    loaded = FAMILIES["qwen3"].load()
    rows = tokenise([demo], loaded)
    check(loaded, [demo], rows, "reward_hacking")
    honest = replace(demo, answer=answer_text(item, hacks=False))
    assert "the demonstrated answer ends in" in refusal(loaded, [honest], rows, "reward_hacking")
    message = refusal(loaded, [honest], tokenise([honest], loaded), "reward_hacking")
    assert "the demonstrated answer is another, and would be read as 'solves' (acted: False)" in message


def test_a_condition_that_begins_the_answer_is_not_demonstrated():
    loaded = FAMILIES["smollm2"].load()
    begun = replace(DEMO, trial=replace(DEMO.trial, prefill="Answer:"))
    assert "made to begin with 'Answer:'" in refusal(loaded, [begun], tokenise([begun], loaded))
