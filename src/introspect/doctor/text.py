"""Checks of text: spans of sample chats, and whether a rollout's text depends on what it is generated beside."""

from __future__ import annotations

from ..errors import ModelError
from ..models import render_prompt
from ..spans import locate_spans
from .check import Check
from .subject import Subject

THOUGHT, ANSWER = "two and two make four", "four"


def spans(subject: Subject) -> Check:
    """Three sample chats in the model's own reasoning format: a chain and an answer, no chain, a chain cut short."""
    tokenizer, form = subject.loaded.tokenizer, subject.loaded.format
    try:
        prompt = render_prompt(subject.loaded, "What is two and two?")
    except ModelError as error:
        return Check("spans", "failed", str(error))
    opening, closing = form.opens[0], form.closes[0]
    header = form.answer_opens[0] if form.answer_opens else ""
    begun = tokenizer.decode(prompt).rstrip().endswith(opening.rstrip())
    lead = "" if begun else opening
    chats = {
        f"{lead}{THOUGHT}{closing}{header}{ANSWER}": (THOUGHT, ANSWER, {"closed"}),
        f"{lead}{THOUGHT}": (THOUGHT, "", {"truncated"}),
    }
    chats |= {f"{closing}{ANSWER}" if begun else ANSWER: ("", ANSWER, {"absent", "empty"})}
    wrong = []
    for text, (thought, answer, statuses) in chats.items():
        ids = tokenizer(text, add_special_tokens=False).input_ids
        found = locate_spans(prompt, ids, tokenizer, form)
        whole = prompt + ids
        said = tuple(tokenizer.decode(whole[a:b]).strip() for a, b in (found.think, found.answer))
        if said != (thought, answer) or found.status not in statuses:
            wrong.append(text)
    said_of = f"{len(wrong)} of {len(chats)} sample chats in the format {form.name} are cut elsewhere"
    return Check("spans", "failed" if wrong else "ok", said_of + (f": {wrong[0]!r}" if wrong else ""))


def any_lanes(subject: Subject) -> Check:
    """The same seeds give the same text one at a time as together. Rounding may differ, so this is never an error."""
    ways = [subject.generate(None, lanes=1), subject.generated, subject.generate(None)]
    alone = ways[0]
    same = sum(len({tuple(made.completion_ids) for made in each}) == 1 for each in zip(*ways, strict=True))
    said = f"{same} of {len(alone)} texts are the same in 1, 2 and {len(alone)} lanes"
    return Check("any lanes", "ok" if same == len(alone) else "note", said)
