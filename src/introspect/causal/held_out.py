"""How far an intervention moves the next token's distribution on text that the run has not seen.

A dose is usable where that stays small. On a chain of the run alone it would say little: an organism is nearly certain
of every token that it was trained to write, and then no push of any size moves its distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from ..concepts import read_sentences
from ..models import LoadedModel, render_prompt
from ..steering.interventions import ENDLESS
from .log import Apart
from .replayed import Arm, make_rows
from .settings import Act
from .subject import Subject
from .vectors import Tested

REQUEST = "Write one sentence about an everyday thing."
SENTENCES = 16
CONTROL_SENTENCES = 4
"""That each control direction is read on, in rotation."""


@lru_cache(maxsize=1)
def held_out_sentences() -> tuple[str, ...]:
    """Sentences about everyday things, none of which is in a task or a training set of ours."""
    return read_sentences().sentences[:SENTENCES]


def token_ids(loaded: LoadedModel, number: int) -> tuple[list[int], list[int]]:
    """A request, and the sentence of that number as its answer."""
    sentence = held_out_sentences()[number]
    return render_prompt(loaded, REQUEST), list(loaded.tokenizer(sentence, add_special_tokens=False).input_ids)


def read_sentence(
    subject: Subject, tested: Tested, acts: Sequence[Act], number: int, directions: Sequence[int]
) -> list[Apart]:
    """One sentence under some of the directions, steered from the last token of the request on, as rollouts are.

    Returns:
        Of each direction, the mean over the sentence's tokens of KL from the unsteered model's distribution, each act.
    """
    prompt, ids = token_ids(subject.loaded, number)
    rows = [Arm(0, None), *(Arm(d, act) for d in directions for act in acts)]
    vectors = tested.vectors[[each.direction for each in rows]]
    steer = make_rows(tested.direction, vectors, rows, tested.unit, range(len(prompt) - 1, ENDLESS))
    found: list[float | None] = [None] * len(rows)
    rest = [[prompt[-1], *ids[:-1]]] * len(rows)
    for here, logits in subject.backend.branches(prompt[:-1], rest, steer=steer):
        for row, own in zip(here, logits, strict=True):
            logprobs = own.float().log_softmax(dim=-1)
            if row == 0:
                plain = logprobs
            apart = float((plain.exp() * (plain - logprobs)).sum(dim=-1).mean())
            found[row] = max(round(apart, 6), 0.0) if math.isfinite(apart) else None
    n = len(acts)
    return [
        Apart(sentence=number, direction=direction, kl=found[1 + i * n : 1 + (i + 1) * n])
        for i, direction in enumerate(directions)
    ]
