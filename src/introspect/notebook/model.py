"""A model in memory, for looking around: prompts in, rollouts and activations out, and directions steered on the way.

Experiments are better run from a spec: that keeps what was done. Nothing here is written to disk.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

import numpy as np
import pandas as pd
import torch

from ..backends import Capture, Generation, ModelBackend, Operator, Sampling, make_backend
from ..errors import ModelError, SpecError
from ..experiment import LayerSelection, SiteName, resolve_layers
from ..forced import answer_lead, forced_answers, option_ids
from ..models import LoadedModel, ModelInfo, load_model, render_messages, render_prompt
from ..plan import rollout_seed
from ..record import stop_ids, store_spec
from ..run_folder import check_memory, enough_memory
from ..selection import Selection
from ..steering import Direction, FromText, Intervention, SteeredSpan, make_steers
from ..store import estimated_bytes
from ..transcripts.rollouts import as_rollouts
from ..transcripts.transcript import Source, Transcript
from .fit import Fitted
from .recording import Recording
from .steered import Doses, SteeredBackend, by_dose, n_steered, of_prompts, read_dose
from .table import rollout_table

Prompt = str | Sequence[Mapping[str, str]] | Sequence[int]
"""A user message, a chat, or token ids."""


class Model:
    """A loaded model; a context that frees it. Made by `load`."""

    def __init__(self, loaded: LoadedModel, backend: ModelBackend) -> None:
        self._loaded: LoadedModel | None = loaded
        self._backend = backend
        self._interventions: list[Intervention] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model's memory."""
        self._loaded = None
        del self._backend
        gc.collect()

    def __repr__(self) -> str:
        return "<Model, closed>" if self._loaded is None else f"<Model {self.info.name}: {self.info.n_layers} layers>"

    @property
    def loaded(self) -> LoadedModel:
        """Weights, tokenizer and reasoning format.

        Raises:
            SpecError: the model was closed.
        """
        if self._loaded is None:
            raise SpecError("the model is closed: use it inside `with introspect.load(...) as model`")
        return self._loaded

    @property
    def info(self) -> ModelInfo:
        """Name, digests, dtype, layers and width."""
        return self.loaded.info

    def record(
        self,
        prompts: Sequence[Prompt],
        *,
        layers: LayerSelection | Sequence[int] = "all",
        sites: Sequence[SiteName] = ("resid_post",),
        prompt_tokens: bool = False,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
        samples: int = 1,
        batch_size: int = 16,
        seed: int = 0,
    ) -> tuple[pd.DataFrame, Recording]:
        """Sample completions and keep their activations in memory.

        Args:
            prompts: user messages, chats (lists of role and content) or token ids.
            layers: `all`, `last`, a slice such as `"4:28:4"`, or layer numbers.
            prompt_tokens: keep those of every prompt token, not of the last one only.
            samples: completions a prompt; the prompt is their group.
            seed: the same seed gives the same completions.

        Returns:
            Rollouts as a table, and the recording: `recording.activations(layer=12, span="think")`. Under steering, the
            column `steered` has how many tokens of each were changed; completions that it drove to NaN or infinity are
            left out, with a warning that names them.

        Raises:
            SpecError: a prompt or setting is none, or the model does not record what is asked for.
            ModelError: the model's chat template refuses a prompt; or steering left no completion.
            RunError: the memory cannot hold it.
        """
        if samples < 1 or not len(prompts) or isinstance(prompts, str):
            raise SpecError("give a list of at least one prompt, and samples of 1 or more")
        chosen = layers if isinstance(layers, str) else tuple(layers)
        capture = Capture(tuple(sites), resolve_layers(chosen, self.info.n_layers), prompt=prompt_tokens)
        asked = [(i, sample) for i in range(len(prompts)) for sample in range(samples)]
        rendered = [self._render(prompt) for prompt in prompts]
        ids = [rendered[i] for i, _ in asked]
        selection = Selection(("prompt", "completion") if prompt_tokens else ("completion",))
        spec = store_spec(capture, self.loaded, plan="", selection=selection)
        spec.meta["n_layers"] = self.info.n_layers
        tokens = sum(max_new_tokens + 1 + (len(each) if prompt_tokens else 0) for each in ids)
        check_memory(2 * estimated_bytes(spec, tokens))
        steer = make_steers(of_prompts(self._interventions, [i for i, _ in asked], len(prompts)), ids, self.loaded)
        with enough_memory("these completions", "give fewer prompts or layers, or a smaller batch_size"):
            made = self._backend.generate(
                ids,
                seeds=[rollout_seed(seed, str(i), "plain", sample) for i, sample in asked],
                sampling=Sampling(max_new_tokens, temperature, stop_ids(self.loaded)),
                capture=capture,
                steer=steer,
                lanes=batch_size,
            )
        kept = _finite(asked, made)
        written = [
            (f"prompt {asked[k][0]}", _transcript(ids[k], made[k], *asked[k]))  # as a file's line is named
            for k in kept
        ]
        rollouts = [
            rollout.model_copy(
                update={"prompt_text": _text(prompts[asked[k][0]], rollout.prompt_text), "finish": made[k].finish}
            )
            for k, rollout in zip(kept, as_rollouts(self.loaded, Source(written, {})), strict=True)
        ]
        table = rollout_table(rollouts)
        if steer:
            table["steered"] = n_steered(steer, kept, ids, made)
        return table, Recording(rollouts, [made[k] for k in kept], spec, prompt=prompt_tokens)

    def answers(self, prompts: Sequence[Prompt], options: Sequence[str]) -> pd.DataFrame:
        """What the model would answer at once, read off its next-token distribution: nothing is drawn.

        Args:
            options: names that can follow `Answer:`, such as letters.

        Returns:
            Log-probability (nats) of each option, [prompt, option]; their sum's exponential may be below 1. NaN where
            steering drove the model to NaN or infinity.

        Raises:
            SpecError: options cannot be told apart by their tokens.
        """
        names = option_ids(self.loaded.tokenizer, options)
        ids = [self._render(prompt) for prompt in prompts]
        prefixes = [[*each, *answer_lead(self.loaded, each)] for each in ids]
        found: dict[int, dict[str, float]] = {}
        for rows, interventions in by_dose(self._interventions, len(ids)):
            backend = SteeredBackend(self._backend, self.loaded, interventions, [ids[i] for i in rows])
            forced = forced_answers(backend, [prefixes[i] for i in rows], [names] * len(rows))
            found |= {i: each.logprobs for i, each in zip(rows, forced, strict=True)}
        return pd.DataFrame([found[i] for i in range(len(ids))], index=pd.RangeIndex(len(ids), name="prompt"))

    @contextmanager
    def steer(
        self,
        direction: Direction | Fitted | np.ndarray | torch.Tensor,
        *,
        layer: int | None = None,
        site: SiteName | None = None,
        span: SteeredSpan | range = "all",
        from_text: str | None = None,
        strength: Doses = 1.0,
        operator: Operator = "add",
        value: Doses = 0.0,
    ) -> Iterator[None]:
        """Steer the model while the context lasts; contexts inside each other act in their order.

        Args:
            direction: a direction, what `introspect.probe` gave, or a vector [width].
            layer: of a vector; negative ones count from the last. Moves a direction elsewhere.
            span: `all`, `prompt`, `completion` (from the last prompt token on), `think`, `answer`, or a range of
                positions.
            from_text: instead of a span, every token from this text on.
            strength: `add` moves by so many times the direction; `project` takes so much of the component along it
                away, and `clamp` brings it so far towards `value`: 1 is all the way. Or one a prompt, so that doses run
                side by side. 0 changes nothing.
            value: of `clamp`, in the units of the activations, or one a prompt.

        Raises:
            SpecError: the direction does not fit the model, or the span cannot be steered.
            ModelError: the direction is of another model.
        """
        if from_text is not None and span != "all":
            raise SpecError(f"from_text says where to steer, and so does span={span!r}: give one of them")
        intervention = Intervention(
            self._direction(direction, layer, site),
            operator,
            read_dose(strength, "strength"),
            read_dose(value, "value"),
            span if from_text is None else FromText(from_text),
        )
        self._interventions.append(intervention)
        try:
            yield
        finally:
            self._interventions = [each for each in self._interventions if each is not intervention]

    def _direction(
        self, given: Direction | Fitted | np.ndarray | torch.Tensor, layer: int | None, site: SiteName | None
    ) -> Direction:
        """What is meant, at a place of this model."""
        if isinstance(given, Direction):
            found = given
        else:
            if isinstance(given, Fitted):
                layer, site = (given.layer if layer is None else layer), site or given.site  # type: ignore[assignment]
                given = given.direction.weight
            if layer is None:
                raise SpecError("a vector needs its layer: model.steer(vector, layer=12)")
            numbers = torch.as_tensor(np.asarray(given), dtype=torch.float32)
            if numbers.shape != (self.info.width,) or not torch.isfinite(numbers).all():
                raise SpecError(f"a direction is {self.info.width} finite numbers here, not {tuple(numbers.shape)}")
            found = Direction(numbers.numpy(), "resid_post", 0)
        (resolved,) = resolve_layers((found.layer if layer is None else layer,), self.info.n_layers)
        placed = replace(found, layer=resolved, site=site or found.site)
        placed.check_fits(self.info)
        return placed

    def _render(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return render_prompt(self.loaded, prompt)
        if prompt and all(isinstance(each, Mapping) for each in prompt):
            return render_messages(self.loaded, list(prompt))  # type: ignore[arg-type]
        if prompt and all(isinstance(each, (int, np.integer)) for each in prompt):
            return [int(each) for each in prompt]  # type: ignore[arg-type]
        raise SpecError("a prompt is a user message, a list of messages with role and content, or a list of token ids")


def load(
    name: str,
    *,
    organism: str | None = None,
    revision: str | None = None,
    dtype: str = "auto",
    quantization: Literal["4bit", "8bit"] | None = None,
    backend: str = "auto",
    offline: bool = False,
) -> Model:
    """Load a model to look around in.

    Args:
        name: an embedded model's name, a hub id, a local folder or a `.gguf` file.
        organism: adapter on top: a name in `data/organisms`, or a folder.

    Raises:
        ModelError: the model cannot be loaded, or the adapter does not fit it.
        SpecError: no such backend.
    """
    loaded = load_model(
        name, adapter=organism, revision=revision, dtype=dtype, quantization=quantization, offline=offline
    )
    return Model(loaded, make_backend(backend, loaded.model))


def _text(prompt: Prompt, decoded: str) -> str:
    """A prompt as its rollout has it: the user's last message, or what its ids spell."""
    if isinstance(prompt, str):
        return prompt
    last = prompt[-1]
    return str(last["content"]) if isinstance(last, Mapping) else decoded


def _transcript(prompt_ids: list[int], made: Generation, prompt: int, sample: int) -> Transcript:
    return Transcript(prompt_ids=prompt_ids, completion_ids=made.completion_ids, id=prompt, sample=sample)


def _finite(asked: Sequence[tuple[int, int]], made: Sequence[Generation]) -> list[int]:
    """Which completions there are, all numbers of the model being finite; warns of the others."""
    lost = [f"prompt {i} sample {k}" for (i, k), each in zip(asked, made, strict=True) if each.finish == "not_finite"]
    said = f"steering drove {len(lost)} of {len(made)} completions to NaN or infinity"
    if lost and len(lost) == len(made):
        raise ModelError(f"{said}: lower its strength, or load the model with dtype='float32'")
    if lost:
        listed = ", ".join(lost[:10]) + (", ..." if len(lost) > 10 else "")
        warnings.warn(f"{said}, and they are left out: {listed}; lower its strength", stacklevel=3)
    return [k for k, each in enumerate(made) if each.finish != "not_finite"]
