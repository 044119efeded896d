"""What a study would take, from a few of its trials that are run and thrown away.

Trials are counted in tokens that the model runs, since beginnings are shared and localisation's prompts are long:
tokens of prompts and tokens of replies are timed apart. Known trade-off: replies are taken to go on to their limit, and
many of them side by side are cheaper than the few that are timed, so what is said is rather too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..backends import Sampling
from ..progress import Progress, seconds_of, silent
from .cells import Cell, Plan, Study
from .spec import Injection
from .study import STUDIES
from .subject import prepare_subject
from .trials import Trial, first_tokens, replies, sharing

TIMED = 24
"""Trials that are timed at the first token, from all over a cell."""
LANES, SOME_TOKENS = 16, 4
"""Replies that are timed, and their length."""


@dataclass(frozen=True)
class Cost:
    """What a study would take."""

    n_words: int
    """Explored; about as many are held out."""
    n_cells: int
    n_trials: int
    """Runs of the model that are read at the first token: a forward pass each."""
    n_replies: int
    """Replies that are sampled."""
    seconds: float
    """On this machine, from a few trials that were timed."""


class Rates(NamedTuple):
    """Seconds a token."""

    prompt: float
    reply: float


def injection_cost(spec: Injection, *, offline: bool = False, progress: Progress = silent) -> Cost:
    """What a study would take on this machine."""
    progress("vectors, and some trials", 0, 2)
    subject = prepare_subject(spec, offline=offline)
    study = STUDIES[spec.study](subject)
    cells = study.cells()
    example = next((cell for cell in cells if cell.layer is not None), cells[0])
    made = seconds_of(study.prepare)
    progress("vectors, and some trials", 1, 2)
    plans = {cell: study.plan(_filled(cell, example)) for cell in dict.fromkeys(cells)}
    rates = _rates(study, example, plans[example])
    progress("vectors, and some trials", 2, 2)
    seconds = sum(predicted(plans[cell], rates, spec.text.max_new_tokens) for cell in cells)
    n_first, n_texts = (sum(len(getattr(plans[cell], name)) for cell in cells) for name in ("first", "texts"))
    return Cost(len(subject.words["exploration"]), len(cells), n_first, n_texts, made + seconds)


def predicted(plan: Plan, rates: Rates, max_new_tokens: int) -> float:
    """Seconds of a cell: first tokens; replies; and replies read once more for their surprise."""
    prompts = {each.prompt for each in plan.texts}
    said = sum(each.most(max_new_tokens) for each in plan.texts)
    again = sum(map(len, prompts)) + said
    read = n_tokens(plan.first) + sum(len(each.prompt) for each in plan.texts) + again
    return read * rates.prompt + said * rates.reply


def n_tokens(trials: Sequence[Trial]) -> int:
    """Tokens that are run for first tokens, beginnings that trials share once."""
    return sum(
        len(begin) + sum(len(trials[i].prompt) - len(begin) for i in indices) for begin, indices in sharing(trials)
    )


def _rates(study: Study, cell: Cell, plan: Plan) -> Rates:
    subject, layer = study.subject, cell.layer or 0
    few = spread(plan.first, TIMED)
    prompt = seconds_of(lambda: first_tokens(subject.backend, layer, few, subject.loaded.info.width)) / n_tokens(few)
    texts = spread(plan.texts, LANES)
    if not texts:
        return Rates(prompt, 0.0)
    texts = [replace(texts[k % len(texts)], seed=k) for k in range(LANES)]

    def sample(many: int) -> None:
        replies(subject.backend, subject.loaded, layer, texts, Sampling(many, 1.0, frozenset()), LANES)

    one, more = (seconds_of(lambda many=many: sample(many)) for many in (1, 1 + SOME_TOKENS))  # type: ignore[misc]
    return Rates(prompt, max(0.0, more - one) / (LANES * SOME_TOKENS))


def spread(trials: Sequence[Trial], many: int) -> list[Trial]:
    """At most so many, from all over."""
    step = max(1, -(-len(trials) // many))
    return list(trials[::step])


def _filled(cell: Cell, example: Cell) -> Cell:
    """A cell whose place is not known yet, at some place."""
    return replace(cell, layer=example.layer, strength=example.strength) if cell.chosen else cell
