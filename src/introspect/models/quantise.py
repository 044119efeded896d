"""Weights in 4 or 8 bits, with bitsandbytes: how they are made, where they run, and what names them.

8 bits are LLM.int8: products in integers, but for the columns in which some token of the batch exceeds a threshold,
which are computed in 16 bits for all of its tokens. So a token's activations depend a little on what is beside and
after it (measured: 3e-3 of their norm); `doctor` allows for that much and no more. 4 bits are NF4 in blocks of 64
weights, each product being computed in the model's own dtype: there a token depends on no other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from typing import TYPE_CHECKING, Literal

from ..errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import BitsAndBytesConfig, PreTrainedModel

Quantization = Literal["4bit", "8bit"]
METHODS: dict[str, str] = {"8bit": "bitsandbytes int8, threshold 6", "4bit": "bitsandbytes nf4, blocks of 64"}
"""Part of a quantised model's weight digest."""
THRESHOLD, BLOCK = 6.0, 64
PACKED_ROWS = 32
"""Processors with AVX512-BF16 read 4-bit weights in pieces of so many outputs, and one block of inputs."""


def check_quantization(quantization: str | None, *, offload: bool = False) -> None:
    """Refuse what is not known, cannot be combined, or cannot run here for want of a package.

    Raises:
        ModelError: says which, and the remedy.
    """
    if quantization is None:
        return
    if quantization not in METHODS:
        raise ModelError(f"quantization {quantization!r} is not known: choose 4bit or 8bit")
    if offload:
        raise ModelError(
            f"weights in {quantization} are not offloaded to disk: leave the offload folder or quantization out"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{quantization} needs bitsandbytes: get it with `pip install -c constraints.txt '.[quantization]'` in the "
            "folder of introspect's source"
        )


def settings(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """What transformers is told. `dtype` is that of the activations."""
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        # It says of every single product in another format than float16 that it is cast: that is how it works.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=THRESHOLD)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def check_shapes(name: str, shell: PreTrainedModel, quantization: str | None) -> None:
    """Refuse 4 bits on a processor whose kernel cannot read this model's shapes.

    Args:
        shell: the model without weights.

    Raises:
        ModelError: names the first module and its shape.
    """
    from .precision import processor_has_bfloat16

    if quantization != "4bit" or not processor_has_bfloat16():
        return
    for path, module in quantised_modules(shell).items():
        rows, columns = outputs_and_inputs(module)
        if columns % BLOCK or rows % PACKED_ROWS:
            raise ModelError(
                f"{name} cannot run in 4bit on this processor: {path} maps {columns} to {rows} features, and "
                f"bitsandbytes needs multiples of {BLOCK} and {PACKED_ROWS} there; choose 8bit, or a GPU"
            )


def quantised_modules(shell: PreTrainedModel) -> dict[str, nn.Module]:
    """Modules whose weights are quantised, by path: linear ones, but for the LM head and what is tied. Experts that
    share one tensor are not linear modules, and keep their format.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = get_keys_to_not_convert(shell)
    return {
        path: module
        for path, module in shell.named_modules()
        if (type(module) is nn.Linear or isinstance(module, Conv1D)) and should_convert_module(path, kept)
    }


def outputs_and_inputs(module: nn.Module) -> tuple[int, int]:
    """Of a linear module, whichever way round its weights are kept."""
    from torch import nn

    weight = module.get_parameter("weight")
    rows, columns = weight.shape if isinstance(module, nn.Linear) else weight.shape[::-1]
    return rows, columns


def quantised_digest(digest: str, quantization: str | None) -> str:
    """What names the weights: the digest of their files, and where they are quantised, of that digest and how."""
    if quantization is None:
        return digest
    return hashlib.sha256(f"{digest} {METHODS[quantization]}".encode()).hexdigest()
