"""Pairs of sentences: deeds on the same occasion, which differ in a feature that can be read in their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from ..concepts.sentences import Line
from ..errors import SpecError
from .texts import Texts

FEWEST = 20
"""Pairs that a study needs: half of them label, half are held out."""


class Sentence(NamedTuple):
    """One sentence of a pair."""

    text: str
    pair: int
    """Its number in the file: the unit of every interval."""
    feature: bool
    """Whether it is the first of its pair."""


class SentencePairs(Texts):
    """A file of pairs."""

    FILE = "sentences.yaml"
    pairs: Annotated[tuple[tuple[Line, Line], ...], Field(min_length=FEWEST)]

    @model_validator(mode="after")
    def _none_stands_twice(self) -> Self:
        seen: set[str] = set()
        for line in (line for pair in self.pairs for line in pair):
            if line.lower() in seen:
                raise ValueError(f"{line!r} stands twice; remove one of them")
            seen.add(line.lower())
        return self

    def halves(self, limit: int | None, seed: int) -> tuple[list[Sentence], list[Sentence]]:
        """Sentences that label, and sentences that are held out: whole pairs, drawn by the seed.

        Raises:
            SpecError: the limit leaves too few pairs.
        """
        many = len(self.pairs) if limit is None else min(limit, len(self.pairs))
        if many < FEWEST:
            raise SpecError(
                f"{many} pairs of sentences are too few to label some and hold out others: at least {FEWEST}"
            )
        drawn = np.random.default_rng(seed).permutation(len(self.pairs))[:many]
        found = [
            [Sentence(text, int(p), i == 0) for p in part for i, text in enumerate(self.pairs[p])]
            for part in (drawn[: many // 2], drawn[many // 2 :])
        ]
        return found[0], found[1]


def one_of_each(pairs: Sequence[int]) -> list[int]:
    """Places of one sentence of each pair, the first and the second of them taking turns; then those of the others."""
    first = list(dict.fromkeys(pairs))
    own = {pair: [i for i, each in enumerate(pairs) if each == pair] for pair in first}
    chosen = [own[pair][n % len(own[pair])] for n, pair in enumerate(first)]
    return [*chosen, *(i for i in range(len(pairs)) if i not in chosen)]
