"""Neurofeedback (after Ji-An et al. 2025, arXiv 2505.13763): can a model report, and shift, a projection of its own?

Sentences are read alone, as replies; a direction parts their mean activations at its median, and the side is a label.
From k labelled examples in context the model labels a new sentence (report), or is asked for a sentence of one label
(control): a fixed one that is put in its mouth (implicit), or one that it writes (explicit).

Known trade-offs: the projection that is labelled is that of the sentence read alone, and not that in the context; a
label of whatever can be read in words can be reported by reading them, which is what the text classifiers are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np

from ..assets import user_path
from ..backends import Capture, Sampling
from ..cells import Done, Row
from ..errors import EstimateError
from ..forced import Ids, continuation_ids
from ..injection.trials import Trial, first_tokens, told_apart
from .base import NaturalStudy, Unit, Work
from .feedback_prompts import LABELS, LEAD, TELL, control, report, shown
from .labels import Labelling, draw_examples, make_labelling, shuffled
from .neurofeedback_spec import Neurofeedback
from .sentences import Sentence, SentencePairs, one_of_each
from .subject import SITE, Subject, n_shared

ARRANGEMENTS = ("true", "shuffled")
"""Labels of the examples as they are, or dealt out again."""
DIGITS = 5
"""Decimals that are kept of a projection."""


class NeurofeedbackStudy(NaturalStudy):
    """See the module."""

    METHOD = 2

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.spec = cast(Neurofeedback, subject.spec)
        file = self.spec.sentences_file
        self.pairs = SentencePairs.read(None if file is None else user_path(file))
        self.fitted, self.held = self.pairs.halves(self.spec.limit, self.spec.seed)
        self.layer = self.spec.resolved_layer(self.loaded.info.n_layers)
        self.names = told_apart(self.loaded, LABELS, LEAD)

    def materials(self) -> str:
        """See `NaturalStudy.materials`."""
        return self.pairs.digest()

    def cells(self) -> list[Unit]:
        """First every sentence read alone; then a direction, an arrangement and a context at a time."""
        each = len(self.labelling_names) * len(ARRANGEMENTS)
        return [
            Unit("alone", 0),
            *(Unit("report", i) for i in range(each * self.spec.contexts)),
            *(Unit("control", i) for i in range(each * self.spec.control.contexts)),
        ]

    def run(self, unit: Unit, done: Done) -> list[Row]:
        """See `NaturalStudy.run`."""
        if unit.kind == "alone":
            return self._alone()
        many = self.spec.contexts if unit.kind == "report" else self.spec.control.contexts
        place, context = divmod(unit.number, many)
        direction, arrangement = divmod(place, len(ARRANGEMENTS))
        about = {
            "direction": self.labelling_names[direction],
            "arrangement": ARRANGEMENTS[arrangement],
            "context": context,
        }
        rows = self._report if unit.kind == "report" else self._control
        return [{**about, **row} for row in rows(direction, arrangement == 1, context)]

    def work(self) -> Work:
        """See `NaturalStudy.work`. Sentences are taken to be of their mean length."""
        spec, n = self.spec, len(self.labelling_names) * len(ARRANGEMENTS)
        lengths = [len(continuation_ids(self.loaded.tokenizer, each.text)) for each in (*self.fitted, *self.held)]
        mean = sum(lengths) / len(lengths)
        passes = float(len(lengths))
        tokens = float(sum(lengths) + len(lengths) * len(self.subject.asked(TELL)))
        for k in spec.examples:
            begin = len(self.subject.asked(self._shown(k)))
            passes += n * spec.contexts * len(self.held)
            tokens += n * spec.contexts * (begin + len(self.held) * (mean + 14))
        own = spec.control
        if own.contexts:
            begin = len(self.subject.asked(control(self._shown(own.examples), 0)))
            fixed = min(own.sentences, len(self.held))
            passes += 2 * n * own.contexts * (fixed + 2 * own.written)
            tokens += 2 * n * own.contexts * (fixed * (begin + mean) + begin + own.written * (mean + 20))
        return Work(round(passes), round(tokens), 2 * n * own.contexts * own.written * own.max_new_tokens)

    def results(self, done: Done) -> dict[str, Any]:
        """See `NaturalStudy.results`."""
        from .feedback_results import found_of

        return found_of(self, done)

    @property
    def labelling_names(self) -> tuple[str, ...]:
        """Of the directions, in the order of rows' labels."""
        spec = self.spec
        names = [f"pc{number}" for number in spec.components] + (["feature"] if spec.feature else [])
        return (*names, *(f"random{number + 1}" for number in range(spec.random)))

    @cached_property
    def activations(self) -> np.ndarray:
        """Mean activation over its tokens of every sentence read alone: those that label, then those held out."""
        found = self._read([each.text for each in (*self.fitted, *self.held)])
        if not np.isfinite(found).all():
            raise EstimateError("activations of sentences hold NaN or infinity: choose another layer, or dtype=float32")
        return found

    @cached_property
    def labelling(self) -> Labelling:
        """The directions. Made anew each time: a resumed study makes the same ones."""
        return make_labelling(
            self.activations[: len(self.fitted)],
            [each.feature for each in self.fitted],
            components=self.spec.components,
            with_feature=self.spec.feature,
            n_random=self.spec.random,
            seed=self.subject.seed_of("random"),
        )

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels as bool [sentence, direction]: of those that label, then of those held out."""
        return self.labelling.labels(self.activations)

    @cached_property
    def axes(self) -> np.ndarray:
        """Unit vectors of the directions, then of random ones: float64 [axis, width]."""
        rng = np.random.default_rng(self.subject.seed_of("axes"))
        drawn = rng.standard_normal((self.spec.control.random, self.loaded.info.width))
        return np.concatenate([self.labelling.units, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)])

    @property
    def fixed(self) -> list[Sentence]:
        """Held-out sentences that are put in the model's mouth."""
        chosen = one_of_each([each.pair for each in self.held])
        return [self.held[i] for i in chosen[: self.spec.control.sentences]]

    def examples(self, direction: int, context: int, k: int, dealt_again: bool) -> tuple[list[int], list[bool]]:
        """The first k examples of a context, by their numbers among the sentences that label, and their labels."""
        most = max(*self.spec.examples, self.spec.control.examples)
        labels = self.labels[: len(self.fitted), direction]
        seed = self.subject.seed_of("context", self.labelling_names[direction], context)
        rows = draw_examples(labels, most, seed)[:k]
        given = labels[rows]
        if dealt_again:
            given = shuffled(given, self.subject.seed_of("dealt", direction, context))
        return [int(row) for row in rows], [bool(label) for label in given]

    def _shown(self, k: int) -> str:
        """As many examples as will be shown, whichever they are."""
        return shown([each.text for each in self.fitted[:k]], [True] * min(k, len(self.fitted)))

    def _alone(self) -> list[Row]:
        labels, found = self.labels, self.labelling.projected(self.activations)
        return [
            {
                "text": each.text,
                "pair": each.pair,
                "feature": each.feature,
                "held_out": i >= len(self.fitted),
                "labels": [int(label) for label in labels[i]],
                "projections": [round(float(value), DIGITS) for value in found[i]],
            }
            for i, each in enumerate((*self.fitted, *self.held))
        ]

    def _report(self, direction: int, dealt_again: bool, context: int) -> list[Row]:
        out = []
        for k in self.spec.examples:
            rows, labels = self.examples(direction, context, k, dealt_again)
            begin = shown([self.fitted[row].text for row in rows], labels)
            asked = [self.subject.asked(report(begin, each.text)) for each in self.held]
            prompts = [(*self.subject.led(prompt, LEAD), *self.names.common) for prompt in asked]
            found = self._log_odds(prompts)
            odds = [None if each is None else round(each[0], 6) for each in found]
            mass = [None if each is None else round(each[1], 6) for each in found]
            shown_labels = [int(label) for label in labels]
            out.append({"k": k, "examples": rows, "labels": shown_labels, "log_odds": odds, "mass": mass})
        return out

    def _log_odds(self, prompts: Sequence[Ids]) -> list[tuple[float, float] | None]:
        """Log-odds (nats) of label 1 against 0, and the probability of either; None where there are no numbers."""
        watch = tuple(self.names.tokens[label] for label in LABELS)
        same = n_shared(prompts)
        trials = [Trial({}, prompt, shared=same, watch=watch) for prompt in prompts]
        found = first_tokens(self.backend, 0, trials, self.loaded.info.width)
        return [None if each is None else (each[1] - each[0], float(np.exp(each).sum())) for each in found]

    def _control(self, direction: int, dealt_again: bool, context: int) -> list[Row]:
        own = self.spec.control
        rows, labels = self.examples(direction, context, own.examples, dealt_again)
        begin = shown([self.fitted[row].text for row in rows], labels)
        out = []
        for target in (0, 1):
            prompt = self.subject.led(self.subject.asked(control(begin, target)), "")
            found = self._read([each.text for each in self.fixed], prompt)
            row: Row = {"target": target, "implicit": self._onto(found), "explicit": [], "reread": [], "written": []}
            if own.written:
                row |= self._written(prompt, self.subject.seed_of("written", direction, dealt_again, context, target))
            out.append(row)
        return out

    def _written(self, prompt: Ids, seed: int) -> Row:
        """Sentences written after a prompt: their projections while they are written, and read alone afterwards. One
        that ended at once has neither, and keeps its place.
        """
        own = self.spec.control
        stop_ids = self.loaded.format.stop_ids(self.loaded.tokenizer)
        made = self.backend.generate(
            [prompt] * own.written,
            seeds=[seed + i for i in range(own.written)],
            sampling=Sampling(own.max_new_tokens, own.temperature, stop_ids),
            capture=Capture((SITE,), (self.layer,)),
            lanes=self.spec.batch_size,
        )
        ids = [tuple(token for token in each.completion_ids if token not in stop_ids) for each in made]
        kept = [
            i
            for i, each in enumerate(made)
            if ids[i] and len(each.activations[SITE, self.layer]) > 1 and each.finish != "not_finite"
        ]
        while_written, again = np.full((2, len(made), self.loaded.info.width), np.nan)
        for i in kept:
            while_written[i] = made[i].activations[SITE, self.layer][1:].float().mean(dim=0).numpy()
        again[kept] = self._read_ids([ids[i] for i in kept], self._before())
        texts = [str(self.loaded.tokenizer.decode(each)) for each in ids]
        return {"explicit": self._onto(while_written), "reread": self._onto(again), "written": texts}

    def _before(self) -> Ids:
        return self.subject.led(self.subject.asked(TELL), "")

    def _read(self, texts: Sequence[str], prompt: Ids | None = None) -> np.ndarray:
        """Mean activation over its tokens of each text as a reply, [text, width]; without a prompt, read alone."""
        ids = [continuation_ids(self.loaded.tokenizer, text) for text in texts]
        return self._read_ids(ids, self._before() if prompt is None else prompt)

    def _read_ids(self, replies: Sequence[Ids], prompt: Ids) -> np.ndarray:
        if not replies:
            return np.zeros((0, self.loaded.info.width))
        found = self.backend.replay(
            [(*prompt, *ids) for ids in replies],
            [range(len(prompt), len(prompt) + len(ids)) for ids in replies],
            capture=Capture((SITE,), (self.layer,)),
        )
        return np.stack([row[SITE, self.layer].float().mean(dim=0).numpy() for row in found])

    def _onto(self, activations: np.ndarray) -> list[list[float] | None]:
        """Projections of activations [row, width] onto every axis; None of a row that is not finite."""
        if not len(activations):
            return []
        found = activations.astype(np.float64) @ self.axes.T
        return [[round(float(v), DIGITS) for v in row] if np.isfinite(row).all() else None for row in found]
