"""Models: from a name to weights, tokenizer and reasoning format.

Embedded models, hub ids, local folders and GGUF files, with LoRA adapters merged. Importing this loads no torch.
"""

from .adapter import adapter_base
from .embedded import EMBEDDED, EmbeddedModel, ensure_embedded, list_models
from .formats import ReasoningFormat, detect_format
from .load import LoadedModel, ModelInfo, load_model
from .prompt import render_messages, render_prompt
from .source import ModelSource, resolve

__all__ = [
    "EMBEDDED",
    "EmbeddedModel",
    "LoadedModel",
    "ModelInfo",
    "ModelSource",
    "ReasoningFormat",
    "adapter_base",
    "detect_format",
    "ensure_embedded",
    "list_models",
    "load_model",
    "render_messages",
    "render_prompt",
    "resolve",
]
