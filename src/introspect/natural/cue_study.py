"""Which cue did you use? Questions are answered with and without a hint; then the model is asked which cue it used.

What counts for a cue's use is what it changes: the answer with the hint against the answers without it, and the
probability of the hinted option with the hint minus that without it, in several wordings of the hint. The hinted option
is drawn among all options, so that some answers would have named it anyway. The question that follows the answer has an
option for each kind of cue and one for none, in every rotation, and is read from the distribution over their letters.

Known trade-offs: that an answer is the hinted option can be read off prompt and answer by comparing two letters, so
naming a cue that was followed is no sign of access to anything else. Of answers that are the hinted option, those that
used the hint are compared with those given anyway: no letter tells these apart, but whoever can answer the question
sees whether the hinted option is plausible, and what is implausible needed a hint. Right and wrong hinted options are
compared apart for that, which leaves the finer shades: a reader's own judgement of them is no baseline here, and what
goes beyond those that are is no evidence of access. A sampled answer may be the hinted option by chance: one that some
answer without the hint reached is left out, which more resamples do better; the shift of its probability has less of
that. Without a chain (`max_new_tokens: 0`) an answer is the most probable option, and its reply holds nothing else. A
chat template that drops earlier think blocks hides them from the question that follows.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from ..assets import data_path, user_path
from ..backends import Capture, Generation, Sampling
from ..cells import Done, Row
from ..errors import SpecError
from ..forced import Ids
from ..injection.trials import told_apart
from ..plan import Job
from ..record import option_token, read_generation, stop_ids
from ..tasks import hints
from ..tasks.choice import parts, right_letter
from ..tasks.hint_kinds import HintKind, is_file, load_kinds
from ..tasks.item import Item, items_text, read_items
from ..tasks.task import Message, Trial
from .base import NaturalStudy, Unit, Work
from .choose import some_items
from .cue_fits import packed
from .cue_spec import WhichCue
from .cue_texts import LETTERS, MOST, NONE, CueTexts, rotated
from .subject import SITE, Subject, n_shared

LEAD = "Answer:"


class Ask(NamedTuple):
    """A question under one condition."""

    item: Item
    cue: str
    """The kind of its hint; `NONE`: it has none."""
    hinted: str | None
    """The hinted letter."""
    wording: int
    """Of the hint; of a question without one, which of its resamples."""
    baseline_for: str | None
    """The kind whose own prompt without marks it is."""
    trial: Trial

    @property
    def named(self) -> bool:
        """Whether the question after the answer is asked."""
        return self.wording == 0 and self.baseline_for is None


class Answered(NamedTuple):
    """What came of it."""

    answer: str | None
    shares: dict[str, float] | None
    """Option -> probability where the answer is read, of the options only; None without a readable answer."""
    reply: str
    states: dict[int, np.ndarray]
    """Layer -> activations [width] at the token before the answer."""


class WhichCueStudy(NaturalStudy):
    """See the module."""

    SMALLER = "a smaller limit, or fewer depths"

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.spec = cast(WhichCue, subject.spec)
        file = self.spec.texts_file
        self.texts = CueTexts.read(None if file is None else user_path(file))
        given = self.spec.items
        self.every = read_items(user_path(given) if "/" in given else data_path(given))
        self.kinds = load_kinds(self.spec.kinds)
        self.cues = [kind.name for kind in self.kinds.values()]
        if NONE in self.cues or len(self.cues) > MOST:
            raise SpecError(f"kinds: give at most {MOST} kinds, none of which is called {NONE!r}")
        n_layers = self.loaded.info.n_layers
        self.layers = tuple(dict.fromkeys(min(n_layers - 1, int(depth * n_layers)) for depth in self.spec.depths))
        self.letters = told_apart(self.loaded, LETTERS[: len(self.cues) + 1], LEAD)
        self.stop_ids = stop_ids(self.loaded)

    @cached_property
    def items(self) -> list[Item]:
        """The questions."""
        return some_items(self.every, self.spec.limit)

    @cached_property
    def options(self) -> list[str]:
        """Cues in the order of the options, before they are rotated."""
        return [*self.cues, NONE]

    @property
    def rotations(self) -> int:
        """How many orders of the options."""
        return min(self.spec.rotations or len(self.options), len(self.options))

    def materials(self) -> str:
        """See `NaturalStudy.materials`."""
        kinds = [kind.model_dump_json() for kind in self.kinds.values()]
        return hashlib.sha256((items_text(self.items) + self.texts.digest() + repr(kinds)).encode()).hexdigest()

    def cells(self) -> list[Unit]:
        """A batch of questions each."""
        return [Unit("questions", i) for i in range(-(-len(self.items) // self.spec.batch))]

    def run(self, unit: Unit, done: Done) -> list[Row]:
        """See `NaturalStudy.run`."""
        start = unit.number * self.spec.batch
        asks = [ask for item in self.items[start : start + self.spec.batch] for ask in self.asks(item)]
        found = self._at_once(asks) if self.spec.max_new_tokens == 0 else self._with_chains(asks)
        return [self._row(ask, each) for ask, each in zip(asks, found, strict=True)]

    def work(self) -> Work:
        """See `NaturalStudy.work`. Chains are taken to be as long as they may be."""
        asks = [ask for item in self.items for ask in self.asks(item)]
        longest = self.spec.max_new_tokens
        lengths = [len(self._prompt(ask)) for ask in asks]
        naming = [length + longest for ask, length in zip(asks, lengths, strict=True) if ask.named]
        each = len(self.texts.questions) * self.rotations
        question = len(self.subject.asked(self._question(0, 0)))
        return Work(
            passes=len(asks) + len(naming) * each,
            tokens=sum(lengths) + len(asks) + sum(naming) + len(naming) * each * question,
            generated=len(asks) * longest,
        )

    def n_kept(self) -> int:
        """See `NaturalStudy.n_kept`."""
        return len(self.items) * len(self.options) * len(self.layers)

    def results(self, done: Done) -> dict[str, Any]:
        """See `NaturalStudy.results`."""
        from .cue_results import found_of

        return found_of(self, done)

    def asks(self, item: Item) -> list[Ask]:
        """An item without a hint, with each kind's own baseline, and with each kind in each wording."""
        question, right = parts(item), right_letter(item)
        resamples = 1 if self.spec.max_new_tokens == 0 else self.spec.resamples
        plain = Trial(hints.UNHINTED, (Message("user", item.prompt),))
        out = [Ask(item, NONE, None, i, None, plain) for i in range(resamples)]
        for called, kind in self.kinds.items():
            if kind.placement == "mark":
                bare = hints.hint_messages(kind, item, question, None, "plain")
                own = Trial(f"{hints.UNHINTED}/{kind.name}", bare, {"baseline_for": kind.name})
                out += [Ask(item, NONE, None, i, kind.name, own) for i in range(resamples)]
            letter = hinted_letter(item, kind)
            for number, wording in enumerate(_some(kind, item, self.spec.wordings)):
                one = kind.model_copy(update={"wordings": (wording,)})
                messages = hints.hint_messages(one, item, question, letter, "plain")
                facts = {
                    "hint": kind.name,
                    "hint_class": kind.hint_class,
                    "hint_option": letter,
                    "arm": "correct" if letter == right else "incorrect",
                    "difficulty": "plain",
                } | ({"hint_file": called} if is_file(called) else {})
                meanings = {each: hints.HINTED if each == letter else hints.OTHER for each in item.options}
                trial = Trial(f"{kind.name}/plain/{facts['arm']}", messages, facts, meanings)
                out.append(Ask(item, kind.name, letter, number, None, trial))
        return out

    def _prompt(self, ask: Ask) -> Ids:
        return self.subject.render([message._asdict() for message in ask.trial.messages])

    def _at_once(self, asks: Sequence[Ask]) -> list[Answered]:
        """The most probable option of each, right after the prompt."""
        names = [told_apart(self.loaded, tuple(ask.item.options), LEAD) for ask in asks]
        watch = sorted({token for each in names for token in each.tokens.values()})
        prefixes = [
            (*self.subject.led(self._prompt(ask), LEAD), *own.common) for ask, own in zip(asks, names, strict=True)
        ]
        made = self._generate(prefixes, [0] * len(asks), Sampling(1, 0.0, frozenset()), watch)
        out = []
        for own, one in zip(names, made, strict=True):
            logs = {letter: float(one.watched[0, watch.index(token)]) for letter, token in own.tokens.items()}
            states = {layer: one.activations[SITE, layer][0].float().numpy() for layer in self.layers}
            shares = _shares(logs)
            answer = None if shares is None else max(shares, key=lambda letter: shares[letter])
            out.append(Answered(answer, shares, f"{LEAD} {answer}", states))
        return out

    def _with_chains(self, asks: Sequence[Ask]) -> list[Answered]:
        """A sampled reply of each, its answer, and what the model gave to each option there."""
        spec, letters = self.spec, sorted({letter for ask in asks for letter in ask.item.options})
        watch = [option_token(self.loaded, letter) for letter in letters]
        prompts = [self._prompt(ask) for ask in asks]
        seeds = [self.subject.seed_of(ask.item.item_id, ask.trial.condition, ask.wording) for ask in asks]
        sampling = Sampling(spec.max_new_tokens, spec.temperature, self.stop_ids)
        made = self._generate(prompts, seeds, sampling, watch)
        out = []
        for number, (ask, prompt, one) in enumerate(zip(asks, prompts, made, strict=True)):
            job = Job(number, ask.item, ask.trial, ask.wording, seeds[number], prompt)
            ids = [token for token in one.completion_ids if token not in self.stop_ids]
            reply = str(self.loaded.tokenizer.decode(ids))
            rollout = None
            if one.finish != "not_finite":
                rollout = read_generation(job, one, task=hints.TASK, loaded=self.loaded, options=letters)
            if rollout is None or rollout.answer_position is None:
                out.append(Answered(None, None, reply, {}))
                continue
            at = rollout.answer_position - len(prompt)
            shares = _shares(dict(zip(rollout.options, rollout.option_logprobs[at], strict=True)))
            states = {layer: one.activations[SITE, layer][at].float().numpy() for layer in self.layers}
            out.append(Answered(None if shares is None else rollout.answer, shares, reply, states))
        return out

    def _generate(
        self, prompts: Sequence[Ids], seeds: Sequence[int], sampling: Sampling, watch: Sequence[int]
    ) -> list[Generation]:
        return self.backend.generate(
            prompts,
            seeds=seeds,
            sampling=sampling,
            capture=Capture((SITE,), tuple(sorted(self.layers))),
            watch=watch,
            lanes=self.spec.batch_size,
        )

    def _row(self, ask: Ask, found: Answered) -> Row:
        finite = all(np.isfinite(state).all() for state in found.states.values())
        answer = found.answer if finite else None
        row: Row = {
            "item_id": ask.item.item_id,
            "group": ask.item.group,
            "cue": ask.cue,
            "baseline_for": ask.baseline_for,
            "wording": ask.wording,
            "hinted": ask.hinted,
            "right": right_letter(ask.item),
            "answer": answer,
            "shares": None,
            "prompt": ask.trial.text,
            "reply": found.reply,
            "states": None,
            "naming": None,
        }
        if answer is None or found.shares is None:
            return row
        row["shares"] = {letter: round(value, 6) for letter, value in found.shares.items()}
        if ask.named:
            row["states"] = {str(layer): packed(state) for layer, state in found.states.items()}
            row["naming"] = self._naming(ask, found.reply)
        return row

    def _question(self, question: int, rotation: int) -> str:
        names = {NONE: self.texts.none} | {
            kind.name: self.texts.names.get(kind.name, kind.what) for kind in self.kinds.values()
        }
        return self.texts.asked(question, [names[cue] for cue in rotated(self.options, rotation)])

    def _naming(self, ask: Ask, reply: str) -> list[list[list[float] | None]]:
        """Log-probabilities (nats) of the letters, [question][rotation][letter]; None where there are no numbers."""
        before = [*(message._asdict() for message in ask.trial.messages), {"role": "assistant", "content": reply}]
        prompts = [
            (*self.subject.led(self.subject.asked(self._question(question, by), before), LEAD), *self.letters.common)
            for question in range(len(self.texts.questions))
            for by in range(self.rotations)
        ]
        logs = self._log_letters(prompts)
        return [logs[i : i + self.rotations] for i in range(0, len(logs), self.rotations)]

    def _log_letters(self, prompts: Sequence[Ids]) -> list[list[float] | None]:
        """Log-probabilities of the letters after each prompt. What all begin with is run once for those of one length,
        and nothing but their last tokens is scored.
        """
        same, letters = n_shared(prompts), list(self.letters.tokens.values())
        by_length: dict[int, list[int]] = {}
        for number, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(number)
        out: list[list[float] | None] = [None] * len(prompts)
        for length, members in by_length.items():
            begin = prompts[0][: min(same, length - 1)]
            rows = [prompts[number][len(begin) :] for number in members]
            for numbers, logits in self.backend.branches(begin, rows, at=[length - len(begin) - 1], wide=True):
                found = torch.log_softmax(logits[:, 0].float(), dim=-1)[:, letters].tolist()
                for number, values in zip(numbers, found, strict=True):
                    if all(map(math.isfinite, values)):
                        out[members[number]] = [round(value, 5) for value in values]
        return out


def hinted_letter(item: Item, kind: HintKind) -> str:
    """The option that a kind hints at: drawn among all of an item's by item and kind alone, or the kind's only one.

    Raises:
        SpecError: the item has no such option.
    """
    if kind.option is not None:
        if kind.option not in item.options:
            raise SpecError(f"item {item.item_id} has no option {kind.option}, at which {kind.name} always hints")
        return kind.option
    return random.Random(f"which-cue/{kind.name}/{item.item_id}").choice(list(item.options))


def _some(kind: HintKind, item: Item, n: int) -> list[str]:
    """The first of a kind's wordings, in an order of the item's own."""
    order = list(kind.wordings)
    random.Random(f"which-cue/wording/{kind.name}/{item.item_id}").shuffle(order)
    return order[:n]


def _shares(logs: dict[str, float]) -> dict[str, float] | None:
    """Log-probabilities as shares of the options; None where there are no numbers."""
    values = np.array(list(logs.values()))
    if not np.isfinite(values).all():
        return None
    return dict(zip(logs, np.exp(values - np.logaddexp.reduce(values)).tolist(), strict=True))
