"""Tiny models, tokenizers and adapters on disk, as transformers and peft save them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tiny_models import VOCAB, tiny_model

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<user>", "<bot>"]
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n.,:;!?'<>/-+=()"
TEMPLATE = "{% for m in messages %}<user>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
EVERY_LINEAR = "all-linear"


def tiny_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """A token a character, and a chat template. At most 97 tokens."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *CHARACTERS])}
    assert len(vocabulary) <= VOCAB
    tokenizer = Tokenizer(BPE(vocabulary, merges=[], unk_token=SPECIAL[3]))
    tokenizer.decoder = Fuse()
    tokenizer.add_special_tokens(SPECIAL)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | special
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{key: value for key, value in special.items() if value}
    )
    fast.chat_template = TEMPLATE
    return fast


def save_tiny(folder: Path, family: str = "llama", seed: int = 0, width: int = 32, **options: str) -> PreTrainedModel:
    """Save a tiny model with its tokenizer, and return it."""
    model = tiny_model(family, seed, width)
    model.save_pretrained(folder, **options)
    tiny_tokenizer().save_pretrained(folder)
    return model


def save_adapter(folder: Path, model: PreTrainedModel, base: str | Path, **settings: object) -> torch.nn.Module:
    """Put a random LoRA on the model, save it as trained on `base`, and return the peft model, unmerged."""
    torch.manual_seed(7)
    config = LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": EVERY_LINEAR, "task_type": "CAUSAL_LM"} | settings
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's own: a renamed attribute, tied weights, layouts
        peft_model = get_peft_model(model, config).eval()
    for name, parameter in peft_model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            parameter.data.normal_(std=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_model.save_pretrained(folder)
    edit_json(folder / "adapter_config.json", base_model_name_or_path=str(base))
    return peft_model


def edit_json(path: Path, **changes: object) -> None:
    """Set keys of a JSON object on disk."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    """Logits [prompt, position, vocabulary] on two fixed prompts."""
    ids = torch.arange(6, 30).reshape(2, 12)
    with torch.inference_mode():
        return model(input_ids=ids).logits
