"""The tests as cases: a rollout's chain cut or changed at one place, and the tokens after which the answer is forced.

At a point f of a chain of n sentences, i = round(f n) of them are there:

- early answering: the first i sentences, and nothing more;
- mistakes: the same with an error in sentence i (none at f = 0), what follows dropped, or kept as the model wrote it;
- paraphrase: the first i sentences, each in other words where a rule applies;
- filler: as many tokens of ` ...` as the first i sentences have;
- transplant: the first i sentences of a silent hinted chain, after the unhinted prompt of the same item.

`full` is the whole chain. A case that cannot be made says why and is counted, never dropped.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from ..forced import Ids, continuation_ids
from ..rollout import Rollout
from ..sections import ChainTest
from .mistakes import make_mistake
from .paraphrase import paraphrase
from .rows import TestName
from .sentences import Chain

FILLER = " ..."
NOTHING_TO_CHANGE = "the sentence has no number, comparison, option or verb that a rule could change"
NOTHING_REWORDED = "no rule for rewording applies to these sentences"
NO_UNHINTED_CHAIN = "the unhinted rollout of the item has no chain with an answer"


@dataclass(frozen=True)
class Case:
    """One question to the model."""

    rollout: Rollout
    test: TestName
    point: float
    kept: int
    n_sentences: int
    prefix: Ids | None
    """Tokens after which the answer is forced; None where there is nothing to ask."""
    edited: bool = False
    change: str | None = None
    why_not: str | None = None


def places(points: int) -> list[float]:
    """Points spread evenly from 0 to 1."""
    return [k / (points - 1) for k in range(points)]


def kept_at(point: float, n_sentences: int) -> int:
    """Sentences that are there at a point: the nearest whole number, halves upwards."""
    return floor(point * n_sentences + 0.5)


def make_cases(
    rollout: Rollout, chain: Chain, tests: Sequence[ChainTest], points: int, *, tokenizer: Any, seed: int
) -> list[Case]:
    """The cases of one rollout: its full chain, and every test (but transplant) at every point.

    Args:
        seed: of the mistakes. The same seed makes the same ones.
    """
    n = len(chain.stops)
    cases = [Case(rollout, "full", 1.0, n, n, chain.asked(rollout.prompt_ids, chain.ids))]
    make: dict[str, Callable[[float], Iterator[Case]]] = {
        "early_answering": lambda point: iter([_cut(rollout, chain, point)]),
        "mistakes": lambda point: _with_mistake(rollout, chain, point, tokenizer, seed),
        "paraphrase": lambda point: iter([_reworded(rollout, chain, point, tokenizer)]),
        "filler": lambda point: iter([_filled(rollout, chain, point, tokenizer)]),
    }
    for test in tests:
        if test in make:
            cases += itertools.chain.from_iterable(make[test](point) for point in places(points))
    return cases


def transplant_cases(
    hinted: Rollout, chain: Chain, unhinted: Rollout, unhinted_chain: Chain | None, points: int
) -> list[Case]:
    """The chain of a hinted rollout after the unhinted prompt, and that prompt with its own chain."""
    n, prompt = len(chain.stops), unhinted.prompt_ids
    if unhinted_chain is None:
        base = Case(hinted, "transplant_base", 1.0, 0, n, None, why_not=NO_UNHINTED_CHAIN)
    else:
        own = len(unhinted_chain.stops)
        base = Case(hinted, "transplant_base", 1.0, own, own, unhinted_chain.asked(prompt, unhinted_chain.ids))
    kept = [(point, kept_at(point, n)) for point in places(points)]
    return [base, *(Case(hinted, "transplant", f, i, n, chain.asked(prompt, chain.upto(i))) for f, i in kept)]


def _cut(rollout: Rollout, chain: Chain, point: float) -> Case:
    n = len(chain.stops)
    kept = kept_at(point, n)
    return Case(rollout, "early_answering", point, kept, n, chain.asked(rollout.prompt_ids, chain.upto(kept)))


def _with_mistake(rollout: Rollout, chain: Chain, point: float, tokenizer: Any, seed: int) -> Iterator[Case]:
    """Both variants, with the same error; none where nothing of the chain is there."""
    n = len(chain.stops)
    kept = kept_at(point, n)
    if not kept:
        return
    rng = random.Random(f"mistake/{seed}/{rollout.item_id}/{rollout.condition}/{rollout.sample}/{kept}")
    found = make_mistake(chain.texts[kept - 1], rollout.options, rng)
    for test, rest in (("mistakes", ()), ("mistakes_kept", chain.ids[chain.stops[kept - 1] :])):
        name: TestName = "mistakes" if test == "mistakes" else "mistakes_kept"
        if found is None:
            yield Case(rollout, name, point, kept, n, None, why_not=NOTHING_TO_CHANGE)
            continue
        body = (*chain.upto(kept - 1), *continuation_ids(tokenizer, found.text), *rest)
        change = f"{found.kind}: {found.before} -> {found.after}"
        yield Case(rollout, name, point, kept, n, chain.asked(rollout.prompt_ids, body), True, change)


def _reworded(rollout: Rollout, chain: Chain, point: float, tokenizer: Any) -> Case:
    """Sentences to which no rule applies keep the model's own tokens."""
    n = len(chain.stops)
    kept = kept_at(point, n)
    body: list[int] = []
    changed = 0
    for index in range(kept):
        new = paraphrase(chain.texts[index], rollout.options)
        same = new == chain.texts[index]
        body += chain.sentence(index) if same else continuation_ids(tokenizer, new)
        changed += not same
    if kept and not changed:
        return Case(rollout, "paraphrase", point, kept, n, None, why_not=NOTHING_REWORDED)
    asked = chain.asked(rollout.prompt_ids, tuple(body))
    change = f"{changed} of {kept} sentences reworded" if changed else None
    return Case(rollout, "paraphrase", point, kept, n, asked, changed > 0, change)


def _filled(rollout: Rollout, chain: Chain, point: float, tokenizer: Any) -> Case:
    n = len(chain.stops)
    kept = kept_at(point, n)
    length = len(chain.upto(kept))
    body = tuple(itertools.islice(itertools.cycle(continuation_ids(tokenizer, FILLER)), length))
    change = f"{length} tokens of filler" if length else None
    return Case(rollout, "filler", point, kept, n, chain.asked(rollout.prompt_ids, body), length > 0, change)
