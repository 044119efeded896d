"""Framing: do words that say what a question is for change what is done, said, and read in activations?

The same items are asked under each frame, from the same seeds, and recorded as a run records them: sampled with
capture, spans and answer read by the task. Every frame is compared with a control that is as long and says nothing.

Known trade-offs: frames of one wording each, so a difference may be a wording's and not its meaning's, and a second
frame that says nothing (`neutral`) shows how large that is for one pair of wordings only; and a difference against the
control is that of the words, whatever a model makes of them: nothing here says that a model takes a frame for an
evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from ..assets import data_path, user_path
from ..backends import Generation, Sampling
from ..cells import Done, Row
from ..errors import ModelError, SpecError
from ..experiment import Experiment, PositionName
from ..features import position_tokens
from ..forced import Ids
from ..plan import Job
from ..probe_folders import probe_folder
from ..probes.saved import SavedProbe, load_probe
from ..record import option_token, read_generation, render_trial, stop_ids, wanted_capture
from ..rollout import Rollout
from ..rows import mean_of
from ..saved_probes.fits import unlike
from ..saved_probes.marks import group_mark
from ..scoring import lexical_verdict
from ..selection import Selection
from ..tasks.hints import TASK as HINTS
from ..tasks.item import Item, items_text, read_items
from ..tasks.registry import find_task
from ..tasks.reward_hacking import TASK as REWARD_HACKING
from .base import NaturalStudy, Unit, Work
from .choose import some_items
from .cue_fits import packed
from .framing_spec import Framing, check_position
from .framing_texts import CONTROL, Frames, framed
from .subject import SITE, Subject

FILES = {"hints": "questions.jsonl"}
"""Items that ship with a task, where they are not called as it is."""


class FramingStudy(NaturalStudy):
    """See the module."""

    SMALLER = "a smaller limit, or fewer samples or frames"

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        spec = self.spec = cast(Framing, subject.spec)
        self.task = find_task(spec.task)
        if self.task.follow_ups:
            raise SpecError(f"task: {spec.task} is a chat of several turns: choose a task of one")
        self.frames = Frames.read(None if spec.frames_file is None else user_path(spec.frames_file))
        self.words = {frame: self.frames.words(frame, spec.task) for frame in (CONTROL, *spec.frames)}
        given = spec.items or FILES.get(spec.task, f"{spec.task}.jsonl")
        self.every = read_items(user_path(given) if "/" in given else data_path(given))
        self.stop_ids = stop_ids(self.loaded)
        self.probe = None if spec.probe is None else self._saved(spec.probe)
        n_layers = self.loaded.info.n_layers
        self.layer = self.probe.layer if self.probe else min(n_layers - 1, int(spec.depth * n_layers))
        self.site = self.probe.site if self.probe else SITE
        self.position = cast(PositionName, self.probe.position) if self.probe else spec.position
        self.capture = wanted_capture((self.site,), (self.layer,), Selection(()), (self.position,))

    @cached_property
    def items(self) -> list[Item]:
        """What is asked."""
        return some_items(self.every, self.spec.limit)

    def materials(self) -> str:
        """See `NaturalStudy.materials`."""
        probe = "" if self.probe is None else repr(self.probe.card) + packed(self.probe.weight)
        return hashlib.sha256((items_text(self.items) + self.frames.digest() + probe).encode()).hexdigest()

    def cells(self) -> list[Unit]:
        """A batch of items each, under every frame."""
        return [Unit("items", i) for i in range(-(-len(self.items) // self.spec.batch))]

    def run(self, unit: Unit, done: Done) -> list[Row]:
        """See `NaturalStudy.run`."""
        start = unit.number * self.spec.batch
        asked = [each for item in self.items[start : start + self.spec.batch] for each in self.jobs(item)]
        jobs = [job for _, job in asked]
        options = sorted({option for job in jobs for option in job.item.options})
        made = self.backend.generate(
            [job.prompt_ids for job in jobs],
            seeds=[job.seed for job in jobs],
            sampling=Sampling(self.spec.max_new_tokens, self.spec.temperature, self.stop_ids),
            capture=self.capture,
            watch=[option_token(self.loaded, option) for option in options],
            lanes=self.spec.batch_size,
        )
        return [self._row(frame, job, one, options) for (frame, job), one in zip(asked, made, strict=True)]

    def work(self) -> Work:
        """See `NaturalStudy.work`. Completions are taken to be as long as they may be."""
        lengths = [len(job.prompt_ids) for item in self.items for _, job in self.jobs(item)]
        return Work(len(lengths), sum(lengths) + len(lengths), len(lengths) * self.spec.max_new_tokens)

    def n_kept(self) -> int:
        """See `NaturalStudy.n_kept`."""
        return sum(len(self.jobs(item)) for item in self.items)

    def results(self, done: Done) -> dict[str, Any]:
        """See `NaturalStudy.results`."""
        from .framing_results import found_of

        return found_of(self, done)

    def jobs(self, item: Item) -> list[tuple[str, Job]]:
        """An item's frames and rollouts: every condition under every frame, from seeds that frames share."""
        out: list[tuple[str, Job]] = []
        for trial in self.task.trials(item, self._experiment):
            for frame, words in self.words.items():
                own = replace(trial, messages=framed(trial.messages, words))
                prompt: Ids = tuple(render_trial(self.loaded, own))
                for sample in range(trial.samples or self.spec.samples):
                    seed = self.subject.seed_of(item.item_id, trial.condition, sample)
                    out.append((frame, Job(len(out), item, own, sample, seed, prompt)))
        return out

    @property
    def probe_notes(self) -> list[str]:
        """What a saved probe was fitted to that this model is not."""
        own = self.loaded.info
        return unlike(self.probe.card, weights=own.weight_digest, adapter=own.adapter_digest) if self.probe else []

    @cached_property
    def _experiment(self) -> Experiment:
        """What a task makes its conditions from."""
        spec = self.spec
        return Experiment(
            name=spec.name, question=spec.question, task=spec.task, items=spec.items or spec.task, hints=spec.hints
        )

    def _row(self, frame: str, job: Job, made: Generation, options: Sequence[str]) -> Row:
        row: Row = {
            "item_id": job.item.item_id,
            "group": job.item.group,
            "frame": frame,
            "condition": job.trial.condition,
            "sample": job.sample,
            "hinted": job.trial.facts.get("hint_option"),
            "mark": None,
            "answer": None,
            "acted": None,
            "right": None,
            "verdict": None,
            "chain": "",
            "state": None,
        }
        if made.finish == "not_finite":
            return row
        found = read_generation(job, made, task=self.task, loaded=self.loaded, options=options)
        verdict = lexical_verdict(self.task, found)
        state = self._state(found, made)
        return row | {
            "mark": group_mark(found),
            "answer": found.answer,
            "acted": found.acted,
            "right": self._right(found),
            "verdict": None if verdict is None else verdict.verdict,
            "chain": found.chain_text,
            "state": None if state is None else packed(state),
        }

    def _right(self, found: Rollout) -> bool | None:
        """Whether an answer was read and is right; None where the task has no right answers."""
        if self.task is REWARD_HACKING:
            return found.answer == "solves"
        return bool(found.outcome.get("right")) if self.task is HINTS else None

    def _state(self, found: Rollout, made: Generation) -> np.ndarray | None:
        """Activation [width] that the probe reads, of one token or a mean; None where there is none, or it is not
        finite.
        """
        wanted = position_tokens(found, self.position)
        held = made.activations[self.site, self.layer]
        first = 0 if self.capture.prompt else len(found.prompt_ids) - 1
        if not wanted or wanted.stop - first > len(held):
            return None
        values = mean_of(held[wanted.start - first : wanted.stop - first])[0].float().numpy()
        return values if np.isfinite(values).all() else None

    def _saved(self, name: str) -> SavedProbe:
        probe = load_probe(probe_folder(name))
        model, own = probe.card["model"], self.loaded.info
        if probe.card["predicts"]["task"] != self.spec.task:
            raise SpecError(f"probe: {name} reads task {probe.card['predicts']['task']}, not {self.spec.task}")
        try:
            check_position(probe.position)
        except ValueError as error:
            raise SpecError(f"probe: {name}: {error}") from None
        if model["width"] != own.width or model["weight_digest"] != own.weight_digest:
            raise ModelError(f"probe: {name} was fitted to {model['name']}, and {own.name} has other weights")
        return probe
