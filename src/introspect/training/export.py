"""A trained organism on disk, as introspect loads it: an adapter, or a whole model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ..atomic import write_atomic
from ..models import LoadedModel
from .recipe import Recipe


def export(recipe: Recipe, trained: Path, out: Path, loaded: LoadedModel) -> None:
    """Write what was trained to `out` in bfloat16: an adapter that names its base as introspect knows it, or, after
    full fine-tuning, a model folder with its tokenizer.

    Args:
        trained: the folder that a stage left.
        loaded: the base, with its tokenizer.
    """
    out.mkdir(parents=True, exist_ok=True)
    if recipe.full:
        model = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.bfloat16, trust_remote_code=False)
        model.save_pretrained(out)
        loaded.tokenizer.save_pretrained(out)
        return
    weights = load_file(trained / "adapter_model.safetensors")
    save_file(
        {key: value.to(torch.bfloat16) for key, value in sorted(weights.items())}, out / "adapter_model.safetensors"
    )
    config = json.loads((trained / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": recipe.base, "target_modules": sorted(config["target_modules"])}
    write_atomic(out / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
