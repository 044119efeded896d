"""A model whose answers are written by a test: what it says follows a script, what it holds inside is drawn by seed.

Runs go through it as through any other, so that whole experiments can be tested on behaviour that is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from introspect import prepare as preparing
from introspect import run as running
from introspect import turns
from introspect.backends import Generation
from introspect.plan import Job
from introspect.run import run_experiment
from tiny_folders import edit_json, save_tiny, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
WIDTH = 8
SURE = -0.01
"""Log-probability of the token that the script says next; of any other watched token, -6."""

Script = Callable[[Job], str]
"""The job -> the completion, without the token that ends it."""


class ScriptedBackend:
    """Stands for a backend; everything but generation is the tiny model's own."""

    def __init__(self, inner, jobs: dict[tuple[int, ...], Job], script: Script, width: int) -> None:
        self.inner, self.jobs, self.script, self.width = inner, jobs, script, width
        self.name, self.engine = inner.name, inner.engine

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def generate(self, prompts, *, seeds, sampling, capture, watch=(), steer=(), lanes=None):
        if capture is None:
            return self.inner.generate(prompts, seeds=seeds, sampling=sampling, capture=None, watch=watch, lanes=lanes)
        return [
            self._one(self.jobs[tuple(prompt)], seed, capture, watch)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def _one(self, job, seed, capture, watch):
        ids = [*TOKENIZER(self.script(job), add_special_tokens=False).input_ids, TOKENIZER.eos_token_id]
        drawn = torch.Generator().manual_seed(seed % 2**32)
        held = len(job.prompt_ids) if capture.prompt else 1
        activations = {pair: torch.randn(held + len(ids) - 1, self.width, generator=drawn) for pair in capture.pairs()}
        watched = torch.tensor([[SURE if token == each else -6.0 for each in watch] for token in ids])
        return Generation(ids, "stop", activations, watched)


def run_scripted(monkeypatch: pytest.MonkeyPatch, model: Path, spec, out: Path, script: Script, **options) -> dict:
    """Run an experiment on a model that follows the script."""
    jobs: dict[tuple[int, ...], Job] = {}
    prepare, plan_follow_up = preparing.prepare, turns.plan_follow_up

    def prepared(*args, **named):
        found = prepare(*args, **named)
        jobs.update({job.prompt_ids: job for part in found.parts for job in part})
        width = found.loaded.info.width
        object.__setattr__(found, "backend", ScriptedBackend(found.backend, jobs, script, width))
        return found

    def planned(*args, **named):
        found = plan_follow_up(*args, **named)
        jobs.update({job.prompt_ids: job for job in found})
        return found

    with monkeypatch.context() as patch:
        patch.setattr(running, "prepare", prepared)
        patch.setattr(turns, "plan_follow_up", planned)
        patch.setattr(running, "self_test", lambda *_: [])
        return run_experiment(spec.model_copy(update={"model": str(model)}), out, **options)


def save_roomy(folder: Path) -> Path:
    """A tiny model with room for long prompts, a token a character."""
    save_tiny(folder)
    edit_json(folder / "config.json", max_position_embeddings=8192)
    return folder


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
