"""How much memory a model's weights take, in every format, and how much there is: known before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..free_memory import free_memory
from .boundary import one_line, quiet
from .digests import weight_files
from .quantise import METHODS, check_shapes, outputs_and_inputs, quantised_modules

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from .source import ModelSource

FLOAT32 = 4
KEPT_FREE = 0.9
"""Of what is free, so much is for weights: activations, caches and the system need the rest."""
Device = int | str


@dataclass(frozen=True)
class WeightSizes:
    """Bytes of a model's weights and buffers."""

    full: int
    """In the dtype asked for; of a model whose files are quantised, the size of these."""
    quantised: dict[str, int]
    """4bit and 8bit -> bytes, scales included; empty where they cannot be had."""
    passing: int = 0
    """In float32, beside those, while an adapter is merged or a GGUF file unpacked."""

    def of(self, quantization: str | None) -> int:
        """As it is loaded, once it is there."""
        return self.full if quantization is None else self.quantised[quantization]

    def loading(self, quantization: str | None) -> int:
        """While it is being loaded."""
        return self.of(quantization) + self.passing


def weight_sizes(source: ModelSource, path: Path, dtype: torch.dtype, quantization: str | None = None) -> WeightSizes:
    """Of a model's folder or GGUF file, from its config, or its header; no weight is read.

    Raises:
        ModelError: the config cannot be read, the files are quantised and it is asked for again, or the processor
            cannot run it in 4 bits.
    """
    if source.kind == "gguf":
        from gguf import GGUFReader

        with one_line(source.name, "check or download the file again"):
            numbers = sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
        return WeightSizes(numbers * dtype.itemsize, {}, _passing(numbers, dtype, quantization))
    shell = empty_model(source.name, path, dtype)
    if getattr(shell.config, "quantization_config", None) is not None:
        if quantization is not None:
            raise ModelError(f"{source.name} is quantised already, by its own files: leave quantization out")
        size = sum(file.stat().st_size for file in weight_files(path))
        return WeightSizes(size, {})
    check_shapes(source.name, shell, quantization)
    tensors = [*shell.parameters(), *shell.buffers()]
    full = sum(each.numel() * each.element_size() for each in tensors)
    quantised = {each: _quantised(shell, full, each) for each in sorted(METHODS)}
    numbers = 0 if source.adapter is None else sum(each.numel() for each in tensors)
    return WeightSizes(full, quantised, _passing(numbers, dtype, quantization))


def empty_model(name: str, path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """A model of that config without any weights: every tensor on the meta device.

    Raises:
        ModelError: transformers cannot make one.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with one_line(name, "check or download the model again"), quiet(), torch.device("meta"):
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        shell: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
        shell.tie_weights()
    return shell


def _passing(numbers: int, dtype: torch.dtype, quantization: str | None) -> int:
    return 0 if dtype.itemsize == FLOAT32 and quantization is None else numbers * FLOAT32


def _quantised(shell: PreTrainedModel, full: int, quantization: str) -> int:
    """8 bits: a float32 scale an output; 4 bits: one a block of 64 weights."""
    saved = 0
    for module in quantised_modules(shell).values():
        weight = module.get_parameter("weight")
        rows, _ = outputs_and_inputs(module)
        numbers = weight.numel()
        packed = numbers + FLOAT32 * rows if quantization == "8bit" else -(-numbers // 2) + FLOAT32 * -(-numbers // 64)
        saved += numbers * weight.element_size() - packed
    return full - saved


def memory_here() -> dict[Device, int]:
    """Bytes free: of each accelerator by its number, and of `cpu`."""
    import torch

    found: dict[Device, int] = {}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            reserved = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
            found[index] = torch.cuda.mem_get_info(index)[0] + reserved
    elif torch.accelerator.is_available():
        from accelerate.utils import get_max_memory

        found |= {device: free for device, free in get_max_memory().items() if device != "cpu"}
    found["cpu"] = free_memory()
    return found


def check_fits(
    name: str,
    sizes: WeightSizes,
    room: Mapping[Device, int],
    *,
    dtype: str,
    quantization: str | None,
    offload: bool,
) -> None:
    """Refuse, before a weight is read, a model that the devices cannot hold.

    Args:
        room: bytes that may be taken on each device.
        offload: what does not fit may go to disk.

    Raises:
        ModelError: says what it needs, what there is, and what would fit.
    """
    have, needed = sum(room.values()), sizes.loading(quantization)
    if offload or needed <= have:
        return
    devices = ", ".join(f"{_gb(free)} on {_device(device)}" for device, free in room.items())
    then = f" while it is loaded ({_gb(sizes.of(quantization))} then)" if sizes.passing else ""
    raise ModelError(
        f"{name} needs {_gb(needed)} in {quantization or dtype}{then}, and there is room for {devices}: "
        f"{_remedies(sizes, have, quantization)}"
    )


def _remedies(sizes: WeightSizes, have: int, quantization: str | None) -> str:
    others = {each: sizes.loading(each) for each in sizes.quantised if each != quantization}
    fits = [f"quantization {each} ({_gb(size)})" for each, size in others.items() if size <= have]
    ways = [*fits, *(["an offload folder on disk (slow)"] if quantization is None else []), "a smaller model"]
    too_large = [f"{each} ({_gb(size)})" for each, size in others.items() if size > have]
    return f"choose {', or '.join(ways)}" + (f"; {' and '.join(too_large)} would not fit" if too_large else "")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


def _device(device: Device) -> str:
    return "the processor" if device == "cpu" else f"GPU {device}"
