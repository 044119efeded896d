"""Which number format to compute in, and how to change a model's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from .boundary import quiet

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel

    from .placement import Placement

DTYPES = ("auto", "bfloat16", "float16", "float32")
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "sve_bf16")


def choose_dtype(name: str) -> torch.dtype:
    """The dtype that a name stands for; `auto` is bfloat16 where this machine is faster with it, else float32.

    Raises:
        ModelError: there is no such dtype.
    """
    import torch

    if name not in DTYPES:
        raise ModelError(f"dtype {name!r} is not known: choose one of {', '.join(DTYPES)}")
    if name != "auto":
        return getattr(torch, name)
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.bfloat16 if has_bfloat16(here) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether a GPU, or the processor, multiplies bfloat16 matrices in hardware."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return processor_has_bfloat16()


def processor_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX, SVE-BF16)."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(instruction, False) for instruction in BFLOAT16_INSTRUCTIONS)
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return not flags.isdisjoint({*BFLOAT16_INSTRUCTIONS, "svebf16"})


def recast(
    model: PreTrainedModel,
    dtype: torch.dtype,
    placement: Placement | None = None,
    bits: BitsAndBytesConfig | None = None,
) -> PreTrainedModel:
    """The model as it would be had its float32 weights been loaded in `dtype`, or in few bits, from a file.

    Unlike `model.to(dtype)` this rounds no buffers (rotary frequencies) and no module that the architecture keeps in
    float32. The given model shares its config with the new one and should be dropped.
    """
    name, attention = model.config.name_or_path, model.config._attn_implementation
    with quiet():
        cast = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=model.state_dict(),
            dtype=dtype,
            attn_implementation=attention,
            quantization_config=bits,
            **({} if placement is None else placement.options()),
            local_files_only=True,
            trust_remote_code=False,
        )
    cast.config.name_or_path = name
    return cast
