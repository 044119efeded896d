"""Injected thought: is a thought reported where a word's vector is added from just before the question on, and which.

A word always has the same wording, questions and place among sentences, so that every cell and control asks it the
same. The grid has the concept vector and the random one. The cell that is chosen has all controls, at the first token
on the words explored too, and with replies on words held out: long ones where a word may be named, short ones where a
yes, a no or a letter is looked for. There another prompt's activations are swapped in: on the prompt's tokens, the
reply's own are not swapped.
"""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any, ClassVar

from ..cells import Done
from ..concepts import Filled, fill, fill_sentences
from ..concepts.sentences import LISTED
from ..steering.interventions import ENDLESS
from .cells import IN_GRID, Cell, Place, Plan, Study
from .elsewhere import ELSEWHERE, elsewhere
from .subject import NONE, SWAPPED, Subject
from .thought_results import choose_cell, thought_results
from .trials import Trial, told_apart

CACHE_ONLY = "before"
"""The concept vector on the tokens before the question only: what is left of it is in the keys and values kept."""
NAMING = ("which", *ELSEWHERE)
"""Asks whose answer begins as a word's does."""
BASELINE_SAMPLES = 2
"""Replies without injection for each word."""


class Thought(Study):
    """See the module."""

    METHOD: ClassVar[int] = 4
    """4: an unrelated question is asked that is answered with a word, beside one that is answered with yes or no."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.letters = told_apart(self.loaded, tuple(string.ascii_uppercase[:LISTED]), self.spec.lead.answer)

    def cells(self) -> list[Cell]:
        """As of any study; then the other controls at the chosen cell, on the words that it was chosen on."""
        return [*super().cells(), Cell("exploration", chosen=True)]

    def kinds(self, cell: Cell) -> tuple[str, ...]:
        """See `Study.kinds`."""
        kinds = super().kinds(cell)
        return tuple(each for each in kinds if each not in IN_GRID) if _is_again(cell) else kinds

    def plan(self, cell: Cell) -> Plan:
        """See `Study.plan`."""
        first: list[Trial] = []
        texts: list[Trial] = []
        seen: set[tuple[Any, ...]] = set()
        for number, word in enumerate(self.subject.words[cell.part]):
            place = Place(number, word)
            for each in self._vectors_asked(cell, place) if _is_again(cell) else self._asked(cell, place):
                about = each.about
                # Without injection, equal prompts give equal first tokens, whatever word they are asked for.
                key = (about["ask"], about["wording"], about["asked"], about["kind"] != NONE and (word, about["kind"]))
                if key not in seen:
                    seen.add(key)
                    first.append(each)
            texts += [] if _is_again(cell) else self._texts(cell, place)
        return Plan(first, texts)

    def read(self, trial: Trial, values: list[float] | None, done: Done) -> dict[str, Any]:
        """See `Study.read`."""
        if trial.about["ask"] in NAMING:
            return self.rank(trial, values, done)
        if trial.about["ask"] == "localise":
            return {"finite": False} if values is None else {"finite": True, "letters": values}
        return super().read(trial, values, done)

    def choose(self, done: Done) -> tuple[int, float]:
        """See `Study.choose`."""
        return choose_cell(done, self.spec)[0]

    def results(self, done: Done) -> dict[str, Any]:
        """See `Study.results`."""
        return thought_results(self.subject, done, self.names["exploration"], self.names["confirmation"])

    def _vectors_asked(self, cell: Cell, place: Place) -> list[Trial]:
        """Whether there is a thought, both ways round, under everything that is put into the cell's trials."""
        trial = self.subject.prompts.trials[place.number % len(self.subject.prompts.trials)]
        kinds = self.kinds(cell)
        out = [self._one(cell, place, kind, "detect", trial.detect) for kind in kinds]
        out += [self._one(cell, place, kind, "reversed", trial.reversed) for kind in kinds]
        if cell.chosen:
            out.append(self._one(cell, place, CACHE_ONLY, "detect", trial.detect))
        return out

    def _asked(self, cell: Cell, place: Place) -> list[Trial]:
        """Questions that are answered with yes or no, with the word, or with the letter of a sentence."""
        trial = self.subject.prompts.trials[place.number % len(self.subject.prompts.trials)]
        out = self._vectors_asked(cell, place)
        out.append(self._one(cell, place, "concept", "which", trial.which))
        for ask, word in (("concept", place.word), ("concept_other", self._other(place))):
            out.append(self._one(cell, place, "concept", ask, fill(trial.concept, word=word).text, word))
        for ask, text, index in elsewhere(self.subject.materials.sentences, trial, place.number, self.spec.questions):
            out.append(self._one(cell, place, "concept", ask, text, str(index)))
        for index, pair in self._questions(place):
            for ask, question in (("unrelated_no", pair.no), ("unrelated_yes", pair.yes)):
                text = fill(trial.unrelated, question=question).text
                out.append(self._one(cell, place, "concept", ask, text, str(index)))
        return [*out, self._localise(cell, place)]

    def _other(self, place: Place) -> str:
        """The word that the mismatched question asks about."""
        return self.subject.controls[place.number % len(self.subject.controls)]

    def _questions(self, place: Place) -> list[tuple[int, Any]]:
        pairs = self.subject.materials.sentences.questions
        many = min(self.spec.questions, len(pairs))
        indices = [(place.number * many + k) % len(pairs) for k in range(many)]
        return [(index, pairs[index]) for index in indices]

    def _one(
        self, cell: Cell, place: Place, kind: str, ask: str, text: str, asked: str = "", *, reply: bool = False
    ) -> Trial:
        """A trial that asks; with a lead to its first token, or as a reply that is sampled."""
        wording = place.number % len(self.subject.prompts.trials)
        prompt = self.chats.render(self.subject.prompts.trials[wording].messages(text))
        start = max(1, self.chats.tokens_of(prompt, text).start - 1)
        names = self.names[cell.part] if ask in NAMING else self.yes_no
        tokens = {name: names.tokens[name] for name in names.alone()}
        before, swap = kind == CACHE_ONLY, self.swap(place.number) if kind == SWAPPED else None
        about = self.about(cell, place, kind, ask, wording, asked)
        return Trial(
            about,
            self.chats.replying(prompt) if reply else self.chats.led(prompt, names),
            self.added(cell, place.word, "concept" if before else kind),
            range(1, start) if before else range(start, ENDLESS if swap is None else len(prompt)),
            1 if before else start,
            tuple(tokens.values()),
            self.seed(about),
            swap=swap,
        )

    def _localise(self, cell: Cell, place: Place, *, reply: bool = False) -> Trial:
        """Which of ten sentences was injected; places are balanced over words."""
        wordings, sentences = self.subject.prompts.localise, self.subject.materials.sentences.sentences
        wording = place.number % len(wordings)
        block = (place.number // LISTED) % (len(sentences) // LISTED)
        filled: Filled = fill_sentences(wordings[wording], sentences[block * LISTED : (block + 1) * LISTED])
        prompt = self.chats.render([{"role": "user", "content": filled.text}])
        letters = list(self.letters.tokens)
        target = letters[place.number % LISTED]
        at = self.chats.tokens_of(prompt, filled.text, filled.at[target])
        first = self.chats.tokens_of(prompt, filled.text, filled.at[letters[0]]).start
        about = self.about(cell, place, "concept", "localise", wording, str(block)) | {"target": target}
        shown = self.chats.replying(prompt) if reply else self.chats.led(prompt, self.letters)
        watch, seed = tuple(self.letters.tokens.values()), self.seed(about)
        return Trial(about, shown, self.added(cell, place.word, "concept"), at, first, watch, seed, short=reply)

    def _texts(self, cell: Cell, place: Place) -> list[Trial]:
        """Replies that are sampled."""
        trial = self.subject.prompts.trials[place.number % len(self.subject.prompts.trials)]
        index, pair = self._questions(place)[0]
        unrelated = fill(trial.unrelated, question=pair.no).text

        def one(kind: str, ask: str, text: str, asked: str = "") -> Trial:
            return self._one(cell, place, kind, ask, text, asked, reply=True)

        if cell.layer is None:
            again = [one(NONE, "detect", trial.detect) for _ in range(BASELINE_SAMPLES)]
            out = [replace(each, seed=self.seed(each.about, k)) for k, each in enumerate(again)]
            out += [one(NONE, "which", trial.which), one(NONE, "unrelated_no", unrelated, str(index))]
            return out if cell.part == "exploration" else [*out, *self._shortly(cell, place)]
        out = [one("concept", "which", trial.which)]
        if cell.part == "exploration":
            return [*out, *(one(kind, "detect", trial.detect) for kind in IN_GRID)]
        out += [one(kind, "detect", trial.detect) for kind in (*self.kinds(cell), CACHE_ONLY)]
        out.append(one("concept", "unrelated_no", unrelated, str(index)))
        return [*out, *self._shortly(cell, place), self._localise(cell, place, reply=True)]

    def _shortly(self, cell: Cell, place: Place) -> list[Trial]:
        """Short replies to what else is answered with yes or no."""
        trial = self.subject.prompts.trials[place.number % len(self.subject.prompts.trials)]
        index, pair = self._questions(place)[0]
        asked = [(kind, "reversed", trial.reversed, "") for kind in self.kinds(cell) if kind in IN_GRID]
        for ask, word in (("concept", place.word), ("concept_other", self._other(place))):
            asked.append(("concept", ask, fill(trial.concept, word=word).text, word))
        asked.append(("concept", "unrelated_yes", fill(trial.unrelated, question=pair.yes).text, str(index)))
        return [replace(self._one(cell, place, *each, reply=True), short=True) for each in asked]


def _is_again(cell: Cell) -> bool:
    """Whether it is the chosen cell on the words that it was chosen on."""
    return cell.chosen and cell.part == "exploration"
