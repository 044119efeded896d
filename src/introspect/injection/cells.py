"""Cells of a study: without injection, then layer by strength, then the chosen one again on words held out.

Every kind of study says which trials a cell has and how a cell is judged; running them is done here, for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..backends import Sampling
from ..cells import Done, Row
from ..errors import StoreError
from ..plan import rollout_seed
from ..stage_file import plan_digest
from .claims import read_claim, readable, repetition
from .sentences import headline, warnings_of
from .subject import NONE, SWAPPED, VECTORS, Part, Subject
from .swaps import filled_in
from .trials import Chats, Names, Reply, Swap, Trial, first_tokens, name_tokens, replies, surprise, told_apart

YES_NO = ("Yes", "yes", "No", "no")
"""As a reply may spell them; the first two are yes."""
IN_GRID = ("concept", "random")
"""What every cell of the grid has; other controls cost as much again, and are for the cell that is chosen."""


class Place(NamedTuple):
    """What a word's prompt is made of, by its number among the words."""

    number: int
    word: str


@dataclass(frozen=True)
class Cell:
    """Trials that are committed together. Without layer and strength: no injection. `chosen`: at the best cell's."""

    part: Part
    layer: int | None = None
    strength: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Plan:
    """A cell's trials."""

    first: Sequence[Trial]
    """Read at the first token."""
    texts: Sequence[Trial]
    """Sampled."""


class Study(ABC):
    """One kind of study, on a subject."""

    METHOD: ClassVar[int] = 2
    """2: a reply's surprise is that of its median token."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.spec, self.loaded, self.backend = subject, subject.spec, subject.loaded, subject.backend
        self.chats = Chats(subject.loaded)
        self.yes_no = told_apart(subject.loaded, YES_NO, self.spec.lead.answer)
        self.names: dict[Part, Names] = {
            part: name_tokens(subject.loaded, words, self.spec.lead.word) for part, words in subject.words.items()
        }
        self._vectors: dict[tuple[str, int, str], np.ndarray] = {}
        self._n_checked = 0

    def made_with(self) -> dict[str, Any]:
        """What rows depend on besides the model: the texts, and the plan, which an organism's card has a part in."""
        subject = self.subject
        return {
            "texts": subject.materials.digest(),
            "layers": list(subject.layers),
            "strengths": list(subject.strengths),
            "prompts": subject.size,
            "words": {part: list(words) for part, words in subject.words.items()},
        }

    def cells(self) -> list[Cell]:
        """In the order in which they are run."""
        grid = [Cell("exploration", layer, s) for layer in self.subject.layers for s in self.subject.strengths]
        return [Cell("exploration"), *grid, Cell("confirmation"), Cell("confirmation", chosen=True)]

    def digest(self) -> str:
        """SHA-256 of everything but the model that decides the rows of its cells."""
        return plan_digest([self.METHOD, self.spec.digest(), self.made_with(), *map(str, self.cells())])

    def after(self, index: int) -> int:
        """How many of the first cells the one of an index looks at: those with an injection at the one of their part
        without, a chosen one at the grid.
        """
        cells = self.cells()
        cell = cells[index]
        if not cell.chosen:
            return 0 if cell.layer is None else 1
        bare = cells.index(Cell(cell.part))
        last = max(place for place, each in enumerate(cells) if not each.chosen and each.part == "exploration")
        return max(bare, last) + 1

    def prepare(self) -> None:
        """Make what every cell needs."""
        self.subject.directions  # noqa: B018 - made once, and kept

    @abstractmethod
    def plan(self, cell: Cell) -> Plan:
        """The trials of a cell whose layer and strength are known."""

    @abstractmethod
    def choose(self, done: Done) -> tuple[int, float]:
        """Layer and strength of the best cell of the grid."""

    @abstractmethod
    def results(self, done: Done) -> dict[str, Any]:
        """What was found: the parts of results.json that differ from kind to kind."""

    def settled(self, cell: Cell, done: Done) -> Cell:
        """The cell, with the layer and strength that were chosen where they had to be."""
        if not cell.chosen:
            return cell
        layer, strength = self.choose(done)
        return replace(cell, layer=layer, strength=strength)

    def summary(self, done: Done) -> dict[str, Any]:
        """The content of results.json.

        Raises:
            StoreError: rows are not those of this study's cells.
        """
        self._check(done)
        results = {"schema_version": 1, "injection": self.subject.about(), **self.results(done)}
        return results | {"sentences": headline(results), "warnings": warnings_of(results)}

    def run_cell(self, cell: Cell, done: Done) -> list[Row]:
        """Run a cell once it is settled, and give its lines.

        Raises:
            StoreError: rows that are there are not those of the cells before it.
        """
        self._check(done)
        return self.run(self.settled(cell, done), done)

    def _check(self, done: Done) -> None:
        """Compare what rows say of themselves with the plan, each cell once."""
        cells = self.cells()
        for at in range(self._n_checked, len(done)):
            if at >= len(cells) or not all(self.is_of(at, row) for row in done[at]):
                what = f"none of its {len(cells)} cells" if at >= len(cells) else str(cells[at])
                raise StoreError(
                    f"trials.jsonl do not hold together (what stands for cell {at} is not {what}); choose another --out"
                )
        self._n_checked = len(done)

    def is_of(self, index: int, row: Row) -> bool:
        """Whether a row says that it is of the cell of an index; of one that is chosen, whether it could be."""
        cell = self.cells()[index]
        place = row["layer"], row["strength"]
        known = [(cell.layer, cell.strength)]
        if cell.chosen:
            known = [(each.layer, each.strength) for each in self.cells() if each.layer is not None]
        return row["part"] == cell.part and place in known

    def run(self, cell: Cell, done: Done) -> list[Row]:
        """Run a cell and give its lines."""
        plan, layer, width = self.swapped(cell, self.plan(cell)), cell.layer or 0, self.loaded.info.width
        backend = self.backend
        rows = [
            {**each.about, "as": "logits", "steered": each.steered, **self.read(each, values, done)}
            for each, values in zip(plan.first, first_tokens(backend, layer, plan.first, width), strict=True)
        ]
        found = self._replies(layer, plan.texts)
        nats = surprise(backend, [each.prompt for each in plan.texts], found)
        for trial, reply, surprised in zip(plan.texts, found, nats, strict=True):
            rows.append(
                {
                    **trial.about,
                    "as": "text",
                    "steered": trial.steered,
                    "text": reply.text,
                    "finish": reply.finish,
                    "claim": read_claim(reply.text).claim,
                    "nats": surprised,
                    "repetition": round(repetition(reply.text), 6),
                    "readable": round(readable(reply.text), 6),
                }
            )
        return rows

    def _replies(self, layer: int, trials: Sequence[Trial]) -> list[Reply]:
        """A reply of each trial, those that may be as long side by side."""
        text, stop_ids = self.spec.text, self.loaded.format.stop_ids(self.loaded.tokenizer)
        found: dict[int, Reply] = {}
        for most in sorted({each.most(text.max_new_tokens) for each in trials}, reverse=True):
            here = [index for index, each in enumerate(trials) if each.most(text.max_new_tokens) == most]
            sampling = Sampling(most, text.temperature, stop_ids)
            some = [trials[index] for index in here]
            made = replies(self.backend, self.loaded, layer, some, sampling, text.batch_size)
            found |= dict(zip(here, made, strict=True))
        return [found[index] for index in range(len(trials))]

    def swapped(self, cell: Cell, plan: Plan) -> Plan:
        """A cell's trials, with what their swaps come to."""
        trials = [*plan.first, *plan.texts]
        if cell.layer is None or all(each.swap is None for each in trials):
            return plan
        made = filled_in(self.backend, cell.layer, self.subject.typical[cell.layer], trials)
        return Plan(made[: len(plan.first)], made[len(plan.first) :])

    def swap(self, number: int) -> Swap:
        """The tokens of the prompt that is swapped in for the word of a number: a sentence, up to the reply to it."""
        prompt = self.chats.render([{"role": "user", "content": self.subject.sentence_elsewhere(number)}])
        return Swap(prompt, range(1, len(prompt)))

    def kinds(self, cell: Cell) -> tuple[str, ...]:
        """What is put into a cell's trials: in the grid the concept vector and a random one; all at the chosen cell."""
        if cell.layer is None:
            return VECTORS[:1]
        return (*VECTORS, SWAPPED) if cell.chosen else IN_GRID

    def read(self, trial: Trial, values: list[float] | None, done: Done) -> dict[str, Any]:
        """What the line of a trial says of its first token: log-probabilities of yes and no, however spelled."""
        if values is None:
            return {"finite": False}
        yes, no = np.logaddexp(values[0], values[1]), np.logaddexp(values[2], values[3])
        return {"finite": True, "yes": float(yes), "no": float(no)}

    def rank(self, trial: Trial, values: list[float] | None, done: Done) -> dict[str, Any]:
        """What the line of a trial says that asks for a word: of those without injection every word's log-probability;
        of others, the share of the other words that are less probable than the word, and whose log-probability grew
        less over that without injection. Chance is one half.
        """
        if values is None:
            return {"finite": False}
        names = self.names[trial.about["part"]].alone()
        if trial.about["kind"] == NONE:
            return {"finite": True, "scores": values}
        word = trial.about["word"]
        if word not in names:
            return {"finite": True}
        own = names.index(word)
        key = key_of(trial.about)
        before = next(row for cell in done for row in cell if row["kind"] == NONE and key_of(row) == key)
        gains = [a - b for a, b in zip(values, before["scores"], strict=True)] if before.get("scores") else None
        return {
            "finite": True,
            "rank": below(values, own),
            "gain_rank": None if gains is None else below(gains, own),
        }

    def added(self, cell: Cell, word: str, kind: str) -> np.ndarray | None:
        """The vector of a word's trials in a cell, float32 [width]; None without injection, and where it is swapped."""
        if cell.layer is None or cell.strength is None or kind == SWAPPED:
            return None
        key = word, cell.layer, kind
        if key not in self._vectors:
            self._vectors[key] = self.subject.vector(word, cell.layer, kind)  # type: ignore[arg-type]
        scaled: np.ndarray = self._vectors[key] * np.float32(cell.strength)
        return scaled

    def about(self, cell: Cell, place: Place, kind: str, ask: str, wording: int, asked: str = "") -> dict[str, Any]:
        """What every line says of its trial."""
        return {
            "part": cell.part,
            "layer": cell.layer,
            "strength": cell.strength,
            "word": place.word,
            "category": self.subject.category(place.word),
            "kind": kind if cell.layer is not None else NONE,
            "ask": ask,
            "wording": wording,
            "asked": asked,
        }

    def seed(self, about: Mapping[str, Any], sample: int = 0) -> int:
        """Of a sampled reply."""
        named = "/".join(str(about[key]) for key in ("part", "layer", "strength", "kind", "ask", "asked"))
        return rollout_seed(self.spec.seed, str(about["word"]), named, sample)


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a trial has in common with the one without injection that it is held against: the very same prompt."""
    return row["part"], row["ask"], row["wording"], row["asked"]


def below(values: Sequence[float], own: int) -> float | None:
    """The share of the other values that are below one of them; equal ones count half."""
    if len(values) < 2:
        return None
    less = sum((value < values[own]) + 0.5 * (value == values[own]) for i, value in enumerate(values) if i != own)
    return round(float(less) / (len(values) - 1), 6)
