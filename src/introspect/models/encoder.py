"""Texts as vectors: a sentence-embedding model, or a language model's own input embeddings.

A sentence-embedding model is any model that transformers' AutoModel loads: its last hidden states are averaged over the
tokens of a text. Known trade-off: models that were trained with another pooling, or with a prefix before each text, are
read in this way too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError
from .boundary import one_line, quiet
from .load import LoadedModel, digest_of, fetch, load_tokenizer
from .placement import weight_of
from .source import hub_is_off, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WINDOW = 512
"""Tokens that are read at once; a longer text is read in several windows, which count by their tokens."""
BATCH = 32
REMEDY = "choose another sentence-embedding model, or probe.embedding=input"
OFFSET = 2
"""Of a model's positions, those that some architectures keep for padding."""


@dataclass(frozen=True)
class Encoder:
    """A model that reads whole texts."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    window: int
    revision: str | None
    """Commit of a model of the hub."""
    weight_digest: str
    """SHA-256, hex."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, float32 [text, width]: the mean of the last hidden states over a text's tokens; 0 of no text.

        Raises:
            ModelError: there are no texts.
        """
        import torch

        if not texts:
            raise ModelError(f"{self.name} was given no text to read")
        windows = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.window,
            return_overflowing_tokens=True,
            add_special_tokens=True,
        )
        owner = np.array(windows["overflow_to_sample_mapping"])
        ids: list[list[int]] = windows["input_ids"]
        total = np.zeros((len(texts), self.model.config.get_text_config().hidden_size))
        counts = np.zeros(len(texts))
        order = [row for row in np.argsort([len(each) for each in ids], kind="stable").tolist() if ids[row]]
        for rows in (order[begin : begin + BATCH] for begin in range(0, len(order), BATCH)):
            length = max(len(ids[row]) for row in rows)
            padded = torch.full((len(rows), length), int(self.tokenizer.pad_token_id or 0))
            mask = torch.zeros(len(rows), length)
            for k, row in enumerate(rows):
                padded[k, : len(ids[row])] = torch.tensor(ids[row], dtype=torch.long)
                mask[k, : len(ids[row])] = 1
            with one_line(self.name, REMEDY), torch.inference_mode():
                hidden = self.model(input_ids=padded, attention_mask=mask.long()).last_hidden_state
            np.add.at(total, owner[rows], (hidden.float() * mask[..., None]).sum(dim=1).numpy())
            np.add.at(counts, owner[rows], mask.sum(dim=1).numpy())
        return (total / np.maximum(counts, 1)[:, None]).astype(np.float32)


def load_encoder(name: str, *, offline: bool = False) -> Encoder:
    """Load a sentence-embedding model: a hub id or a local folder, safetensors only.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoModel

    source = resolve(name, offline=offline)
    if source.kind == "gguf":
        raise ModelError(f"{name} is a GGUF file: give a sentence-embedding model as a hub id or a folder")
    path = fetch(source, offline=offline or hub_is_off())
    with one_line(name, REMEDY), quiet():
        model, found = AutoModel.from_pretrained(
            path,
            dtype="float32",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = sorted(key for key in found["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(f"{name} lacks {len(missing)} of its weights (first: {missing[0]}): {REMEDY}")
    tokenizer = load_tokenizer(source, path)
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer of {name} cannot cut long texts into windows: {REMEDY}")
    most = getattr(model.config, "max_position_embeddings", None) or 0
    window = min(WINDOW, most - OFFSET if most > OFFSET else WINDOW, int(min(tokenizer.model_max_length, WINDOW)))
    digest = digest_of(source, path)
    return Encoder(name, model.requires_grad_(False).eval(), tokenizer, window, source.revision, digest)


def input_embeddings(loaded: LoadedModel) -> np.ndarray:
    """A language model's input embeddings, float32 [token id, width]."""
    found: np.ndarray = weight_of(loaded.model.get_input_embeddings()).detach().float().cpu().numpy()
    return found
