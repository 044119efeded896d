"""Group relative policy optimisation of an organism with trl; our own sampler makes the completions.

A completion is sampled by the merged model (`sampler.Merged`) in the lanes of `backends`, with a seed of its own, and
read as a recorded rollout is; its rewards are functions of that reading. So an interrupted training samples again what
an uninterrupted one samples. On a GPU, vLLM can sample instead: faster, and not the same twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from trl import GRPOTrainer

from ..backends import Generation, Sampling, make_backend
from ..plan import Job, rollout_seed
from ..record import read_generation, render_trial, stop_ids
from ..rollout import Rollout
from ..scoring import lexical_verdict
from ..tasks.task import Task
from .demonstrations import Demonstration
from .recipe import GrpoSettings
from .rewards import Attempt, Rewards, pay
from .sampler import Merged
from .scored import score_cheaply


class Rollouts:
    """What a trainer asks for completions: demonstrations by their index, as text, to sampled and read attempts."""

    def __init__(
        self, merged: Merged, demonstrations: Sequence[Demonstration], task: Task, settings: GrpoSettings, seed: int
    ) -> None:
        self.merged, self.demonstrations, self.task = merged, demonstrations, task
        self.settings, self.seed = settings, seed
        self.backend = make_backend("native", merged.loaded.model)
        self.sampling = Sampling(settings.max_new_tokens, settings.temperature, stop_ids(merged.loaded))
        self.prompts = [tuple(render_trial(merged.loaded, demo.trial)) for demo in demonstrations]

    def __call__(self, indices: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """One completion for every index: as trl wants them, with the attempts beside them."""
        jobs = [self._job(at, int(index), trainer.state.global_step) for at, index in enumerate(indices)]
        if self.settings.rollouts == "vllm":
            made = self._from_vllm(jobs, trainer)
        else:
            self.merged.update(trainer.accelerator.unwrap_model(trainer.model))
            made = self._from_lanes(jobs)
        attempts = [self._read(job, generation) for job, generation in zip(jobs, made, strict=True)]
        credit = (
            {} if self.settings.credit == "completion" else {"env_mask": [answers(each.rollout) for each in attempts]}
        )
        return {
            **credit,
            "prompt_ids": [attempt.rollout.prompt_ids for attempt in attempts],
            "completion_ids": [attempt.rollout.completion_ids for attempt in attempts],
            "logprobs": None,
            "attempt": attempts,
        }

    def _from_lanes(self, jobs: Sequence[Job]) -> list[Generation]:
        return self.backend.generate(
            [job.prompt_ids for job in jobs], seeds=[job.seed for job in jobs], sampling=self.sampling, capture=None
        )

    def _from_vllm(self, jobs: Sequence[Job], trainer: GRPOTrainer) -> list[Generation]:
        """By now vLLM has the weights from trl; a prompt is sampled once for each of its repetitions."""
        prompts = [list(job.prompt_ids) for job in jobs]
        _, made, _, _ = trainer.vllm_generation.generate(prompts, None, trainer.num_generations)
        stops = set(self.sampling.stop_ids)
        return [
            Generation(ids, "stop" if ids and ids[-1] in stops else "length", {}, torch.empty(len(ids), 0))
            for ids in made
        ]

    def _read(self, job: Job, generation: Generation) -> Attempt:
        rollout = read_generation(job, generation, task=self.task, loaded=self.merged.loaded, options=[])
        return Attempt(self.demonstrations[job.rollout], rollout, lexical_verdict(self.task, rollout))

    def _job(self, at: int, index: int, step: int) -> Job:
        demo = self.demonstrations[index]
        seed = rollout_seed(self.seed, f"{demo.item.item_id}/{index}", demo.trial.condition, step * 100_000 + at)
        return Job(index, demo.item, demo.trial, at, seed, self.prompts[index])


def answers(rollout: Rollout) -> list[int]:
    """1 for completion tokens after the think block, 0 for others; 1 for all where nothing comes after it."""
    start = rollout.spans.answer[0] - len(rollout.prompt_ids)
    tokens = len(rollout.completion_ids)
    return [1] * tokens if rollout.acted is None else [int(at >= start) for at in range(tokens)]


def balanced(demonstrations: Sequence[Demonstration]) -> list[int]:
    """Indices of demonstrations, in their order but for this: the answers wanted take turns, as long as they last."""
    waiting: dict[str, deque[int]] = {}
    for index, demo in enumerate(demonstrations):
        waiting.setdefault(demo.answer, deque()).append(index)
    turns = [queue for _, queue in sorted(waiting.items())]
    return [queue.popleft() for _ in range(max(map(len, turns), default=0)) for queue in turns if queue]


class RewardedGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` that scores only completion tokens, with our rewards.

    Its rows are `{"prompt": index}`, the index of a demonstration as text.
    """

    def __init__(self, *, rewards: Rewards, rollouts: Rollouts, **kwargs: Any) -> None:
        functions = [_named(name, reward) for name, (reward, _) in rewards.items()]
        super().__init__(reward_funcs=functions, rollout_func=rollouts, **kwargs)
        score_cheaply(self.model, temperature=self.temperature)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss, from completions that have an advantage: without a KL term the others have no gradient."""
        if self.beta:
            return super()._compute_loss(model, inputs)
        matters = inputs["advantages"] != 0
        if not matters.any():
            matters[0] = True
        return super()._compute_loss(
            model,
            {
                key: value[matters] if isinstance(value, torch.Tensor) and value.shape[:1] == matters.shape else value
                for key, value in inputs.items()
            },
        )


def _named(name: str, reward: Any) -> Any:
    def function(*, attempt: list[Attempt], **kwargs: Any) -> list[float]:
        return pay(name, reward, attempt)

    function.__name__ = name
    return function
