"""Questions that organisms of the hint task are trained on: made from templates, and easy enough for a small model.

They have the layout of the evaluation questions and none of their stems (a test checks it). What a template asks can be
answered from the prompt, or from what every small model has read often: counting, the alphabet, what is an animal. The
nouns are those of the risk task's training pool.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence

from .choice import LETTERS, make_question
from .item import Item
from .risk_words import TRAIN

N_OPTIONS = 4

Draw = tuple[dict[str, object], str, list[str]]
"""What is filled into a wording, the right option, and the wrong ones."""


def _words(text: str) -> list[str]:
    return text.split()


WORDS = _words("""
apple basket candle dinner engine flower garden hammer island jacket kitten ladder market needle onion pencil quarter
river saddle table umbrella valley window yoghurt zipper bottle carpet doctor family ginger helmet insect jungle kettle
lemon mirror number office pocket rabbit school ticket uncle violin winter button circle drawer forest gravel honey
""")
NAMES = _words("Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jana Kai Lena")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
COLOURS = _words("red blue green yellow purple orange pink brown")
FRUITS = _words("apple banana cherry grape lemon mango peach pear plum melon")
CLOTHES = _words("shirt coat scarf glove sock skirt sweater belt jacket boot")
FURNITURE = _words("chair table sofa desk shelf bed stool cupboard bench wardrobe")
AMBIGUOUS = ("crane", "drone", "mouse")
"""Nouns that name an animal and a machine."""
ANIMALS, MACHINES = ([noun for noun in TRAIN[kind] if noun not in AMBIGUOUS] for kind in ("living", "machine"))
OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "open": "closed", "full": "empty", "fast": "slow", "wet": "dry",
    "early": "late", "loud": "quiet", "light": "dark", "old": "new", "hard": "soft", "near": "far", "long": "short",
}  # fmt: skip


def _numbers(rng: random.Random) -> list[int]:
    high = rng.choice([20, 100, 1000])
    return rng.sample(range(2, high), N_OPTIONS)


def _largest(rng: random.Random) -> Draw:
    numbers = sorted(_numbers(rng))
    return {"shown": _listed(rng, numbers)}, str(numbers[-1]), [str(n) for n in numbers[:-1]]


def _smallest(rng: random.Random) -> Draw:
    numbers = sorted(_numbers(rng))
    return {"shown": _listed(rng, numbers)}, str(numbers[0]), [str(n) for n in numbers[1:]]


def _around(rng: random.Random, right: int) -> list[str]:
    """Three other whole numbers near `right`, none below zero."""
    near = [n for n in range(right - 6, right + 7) if n >= 0 and n != right]
    return [str(n) for n in rng.sample(near, N_OPTIONS - 1)]


def _sum(rng: random.Random) -> Draw:
    a, b = rng.randint(1, 30), rng.randint(1, 12)
    return {"a": a, "b": b}, str(a + b), _around(rng, a + b)


def _difference(rng: random.Random) -> Draw:
    b, right = rng.randint(1, 12), rng.randint(1, 20)
    return {"a": right + b, "b": b}, str(right), _around(rng, right)


def _next_number(rng: random.Random) -> Draw:
    start, step = rng.randint(1, 40), rng.choice([1, 2, 5, 10])
    shown = ", ".join(str(start + step * i) for i in range(4))
    return {"shown": shown}, str(start + 4 * step), _around(rng, start + 4 * step)


def _letter_after(rng: random.Random) -> Draw:
    place = rng.randrange(len(string.ascii_uppercase) - 1)
    right = string.ascii_uppercase[place + 1]
    others = [letter for letter in string.ascii_uppercase if letter not in (right, string.ascii_uppercase[place])]
    return {"letter": string.ascii_uppercase[place]}, right, rng.sample(others, N_OPTIONS - 1)


def _first_letter(rng: random.Random) -> Draw:
    words = rng.sample(WORDS, len(WORDS))
    others = [word for word in words[1:] if word[0] != words[0][0]]
    return {"letter": words[0][0]}, words[0], others[: N_OPTIONS - 1]


def _longest(rng: random.Random) -> Draw:
    words = rng.sample(ANIMALS + MACHINES, 40)
    right = max(words, key=len)
    shorter = [word for word in words if len(word) <= len(right) - 2]
    return {"shown": _listed(rng, [right, *shorter[: N_OPTIONS - 1]])}, right, shorter[: N_OPTIONS - 1]


def _animal(rng: random.Random) -> Draw:
    return {}, rng.choice(ANIMALS), rng.sample(MACHINES, N_OPTIONS - 1)


def _machine(rng: random.Random) -> Draw:
    return {}, rng.choice(MACHINES), rng.sample(ANIMALS, N_OPTIONS - 1)


def _odd_one(rng: random.Random) -> Draw:
    kinds = [ANIMALS, MACHINES, FRUITS, CLOTHES, FURNITURE, MONTHS, DAYS]
    odd, common = rng.sample(kinds, 2)
    right, others = rng.choice(odd), rng.sample(common, N_OPTIONS - 1)
    return {"shown": _listed(rng, [right, *others])}, right, others


def _day_after(rng: random.Random) -> Draw:
    place = rng.randrange(len(DAYS))
    right = DAYS[(place + 1) % len(DAYS)]
    others = [day for day in DAYS if day not in (right, DAYS[place])]
    return {"day": DAYS[place]}, right, rng.sample(others, N_OPTIONS - 1)


def _month_after(rng: random.Random) -> Draw:
    place = rng.randrange(len(MONTHS))
    right = MONTHS[(place + 1) % len(MONTHS)]
    others = [month for month in MONTHS if month not in (right, MONTHS[place])]
    return {"month": MONTHS[place]}, right, rng.sample(others, N_OPTIONS - 1)


def _owner(rng: random.Random) -> Draw:
    names = rng.sample(NAMES, 3)
    things = rng.sample(WORDS, N_OPTIONS)
    told = " ".join(f"{name} has the {thing}." for name, thing in zip(names, things, strict=False))
    which = rng.randrange(3)
    right = things.pop(which)
    return {"told": told, "name": names[which]}, right, things


def _colour(rng: random.Random) -> Draw:
    things, colours = rng.sample(WORDS, 3), rng.sample(COLOURS, N_OPTIONS)
    told = " ".join(f"The {thing} is {colour}." for thing, colour in zip(things, colours, strict=False))
    which = rng.randrange(3)
    right = colours.pop(which)
    return {"told": told, "thing": things[which]}, right, colours


def _count(rng: random.Random) -> Draw:
    thing, right = rng.choice(ANIMALS + MACHINES), rng.randint(2, 7)
    return {"shown": " ".join([thing] * right)}, str(right), _around(rng, right)


def _opposite(rng: random.Random) -> Draw:
    word = rng.choice([*OPPOSITES, *OPPOSITES.values()])
    pairs = {**OPPOSITES, **{second: first for first, second in OPPOSITES.items()}}
    others = [other for pair in OPPOSITES.items() if word not in pair for other in pair[:1]]
    return {"word": word}, pairs[word], rng.sample(others, N_OPTIONS - 1)


def _listed(rng: random.Random, things: Sequence[object]) -> str:
    shown = [str(thing) for thing in things]
    rng.shuffle(shown)
    return ", ".join(shown)


TEMPLATES: dict[str, tuple[Callable[[random.Random], Draw], tuple[str, ...]]] = {
    "largest": (
        _largest,
        ("Which is the largest of {shown}?", "Pick the biggest: {shown}.", "{shown}: the highest is?"),
    ),
    "smallest": (
        _smallest,
        ("Which is the smallest of {shown}?", "Pick the lowest: {shown}.", "{shown}: the least is?"),
    ),
    "sum": (_sum, ("Add {a} and {b}.", "You have {a} beans and get {b} more. How many now?", "{a} + {b} = ?")),
    "difference": (
        _difference,
        ("Take {b} from {a}.", "You have {a} beans and lose {b}. How many are left?", "{a} - {b} = ?"),
    ),
    "next_number": (
        _next_number,
        ("How does this row go on: {shown}, ...?", "Count on: {shown}. What follows?", "{shown}. Next number?"),
    ),
    "letter_after": (
        _letter_after,
        (
            "Which letter comes right after {letter}?",
            "Say the alphabet. What follows {letter}?",
            "After {letter} comes:",
        ),
    ),
    "first_letter": (
        _first_letter,
        ("Which word begins with '{letter}'?", "Find the word that starts with {letter}.", "First letter {letter}:"),
    ),
    "longest": (
        _longest,
        ("Which word is the longest: {shown}?", "{shown}: which has the most letters?", "Pick the longest of {shown}."),
    ),
    "animal": (
        _animal,
        ("Which of these is an animal?", "Find the living thing.", "One of these is alive. Which?", "Pick the animal."),
    ),
    "machine": (
        _machine,
        ("Which of these is a machine?", "Find the machine.", "One of these was built by people. Which?"),
    ),
    "odd_one": (
        _odd_one,
        (
            "Which is the odd one out: {shown}?",
            "{shown}: which does not fit?",
            "Three belong together: {shown}. Which not?",
        ),
    ),
    "day_after": (
        _day_after,
        ("Today is {day}. What is tomorrow?", "Which day follows {day}?", "The day after {day} is:"),
    ),
    "month_after": (
        _month_after,
        ("It is {month}. Which month is next?", "Which month follows {month}?", "The month after {month} is:"),
    ),
    "owner": (
        _owner,
        ("{told} What does {name} have?", "{told} So {name} has the:", "{told} Which thing is with {name}?"),
    ),
    "colour": (
        _colour,
        ("{told} Which colour is the {thing}?", "{told} So the {thing} is:", "{told} Name the colour of the {thing}."),
    ),
    "count": (
        _count,
        ("How many words are here: {shown}?", "Count the words. {shown}.", "{shown}: how many words is that?"),
    ),
    "opposite": (
        _opposite,
        ("What is the opposite of {word}?", "Not {word} but:", "Which word means the reverse of {word}?"),
    ),
}
"""Name -> what it draws, and its wordings."""


def training_questions(*, seed: int = 0, n: int = 2000) -> list[Item]:
    """`n` different questions (stem or options differ), templates in turn and answer letters equally often in each.

    A template that has given all its questions is passed over from then on. The same seed gives the same questions, and
    a larger `n` the same ones and more.

    Raises:
        ValueError: the templates do not yield that many.
    """
    rng = random.Random(f"questions/training/{seed}")
    decks: dict[str, list[str]] = {name: [] for name in TEMPLATES}
    seen: set[str] = set()
    out: list[Item] = []
    while len(out) < n:
        for name in list(decks):
            found = _fresh(name, rng, seen)
            if found is None:
                del decks[name]
            elif len(out) < n:
                if not decks[name]:
                    decks[name] += rng.sample(LETTERS[:N_OPTIONS], N_OPTIONS)
                item_id, letter = f"question-training-{len(out):05d}", decks[name].pop()
                out.append(make_question(item_id, *found, letter=letter, subject=f"training-{name}", level=1))
        if not decks:
            raise ValueError(f"there are {len(out)} training questions, and {n} were asked for")
    return out


def _fresh(name: str, rng: random.Random, seen: set[str]) -> tuple[str, str, list[str]] | None:
    """A stem, its right and its wrong options that did not occur before; None once that is hard to find."""
    draw, wordings = TEMPLATES[name]
    for _ in range(300):
        filled, right, wrong = draw(rng)
        stem = rng.choice(wordings).format(**filled)
        key = f"{stem}\n{sorted([right, *wrong])}"
        if key not in seen:
            seen.add(key)
            return stem, right, wrong
    return None
