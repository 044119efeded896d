"""How much memory a model's weights take, in every format, and how much there is: known before any weight is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """In float32, on the processor, while an adapter is merged or a GGUF file unpacked."""

    def of(self, quantization: str | None) -> int:
        """As it is loaded, once it is there."""
        return self.full if quantization is None else self.quantised[quantization]


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
        return WeightSizes(numbers * dtype.itemsize, {}, numbers * FLOAT32)
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
    return WeightSizes(full, quantised, numbers * FLOAT32)


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
    usable: Callable[[str | None], Mapping[Device, int]],
    processor: int,
    *,
    dtype: str,
    quantization: str | None,
    offload: bool,
) -> None:
    """Refuse, before a weight is read, a model that the devices cannot hold.

    Args:
        usable: bytes that weights may take on each device, by the format that they are in.
        processor: bytes that are free there, for what passes through it.
        offload: what does not fit may go to disk.

    Raises:
        ModelError: says what it needs, what there is, and what would fit.
    """
    room = usable(quantization)
    needed, passes = sizes.of(quantization), _passing(sizes, room, dtype, quantization)
    holds, lets_pass = offload or needed <= sum(room.values()), passes <= processor
    if holds and lets_pass:
        return
    others = [each for each in sizes.quantised if each != quantization]
    fits = [
        each
        for each in others
        if sizes.of(each) <= sum(usable(each).values()) and _passing(sizes, usable(each), dtype, each) <= processor
    ]
    ways = [f"quantization {each} ({_gb(sizes.of(each))})" for each in fits]
    if not lets_pass:
        ways.append("safetensors weights with no adapter to merge")
    elif quantization is None:
        ways.append("an offload folder on disk (slow)")
    too_large = [f"{each} ({_gb(sizes.of(each))})" for each in others if each not in fits]
    needs = f"{_gb(needed)} in {quantization or dtype}"
    devices = ", ".join(f"{_gb(free)} on {_device(device)}" for device, free in room.items())
    if holds:
        needs = f"{_gb(passes)} on the processor while it is loaded ({needs} then)"
        devices = f"{_gb(processor)} there"
    raise ModelError(
        f"{name} needs {needs}, and there is room for {devices}: choose {', or '.join([*ways, 'a smaller model'])}"
        + (f"; {' and '.join(too_large)} would not fit" if too_large else "")
    )


def _passing(sizes: WeightSizes, room: Mapping[Device, int], dtype: str, quantization: str | None) -> int:
    """Bytes on the processor at the worst moment of a load that passes through float32 there: that copy and, unless it
    is what stays, so much of the other as the other devices do not hold.
    """
    if not sizes.passing or (quantization is None and dtype == "float32"):
        return sizes.passing
    elsewhere = sum(free for device, free in room.items() if device != "cpu")
    return sizes.passing + min(max(0, sizes.of(quantization) - elsewhere), room.get("cpu", 0))


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


def _device(device: Device) -> str:
    return "the processor" if device == "cpu" else f"GPU {device}"
