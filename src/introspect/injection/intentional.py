"""Intentional control: does thinking of a word while writing a sentence move activations towards the word's vector?

The reply is the sentence itself, fed token by token in every condition alike, so that nothing but the request differs;
whether the model would write it is not asked. A word that is merely mentioned moves them too, through attention: what
counts is thinking beyond mentioning. Cosines are held against those with the vectors of control words, which a request
moves as well. Nothing is injected. The layer is chosen on some words, and confirmed on others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Capture
from ..cells import Done, Row
from ..concepts import fill
from ..concepts.vectors import SITE
from ..forced import continuation_ids
from ..report import number
from ..stats import Estimate
from ..tables import line_of, table
from .cells import Cell, Place, Plan, Study
from .found import Found
from .measures import mean
from .subject import Part, Subject
from .trials import Trial
from .verdict import UNTESTED, above
from .wordings import wordings_table

CONDITIONS = ("think", "avoid", "search", "mention", "plain")
CONTRASTS = {
    "think minus mention": ("think", "mention"),
    "avoid minus mention": ("avoid", "mention"),
    "search minus mention": ("search", "mention"),
    "think minus avoid": ("think", "avoid"),
    "mention minus plain": ("mention", "plain"),
    "think minus plain": ("think", "plain"),
}
HEADLINE = "think minus mention"
BATCH = 10
"""Words whose trials are committed together."""


class Intentional(Study):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._known: tuple[np.ndarray, np.ndarray] | None = None

    def cells(self) -> list[Cell]:
        """A batch of words each; the number of the batch stands for none of layer or strength."""
        parts: tuple[Part, ...] = ("exploration", "confirmation")
        return [Cell(part) for part in parts for _ in range(0, len(self.subject.words[part]), BATCH)]

    def prepare(self) -> None:
        """See `Study.prepare`."""
        self._units()

    def plan(self, cell: Cell) -> Plan:
        """Every trial of a part; `run` takes those of the batch that is next."""
        places = [Place(number, word) for number, word in enumerate(self.subject.words[cell.part])]
        return Plan([self._one(cell, place, ask) for place in places[:BATCH] for ask in CONDITIONS], [])

    def after(self, index: int) -> int:
        """All before it: they say which words come next."""
        return index

    def is_of(self, index: int, row: Row) -> bool:
        """See `Study.is_of`: of its batch of words."""
        cells = self.cells()
        begin = cells[:index].count(cells[index]) * BATCH
        return super().is_of(index, row) and row["word"] in self.subject.words[cells[index].part][begin : begin + BATCH]

    def run(self, cell: Cell, done: Done) -> list[Row]:
        """See `Study.run`."""
        words = self.subject.words[cell.part]
        before = sum(1 for each in done if each[0]["part"] == cell.part) * BATCH
        places = [Place(number, words[number]) for number in range(before, min(before + BATCH, len(words)))]
        trials = [self._one(cell, place, ask) for place in places for ask in CONDITIONS]
        own, controls = self._units()
        capture = Capture((SITE,), self.subject.layers)
        found = self.subject.backend.replay(
            [each.prompt for each in trials], [list(each.where) for each in trials], capture=capture
        )
        rows = []
        for trial, activations in zip(trials, found, strict=True):
            states = np.stack([activations[SITE, layer].float().numpy() for layer in self.subject.layers])
            units = states / np.linalg.norm(states, axis=-1, keepdims=True)
            mean_unit = units.mean(axis=1)  # [layer, width]: a mean of cosines is a cosine with the mean unit vector
            word = self.subject.every_word.index(trial.about["word"])
            against = np.einsum("lw,lcw->lc", mean_unit, controls)
            cosines = np.einsum("lw,lw->l", mean_unit, own[:, word])
            finite = bool(np.isfinite(cosines).all() and np.isfinite(against).all())
            row: Row = {**trial.about, "as": "activations", "steered": 0, "finite": finite}
            if finite:
                row["own"] = [round(float(each), 6) for each in cosines]
                row["controls"] = [round(float(each), 6) for each in against.mean(axis=1)]
                row["spread"] = [round(float(each), 6) for each in against.std(axis=1)]
            rows.append(row)
        return rows

    def choose(self, done: Done) -> tuple[int, float]:
        """The layer at which thinking goes furthest beyond mentioning; there is no strength."""
        gaps = self._contrast(done, "exploration", HEADLINE)
        if not gaps:
            return self.subject.layers[0], 0.0
        averaged = np.mean(list(gaps.values()), axis=0)
        return self.subject.layers[int(np.argmax(averaged))], 0.0

    def results(self, done: Done) -> dict[str, Any]:
        """See `Study.results`."""
        layer, _ = self.choose(done)
        at = self.subject.layers.index(layer)
        held = {name: self._contrast(done, "confirmation", name) for name in CONTRASTS}
        spread = self._spread(done, at)
        rows = []
        for name, gaps in held.items():
            here = {word: values[at] for word, values in gaps.items()}
            rows.append(line_of(name, [self._mean(here), self._mean({w: v / spread for w, v in here.items()})]))
        levels = [self._level(done, "confirmation", condition, at) for condition in CONDITIONS]
        best, apart = (self._at(done, name, at) for name in (HEADLINE, "think minus avoid"))
        curves = [
            {
                "label": name,
                "estimates": [
                    self._mean({w: v[k] for w, v in held[name].items()}).to_json()
                    for k in range(len(self.subject.layers))
                ],
            }
            for name in (HEADLINE, "avoid minus mention", "search minus mention", "mention minus plain")
        ]
        return {
            "grid": {"labels": {}, "shares": [], "cells": []},
            "chosen": {"layer": layer, "strength": 0.0, "why": self._why(done)},
            "curves": {
                "title": "Cosine of the reply's activations with the word's vector beyond that with control words', "
                "one condition minus another, by layer, on words held out",
                "axis": "difference of cosines",
                "layers": list(self.subject.layers),
                "lines": curves,
            },
            "tables": [
                table(
                    f"Conditions against one another, at layer {layer}, on words held out",
                    "Mean over the sentence's tokens of the cosine with the word's vector, minus its mean with the "
                    "vectors of the control words; difference of two conditions of the same word, wording and "
                    "sentence. Bootstrap over words.",
                    [("difference of cosines", "number"), ("in spreads of the controls", "number")],
                    rows,
                ),
                table(
                    f"Each condition at layer {layer}",
                    f"Cosine with the word's vector, and in units of the spread over {len(self.subject.controls)} "
                    "control words.",
                    [("cosine beyond controls", "number"), ("in spreads of the controls", "number")],
                    levels,
                ),
                wordings_table(
                    Found(self.spec, done, self.subject.every_word),
                    [each.think.partition("{")[0] for each in self.subject.prompts.intentional],
                    [(name, "number") for name in (HEADLINE, "think minus avoid")],
                    lambda part: [self._at(part.done, name, at) for name in (HEADLINE, "think minus avoid")],
                ),
            ],
            "verdict": [
                {
                    "criterion": "intentional control",
                    "finding": above([best, apart], 0),
                    "reason": "activations lie nearer to the word's vector when it is to be thought of than when it is "
                    f"merely mentioned, by {number(best.to_json())}, and than when it is not to be, by "
                    f"{number(apart.to_json())}",
                },
                *(
                    {"criterion": name, "finding": UNTESTED, "reason": "nothing is reported in this study"}
                    for name in ("accurate", "grounded", "internal", "meta")
                ),
            ],
            "examples": [],
            "counts": {
                "n_trials": sum(map(len, done)),
                "n_not_finite": sum(1 for cell in done for row in cell if not row["finite"]),
                "n_without_token": 0,
                "n_wordings": len(self.subject.prompts.intentional),
            },
        }

    def _why(self, done: Done) -> str:
        if not self._contrast(done, "exploration", HEADLINE):
            return "the first: no trial on the words explored gave numbers"
        return "thinking furthest beyond mentioning, on other words"

    def _at(self, done: Done, name: str, at: int) -> Estimate:
        return self._mean({word: values[at] for word, values in self._contrast(done, "confirmation", name).items()})

    def _one(self, cell: Cell, place: Place, ask: str) -> Trial:
        wordings, sentences = self.subject.prompts.intentional, self.subject.materials.sentences.sentences
        wording, which = place.number % len(wordings), place.number % len(sentences)
        sentence = sentences[which]
        values = {"sentence": sentence} | ({} if ask == "plain" else {"word": place.word})
        text = fill(getattr(wordings[wording], ask), **values).text
        prompt = self.chats.render([{"role": "user", "content": text}])
        written = continuation_ids(self.loaded.tokenizer, sentence)
        about = self.about(cell, place, "none", ask, wording, str(which))
        return Trial(about, (*prompt, *written), None, range(len(prompt), len(prompt) + len(written)))

    def _units(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of the study's words and of the control words, float32 [layer, word, width] each."""
        if self._known is None:
            own, controls = (
                np.stack([[each[layer].unit for each in directions.values()] for layer in self.subject.layers])
                for directions in (self.subject.directions, self.subject.directions_of(self.subject.controls))
            )
            self._known = own.astype(np.float32), controls.astype(np.float32)
        return self._known

    def _contrast(self, done: Done, part: str, name: str) -> dict[str, np.ndarray]:
        """Word -> difference of two conditions, of cosines beyond controls, [layer]."""
        one, other = CONTRASTS[name]
        beyond: dict[tuple[str, str], np.ndarray] = {}
        for row in (row for cell in done for row in cell if row["part"] == part and row["finite"]):
            beyond[row["word"], row["ask"]] = np.array(row["own"]) - np.array(row["controls"])
        return {
            word: beyond[word, one] - beyond[word, other]
            for word, ask in beyond
            if ask == one and (word, other) in beyond
        }

    def _level(self, done: Done, part: str, condition: str, at: int) -> dict[str, Any]:
        rows = [row for cell in done for row in cell if (row["part"], row["ask"]) == (part, condition)]
        rows = [row for row in rows if row["finite"]]
        raw = {row["word"]: row["own"][at] - row["controls"][at] for row in rows}
        spread = {word: value / row["spread"][at] for (word, value), row in zip(raw.items(), rows, strict=True)}
        return line_of(condition, [self._mean(raw), self._mean(spread)])

    def _spread(self, done: Done, at: int) -> float:
        """Mean standard deviation of a cosine over control words, on words held out; 1 where there is none."""
        rows = [row for cell in done for row in cell if row["part"] == "confirmation" and row["finite"]]
        return float(np.mean([row["spread"][at] for row in rows])) or 1.0 if rows else 1.0

    def _mean(self, values: dict[str, float]) -> Estimate:
        return mean(list(values.values()), list(values), n=self.spec.bootstrap, seed=self.spec.seed)
