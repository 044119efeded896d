"""What an injected-thought study found: the grid, the best cell, every control, and what they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cells import Done, Row
from ..concepts import count_tokens
from ..stats import Estimate
from ..tables import Columns, line_of, table
from .bias import Lines, bias_table, yes_bias
from .elsewhere import ELSEWHERE
from .found import Address, Found
from .in_text import text_table
from .localised import localisation, located, said_chance
from .measures import d_prime, exact, mean
from .spec import Injection
from .subject import KINDS, NONE, SWAPPED, Subject
from .trials import Names
from .verdict import verdict
from .wordings import wordings_table
from .words import word_regressions

GRID = {
    "net": "net: identified - false positives",
    "identified": "claims a thought and names it",
    "claims": "claims a thought",
    "coherent": "coherent replies",
    "detection": "P(yes) - P(no), shift",
    "random": "the same, random direction",
    "told": "log-odds, both polarities",
    "yes_bias": "log-odds on unrelated questions (No), shift",
    "beyond_bias": "log-odds beyond the bias to yes",
    "gain_rank": "rank of the word's gain, first token",
    "localised": "sentence found",
}
"""Measure of a cell -> its label; each is a heat map. Log-odds are of Yes against No, in nats."""
SHARES = ("identified", "claims", "coherent", "localised", "gain_rank")


def choose_cell(done: Done, spec: Injection) -> tuple[tuple[int, float], str]:
    """The cell of the grid with the greatest net score; of equal ones, that whose words gain most at the first token.
    Cells of incoherent replies come last. And why it is the one.
    """
    found = Found(spec, done, sorted({row["word"] for cell in done for row in cell}))

    def worth(cell: tuple[int, float]) -> tuple[float, float]:
        address = ("exploration", *cell)
        texts, ranked = found.rows(address, "concept", "detect", "text"), found.rows(address, "concept", "which")
        net = float(np.mean([found.identified(row) for row in texts])) if texts else -1.0
        gains = [row["gain_rank"] for row in ranked if row.get("gain_rank") is not None]
        return net, float(np.mean(gains)) if gains else 0.0

    return found.best(worth, "greatest net score; ties by the first token's gain", "detect")


def thought_results(subject: Subject, done: Done, *names: Names) -> dict[str, Any]:
    """The parts of results.json that are this study's own."""
    spec = subject.spec
    found = Found(spec, done, subject.every_word)
    (layer, strength), why = choose_cell(done, spec)
    chosen: Address = ("confirmation", layer, strength)
    same: Address = ("exploration", layer, strength)
    lines = yes_bias(found)
    return {
        "grid": {"labels": _labels(found), "shares": list(SHARES), "cells": [cell(found, each) for each in found.grid]},
        "chosen": {
            "layer": layer,
            "strength": strength,
            "why": why,
        },
        "tables": [
            controls(found, chosen, "Every condition, on words held out", lines),
            others(found, chosen),
            *text_table(found, chosen),
            wordings_table(found, [each.detect for each in subject.prompts.trials], WORDINGS, _a_wording(chosen)),
            bias_table(found, lines),
            controls(found, same, "The same cell, on the words that it was chosen on", lines),
            *word_regressions(subject, found, (layer, strength)),
        ],
        "verdict": verdict(found, chosen, subject.trained),
        "examples": examples(found, chosen),
        "counts": counts(subject, found, names) | {"n_wordings": len(subject.prompts.trials)},
    }


WORDINGS: Columns = (
    ("claims, no injection", "share"),
    ("claims a thought", "share"),
    ("names it", "share"),
    ("P(yes) - P(no), shift", "number"),
    ("both polarities, log-odds", "number"),
)


def _a_wording(address: Address) -> Callable[[Found], list[Estimate]]:
    def cells(found: Found) -> list[Estimate]:
        texts = found.rows(address, "concept", "detect", "text")
        return [
            exact(found.claims(found.rows(address, NONE, "detect", "text"))),
            exact(found.claims(texts)),
            found.share(texts, found.identified),
            found.shifts(address, "concept"),
            found.by_word(found.told(address, "concept")),
        ]

    return cells


def _labels(found: Found) -> dict[str, str]:
    """Of the grid's measures."""
    asked = [row for place in found.grid for row in found.rows(("exploration", *place), "concept", "localise")]
    return GRID | {"localised": f"{GRID['localised']} ({said_chance(asked)})"}


def cell(found: Found, place: tuple[int, float]) -> dict[str, Any]:
    """The measures of one cell of the grid."""
    address: Address = ("exploration", *place)
    texts = found.rows(address, "concept", "detect", "text")
    estimates = {
        "net": found.net(address),
        "identified": found.share(texts, found.identified),
        "claims": exact(found.claims(texts)),
        "coherent": found.share(texts, found.coherent),
        "detection": found.shifts(address, "concept"),
        "random": found.shifts(address, "random"),
        "told": found.by_word(found.told(address, "concept")),
        "yes_bias": found.level(address, "unrelated_no"),
        "beyond_bias": found.beyond_bias(address),
        "gain_rank": found.mean(found.rows(address, "concept", "which"), _gain_rank, within_one=True),
        "localised": found.share(found.rows(address, "concept", "localise"), lambda row: located(found, row)),
    }
    return {
        "layer": place[0],
        "strength": place[1],
        "n_trials": found.n_rows[address],
        "n_not_finite": found.not_finite.get(address, 0),
        "measures": {name: each.to_json() for name, each in estimates.items()},
    }


def controls(found: Found, address: Address, title: str, lines: Lines) -> dict[str, Any]:
    """Every kind of injection in one table: replies, first tokens, and the bias to yes."""
    rows = []
    unasked = Estimate.undefined("asked of the concept vector")
    none = found.rows(address, NONE, "detect", "text")
    false = found.claims(none)
    for kind in KINDS:
        texts = found.rows(address, kind, "detect", "text")
        held, skipped = (Estimate.undefined(why) for why in ("what it is held against", "not sampled in the grid"))
        if kind == NONE:
            apart, logits = held, [held, held]
        else:
            apart = d_prime(found.claims(texts), false, seed=found.spec.seed) if texts else skipped
            logits = [found.shifts(address, kind), found.by_word(found.told(address, kind))]
        shares = [exact(found.claims(texts)), apart, found.share(texts, found.identified), found.given_claim(texts)]
        bias = [unasked, unasked]
        if kind == "concept":
            bias = [found.beyond_bias(address), lines.shifts["r, over words and cells"]]
        cells = [*shares, found.share(texts, found.coherent), *logits, *bias]
        rows.append(line_of(KINDS[kind], cells, said_of_swaps(found, address) if kind == SWAPPED else ""))
    return table(
        title,
        f"Layer {address[1]}, strength {address[2]} of a typical activation's norm. Replies: claims of a thought, d' "
        "of claims against no injection, coherent claims that name the word (or, for controls, the word whose trial it "
        "is), as a share of all replies and of those that claim a thought, coherent replies among all. First token: "
        "shift of P(yes) - P(no) against the same prompt without injection, of which one push makes more where a "
        "prompt leaves it more room. So the rest is in log-odds of Yes against No (nats). Both polarities: half of the "
        "log-odds where Yes reports a thought, minus those where No does; the lesser of by how much these have shifted "
        "and of how they then stand, held to 1% and 99%. A bias that takes log-odds to others, whatever is asked, "
        "keeps their order and brings no two further apart, leaves that at 0 or below: a push of one size, a push up "
        "to one level, and all between. Beyond the bias to yes: the same of the question against unrelated ones whose "
        "answer is No, not halved. Over the words and cells of the grid: correlation of their shifts. "
        "Shares have exact intervals (Clopper and Pearson); d' has one of draws of both rates under Jeffreys' prior; "
        "the rest a bootstrap over words. Swapped in: the prompt's tokens from just before the question on get the "
        "activations of another prompt at this layer, at their own size; the reply's tokens are not swapped.",
        [
            ("claims a thought", "share"),
            ("d' of claims", "number"),
            ("names it", "share"),
            ("names it, of those that claim", "share"),
            ("coherent", "share"),
            ("P(yes) - P(no), shift", "number"),
            ("both polarities, log-odds", "number"),
            ("beyond the bias to yes, log-odds", "number"),
            ("grid: r with the bias to yes", "number"),
        ],
        rows,
    )


def others(found: Found, address: Address) -> dict[str, Any]:
    """What else could explain a detection or an identification."""
    detect, texts = (found.rows(address, "concept", ask, "text") for ask in ("detect", "which"))
    silent = found.rows(address, NONE, "which", "text")
    unrelated = found.rows(address, "concept", "unrelated_no", "text")
    ranks = found.rows(address, "concept", "which")
    more, higher = found.plainly(address, "concept", "concept_other")
    rows = [
        line_of("net score: identified - claims without injection", [found.net(address)]),
        line_of(
            "claims a thought and names it",
            [found.share(detect, found.identified)],
            "coherent replies, asked whether there is one",
        ),
        dealt_out(found, detect, found.with_claim),
        line_of("shift on unrelated questions, answer No", [found.level(address, "unrelated_no")], NATS),
        line_of("shift on unrelated questions, answer Yes", [found.level(address, "unrelated_yes")], NATS),
        line_of(
            "asked about the injected word, beyond about another",
            [found.by_word(found.beyond(address, "concept", "concept_other"))],
            f"{NATS}: the lesser of the next two, word by word, which is below 0 on average where they differ by noise "
            "alone; the mismatched question",
        ),
        line_of("the mismatched question: by how much more they shift", [more], f"{NATS}; the plain difference"),
        line_of("the mismatched question: by how much higher they stand", [higher], f"{NATS}, held to 1% and 99%"),
        line_of("names the word, asked which", [found.share(texts, found.names)], "needs no yes"),
        dealt_out(found, texts, lambda row: found.listener.anywhere(row["text"])),
        line_of("the same without injection", [found.share(silent, found.names)], "what is guessed anyway"),
        line_of(
            "names it in answers to unrelated questions", [found.share(unrelated, found.names)], "leaks into any text"
        ),
        line_of(
            "rank of the word's gain among the words, first token",
            [found.mean(ranks, _gain_rank, within_one=True)],
            "chance .5; against the same prompt without injection, so frequent words gain nothing",
        ),
        *(line for ask in ELSEWHERE for line in _pushed(found, address, ask)),
        *localisation(found, address),
        line_of(
            "probability that is on Yes or No, without injection",
            [_mass(found, address)],
            "of little of it, P(yes) - P(no) says little",
        ),
    ]
    return table(
        "Controls that are asked another question",
        f"Layer {address[1]}, strength {address[2]}, on words held out.",
        [("estimate", "number")],
        rows,
    )


NATS = "log-odds of Yes, nats"


def dealt_out(found: Found, rows: Sequence[Row], names: Callable[[Row], Sequence[str]]) -> dict[str, Any]:
    """A row of a table: what is named by guesses."""
    null, p = found.dealt_out(rows, names)
    said = "" if p is None else f"p = {p:.3g} that the words as they were are named as often"
    return line_of("the same with words dealt out to trials again", [null], said)


def said_of_swaps(found: Found, address: Address, ask: str = "detect") -> str:
    """How far swaps have moved activations."""
    moved = [row["moved"] for row in found.rows(address, SWAPPED, ask) if row.get("moved") is not None]
    return f"moves a token by {np.median(moved):.2g} typical norms, median of {len(moved)} trials" if moved else ""


def _gain_rank(row: Row) -> float | None:
    rank: float | None = row.get("gain_rank")
    return rank


def _pushed(found: Found, address: Address, ask: str) -> list[dict[str, Any]]:
    """Rows of a table: what a vector pushes towards the output whatever is asked, and what asking for the word adds."""
    rows = found.rows(address, "concept", ask)
    if not rows:
        return []
    own, pushed = (_ranks(found, address, each) for each in ("which", ask))
    return [
        line_of(
            f"the same where an unrelated question is asked, for {ELSEWHERE[ask]}",
            [found.mean(rows, _gain_rank, within_one=True)],
            "what the vector pushes towards the output whatever is asked",
        ),
        line_of("the one minus the other", [found.paired(own, pushed)], "what asking for the word adds"),
    ]


def _mass(found: Found, address: Address) -> Estimate:
    """Probability of yes or no at the first token, over prompts that ask for a thought, both ways round."""
    rows = [row for ask in ("detect", "reversed") for row in found.rows(address, NONE, ask)]
    values = [float(np.exp(row["yes"]) + np.exp(row["no"])) for row in rows]
    asked = [(row["ask"], row["wording"]) for row in rows]
    return mean(values, asked, n=found.spec.bootstrap, seed=found.spec.seed)


def _ranks(found: Found, address: Address, ask: str) -> dict[str, float]:
    ranks = {row["word"]: row.get("gain_rank") for row in found.rows(address, "concept", ask)}
    return {word: rank for word, rank in ranks.items() if rank is not None}


def examples(found: Found, address: Address, many: int = 8) -> list[dict[str, Any]]:
    """A few replies of the chosen cell: those that identify, then those that claim, then others."""
    rows = found.rows(address, "concept", "detect", "text")
    ranked = sorted(rows, key=lambda row: (not found.identified(row), row["claim"] != "yes"))
    return [
        {
            "word": row["word"],
            "text": row["text"],
            "claim": row["claim"],
            "identified": found.identified(row),
            "coherent": found.coherent(row),
        }
        for row in ranked[:many]
    ]


def counts(subject: Subject, found: Found, names: tuple[Names, ...]) -> dict[str, int]:
    """What was left out, and why."""
    return {
        "n_trials": found.n_trials,
        "n_not_finite": found.n_not_finite,
        "n_without_token": found.without_token,
        "n_words": sum(len(each.tokens) for each in names),
        "n_words_of_several_tokens": sum(
            many > 1 for many in count_tokens(subject.loaded.tokenizer, subject.every_word).values()
        ),
        "n_words_that_share_a_first_token": sum(len(each.tokens) - len(each.alone()) for each in names),
    }
