"""A GGUF file as an ordinary transformers model and tokenizer, in float32.

Known trade-offs: everything passes through float32 in memory; and of the pre-tokenisers that GGUF files name
(`tokenizer.ggml.pre`) transformers knows few, so numbers and runs of spaces may be cut differently than in the original
tokenizer. Where that is known and matters, see `embedded.EmbeddedModel`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .boundary import one_line, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REMEDY = "give a GGUF file of an architecture that transformers can read, or the model's safetensors folder"


def dequantise(path: Path, attention: str) -> PreTrainedModel:
    """The model of a GGUF file with float32 weights, on the processor. About 10 s for 135M parameters.

    It still holds the reader that made it; `precision.recast` gives a model that does not.

    Raises:
        ModelError: the file is not a GGUF file that transformers can read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with one_line(str(path), REMEDY), quiet(mute_stderr=True), _alone(path) as folder:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=path.name,
            dtype=torch.float32,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
        )
    del model.config.quantization_config
    return model


def gguf_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF file, with its chat template.

    Raises:
        ModelError: the file holds no tokenizer that transformers can read.
    """
    from transformers import AutoTokenizer

    with one_line(f"the tokenizer of {path}", REMEDY), quiet(mute_stderr=True), _alone(path) as folder:
        return AutoTokenizer.from_pretrained(
            folder, gguf_file=path.name, local_files_only=True, trust_remote_code=False
        )


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """A folder with nothing in it but a link to the file: transformers would also load what lies beside it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path.name).symlink_to(path.resolve())
        yield Path(folder)
