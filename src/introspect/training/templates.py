r"""What an organism is trained on, against what it will see and be read by when it is recorded: token by token.

A chat template can spoil a reasoning model's training data unseen. It may open the think block in the prompt (then a
demonstrated `<think>` would be the second), close it at once (then nothing can be thought), drop a think block from the
turns that it renders, or put an empty one around a turn that has its own. So completions never go through a template
here: `completion_parts` and `turn_end` say what follows the rendered prompt, and `check_template` holds every row
against the functions that evaluation itself uses (`render_trial`, `locate_spans`, `read_generation`, the task's
reading). Templates that drop the think text of *earlier* turns (Qwen3, DeepSeek-R1) are no fault: the prompt is the
same at evaluation, and is compared as it is.

Sources: the chat templates of DeepSeek-R1, Qwen3, gpt-oss (harmony) and Gemma, whose behaviour the tests re-create.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..backends import Generation
from ..errors import ModelError, SpecError
from ..models import LoadedModel, render_messages
from ..plan import Job
from ..record import read_generation, render_trial, stop_ids
from ..spans import left_open
from ..tasks.task import Task
from .demonstrations import Demonstration

OPENING, CLOSING = "<think>\n", "\n</think>\n"
"""What stands before and after the chain in `Demonstration.parts`."""

DELIMITERS = {
    "harmony": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gemma": ("<|channel>thought\n", "\n<channel|>"),
}
"""The same in formats without think tags."""

READ = 64
"""Rows of a stage that are read as recorded rollouts are, evenly spread; the prompt and the end of every row are
compared."""

_ANOTHER = "choose another base, or mend the chat_template.jinja that is saved with it"
_OURS = "make rows with training.rows.tokenise, which takes no completion through the template"


def completion_parts(
    loaded: LoadedModel, demonstration: Demonstration, prompt_ids: Sequence[int]
) -> tuple[tuple[str, bool], ...]:
    """`Demonstration.parts` between the model's own delimiters, without the opening where the prompt ends in it.

    Args:
        prompt_ids: the rendered prompt that the completion follows.
    """
    form = loaded.format
    opening, closing = DELIMITERS.get(form.name, (OPENING, CLOSING))
    if left_open(loaded.tokenizer, prompt_ids, form) == "open":
        breaks = loaded.tokenizer.decode(prompt_ids[-1:]).endswith("\n")
        opening = "" if breaks else opening.removeprefix(form.opens[0].rstrip())
    parts = []
    for text, depends in demonstration.parts:
        if text.startswith(OPENING):
            text = opening + text.removeprefix(OPENING)
        elif text.startswith(CLOSING):
            text = closing + text.removeprefix(CLOSING)
        parts.append((text, depends))
    return tuple(parts)


def turn_end(loaded: LoadedModel) -> int:
    """The token that ends a demonstrated turn: the template's own, where generation stops at it, or else the
    tokenizer's end of sequence.

    Raises:
        SpecError: there is no token at which generation stops.
    """
    stops, mark = stop_ids(loaded), "Understood"
    if not stops:
        raise SpecError(
            f"{loaded.info.name} has no token that ends the assistant's turn, so what it is shown would have no end; "
            "choose another base, or save its tokenizer with an eos_token"
        )
    try:
        turns = [("user", "Hello"), ("assistant", mark), ("user", "Hello")]
        ids = render_messages(loaded, [{"role": role, "content": content} for role, content in turns])
    except ModelError:
        ids = []
    for at, token in enumerate(ids):
        if token in stops and mark in loaded.tokenizer.decode(ids[:at]):
            return token
    return min(stops) if loaded.tokenizer.eos_token_id is None else int(loaded.tokenizer.eos_token_id)


def check_template(
    loaded: LoadedModel,
    tasks: Sequence[Task],
    demonstrations: Sequence[Demonstration],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Hold the rows that a trainer is given against what evaluation will render, generate and read.

    Of every row: the prompt is `render_trial`'s, token by token; it holds every message; it leaves room for a think
    block; the row ends in the first token at which generation stops. Of `READ` rows, evenly spread: read as a recorded
    rollout, the completion has one think block with the demonstrated chain and answers as demonstrated, with the same
    answer label.

    Args:
        tasks: whose items are demonstrated; a demonstration is read by the one that its options are about. Without
            any, no reply is read: those to injected concepts have no think block.
        demonstrations: with their conditions as trained, framing included.
        rows: `input_ids` and `n_prompt` of each demonstration, in the same order.

    Raises:
        SpecError: something differs. One line: the model, what is wrong, and the remedy.
        ModelError: the model has no chat template, or it refuses a prompt.
    """
    stops = stop_ids(loaded)
    every = max(1, -(-len(rows) // READ))
    for at, (demonstration, row) in enumerate(zip(demonstrations, rows, strict=True)):
        where = f"{loaded.info.name}, shown {demonstration.item.item_id} ({demonstration.trial.condition})"
        prompt = render_trial(loaded, demonstration.trial)
        _check_prompt(loaded, demonstration, prompt, where)
        ids, n_prompt = list(row["input_ids"]), int(row["n_prompt"])
        _check_same(loaded, ids[:n_prompt], ids, prompt, where)
        completion = ids[n_prompt:]
        ends = next((i for i, token in enumerate(completion) if token in stops), None)
        if ends != len(completion) - 1:
            how = "no token at which generation stops" if ends is None else "a token at which generation stops inside"
            raise SpecError(f"{where}: the training row has {how}; end it with training.templates.turn_end, once")
        if tasks and at % every == 0:
            _check_reading(loaded, tasks, demonstration, prompt, completion, where)


def _check_prompt(loaded: LoadedModel, demonstration: Demonstration, prompt: list[int], where: str) -> None:
    """The prompt holds what is asked, and after it leaves room for a think block."""
    tokenizer, form, trial = loaded.tokenizer, loaded.format, demonstration.trial
    if trial.prefill:
        raise SpecError(
            f"{where}: the assistant is made to begin with {trial.prefill!r}, after which it cannot think; demonstrate "
            "only conditions without a prefill"
        )
    text, end = tokenizer.decode(prompt), 0
    for message in trial.messages:
        content = message.content.rpartition(form.closes[0])[2] if message.role == "assistant" else message.content
        said = tokenizer.decode(tokenizer(content.strip(), add_special_tokens=False).input_ids).strip()
        found = text.rfind(said)
        if found < 0:
            raise SpecError(f"{where}: the chat template drops or changes words of the {message.role} turn; {_ANOTHER}")
        end = max(end, found + len(said))
    tail = text[end:]
    if any(tail.rstrip().endswith(closing) for closing in form.closes):
        raise SpecError(
            f"{where}: the chat template closes the think block before the assistant begins ({tail[-60:]!r}), so that "
            f"it stays empty; save a template that leaves thinking on, or {_ANOTHER}"
        )
    opened = tail.count(form.opens[0].rstrip())
    if opened > 1 or (opened == 1 and left_open(tokenizer, prompt, form) != "open"):
        raise SpecError(
            f"{where}: the chat template wraps the reply in a think block of its own ({tail[-60:]!r}), so that a "
            f"demonstrated one would stand inside it; {_ANOTHER}"
        )


def _check_same(loaded: LoadedModel, trained: list[int], ids: list[int], prompt: list[int], where: str) -> None:
    """The row begins with the prompt of evaluation, token by token, and trains on nothing of it."""
    if trained == prompt:
        return
    at = next((i for i, (a, b) in enumerate(zip(ids, prompt, strict=False)) if a != b), None)
    if at is None:
        raise SpecError(
            f"{where}: {len(trained)} tokens of the training row are its prompt, and {len(prompt)} are at evaluation; "
            f"{_OURS}"
        )
    ours, theirs = (loaded.tokenizer.decode([token]) for token in (ids[at], prompt[at]))
    raise SpecError(
        f"{where}: token {at} of the training prompt is {ours!r} ({ids[at]}), and {theirs!r} ({prompt[at]}) at "
        f"evaluation; {_OURS}"
    )


def _check_reading(
    loaded: LoadedModel,
    tasks: Sequence[Task],
    demonstration: Demonstration,
    prompt: list[int],
    completion: list[int],
    where: str,
) -> None:
    """The completion, taken for a generated one, has the demonstrated chain and answer."""
    tokenizer, form, trial = loaded.tokenizer, loaded.format, demonstration.trial
    task, label = _expected(demonstration, tasks)
    job = Job(0, demonstration.item, trial, 0, 0, tuple(prompt))
    generation = Generation(completion, "stop", {}, torch.zeros(len(completion), 0))
    rollout = read_generation(job, generation, task=task, loaded=loaded, options=[])
    opens = (left_open(tokenizer, prompt, form) == "open") + rollout.completion_text.count(form.opens[0].rstrip())
    faults = {
        f"opens {opens} think blocks, as if wrapped again": opens > 1,
        "has lost its think block": opens == 0 or rollout.think_status == "absent",
        "has an emptied think block": rollout.think_status == "empty",
        "never closes its think block": rollout.think_status == "truncated",
    }
    for fault, is_so in faults.items():
        if is_so:
            raise SpecError(f"{where}: the training row {fault}; {_OURS}")
    think, _, answer = demonstration.completion.removeprefix(OPENING).partition(CLOSING)
    start, stop = rollout.spans.answer
    read = tokenizer.decode([*prompt, *completion][start:stop])
    for name, wanted, found in (("chain", think, rollout.think_text), ("answer", answer, read)):
        if wanted.strip() != found.strip():
            raise SpecError(
                f"{where}: the demonstrated {name} ends in {wanted.strip()[-40:]!r}, and would be read as "
                f"{found.strip()[-40:]!r}; {_OURS}, and choose a base whose tokenizer spells it"
            )
    if rollout.outcome.get("status") == "not_run":  # programs cannot be contained here: their text has been compared
        return
    unwanted = rollout.answer is not None and not demonstration.is_wanted(rollout)
    if unwanted if label is None else (rollout.answer, rollout.acted) != label:
        wanted = "another" if label is None else f"{label[0]!r} (acted: {label[1]})"
        raise SpecError(
            f"{where}: the demonstrated answer is {wanted}, and would be read as {rollout.answer!r} (acted: "
            f"{rollout.acted}); word the demonstration as {task.name} reads answers"
        )


def _expected(demonstration: Demonstration, tasks: Sequence[Task]) -> tuple[Task, tuple[str, bool] | None]:
    """Who reads the answer, and the answer with its label; None where the answer is not the name of an option."""
    meanings = demonstration.trial.options or demonstration.item.options
    task = next((task for task in tasks if task.acting in meanings.values()), tasks[0])
    if demonstration.answer not in meanings:
        return task, None
    return task, (demonstration.answer, meanings[demonstration.answer] == task.acting)
