"""A backend of two engines: one that only samples, at serving speed, and one that records by replay what it sampled.

The token ids are kept as they were drawn, and teacher-forced through the same weights. What the sampler says of their
probabilities is compared with what the model that records says (`introspect doctor --backend vllm`): other weights,
another prompt, or ids that moved show there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from transformers import DynamicCache

from ..errors import ModelError, SpecError
from ..models.placement import input_device
from .backend import ModelBackend, check_ids
from .protocol import Capture, Engine, Generation, Sampling, SiteLayer, Steer, Supports

RECORDS_BY_REPLAY = "another program samples, and shows no activations: they are recorded by replay"


@dataclass(frozen=True)
class Sampled:
    """What a sampler drew after one prompt."""

    completion_ids: list[int]
    """With the stop token, where there is one."""
    finish: Literal["stop", "length"]
    logprobs: list[float]
    """Of each drawn token among all tokens, in nats, at temperature 1."""


@dataclass(frozen=True)
class Disagreement:
    """Distance, in nats, between what the sampler and the model that records say of drawn tokens."""

    mean: float
    worst: float
    """The mean of the sequence where it is largest."""
    tokens: int


class Sampler(Protocol):
    """Draws tokens, and shows nothing of what goes on inside."""

    name: str

    def expect(self, longest: int) -> None:
        """Be told how many tokens a prompt and its completion may have together, before anything is drawn."""

    def sample(self, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], sampling: Sampling) -> list[Sampled]:
        """One completion a prompt, in their order.

        Raises:
            ModelError: the program that samples fails.
        """


class _Replaying:
    """An engine that says of itself that it generates nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def supports(self) -> Supports:
        """Of the engine, without recording in flight."""
        found = self._engine.supports()
        why = {"in_flight": RECORDS_BY_REPLAY}
        return replace(found, abilities=found.abilities - {"in_flight"}, why_not={**found.why_not, **why})


class SampledBackend(ModelBackend):
    """See `Backend`; it does not steer while it generates."""

    def __init__(self, engine: Engine, sampler: Sampler) -> None:
        super().__init__(_Replaying(engine))
        self.sampler = sampler
        self.name = sampler.name

    def expect(self, longest: int) -> None:
        """See `ModelBackend.expect`."""
        self.sampler.expect(longest)

    @property
    def why_not_in_flight(self) -> str | None:
        """It generates; that it records by replay is what `engine.supports` says."""
        return None

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        capture: Capture | None,
        watch: Sequence[int] = (),
        steer: Sequence[Steer] = (),
        lanes: int | None = None,
    ) -> list[Generation]:
        """See `Backend.generate`. The sampler decides how many run side by side.

        Raises:
            SpecError: steering is asked for, or a prompt cannot be read.
            ModelError: the sampler failed, or gave back what it cannot have drawn.
        """
        self._check(capture, steer)
        if steer:
            raise SpecError(f"the {self.name} backend does not steer while it generates: use --backend native")
        check_ids(self.engine.model, prompts, room=sampling.max_new_tokens)
        if sampling.max_new_tokens < 1 or len(seeds) != len(prompts):
            raise SpecError(f"{len(prompts)} prompts need as many seeds and at least one new token")
        made = self.sampler.sample(prompts, seeds=seeds, sampling=sampling)
        self._check_sampled(made, len(prompts), sampling)
        kept = [each.completion_ids[: len(each.completion_ids) - (each.finish == "stop")] for each in made]
        whole = [[*prompt, *ids] for prompt, ids in zip(prompts, kept, strict=True)]
        captured: list[dict[SiteLayer, torch.Tensor]] = [{} for _ in made]
        if capture is not None:
            firsts = [0 if capture.prompt else len(prompt) - 1 for prompt in prompts]
            positions = [range(first, len(ids)) for first, ids in zip(firsts, whole, strict=True)]
            captured = self.replay(whole, positions, capture=capture)
        watched = [
            self.scores(prompt, each.completion_ids)[:, list(watch)]
            if watch
            else torch.empty(len(each.completion_ids), 0)
            for prompt, each in zip(prompts, made, strict=True)
        ]
        return [
            Generation(each.completion_ids, each.finish, activations, logprobs)
            for each, activations, logprobs in zip(made, captured, watched, strict=True)
        ]

    def scores(self, prompt: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
        """Log-probabilities (nats, temperature 1) of every token, [token of the completion, vocabulary], float32."""
        device = input_device(self.engine.model)
        ids = torch.tensor([[*prompt, *completion[:-1]]], device=device)
        at = torch.arange(len(prompt) - 1, len(prompt) - 1 + len(completion), device=device)[None]
        inputs = {"input_ids": ids, "past_key_values": DynamicCache()}
        logits = self.engine.forward(inputs, reads={}, writes={}, logits_at=at)
        assert logits is not None  # noqa: S101 - for the type checker: logits were asked for
        return logits[0].float().log_softmax(dim=-1).cpu()

    def disagreement(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> Disagreement:
        """Draw a completion a prompt, and compare what both say of it."""
        made = self.sampler.sample(prompts, seeds=range(len(prompts)), sampling=sampling)
        self._check_sampled(made, len(prompts), sampling)
        distances: list[torch.Tensor] = []
        for prompt, each in zip(prompts, made, strict=True):
            own = self.scores(prompt, each.completion_ids)[range(len(each.completion_ids)), each.completion_ids]
            distances.append((own.double() - torch.tensor(each.logprobs, dtype=torch.float64)).abs())
        worst = torch.stack([each.mean() for each in distances]).max()
        every = torch.cat(distances)
        return Disagreement(float(every.mean()), float(worst), len(every))

    def _check_sampled(self, made: Sequence[Sampled], many: int, sampling: Sampling) -> None:
        known = self.engine.model.get_input_embeddings().num_embeddings
        if len(made) != many:
            raise ModelError(f"{self.name} gave {len(made)} completions of {many} prompts: try --backend native")
        for index, each in enumerate(made):
            ids, last = each.completion_ids, each.completion_ids[-1:]
            stops = [place for place, token in enumerate(ids) if token in sampling.stop_ids]
            ended = bool(last) and last[0] in sampling.stop_ids
            fits = 0 < len(ids) <= sampling.max_new_tokens and all(0 <= token < known for token in ids)
            right = ended == (each.finish == "stop") and stops in ([], [len(ids) - 1])
            if not (fits and right and len(each.logprobs) == len(ids)) or (
                not ended and len(ids) < sampling.max_new_tokens
            ):
                raise ModelError(
                    f"{self.name} gave completion {index} of {len(ids)} tokens that cannot have been drawn as asked "
                    f"({each.finish}): its version may keep ids in another way; try --backend native"
                )
