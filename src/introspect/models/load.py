"""From a name to a model that is ready to be read: weights, tokenizer, reasoning format, and what exactly they are.

Torch and transformers are imported by the functions that need them, so that looking a name up stays cheap. Only
safetensors and GGUF files are read and no code from a model's folder is run. Known trade-off: an adapter or a GGUF file
passes through float32, so for a moment the model takes twice the room of its final bfloat16.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ModelError
from .adapter import check_base, merge
from .boundary import one_line, quiet
from .dequantise import dequantise, gguf_tokenizer
from .digests import digest_files, weight_files
from .embedded import ensure_embedded
from .formats import ReasoningFormat, detect_format
from .hub import fill_snapshot
from .memory import keep_few_kernels, keep_freed_memory
from .precision import choose_dtype, recast
from .source import ModelSource, hub_is_off, resolve

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ATTENTION = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Implementations inside transformers and its declared extras. Any other name would fetch a kernel from the hub."""

Quantization = Literal["4bit", "8bit"]


@dataclass(frozen=True)
class ModelInfo:
    """What was loaded, for the manifest."""

    name: str
    """As the user typed it."""
    kind: str
    """embedded, hub, local or gguf."""
    revision: str | None
    """Commit hash of a hub model."""
    weight_digest: str
    """SHA-256 of the safetensors file (of several: of their bytes in name order), or of the GGUF file that the weights
    come from; for an embedded model too."""
    adapter: str | None
    adapter_digest: str | None
    """SHA-256 over the adapter's config and weights files."""
    dtype: str
    """Of the activations: bfloat16, float16 or float32."""
    attention: str
    device: str
    n_layers: int
    width: int
    """Of the residual stream."""
    quantization: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode whose parameters take no gradients, adapter merged, with what belongs to it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    format: ReasoningFormat
    info: ModelInfo


def load_model(
    name: str,
    *,
    adapter: str | Path | None = None,
    revision: str | None = None,
    dtype: str = "auto",
    attention: str = "sdpa",
    device_map: str | None = "auto",
    quantization: Quantization | None = None,
    offline: bool = False,
) -> LoadedModel:
    """Load any causal language model, with a LoRA adapter merged into it.

    Args:
        name: an embedded model's name, a hub id, a local folder or a `.gguf` file.
        adapter: an organism's name or an adapter folder.
        revision: branch, tag or commit of a hub model.
        dtype: auto (bfloat16 where this machine is faster with it), bfloat16, float16 or float32.
        device_map: auto spreads the model over the accelerators there are; None keeps it on the processor.
        quantization: load the weights in 4 or 8 bits, with bitsandbytes.
        offline: ask no hub; what is not on this machine is an error.

    Raises:
        ModelError: the model, its tokenizer or the adapter cannot be loaded, or do not fit each other.
    """
    _check_options(attention, quantization, adapter)
    keep_few_kernels()
    number_format = choose_dtype(dtype)
    source = resolve(name, adapter=adapter, revision=revision, offline=offline)
    path = fetch(source, offline=offline or hub_is_off())
    placed = device_map if _has_accelerator() else None
    if placed is None:
        keep_freed_memory()
    with ThreadPoolExecutor(max_workers=1) as beside:
        digest = beside.submit(digest_of, source, path)
        model = _load_base(source, path, number_format, attention, placed, quantization)
        weight_digest = digest.result()
    if source.adapter is not None:
        check_base(
            source.adapter,
            source.name,
            source.path,
            requested=revision,
            commit=source.revision,
            digest=weight_digest,
        )
        model = merge(model, source.adapter)
    if source.adapter is not None or source.kind == "gguf":
        model = recast(model, number_format, placed)
    model.requires_grad_(False).eval()
    tokenizer = load_tokenizer(source, path)
    config = model.config.get_text_config()
    info = ModelInfo(
        name=name,
        kind=source.kind,
        revision=source.revision,
        weight_digest=weight_digest,
        adapter=None if source.adapter is None else source.adapter.name,
        adapter_digest=None if source.adapter is None else source.adapter.digest(),
        dtype=str(number_format).removeprefix("torch."),
        attention=model.config._attn_implementation,
        device=_devices(model),
        n_layers=config.num_hidden_layers,
        width=config.hidden_size,
        quantization=quantization,
    )
    return LoadedModel(model, tokenizer, detect_format(tokenizer), info)


def _check_options(attention: str, quantization: str | None, adapter: str | Path | None) -> None:
    if attention not in ATTENTION:
        raise ModelError(f"attention {attention!r} is not known: choose one of {', '.join(ATTENTION)}")
    if quantization is None:
        return
    if quantization not in {"4bit", "8bit"}:
        raise ModelError(f"quantization {quantization!r} is not known: choose 4bit or 8bit")
    if adapter is not None:
        raise ModelError("an adapter cannot be merged into quantised weights: leave quantization or the adapter out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"{quantization} needs bitsandbytes: get it with `pip install introspect[quantization]`")


def fetch(source: ModelSource, *, offline: bool) -> Path:
    """The model's folder or GGUF file, complete.

    Raises:
        ModelError: something of it is not there, and cannot be had.
    """
    if source.kind == "embedded":
        return ensure_embedded(source.name)
    if source.kind == "hub":
        fill_snapshot(source.name, source.path, offline=offline)
    return source.path


def digest_of(source: ModelSource, path: Path) -> str:
    """SHA-256, hex, of the weights in a folder or GGUF file.

    Raises:
        ModelError: a file is missing, or cannot be read.
    """
    if source.weight_digest is not None:
        return source.weight_digest
    return digest_files([path] if source.kind == "gguf" else weight_files(path))


def _load_base(
    source: ModelSource,
    path: Path,
    dtype: torch.dtype,
    attention: str,
    device_map: str | None,
    quantization: Quantization | None,
) -> PreTrainedModel:
    """The model without adapter; float32 and on the processor if there is one to merge, or if the file is a GGUF."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if source.kind == "gguf":
        if quantization is not None:
            raise ModelError(f"{source.name} is a GGUF file, which is loaded whole: leave quantization out")
        return dequantise(path, attention)
    remedy = "check or download the model again; with another transformers or attention=eager it may load"
    bits = None
    if quantization is not None:
        bits = BitsAndBytesConfig(load_in_4bit=quantization == "4bit", load_in_8bit=quantization == "8bit")
        if quantization == "4bit":
            bits.bnb_4bit_compute_dtype = dtype
    with one_line(source.name, remedy), quiet():
        model, found = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype if source.adapter is None else torch.float32,
            attn_implementation=attention,
            device_map=device_map if source.adapter is None else None,
            quantization_config=bits,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"{source.name} lacks {len(missing)} of its weights (first: {missing[0]}): download or save the model again"
        )
    if source.adapter is not None and getattr(model, "hf_quantizer", None) is not None:
        raise ModelError(f"{source.name} is quantised, and an adapter cannot be merged into it: use its full weights")
    return model


def load_tokenizer(source: ModelSource, path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's files, without its weights: padding on the left, and end-of-sequence as padding where
    it has none. No hub is asked.

    Raises:
        ModelError: it cannot be read. Names the model.
    """
    from transformers import AutoTokenizer

    if source.kind == "gguf":
        tokenizer = gguf_tokenizer(path)
    else:
        remedy = "save the tokenizer next to the model"
        with one_line(f"the tokenizer of {source.name}", remedy), quiet():
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()


def _devices(model: PreTrainedModel) -> str:
    """Every device that holds a parameter, such as `cpu` or `cuda:0, cuda:1`."""
    return ", ".join(sorted({str(parameter.device) for parameter in model.parameters()}))
