"""Prefill: a word is put in the model's mouth, and it is asked whether it meant it, with and without a vector before.

The word's own vector is added to the request that the word answers, up to the word itself; or to the request that
another word answers. What counts is by how much more the own word is accepted then than the other: a shift that any
addition brings cancels, and so does a bias to yes, since one question takes Yes for accepting and its twin takes No.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cells import Done
from ..concepts import fill
from ..stats import Estimate
from .cells import Cell, Place, Plan, Study
from .found import Address, Found, leaning, line_of, table
from .subject import SWAPPED, VECTORS
from .trials import Trial
from .verdict import AGAINST, UNTESTED, above
from .wordings import wordings_table

GRID = {
    "effect": "own word accepted more than another",
    "own": "own word, shift of acceptance",
    "other": "another word, shift of acceptance",
    "random": "own word, random direction",
}
MOUTHS = ("own", "other")
QUESTIONS = ("meant", "slip")
SHOWN = (*VECTORS, SWAPPED)


class Prefill(Study):
    """See the module."""

    def plan(self, cell: Cell) -> Plan:
        """See `Study.plan`."""
        first = []
        for number, word in enumerate(self.subject.words[cell.part]):
            place = Place(number, word)
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
            gaps = _gap(*(self._accepts(found, address, "concept", mouth) for mouth in MOUTHS))
            return (float(np.mean(list(gaps.values()))) if gaps else -2.0,)

        return found.best(worth, "own word accepted most beyond another")

    def results(self, done: Done) -> dict[str, Any]:
        """See `Study.results`."""
        found = Found(self.spec, done, self.subject.every_word)
        (layer, strength), why = self._best(found)
        address: Address = ("confirmation", layer, strength)
        accepted = {(kind, mouth): self._accepts(found, address, kind, mouth) for kind in SHOWN for mouth in MOUTHS}
        gaps = {kind: _gap(accepted[kind, "own"], accepted[kind, "other"]) for kind in SHOWN}
        rows = [
            line_of(
                f"{kind} vector before" if kind != SWAPPED else "another prompt's activations swapped in before",
                [
                    found.by_word(accepted[kind, "own"]),
                    found.by_word(accepted[kind, "other"]),
                    found.by_word(gaps[kind]),
                ],
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
        effect = found.by_word(gaps["concept"])
        beyond = [found.paired(gaps["concept"], gaps[kind]) for kind in AGAINST]
        return {
            "grid": {"labels": GRID, "shares": [], "cells": [self._cell(found, each) for each in found.grid]},
            "chosen": {"layer": layer, "strength": strength, "why": why},
            "tables": [
                table(
                    "Accepting the word in one's mouth, on words held out",
                    f"Layer {layer}, strength {strength}. Shift of acceptance against the same chat without injection: "
                    "half of the shift of P(yes) - P(no) where Yes accepts, minus the one where No does. Bootstrap "
                    "over words. Only the last column of the first row is about what was injected.",
                    [("own word", "number"), ("another word", "number"), ("difference", "number")],
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
                    [("own word", "number"), ("another word", "number"), ("difference", "number")],
                    lambda part: _cells(part, *(self._accepts(part, address, "concept", mouth) for mouth in MOUTHS)),
                ),
            ],
            "verdict": [
                {
                    "criterion": "accurate",
                    "finding": above([effect], 0),
                    "reason": "the own word is accepted more than another under the same vector",
                },
                {
                    "criterion": "grounded",
                    "finding": above(beyond, 0),
                    "reason": "that difference, beyond that of vectors of equal norm that stand for no word, and of "
                    "another prompt's activations",
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
                "n_trials": sum(found.n_rows.values()),
                "n_not_finite": sum(found.not_finite.values()),
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
        roles = ("user", "assistant", "user")
        prompt = self.chats.render([{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)])
        start = max(1, self.chats.tokens_of(prompt, ask).start - 1)
        where = range(start, self.chats.tokens_of(prompt, said).start)
        about = self.about(cell, place, kind, f"{question}_{mouth}", wording, said)
        watch = tuple(self.yes_no.tokens.values())
        shown, swap = self.chats.led(prompt, self.yes_no), self.swap(place.number) if kind == SWAPPED else None
        return Trial(about, shown, self.added(cell, place.word, kind), where, start, watch, swap=swap)

    def _accepts(self, found: Found, address: Address, kind: str, mouth: str) -> dict[str, float]:
        """Word -> shift of acceptance of what is in the mouth of its trial."""
        slips = {row["word"]: found.shift(row) for row in found.rows(address, kind, f"slip_{mouth}")}
        out = {}
        for row in found.rows(address, kind, f"meant_{mouth}"):
            one, other = found.shift(row), slips.get(row["word"])
            if one is not None and other is not None:
                out[row["word"]] = (one - other) / 2
        return out

    def _cell(self, found: Found, place: tuple[int, float]) -> dict[str, Any]:
        address: Address = ("exploration", *place)
        own, other = (self._accepts(found, address, "concept", mouth) for mouth in MOUTHS)
        estimates = {
            "effect": found.by_word(_gap(own, other)),
            "own": found.by_word(own),
            "other": found.by_word(other),
            "random": found.by_word(self._accepts(found, address, "random", "own")),
        }
        return {
            "layer": place[0],
            "strength": place[1],
            "n_trials": found.n_rows[address],
            "n_not_finite": found.not_finite.get(address, 0),
            "measures": {name: each.to_json() for name, each in estimates.items()},
        }


def _cells(found: Found, own: dict[str, float], other: dict[str, float]) -> list[Estimate]:
    return [found.by_word(each) for each in (own, other, _gap(own, other))]


def _gap(own: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {word: own[word] - other[word] for word in own if word in other}
