"""A model in memory, for looking around: prompts in, rollouts and activations out, and a direction added on the way.

Experiments are better run from a spec: that keeps what was done. Nothing here is written to disk.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
import torch

from ..backends import Capture, Generation, ModelBackend, Sampling, Steer, make_backend
from ..errors import SpecError
from ..experiment import LayerSelection, SiteName, resolve_layers
from ..forced import answer_lead, forced_answers, option_ids
from ..models import LoadedModel, ModelInfo, load_model, render_messages, render_prompt
from ..plan import rollout_seed
from ..record import stop_ids, store_spec
from ..run_folder import check_memory, enough_memory
from ..selection import Selection
from ..store import estimated_bytes
from ..transcripts.rollouts import as_rollouts
from ..transcripts.transcript import Source, Transcript
from .fit import Fitted
from .recording import Recording
from .table import rollout_table

Prompt = str | Sequence[Mapping[str, str]] | Sequence[int]
"""A user message, a chat, or token ids."""
SteeredSpan = Literal["all", "prompt", "completion"]
ENDLESS = 1 << 40
"""Past every position."""


class Model:
    """A loaded model; a context that frees it. Made by `load`."""

    def __init__(self, loaded: LoadedModel, backend: ModelBackend) -> None:
        self._loaded: LoadedModel | None = loaded
        self._backend = backend
        self._steers: list[tuple[Steer, SteeredSpan]] = []

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
            Rollouts as a table, and the recording: `recording.activations(layer=12, span="think")`.

        Raises:
            SpecError: a prompt or setting is none, or the model does not record what is asked for.
            ModelError: the model's chat template refuses a prompt.
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
        with enough_memory("these completions", "give fewer prompts or layers, or a smaller batch_size"):
            made = self._backend.generate(
                ids,
                seeds=[rollout_seed(seed, str(i), "plain", sample) for i, sample in asked],
                sampling=Sampling(max_new_tokens, temperature, stop_ids(self.loaded)),
                capture=capture,
                steer=self._steering(ids),
                lanes=batch_size,
            )
        written = [
            (f"prompt {i}", Transcript(prompt_ids=own, completion_ids=each.completion_ids, id=i, sample=sample))
            for (i, sample), own, each in zip(asked, ids, made, strict=True)
        ]
        rollouts = [
            rollout.model_copy(update={"prompt_text": _text(prompts[i], rollout.prompt_text), "finish": each.finish})
            for (i, _), rollout, each in zip(asked, as_rollouts(self.loaded, Source(written, {})), made, strict=True)
        ]
        return rollout_table(rollouts), Recording(rollouts, made, spec, prompt=prompt_tokens)

    def answers(self, prompts: Sequence[Prompt], options: Sequence[str]) -> pd.DataFrame:
        """What the model would answer at once, read off its next-token distribution: nothing is drawn.

        Args:
            options: names that can follow `Answer:`, such as letters.

        Returns:
            Log-probability (nats) of each option, [prompt, option]; their sum's exponential may be below 1.

        Raises:
            SpecError: options cannot be told apart by their tokens.
        """
        names = option_ids(self.loaded.tokenizer, options)
        ids = [self._render(prompt) for prompt in prompts]
        prefixes = [[*each, *answer_lead(self.loaded, each)] for each in ids]
        found = forced_answers(_Steered(self), prefixes, [names] * len(prefixes))
        return pd.DataFrame([each.logprobs for each in found], index=pd.RangeIndex(len(ids), name="prompt"))

    @contextmanager
    def steer(
        self,
        direction: Fitted | np.ndarray | torch.Tensor,
        *,
        layer: int | None = None,
        site: SiteName | None = None,
        span: str = "all",
        strength: float = 1.0,
    ) -> Iterator[None]:
        """Add `strength` times a direction at a site, while the context lasts; contexts inside each other add up.

        Args:
            direction: what `introspect.probe` gave, or a vector [width].
            layer: of a vector; negative ones count from the last.
            span: `all`, `prompt`, or `completion` (from the last prompt token on).

        Raises:
            SpecError: the direction does not fit the model, or the span cannot be steered.
        """
        if span not in get_args(SteeredSpan):
            raise SpecError(
                f"span {span!r} cannot be steered while it is being written, since where it begins is not known yet; "
                f"choose {', '.join(get_args(SteeredSpan))}"
            )
        if isinstance(direction, Fitted):
            layer, site = (direction.layer if layer is None else layer), site or direction.site  # type: ignore[assignment]
            direction = direction.direction.weight
        if layer is None:
            raise SpecError("a vector needs its layer: model.steer(vector, layer=12)")
        (resolved,) = resolve_layers((layer,), self.info.n_layers)
        vector = torch.as_tensor(np.asarray(direction), dtype=torch.float32)
        if vector.shape != (self.info.width,) or not torch.isfinite(vector).all():
            raise SpecError(f"a direction is {self.info.width} finite numbers here, not {tuple(vector.shape)}")
        entry: tuple[Steer, SteeredSpan] = (Steer(site or "resid_post", resolved, vector, strength), span)  # type: ignore[assignment]
        self._steers.append(entry)
        try:
            yield
        finally:
            self._steers.remove(entry)

    def _steering(self, prompts: Sequence[Sequence[int]]) -> list[Steer]:
        """What is steered in sequences that begin with these prompts."""
        out = []
        for each, span in self._steers:
            ranges = {
                "all": None,
                "prompt": tuple(range(len(prompt)) for prompt in prompts),
                "completion": tuple(range(len(prompt) - 1, ENDLESS) for prompt in prompts),
            }[span]
            out.append(Steer(each.site, each.layer, each.vector, each.strength, ranges))
        return out

    def _render(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return render_prompt(self.loaded, prompt)
        if prompt and all(isinstance(each, Mapping) for each in prompt):
            return render_messages(self.loaded, list(prompt))  # type: ignore[arg-type]
        if prompt and all(isinstance(each, (int, np.integer)) for each in prompt):
            return [int(each) for each in prompt]  # type: ignore[arg-type]
        raise SpecError("a prompt is a user message, a list of messages with role and content, or a list of token ids")


class _Steered:
    """A model's backend with the steering that is in force."""

    def __init__(self, model: Model) -> None:
        self.name, self._model = model._backend.name, model

    def generate(self, prompts: Sequence[Sequence[int]], **options: Any) -> list[Generation]:
        """See `Backend.generate`."""
        return self._model._backend.generate(prompts, steer=self._model._steering(prompts), **options)

    def replay(self, sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], **options: Any) -> list:
        """See `Backend.replay`."""
        return self._model._backend.replay(sequences, positions, steer=self._model._steering(sequences), **options)


def load(
    name: str,
    *,
    organism: str | None = None,
    revision: str | None = None,
    dtype: str = "auto",
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
    loaded = load_model(name, adapter=organism, revision=revision, dtype=dtype, offline=offline)
    return Model(loaded, make_backend(backend, loaded.model))


def _text(prompt: Prompt, decoded: str) -> str:
    """A prompt as its rollout has it: the user's last message, or what its ids spell."""
    if isinstance(prompt, str):
        return prompt
    last = prompt[-1]
    return str(last["content"]) if isinstance(last, Mapping) else decoded
