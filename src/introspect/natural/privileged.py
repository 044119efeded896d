"""Privileged access (after Binder et al. 2024, arXiv 2410.13787): does a model predict its own answers better than
others can who see the same text?

A question is asked as it is, and the answer's property kept: that is the behaviour. Then the model is asked for the
property without answering, its two values in both orders. From outside the same is predicted by the more frequent
value, by words fitted on the model's other answers, and by another model, asked both ways, where there is one.

Known trade-offs: where no other model is asked, what stands outside is a frequency and words that occur once: going
beyond them is no privileged access, and the study says that it cannot tell. Nothing is trained, while Binder et al.
trained models to predict themselves, so that a zero here is no zero there. A property is read at once, so a model that
would first have to answer in its head has one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

from ..assets import user_path
from ..backends import Sampling
from ..cells import Done, Row
from ..doctor import self_test
from .base import NaturalStudy, Unit, Work
from .hypothetical import PROPERTIES, Choices, Hypothetical
from .privileged_spec import PrivilegedAccess
from .subject import Subject, prepare_subject, weights_of

LEAD = "Answer:"
WORD_LEAD = "Word:"


class PrivilegedAccessStudy(NaturalStudy):
    """See the module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.spec = cast(PrivilegedAccess, subject.spec)
        file = self.spec.items_file
        self.choices = Choices.read(None if file is None else user_path(file))
        self.questions = [
            each
            for family in self.spec.families
            for each in self.choices.questions(family, self.spec.limit, self.subject.seed_of("questions", family))
        ]
        self.has_other = self.spec.other is not None or self.spec.organism is not None

    def materials(self) -> str:
        """See `NaturalStudy.materials`."""
        return self.choices.digest()

    def beside(self) -> dict[str, Any]:
        """See `NaturalStudy.beside`."""
        if not self.has_other:
            return {}
        if self.spec.other is not None:
            return {"other": weights_of(self.spec.other, offline=self.subject.offline)}
        own = self.loaded.info  # an organism's base has its own weights
        return {"other": {"name": own.name, "revision": own.revision, "weight_digest": own.weight_digest}}

    def cells(self) -> list[Unit]:
        """A batch of questions each, of the model and then of the other one."""
        many = -(-len(self.questions) // self.spec.batch)
        own = [Unit("own", i) for i in range(many)]
        return [*own, *(Unit("other", i) for i in range(many if self.has_other else 0))]

    def run(self, unit: Unit, done: Done) -> list[Row]:
        """See `NaturalStudy.run`."""
        start = unit.number * self.spec.batch
        questions = self.questions[start : start + self.spec.batch]
        return self.asked(self.subject if unit.kind == "own" else self.other, questions)

    def work(self) -> Work:
        """See `NaturalStudy.work`."""
        passes = tokens = generated = 0
        for each in self.questions:
            lengths = [len(self.subject.asked(each.predict(PROPERTIES[each.family]))) + 4] * 2
            lengths += [len(self.subject.asked(each.asked)) + 4]
            passes, tokens = passes + 3, tokens + sum(lengths)
            generated += 0 if each.options else self.spec.max_new_tokens
        times = 1 + self.has_other
        return Work(times * passes, times * tokens, times * generated)

    def results(self, done: Done) -> dict[str, Any]:
        """See `NaturalStudy.results`."""
        from .privileged_results import found_of

        return found_of(self, done)

    @cached_property
    def other(self) -> Subject:
        """The other model: the one that is named, or the organism's base. Loaded when it is first asked, and tested
        as the model itself is.

        Raises:
            ModelError: it cannot be loaded.
            RunError: it fails its self-test.
        """
        named = self.spec.other
        changed = {"organism": None} | ({} if named is None else {"model": named, "revision": None})
        found = prepare_subject(self.spec.model_copy(update=changed), offline=self.subject.offline)
        self_test(found.loaded, found.backend)
        return found

    def asked(self, subject: Subject, questions: Sequence[Hypothetical]) -> list[Row]:
        """What a model answers, and what it says that it would answer."""
        answers = self._answers(subject, questions)
        orders = [(each, turned) for each in questions for turned in (False, True)]
        prompts = [each.predict(PROPERTIES[each.family][:: -1 if turned else 1]) for each, turned in orders]
        prefixes = [subject.led(subject.asked(prompt), LEAD) for prompt in prompts]
        found = subject.forced(prefixes, [PROPERTIES[each.family] for each, _ in orders])
        rows = []
        for number, (each, answer) in enumerate(zip(questions, answers, strict=True)):
            one, other = PROPERTIES[each.family]
            both = found[2 * number : 2 * number + 2]
            odds = [forced.logprobs[one] - forced.logprobs[other] for forced in both]
            holds = None if answer is None else each.holds(answer)
            rows.append(
                {
                    "family": each.family,
                    "thing": each.thing,
                    "answer": answer,
                    "holds": holds,
                    "log_odds": [round(float(value), 6) if value == value else None for value in odds],
                    "mass": round(float(min(1.0, sum(forced.mass for forced in both) / 2)), 6),
                }
            )
        return rows

    def _answers(self, subject: Subject, questions: Sequence[Hypothetical]) -> list[str | None]:
        """The most probable option, or the word that is written; None where there is neither."""
        out: list[str | None] = [None] * len(questions)
        closed = [i for i, each in enumerate(questions) if each.options]
        prefixes = [subject.led(subject.asked(questions[i].asked), LEAD) for i in closed]
        for i, forced in zip(closed, subject.forced(prefixes, [questions[i].options for i in closed]), strict=True):
            out[i] = forced.answer if all(value == value for value in forced.logprobs.values()) else None
        wanted = [i for i, each in enumerate(questions) if not each.options]
        if wanted:
            stop_ids = subject.loaded.format.stop_ids(subject.loaded.tokenizer)
            made = subject.backend.generate(
                [subject.led(subject.asked(questions[i].asked), WORD_LEAD) for i in wanted],
                seeds=[0] * len(wanted),
                sampling=Sampling(self.spec.max_new_tokens, 0.0, stop_ids),
                capture=None,
                lanes=self.spec.batch_size,
            )
            for i, each in zip(wanted, made, strict=True):
                ids = [token for token in each.completion_ids if token not in stop_ids]
                out[i] = str(subject.loaded.tokenizer.decode(ids, skip_special_tokens=True))
        return out
