"""Which number format to compute in, and how to change a loaded model's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

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
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if processor_has_bfloat16() else torch.float32


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


def cast_parameters(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Change the parameters to `dtype` in place and return the model.

    Unlike `model.to(dtype)` this leaves buffers (rotary frequencies) and the modules that the architecture keeps in
    float32 as they are, so the result is what loading in `dtype` would have given.
    """
    import torch

    kept = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ()) if dtype != torch.float32 else set()
    if dtype == torch.float16:
        kept |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, parameter in model.named_parameters():
        if not any(f".{module}." in f".{name}." for module in kept):
            parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype
    return model
