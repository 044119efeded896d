"""Readable internals: does the confidence that a model states follow the state from which it answered?

A question is answered at once, at the first token. Of that pass are kept the entropy over options, the margin between
the two best, the norm of the residual stream by layer at the token the answer is read from, and how often Gaussian
noise there leaves the answer as it is (evaluated models have no dropout). Then the model rates its answer from 0 to 9,
in two wordings, on the scale and on the scale turned round; what counts is the expected rating over digits.

Known trade-offs: ten digits rather than 0 to 100, so that each is told apart by one token; the rating is a new turn
that reads question and answer again, so it may follow the text instead of the state, which is what the predictor that
sees the text alone is for (words, the answer's letter and the length; it counts words and reads no meaning, so going
beyond it is no evidence of access); and noise at one token disturbs only what is still to come there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from ..assets import data_path, user_path
from ..backends import Capture, Sampling, Steer
from ..cells import Done, Row
from ..forced import Ids
from ..injection.trials import Trial, first_tokens, told_apart
from ..tasks.choice import parts, right_letter
from ..tasks.item import Item, items_text, read_items
from .base import NaturalStudy, Unit, Work
from .choose import some_items
from .confidence_spec import Confidence
from .subject import SITE, Subject, n_shared

LEAD = "Answer:"
RATING_LEAD = "Number:"
HIGHEST = 9
DIGITS = tuple(str(i) for i in range(HIGHEST + 1))
WORDINGS = (
    (
        "How sure are you that your answer is right? Give one number from 0 to 9.",
        "0 means surely wrong, 9 means surely right.",
        "0 means surely right, 9 means surely wrong.",
    ),
    (
        "What is the chance that the answer above is correct? Give one number from 0 to 9.",
        "0 means no chance, 9 means certain.",
        "0 means certain, 9 means no chance.",
    ),
)
"""A question, what its numbers mean, and what they mean turned round."""
ORDERS = ("normal", "reversed")


class ConfidenceStudy(NaturalStudy):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.spec = cast(Confidence, subject.spec)
        given = self.spec.items
        self.every = read_items(user_path(given) if "/" in given else data_path(given))
        self.digits = told_apart(self.loaded, DIGITS, RATING_LEAD)
        n_layers = self.loaded.info.n_layers
        self.noisy = tuple(sorted({min(n_layers - 1, int(depth * n_layers)) for depth in self.spec.noise.depths}))

    @cached_property
    def items(self) -> list[Item]:
        """The questions, as balanced as a limit leaves them."""
        return some_items(self.every, self.spec.limit)

    def materials(self) -> str:
        """See `NaturalStudy.materials`."""
        return hashlib.sha256((items_text(self.items) + repr(WORDINGS)).encode()).hexdigest()

    def cells(self) -> list[Unit]:
        """A batch of questions each."""
        return [Unit("questions", i) for i in range(-(-len(self.items) // self.spec.batch))]

    def run(self, unit: Unit, done: Done) -> list[Row]:
        """See `NaturalStudy.run`."""
        start = unit.number * self.spec.batch
        batch = self.items[start : start + self.spec.batch]
        return self._questions(batch)

    def work(self) -> Work:
        """See `NaturalStudy.work`."""
        noise, passes, tokens = self.spec.noise, 0, 0
        rows = noise.draws * len(noise.sizes) * len(self.noisy)
        for item in self.items:
            prefix = self._prefix(item)
            asked = self._asked(item, next(iter(item.options)))
            same = n_shared(asked)
            passes += 3 + rows + len(asked)
            tokens += 2 * len(prefix) + rows + same + sum(len(each) - same for each in asked)
        return Work(passes, tokens, 0)

    def results(self, done: Done) -> dict[str, Any]:
        """See `NaturalStudy.results`."""
        from .confidence_results import found_of

        return found_of(self, done)

    def question(self, item: Item) -> str:
        """What is asked: the question with its options, to be answered at once."""
        taken = parts(item)
        *most, last = taken.options
        lines = [taken.stem, *(f"{letter}) {text}" for letter, text in taken.options.items())]
        return "\n".join([*lines, f"Reply with one letter: {', '.join(most)} or {last}."])

    def _prefix(self, item: Item) -> Ids:
        """Up to the token from which the answer is read."""
        names = told_apart(self.loaded, tuple(item.options), LEAD)
        return (*self.subject.led(self.subject.asked(self.question(item)), LEAD), *names.common)

    def _asked(self, item: Item, answer: str) -> list[Ids]:
        """Up to the token from which each rating is read: wordings, and both ways round of each."""
        before = [
            {"role": "user", "content": self.question(item)},
            {"role": "assistant", "content": f"{LEAD} {answer}"},
        ]
        found = []
        for asked, *meanings in WORDINGS:
            for meaning in meanings:
                prompt = self.subject.asked(f"{asked} {meaning}", before)
                found.append((*self.subject.led(prompt, RATING_LEAD), *self.digits.common))
        return found

    def _questions(self, items: Sequence[Item]) -> list[Row]:
        layers = tuple(range(self.loaded.info.n_layers))
        letters = [tuple(item.options) for item in items]
        tokens = [told_apart(self.loaded, each, LEAD).tokens for each in letters]
        watch = sorted({token for each in tokens for token in each.values()})
        prefixes = [self._prefix(item) for item in items]
        made = self.backend.generate(
            prefixes,
            seeds=[0] * len(items),
            sampling=Sampling(1, 0.0, frozenset()),
            capture=Capture((SITE,), layers),
            watch=watch,
            lanes=self.spec.batch_size,
        )
        rows = []
        for item, own, prefix, one in zip(items, tokens, prefixes, made, strict=True):
            logs = {letter: float(one.watched[0, watch.index(token)]) for letter, token in own.items()}
            states = np.stack([one.activations[SITE, layer][0].float().numpy() for layer in layers])
            row = self._of_answer(item, prefix, logs, states)
            if row["finite"]:
                row |= {"kept": self._kept(item, prefix, own, row["answer"], states)}
                row |= self._rated(item, row["answer"])
            rows.append(row)
        return rows

    def _of_answer(self, item: Item, prefix: Ids, logs: dict[str, float], states: np.ndarray) -> Row:
        """What the pass that answers shows."""
        about: Row = {
            "item_id": item.item_id,
            "group": item.group,
            "subject": item.domain,
            "text": self.question(item),
            "n_tokens": len(prefix),
            "right": right_letter(item),
        }
        values = np.array(list(logs.values()))
        if not (np.isfinite(values).all() and np.isfinite(states).all()):
            return {**about, "finite": False}
        shares = np.exp(values - np.logaddexp.reduce(values))
        best, second = np.sort(values)[::-1][:2]
        answer = list(logs)[int(values.argmax())]
        return {
            **about,
            "finite": True,
            "answer": answer,
            "correct": answer == about["right"],
            "mass": round(float(np.exp(values).sum()), 6),
            "p": round(float(shares.max()), 6),
            "entropy": round(float(-(shares * np.log(np.maximum(shares, 1e-300))).sum()), 6),
            "margin": round(float(best - second), 6),
            "norms": [round(float(each), 4) for each in np.linalg.norm(states, axis=1)],
        }

    def _kept(
        self, item: Item, prefix: Ids, tokens: Mapping[str, int], answer: str, states: np.ndarray
    ) -> list[list[float | None]]:
        """Share of noisy passes that keep the answer, [layer][size]; None where none gave numbers."""
        noise, width = self.spec.noise, self.loaded.info.width
        many = noise.draws * len(noise.sizes)
        last, steer = range(len(prefix) - 1, len(prefix)), []
        for at, layer in enumerate(self.noisy):
            rng = np.random.default_rng(self.subject.seed_of("noise", item.item_id, layer))
            drawn = rng.standard_normal((many, width)) / np.sqrt(width) * np.linalg.norm(states[layer])
            drawn *= np.repeat(noise.sizes, noise.draws)[:, None]
            vectors = np.zeros((many * len(self.noisy), width), dtype=np.float32)
            vectors[at * many : (at + 1) * many] = drawn
            doses = tuple(float(row // many == at) for row in range(len(vectors)))
            steer.append(Steer(SITE, layer, torch.from_numpy(vectors), doses, (last,) * len(vectors)))
        best: list[str | None] = [None] * (many * len(self.noisy))
        found = self.backend.branches(prefix[:-1], [prefix[-1:]] * len(best), at=[0], steer=steer)
        for numbers, logits in found:
            values = logits[:, 0, list(tokens.values())].float().cpu().numpy()
            for place, number in enumerate(numbers):
                if np.isfinite(values[place]).all():
                    best[number] = list(tokens)[int(values[place].argmax())]
        out: list[list[float | None]] = []
        for at in range(len(self.noisy)):
            line: list[float | None] = []
            for size in range(len(noise.sizes)):
                begin = at * many + size * noise.draws
                here = [each for each in best[begin : begin + noise.draws] if each is not None]
                line.append(round(sum(each == answer for each in here) / len(here), 6) if here else None)
            out.append(line)
        return out

    def _rated(self, item: Item, answer: str) -> Row:
        """Expected ratings, 0 to 100, 100 being surely right: [wording][order]; and their probability."""
        prompts = self._asked(item, answer)
        watch = tuple(self.digits.tokens[digit] for digit in DIGITS)
        same = n_shared(prompts)
        trials = [Trial({}, prompt, shared=same, watch=watch) for prompt in prompts]
        found = first_tokens(self.backend, 0, trials, self.loaded.info.width)
        scores: list[float | None] = []
        masses = []
        for number, logs in enumerate(found):
            if logs is None:
                scores.append(None)
                continue
            shares = np.exp(np.array(logs) - np.logaddexp.reduce(logs))
            rating = float(shares @ np.arange(HIGHEST + 1)) / HIGHEST * 100
            scores.append(round(100 - rating if number % len(ORDERS) else rating, 4))
            masses.append(float(np.exp(logs).sum()))
        pairs = [scores[i : i + len(ORDERS)] for i in range(0, len(scores), len(ORDERS))]
        return {"ratings": pairs, "rating_mass": round(float(np.mean(masses)), 6) if masses else None}
