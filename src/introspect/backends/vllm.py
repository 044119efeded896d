"""vLLM as a sampler: token ids at serving speed, from the very weights that record them afterwards.

A fork of nothing: vLLM runs by its own Python interface, in this process, and is told to add nothing of its own (no
sampling defaults from the model's folder, no end of sequence but ours, no tokenizer, no reports of usage). Its batches
are its own, so the same seeds may give other texts beside other prompts: a run that was resumed need not be the run
that was not interrupted.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SpecError
from ..models.boundary import first_line, one_line
from ..models.load import Origin, origin_of
from ..models.placement import devices_of
from .native import NativeEngine
from .protocol import Sampling
from .sampled import Sampled, SampledBackend

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

GET = (
    "get it with `pip install '.[vllm]'` in the folder of introspect's source, in an environment of its own (Linux and "
    "an NVIDIA GPU)"
)
REMEDY = "see its own lines above, or use --backend native"
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""What stands unless the user says otherwise: nothing is reported, one process decides the order of requests, and where
others compute with it they are no forks of it, since it has been on a GPU before."""
ROOM_STEP = 1024
"""The context that vLLM is started with is a multiple of this, as far as the model has one."""
SHARE = 0.9
"""Of the GPU memory that the recording model leaves."""


def vllm_backend(model: PreTrainedModel) -> SampledBackend:
    """A backend in which vLLM samples, and the native engine records by replay.

    Raises:
        SpecError: vLLM is not here, has nothing to run on, or cannot have this model's weights.
    """
    check_vllm()
    origin = origin_of(model)
    if origin is None:
        raise SpecError("the vllm backend needs a model that was loaded from files: load it by name")
    if getattr(model, "hf_quantizer", None) is not None:
        raise SpecError(
            "the vllm backend samples from full weights, and this model is recorded in few bits: leave quantization "
            "out, or use --backend native"
        )
    return SampledBackend(NativeEngine(model), VllmSampler(model, origin))


def check_vllm() -> None:
    """Refuse a machine on which vLLM cannot run.

    Raises:
        SpecError: says what is missing.
    """
    if importlib.util.find_spec("vllm") is None:
        raise SpecError(f"the vllm backend needs vLLM: {GET}, or use --backend native")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.platforms import current_platform

        device = current_platform.device_type
    except (ImportError, OSError, RuntimeError) as error:
        raise SpecError(f"vLLM cannot be imported here ({first_line(error)}): use --backend native") from None
    if not device:
        raise SpecError("vLLM finds nothing here that it runs on (its wheels need a GPU): use --backend native")


class VllmSampler:
    """Draws through `vllm.LLM`, which is started at the first draw, with room for what is asked then and what has been
    said to be expected: it is started again for longer contexts only.
    """

    name = "vllm"

    def __init__(self, model: PreTrainedModel, origin: Origin) -> None:
        self._model, self._origin = model, origin
        self._engine: Any = None
        self._room = self._expected = 0
        self._folder: Path | None = None

    def expect(self, longest: int) -> None:
        """See `Sampler.expect`."""
        self._expected = max(self._expected, longest)

    def sample(self, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], sampling: Sampling) -> list[Sampled]:
        """See `Sampler.sample`."""
        from vllm import SamplingParams

        engine = self._started(max(map(len, prompts), default=1) + sampling.max_new_tokens)
        asked = [
            SamplingParams(
                temperature=sampling.temperature,
                max_tokens=sampling.max_new_tokens,
                seed=seed,
                stop_token_ids=sorted(sampling.stop_ids),
                ignore_eos=True,
                detokenize=False,
                logprobs=0,
            )
            for seed in seeds
        ]
        given = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        with one_line("vLLM's sampling", REMEDY):
            made = engine.generate(given, asked, use_tqdm=False)
        return [_sampled(each.outputs[0]) for each in made]

    def _started(self, needed: int) -> Any:
        if self._engine is not None and needed <= self._room:
            return self._engine
        from vllm import LLM

        self._stop()
        needed = max(needed, self._expected)
        most = getattr(self._model.config.get_text_config(), "max_position_embeddings", None) or needed
        self._room = max(needed, min(most, -(-needed // ROOM_STEP) * ROOM_STEP))
        with one_line("vLLM", REMEDY):
            self._engine = LLM(
                model=str(self._weights()),
                dtype=str(self._model.dtype).removeprefix("torch."),
                max_model_len=self._room,
                generation_config="vllm",
                skip_tokenizer_init=True,
                trust_remote_code=False,
                seed=0,
                disable_log_stats=True,
                **_of_devices(self._model),
            )
        return self._engine

    def _stop(self) -> None:
        """End what has too little room, and have its memory back before another is started beside the model."""
        if self._engine is None:
            return
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        core = getattr(getattr(self._engine, "llm_engine", None), "engine_core", None)
        self._engine = None
        if core is not None:
            core.shutdown()
        del core
        cleanup_dist_env_and_memory()

    def _weights(self) -> Path:
        """The model's own folder; where an adapter was merged, or a file was unpacked, a copy of what came of it."""
        if self._origin.as_stored:
            return self._origin.path
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="introspect-vllm-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self._model.save_pretrained(self._folder)
        return self._folder


def _of_devices(model: PreTrainedModel) -> dict[str, Any]:
    """A processor compiles nothing for a short run; GPUs lend what the recording model leaves of the fullest one."""
    import torch

    if not torch.cuda.is_available():
        return {"enforce_eager": True}
    many = _parts(model)
    found = [torch.cuda.mem_get_info(number) for number in range(many)]
    share = {"gpu_memory_utilization": round(SHARE * min(free / total for free, total in found), 3)}
    return share if many == 1 else share | {"tensor_parallel_size": many, "distributed_executor_backend": "mp"}


def _parts(model: PreTrainedModel) -> int:
    """GPUs over which vLLM splits every matrix: as many as the recording model is laid over, or the most of them that
    the attention's heads can be dealt out to evenly.
    """
    over = max(1, sum(device.startswith("cuda") for device in devices_of(model)))
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 0
    shared = getattr(config, "num_key_value_heads", None) or heads
    even = [many for many in range(1, over + 1) if heads % many == 0 and (shared % many == 0 or many % shared == 0)]
    if even[-1] < over:
        log.warning("vLLM samples on %d of %d GPUs: %d heads cannot be dealt out to more", even[-1], over, heads)
    return even[-1]


def _sampled(made: Any) -> Sampled:
    """A `CompletionOutput` of vLLM: ids with the stop token, and for each a map from it to its log-probability."""
    ids = [int(token) for token in made.token_ids]
    logprobs = [float(each[token].logprob) for token, each in zip(ids, made.logprobs, strict=True)]
    return Sampled(ids, "stop" if made.finish_reason == "stop" else "length", logprobs)
