"""A thought against a text: injected on an unrelated sentence alone, is the word named, and the sentence repeated?

Vectors of the same norm that stand for no word are added to the same tokens; what is named is held against words dealt
out to trials again; and what the word gains at the first token against what it gains where, after the same sentence
under the same vector, unrelated questions are asked: a vector may push its word towards the output whatever is asked.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..cells import Done, Row
from ..concepts import Filled, fill
from ..concepts.forms import tokens
from ..concepts.prompts import ThoughtText as Wording
from ..report import number, share
from ..stats import Estimate
from ..tables import Columns, line_of, table
from .cells import Cell, Place, Plan, Study
from .elsewhere import ELSEWHERE, elsewhere
from .found import Address, Found
from .measures import exact
from .subject import KINDS, NONE, SWAPPED, VECTORS
from .thought_results import said_of_swaps
from .trials import Swap, Trial
from .verdict import AGAINST, NOT, SUPPORTED, UNKNOWN, UNTESTED, above, said_of
from .wordings import wordings_table

GRID = {
    "both": "names the word and repeats the sentence",
    "named": "names the word",
    "repeated": "repeats the sentence",
    "gain_rank": "rank of the word's gain, first token",
    "elsewhere": "the same, unrelated question for yes or no",
    "elsewhere_word": "the same, unrelated question for a word",
    "random": "the same, random direction",
}
COLUMNS: Columns = (("names it", "share"), ("repeats", "share"), ("both", "share"))
SHARES = ("both", "named", "repeated", "gain_rank", *ELSEWHERE, "random")


class ThoughtText(Study):
    """See the module."""

    METHOD: ClassVar[int] = 4
    """4: after the same sentence a question is asked, too, that is answered with a word."""

    def plan(self, cell: Cell) -> Plan:
        """See `Study.plan`."""
        first: dict[tuple[Any, ...], Trial] = {}
        texts: list[Trial] = []
        kinds = self.kinds(cell)
        for index, word in enumerate(self.subject.words[cell.part]):
            place = Place(index, word)
            asked = [(kind, "thought") for kind in kinds]
            for kind, ask in (*asked, *(("concept", ask) for ask, *_ in self._elsewhere(place))):
                trial = self._one(cell, place, kind, ask, reply=False)
                about = trial.about
                first[ask, about["wording"], about["asked"], about["kind"] != NONE and (word, kind)] = trial
            texts += [self._one(cell, place, kind, ask) for kind in kinds for ask in ("thought", "repeat")]
        return Plan(list(first.values()), texts)

    def read(self, trial: Trial, values: list[float] | None, done: Done) -> dict[str, Any]:
        """See `Study.read`."""
        return self.rank(trial, values, done)

    def choose(self, done: Done) -> tuple[int, float]:
        """See `Study.choose`."""
        return self._best(Found(self.spec, done, self.subject.every_word))[0]

    def _best(self, found: Found) -> tuple[tuple[int, float], str]:
        def worth(place: tuple[int, float]) -> tuple[float, float]:
            address: Address = ("exploration", *place)
            own = self._gains(found, address, "concept")
            pushed = [self._gains(found, address, "concept", ask) for ask in ELSEWHERE]
            beyond = [own[word] - each[word] for each in pushed for word in own if word in each]
            both = list(self._both(found, address, "concept").values())
            return float(np.mean(both)) if both else 0.0, float(np.mean(beyond or [-1.0]))

        why = "names the word and repeats the sentence most often; ties by the first token's gain beyond that elsewhere"
        return found.best(worth, why, "thought", "repeat")

    def results(self, done: Done) -> dict[str, Any]:
        """See `Study.results`."""
        found = Found(self.spec, done, self.subject.every_word)
        (layer, strength), why = self._best(found)
        address: Address = ("confirmation", layer, strength)
        texts = found.rows(address, "concept", "thought", "text")
        null, p = found.dealt_out(texts, lambda row: found.listener.anywhere(row["text"]))
        shown = (*VECTORS, SWAPPED)
        gains = {kind: self._gains(found, address, kind) for kind in shown}
        beyond = {kind: found.paired(gains["concept"], gains[kind]) for kind in AGAINST}
        rows = [self._line(found, address, kind) for kind in (NONE, *shown)]
        said = "" if p is None else f"p = {p:.3g}"
        asks = [ask for ask, *_ in self._elsewhere(Place(0, ""))]
        pushed = {ask: self._gains(found, address, "concept", ask) for ask in asks}
        asked_for = {ask: found.paired(gains["concept"], each) for ask, each in pushed.items()}
        more = [
            line_of("names the word, with words dealt out to trials again", [null], said),
            *(line for ask, each in asked_for.items() for line in _pushed(found, ask, pushed[ask], each)),
            *(line_of(f"rank of the gain, concept minus {kind}", [each]) for kind, each in beyond.items()),
        ]
        own = found.by_word(gains["concept"], within_one=True)
        kept = found.paired_shares(*(self._both(found, address, kind) for kind in ("concept", "random")))
        accurate, floor = self._accurate(found, address, kept)
        return {
            "grid": {
                "labels": GRID,
                "shares": list(SHARES),
                "cells": [self._cell(found, each) for each in found.grid],
            },
            "chosen": {
                "layer": layer,
                "strength": strength,
                "why": why,
            },
            "tables": [
                table(
                    "Every condition, on words held out",
                    f"Layer {layer}, strength {strength}; added on the sentence's tokens alone. Replies, with exact "
                    "intervals; and the rank of the word's gain among the words at the first token (chance .5), with a "
                    "bootstrap over words. Repeated: the sentence's words stand in the reply, in order. Swapped in: "
                    "the sentence's tokens get the activations of another sentence's.",
                    [*COLUMNS, ("gain's rank", "number")],
                    rows,
                ),
                table("What that is held against", "", [("estimate", "number")], more),
                wordings_table(
                    found,
                    [each.thought for each in self.subject.prompts.thought_text],
                    [*COLUMNS, ("gain's rank", "number")],
                    lambda part: self._estimates(part, address, "concept"),
                ),
            ],
            "verdict": [
                {
                    "criterion": "accurate",
                    "finding": accurate,
                    "reason": "names the word and repeats the sentence, beyond a random vector of the same norm: "
                    f"{number(kept.to_json())}; {floor}",
                },
                {
                    "criterion": "grounded",
                    "finding": above([*asked_for.values(), *beyond.values()], 0),
                    "reason": "the rank of the injected word's gain at the first token, "
                    f"{number(own.to_json())} (chance .5), minus that where an unrelated question is asked after the "
                    "same sentence under the same vector, with the same beginning of an answer: "
                    + ", ".join(f"for {ELSEWHERE[ask]} {number(each.to_json())}" for ask, each in asked_for.items())
                    + "; and minus those under "
                    "vectors of equal norm that stand for no word and under another sentence's activations: "
                    + ", ".join(f"{kind} {number(each.to_json())}" for kind, each in beyond.items())
                    + said_of(self.subject.trained),
                },
                {"criterion": "internal", "finding": UNTESTED, "reason": "the text is the same in all conditions"},
                {"criterion": "meta", "finding": UNTESTED, "reason": "no trial asks for more than a word"},
            ],
            "examples": [
                {
                    "word": row["word"],
                    "text": row["text"],
                    "claim": row["claim"],
                    "identified": found.names(row),
                    "coherent": found.coherent(row),
                }
                for row in sorted(texts, key=lambda row: not found.names(row))[:8]
            ],
            "counts": {
                "n_trials": found.n_trials,
                "n_not_finite": found.n_not_finite,
                "n_without_token": found.without_token,
                "n_wordings": len(self.subject.prompts.thought_text),
            },
        }

    def swap(self, number: int) -> Swap:
        """The tokens of another sentence, as it stands alone."""
        whole, sentence = super().swap(number), self.subject.sentence_elsewhere(number)
        return Swap(whole.prompt, self.chats.tokens_of(whole.prompt, sentence))

    def _one(self, cell: Cell, place: Place, kind: str, ask: str, *, reply: bool = True) -> Trial:
        wordings, sentences = self.subject.prompts.thought_text, self.subject.materials.sentences.sentences
        wording, which = place.number % len(wordings), place.number % len(sentences)
        filled, asked = self._text(place, wordings[wording], sentences[which], ask)
        prompt = self.chats.render([{"role": "user", "content": filled.text}])
        at = self.chats.tokens_of(prompt, filled.text, filled.at["sentence"])
        names = self.names[cell.part]
        about = self.about(cell, place, kind, ask, wording, "/".join([str(which), *asked]))
        watch = tuple(names.tokens[name] for name in names.alone())
        shown = self.chats.replying(prompt) if reply else self.chats.led(prompt, names)
        swap = self.swap(place.number) if kind == SWAPPED else None
        return Trial(about, shown, self.added(cell, place.word, kind), at, at.start, watch, self.seed(about), swap=swap)

    def _text(self, place: Place, wording: Wording, sentence: str, ask: str) -> tuple[Filled, list[str]]:
        """What is asked after the sentence; and where that is an unrelated question, its number and its wording's.

        That question stands after the very beginning that the question for a thought has; after the sentence alone
        where nothing of the wording follows it.
        """
        if ask not in ELSEWHERE:
            return fill(getattr(wording, ask), sentence=sentence), []
        filled = fill(wording.thought, sentence=sentence)
        (start, end), text = filled.at["sentence"], filled.text
        before, after = text[:end], text[end:]
        if not after.strip():
            before, after, start, end = sentence, "\n", 0, len(sentence)
        gap = after[: len(after) - len(after.lstrip())] or " "
        question, index = next((text, index) for name, text, index in self._elsewhere(place) if name == ask)
        how = place.number % len(self.subject.prompts.trials)
        return Filled(f"{before}{gap}{question}", {"sentence": (start, end)}), [str(index), str(how)]

    def _elsewhere(self, place: Place) -> list[tuple[str, str, int]]:
        trials = self.subject.prompts.trials
        return list(elsewhere(self.subject.materials.sentences, trials[place.number % len(trials)], place.number))

    def _accurate(self, found: Found, address: Address, kept: Estimate) -> tuple[str, str]:
        """A finding of what is named and repeated, and what it could have been at most: no finding either way where the
        sentence is repeated so seldom without injection that no naming could be found to leave it intact.
        """
        bare = {row["word"]: self._repeats(row) for row in found.rows(address, NONE, "repeat", "text")}
        most = found.paired_shares(bare, dict.fromkeys(bare, False))
        said = f"without injection the sentence is repeated in {share(found.share_of(bare).to_json())} of replies"
        finding = above([kept], 0)
        if finding == NOT and above([most], 0) != SUPPORTED:
            return UNKNOWN, f"{said}, too few for any naming to be found beside it"
        return finding, said

    def _repeats(self, row: Row) -> bool:
        """Whether the words of the sentence stand in the reply, one after another."""
        sentence = self.subject.materials.sentences.sentences[int(row["asked"])]
        wanted, said = (" ".join(tokens(text.lower())) for text in (sentence, row["text"]))
        return f" {wanted} " in f" {said} "

    def _both(self, found: Found, address: Address, kind: str) -> dict[str, bool]:
        """Word -> whether it is named in the one reply and its sentence repeated in the other."""
        repeats = {row["word"]: self._repeats(row) for row in found.rows(address, kind, "repeat", "text")}
        named = {row["word"]: found.names(row) for row in found.rows(address, kind, "thought", "text")}
        return {word: named[word] and repeats[word] for word in named if word in repeats}

    def _gains(self, found: Found, address: Address, kind: str, ask: str = "thought") -> dict[str, float]:
        ranks = {row["word"]: row.get("gain_rank") for row in found.rows(address, kind, ask)}
        return {word: rank for word, rank in ranks.items() if rank is not None}

    def _line(self, found: Found, address: Address, kind: str) -> dict[str, Any]:
        estimates = self._estimates(found, address, kind)
        if kind == NONE:
            estimates[-1] = Estimate.undefined("what it is held against")
        return line_of(KINDS[kind], estimates, said_of_swaps(found, address, "thought") if kind == SWAPPED else "")

    def _estimates(self, found: Found, address: Address, kind: str) -> list[Estimate]:
        """Names the word, repeats the sentence, both, and the rank of the word's gain."""
        return [
            found.share(found.rows(address, kind, "thought", "text"), found.names),
            found.share(found.rows(address, kind, "repeat", "text"), self._repeats),
            exact(list(self._both(found, address, kind).values())),
            found.by_word(self._gains(found, address, kind), within_one=True),
        ]

    def _cell(self, found: Found, place: tuple[int, float]) -> dict[str, Any]:
        address: Address = ("exploration", *place)
        named, repeated, both, gain = self._estimates(found, address, "concept")
        random = found.by_word(self._gains(found, address, "random"), within_one=True)
        estimates = {"both": both, "named": named, "repeated": repeated, "gain_rank": gain}
        for ask in ELSEWHERE:
            estimates[ask] = found.by_word(self._gains(found, address, "concept", ask), within_one=True)
        estimates["random"] = random
        return {
            "layer": place[0],
            "strength": place[1],
            "n_trials": found.n_rows[address],
            "n_not_finite": found.not_finite.get(address, 0),
            "measures": {name: each.to_json() for name, each in estimates.items()},
        }


def _pushed(found: Found, ask: str, pushed: dict[str, float], asked_for: Estimate) -> list[dict[str, Any]]:
    """Rows of a table: what a vector pushes towards the output whatever is asked, and what asking for the word adds."""
    return [
        line_of(
            f"rank of the gain where an unrelated question is asked, for {ELSEWHERE[ask]}",
            [found.by_word(pushed, within_one=True)],
            "after the same sentence under the same vector: what is pushed whatever is asked",
        ),
        line_of(
            f"rank of the gain where the word is asked for, minus that for {ELSEWHERE[ask]}",
            [asked_for],
            "what asking for it adds",
        ),
    ]
