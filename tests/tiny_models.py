"""Tiny random models of several families, for tests of everything that runs a model."""

from __future__ import annotations

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

VOCAB = 97
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def tiny_model(family: str, seed: int = 0, width: int = 32) -> PreTrainedModel:
    """A random float32 model of that family: 3 layers, width 32, 97 tokens. 4-bit weights need a width of 64."""
    torch.manual_seed(seed)
    shape = (
        SHAPE if width == 32 else SHAPE | {"hidden_size": width, "intermediate_size": 2 * width, "head_dim": width // 4}
    )
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shape))
    elif family == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**shape))
    elif family == "gemma3":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**shape, sliding_window=16))
    elif family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=width, n_layer=3, n_head=4, n_positions=512))
    elif family == "moe":
        moe = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**shape, **moe))
    else:
        raise ValueError(family)
    return model.eval()


FAMILIES = ("llama", "qwen3", "gemma3", "gpt2", "moe")
