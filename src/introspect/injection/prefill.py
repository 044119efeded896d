"""Prefill: a word is put in the model's mouth, and it is asked whether it meant it, with and without a vector before.

The word's own vector is added to the request that the word answers, up to the word itself; or to the request that
another word answers. What counts is by how much more the own word is accepted then than the other, in log-odds, where
Yes accepts and where No does: the lesser of how much more they shift and of how much further they stand, which no bias
to yes alone brings above 0 (`found.Contrast`).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..cells import Done
from ..concepts import fill
from ..report import number
from ..stats import Estimate
from ..tables import Columns, line_of, table
from .cells import Cell, Place, Plan, Study
from .found import Address, Found, leaning
from .subject import SWAPPED, VECTORS
from .trials import Trial
from .verdict import AGAINST, UNTESTED, above, said_of
from .wordings import wordings_table

GRID = {
    "effect": "own word accepted more than another, log-odds",
    "own": "own word, shift of acceptance",
    "other": "another word, shift of acceptance",
    "random": "own word, random direction, shift",
}
MOUTHS = ("own", "other")
QUESTIONS = ("meant", "slip")
COLUMNS: Columns = (
    ("own word, shift", "number"),
    ("another word, shift", "number"),
    ("own word beyond another", "number"),
    ("own minus another, shift", "number"),
)
ROLES = ("user", "assistant", "user")
"""Who says the request, the word, and the question."""
SHOWN = (*VECTORS, SWAPPED)


class Prefill(Study):
    """See the module."""

    METHOD: ClassVar[int] = 3
    """3: an injection ends where the word is that is put in the mouth, not where a question holds the same word."""

    def plan(self, cell: Cell) -> Plan:
        """See `Study.plan`."""
        first = []
        for index, word in enumerate(self.subject.words[cell.part]):
            place = Place(index, word)
            for mouth in MOUTHS:
                for kind in self.kinds(cell):
                    first += [self._one(cell, place, kind, mouth, question) for question in QUESTIONS]
        return Plan(first, [])

    def choose(self, done: Done) -> tuple[int, float]:
        """See `Study.choose`."""
        return self._best(Found(self.spec, done, self.subject.every_word))[0]

    def _best(self, found: Found) -> tuple[tuple[int, float], str]:
        def worth(place: tuple[int, float]) -> tuple[float, ...]:
            address: Address = ("exploration", *place)
            effect = self._effect(found, address, "concept")
            return (float(np.mean(list(effect.values()))) if effect else -math.inf,)

        return found.best(worth, "own word accepted most beyond another")

    def results(self, done: Done) -> dict[str, Any]:
        """See `Study.results`."""
        found = Found(self.spec, done, self.subject.every_word)
        (layer, strength), why = self._best(found)
        address: Address = ("confirmation", layer, strength)
        rows = [
            line_of(
                f"{kind} vector before" if kind != SWAPPED else "another prompt's activations swapped in before",
                self._estimates(found, address, kind),
            )
            for kind in SHOWN
        ]
        none = [
            line_of(
                f"{mouth} word, no vector",
                [found.mean(found.rows(address, "none", f"{question}_{mouth}"), leaning) for question in QUESTIONS],
            )
            for mouth in MOUTHS
        ]
        effect = found.by_word(self._effect(found, address, "concept"))
        gaps = {kind: self._gap(found, address, kind) for kind in SHOWN}
        beyond = {kind: found.paired(gaps["concept"], gaps[kind]) for kind in AGAINST}
        said = ", ".join(f"{kind} {number(each.to_json())}" for kind, each in beyond.items())
        return {
            "grid": {"labels": GRID, "shares": [], "cells": [self._cell(found, each) for each in found.grid]},
            "chosen": {"layer": layer, "strength": strength, "why": why},
            "tables": [
                table(
                    "Accepting the word in one's mouth, on words held out",
                    f"Layer {layer}, strength {strength}. Log-odds of Yes against No, nats. Shift of acceptance "
                    "against the same chat without injection: half of the shift where Yes accepts, minus the one where "
                    "No does. Own word beyond another: by how much further they go towards accepting it, mean of both "
                    "questions; in each the lesser of how much further they shift and of how much further they then "
                    "stand, held to 1% and 99%. A bias that takes log-odds to others, whatever is asked, and brings no "
                    "two further apart, leaves that at 0 or below, and so does noise between the two. Own minus "
                    "another: the plain difference of the first two columns, which such a bias may move. Bootstrap "
                    "over words. Only the last two columns of the first row are about what was injected.",
                    COLUMNS,
                    rows,
                ),
                table(
                    "Without injection",
                    "P(yes) - P(no) as it is; Yes accepts where it is asked whether the word was meant, No where it is "
                    "asked whether it was a slip.",
                    [("meant?", "number"), ("a slip?", "number")],
                    none,
                ),
                wordings_table(
                    found,
                    [each.meant for each in self.subject.prompts.prefill],
                    COLUMNS,
                    lambda part: self._estimates(part, address, "concept"),
                ),
            ],
            "verdict": [
                {
                    "criterion": "accurate",
                    "finding": above([effect], 0),
                    "reason": "the own word is accepted more than another under the same vector, by "
                    f"{number(effect.to_json())} nats of log-odds",
                },
                {
                    "criterion": "grounded",
                    "finding": above([effect, *beyond.values()], 0),
                    "reason": "that difference; and the difference of shifts beyond that of vectors of equal norm that "
                    f"stand for no word, and of another prompt's activations: {said}{said_of(self.subject.trained)}",
                },
                {
                    "criterion": "internal",
                    "finding": UNTESTED,
                    "reason": "the text is the same; what the keys and values of the request hold is what differs",
                },
                {"criterion": "meta", "finding": UNTESTED, "reason": "no trial asks for more than yes or no"},
            ],
            "examples": [],
            "counts": {
                "n_trials": found.n_trials,
                "n_not_finite": found.n_not_finite,
                "n_without_token": found.without_token,
                "n_wordings": len(self.subject.prompts.prefill),
            },
        }

    def _one(self, cell: Cell, place: Place, kind: str, mouth: str, question: str) -> Trial:
        wordings, sentences = self.subject.prompts.prefill, self.subject.materials.sentences.sentences
        wording = place.number % len(wordings)
        sentence, controls = sentences[place.number % len(sentences)], self.subject.controls
        said = place.word if mouth == "own" else controls[place.number % len(controls)]
        ask = fill(wordings[wording].ask, sentence=sentence).text
        texts = (ask, said, getattr(wordings[wording], question))
        chat = [{"role": role, "content": text} for role, text in zip(ROLES, texts, strict=True)]
        prompt = self.chats.render(chat)
        start = max(1, self.chats.tokens_of(prompt, ask).start - 1)
        where = range(start, self.chats.start_of(chat, ROLES.index("assistant")))
        about = self.about(cell, place, kind, f"{question}_{mouth}", wording, said)
        watch = tuple(self.yes_no.tokens.values())
        shown, swap = self.chats.led(prompt, self.yes_no), self.swap(place.number) if kind == SWAPPED else None
        return Trial(about, shown, self.added(cell, place.word, kind), where, start, watch, swap=swap)

    def _accepts(self, found: Found, address: Address, kind: str, mouth: str) -> dict[str, float]:
        """Word -> shift of acceptance of what is in the mouth of its trial, nats."""
        pairs = found.contrasts(address, kind, f"meant_{mouth}", f"slip_{mouth}")
        return {word: float(np.mean([each.shift / 2 for each in here])) for word, here in pairs.items()}

    def _gap(self, found: Found, address: Address, kind: str) -> dict[str, float]:
        """Word -> shift of acceptance of it, minus that of another word, nats."""
        own, other = (self._accepts(found, address, kind, mouth) for mouth in MOUTHS)
        return {word: own[word] - other[word] for word in own if word in other}

    def _effect(self, found: Found, address: Address, kind: str) -> dict[str, float]:
        """Word -> log-odds of accepting it beyond those of accepting another word, nats: the mean of both questions'
        lesser `Contrast`.
        """
        meant = found.contrasts(address, kind, "meant_own", "meant_other")
        slip = found.contrasts(address, kind, "slip_other", "slip_own")
        return {
            word: float(np.mean([each.lesser for each in (*meant[word], *slip[word])]))
            for word in meant
            if word in slip
        }

    def _estimates(self, found: Found, address: Address, kind: str) -> list[Estimate]:
        """As `COLUMNS`."""
        accepted = [self._accepts(found, address, kind, mouth) for mouth in MOUTHS]
        compared = (self._effect(found, address, kind), self._gap(found, address, kind))
        return [found.by_word(each) for each in (*accepted, *compared)]

    def _cell(self, found: Found, place: tuple[int, float]) -> dict[str, Any]:
        address: Address = ("exploration", *place)
        own, other, effect, _ = self._estimates(found, address, "concept")
        random = found.by_word(self._accepts(found, address, "random", "own"))
        estimates = {"effect": effect, "own": own, "other": other, "random": random}
        return {
            "layer": place[0],
            "strength": place[1],
            "n_trials": found.n_rows[address],
            "n_not_finite": found.not_finite.get(address, 0),
            "measures": {name: each.to_json() for name, each in estimates.items()},
        }
