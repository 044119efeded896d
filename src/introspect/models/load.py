"""From a name to a model that is ready to be read: weights, tokenizer, reasoning format, and what exactly they are.

Torch and transformers are imported by the functions that need them, so that looking a name up stays cheap. Only
safetensors and GGUF files are read and no code from a model's folder is run. Known trade-off: an adapter or a GGUF file
passes through float32, so for a moment the model takes three times the room of its final bfloat16. Whether the
devices hold it is asked before a weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import ModelError
from .adapter import check_base, merge
from .boundary import one_line, quiet
from .dequantise import dequantise, gguf_tokenizer
from .digests import digest_files, weight_files
from .embedded import ensure_embedded
from .formats import ReasoningFormat, detect_format
from .hub import fill_snapshot
from .in_place import keep_watch, states_of
from .memory import keep_few_kernels, keep_freed_memory
from .placement import DISK, DeviceMap, Placement, devices_of, place, settle
from .precision import choose_dtype, recast
from .quantise import Quantization, check_quantization, quantised_digest, settings
from .sizes import WeightSizes, check_fits, weight_sizes
from .source import ModelSource, hub_is_off, resolve

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

ATTENTION = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Implementations inside transformers and its declared extras. Any other name would fetch a kernel from the hub."""


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
    come from; for an embedded model too. Of a model that is quantised as it is loaded: SHA-256 of that and how."""
    adapter: str | None
    adapter_digest: str | None
    """SHA-256 over the adapter's config and weights files."""
    dtype: str
    """Of the activations: bfloat16, float16 or float32."""
    attention: str
    device: str
    """Every one that holds weights, `disk` among them."""
    n_layers: int
    width: int
    """Of the residual stream."""
    quantization: str | None = None
    """4bit or 8bit, made as it was loaded; the method that a model's own files say, where those are quantised."""

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
    sizes: WeightSizes | None = None
    """Bytes of its weights in every format, for estimates."""

    def memory(self) -> dict[str, Any]:
        """What an estimate of cost says of the weights; empty where their sizes are not known."""
        if self.sizes is None:
            return {}
        asked = self.info.quantization if self.info.quantization in self.sizes.quantised else None
        return {"bytes_of_weights": self.sizes.of(asked), "if_quantised": dict(self.sizes.quantised)}


@dataclass(frozen=True)
class Origin:
    """Where a model's weights come from, for programs that read them on their own."""

    path: Path
    """Its folder, or the GGUF file."""
    as_stored: bool
    """Whether they are what the folder holds: no adapter was merged, no file unpacked."""
    kind: str
    """embedded, hub, local or gguf."""
    name: str
    """As the user typed it."""
    requested: str | None = None
    """Branch, tag or commit of a hub model, as the user asked."""


_ORIGINS: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()


def remember(model: PreTrainedModel, origin: Origin) -> None:
    """Say where a model comes from, as long as there is the model."""
    _ORIGINS[model] = origin


def origin_of(model: PreTrainedModel) -> Origin | None:
    """Of a model that was loaded by name; None for others."""
    return _ORIGINS.get(model)


def load_model(
    name: str,
    *,
    adapter: str | Path | None = None,
    revision: str | None = None,
    dtype: str = "auto",
    attention: str = "sdpa",
    device_map: DeviceMap = "auto",
    memory: Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
    quantization: Quantization | None = None,
    offline: bool = False,
) -> LoadedModel:
    """Load any causal language model, with a LoRA adapter merged into it.

    Args:
        name: an embedded model's name, a hub id, a local folder or a `.gguf` file.
        adapter: an organism's name or an adapter folder.
        revision: branch, tag or commit of a hub model.
        dtype: auto (bfloat16 where this machine is faster with it), bfloat16, float16 or float32.
        device_map: auto spreads the model over the accelerators there are, then the processor, then the disk; or see
            `placement.place`. None keeps it on the processor.
        memory: device -> the most that weights may take there, such as `{"0": "40GB", "cpu": "60GB"}`.
        offload_folder: where weights are written that have to go to disk; without it, none go.
        quantization: load the weights in 4 or 8 bits, with bitsandbytes.
        offline: ask no hub; what is not on this machine is an error.

    Raises:
        ModelError: the model, its tokenizer or the adapter cannot be loaded, or do not fit each other, or the devices.
    """
    if attention not in ATTENTION:
        raise ModelError(f"attention {attention!r} is not known: choose one of {', '.join(ATTENTION)}")
    check_quantization(quantization, offload=offload_folder is not None)
    keep_few_kernels()
    number_format = choose_dtype(dtype)
    source = resolve(name, adapter=adapter, revision=revision, offline=offline)
    path = fetch(source, offline=offline or hub_is_off())
    bits = None if quantization is None else settings(quantization, number_format)
    if quantization is not None and source.kind == "gguf":
        raise ModelError(f"{source.name} is a GGUF file, which is loaded whole: leave quantization out")
    sizes = weight_sizes(source, path, number_format, quantization)
    placed = place(device_map, memory, offload_folder, quantised=quantization is not None)
    check_fits(
        source.name,
        sizes,
        placed.usable,
        placed.processor,
        dtype=str(number_format).removeprefix("torch."),
        quantization=quantization,
        offload=placed.folder is not None,
    )
    if not placed.accelerated:
        keep_freed_memory()
    as_stored = source.adapter is None and source.kind != "gguf"
    files = states_of(weight_files(path)) if as_stored and placed.folder is not None else {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        digest = beside.submit(digest_of, source, path)
        model = _load_base(source, path, number_format, attention, placed, bits if source.adapter is None else None)
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
        model = recast(model, number_format, placed, bits)
    settle(model, placed, source.name)
    if DISK in devices_of(model):
        keep_watch(model, files)
    model.requires_grad_(False).eval()
    remember(model, Origin(path, as_stored, source.kind, source.name, revision))
    tokenizer = load_tokenizer(source, path)
    config = model.config.get_text_config()
    info = ModelInfo(
        name=name,
        kind=source.kind,
        revision=source.revision,
        weight_digest=quantised_digest(weight_digest, quantization),
        adapter=None if source.adapter is None else source.adapter.name,
        adapter_digest=None if source.adapter is None else source.adapter.digest(),
        dtype=str(number_format).removeprefix("torch."),
        attention=model.config._attn_implementation,
        device=", ".join(devices_of(model)),
        n_layers=config.num_hidden_layers,
        width=config.hidden_size,
        quantization=quantization or _own_quantization(model),
    )
    return LoadedModel(model, tokenizer, detect_format(tokenizer), info, sizes)


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


def weights_of(name: str, *, offline: bool = False) -> str:
    """The digest by which `ModelInfo` names a model's weights, of a model that is not loaded; it is fetched if need be.

    Raises:
        ModelError: there is no such model, or something of it is not there and cannot be had.
    """
    source = resolve(name, offline=offline)
    return digest_of(source, fetch(source, offline=offline or hub_is_off()))


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
    placement: Placement,
    bits: BitsAndBytesConfig | None,
) -> PreTrainedModel:
    """The model without adapter; float32 and on the processor if there is one to merge, or if the file is a GGUF."""
    import torch
    from transformers import AutoModelForCausalLM

    if source.kind == "gguf":
        return dequantise(path, attention)
    remedy = "check or download the model again; with another transformers or attention=eager it may load"
    with one_line(source.name, remedy), quiet():
        model, found = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype if source.adapter is None else torch.float32,
            attn_implementation=attention,
            **(placement.options() if source.adapter is None else {}),
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


def _own_quantization(model: PreTrainedModel) -> str | None:
    """The method by which a model's own files are quantised."""
    quantizer = getattr(model, "hf_quantizer", None)
    method = None if quantizer is None else quantizer.quantization_config.quant_method
    return None if method is None else str(getattr(method, "value", method))
