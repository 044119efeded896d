"""What a family of programming problems is, and how arguments of its tests are drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Level = int | str
Draw = Callable[[random.Random], Any]

_WORDS = """
amber apron arrow badge barn basket bee blanket bottle branch bread breeze brook brush bucket cabin candle canoe
carpet castle cellar chalk cheese cloud coat copper corner cotton dawn desk ditch dove dream drum eagle ear
elbow engine evening falcon farm feather fence fern field flute fog forest garden gate glove goose grass hammer
harbour hat hill honey island ivy jacket jar jewel kettle key kite ladder lake lamp lantern leaf letter lion
maple market meadow melon mirror moss nest oak oar onion orchard oven owl paper pear pebble pepper pine plate
pond puddle rain ribbon river road roof rope sail salt sea shell shoe silk sky snow spoon stone straw table
thread tower tree tulip valley violin wagon water wheel willow window winter wolf wool yard
"""
WORDS = _WORDS.split()


@dataclass(frozen=True)
class Family:
    """Problems that differ in one number or text, `{k}`, and in their tests."""

    name: str
    """Of the function too."""
    says: str
    """What the function is to return. `{k}` stands for the level."""
    arguments: dict[str, Draw]
    """Parameter name -> how its values are drawn."""
    levels: tuple[Level, ...]
    reference: Callable[..., Any]
    """Level and arguments -> what is to be returned: a JSON value without fractions."""
    body: str
    """The same as lines of Python, with the level as `{k}`; checked against the reference in the sandbox."""

    def statement(self, level: Level) -> str:
        """What the function is to return, at this level."""
        return self.says.replace("{k}", str(level))

    def program(self, level: Level) -> str:
        """A program that solves the problem."""
        lines = self.body.replace("{k}", repr(level)).split("\n")
        return "\n".join([f"def {self.name}({', '.join(self.arguments)}):", *(f"    {line}" for line in lines)]) + "\n"


def number(low: int, high: int) -> Draw:
    """A whole number, both bounds included."""
    return lambda rng: rng.randint(low, high)


def numbers(low: int, high: int, shortest: int, longest: int) -> Draw:
    """A list of whole numbers."""
    return lambda rng: [rng.randint(low, high) for _ in range(rng.randint(shortest, longest))]


def word(shortest: int = 3, longest: int = 99) -> Draw:
    """A word of so many letters."""
    fitting = [each for each in WORDS if shortest <= len(each) <= longest]
    return lambda rng: rng.choice(fitting)


def words(fewest: int, most: int) -> Draw:
    """Different words with single spaces between them."""
    return lambda rng: " ".join(rng.sample(WORDS, rng.randint(fewest, most)))


def runs(letters: str, fewest: int, most: int, longest: int) -> Draw:
    """A text of runs of equal letters."""
    return lambda rng: "".join(rng.choice(letters) * rng.randint(1, longest) for _ in range(rng.randint(fewest, most)))
