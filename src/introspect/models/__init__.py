"""Models: from a name to weights, tokenizer and reasoning format.

Embedded models, hub ids, local folders and GGUF files, with LoRA adapters merged. Importing this loads no torch.
"""

from .adapter import adapter_base
from .embedded import EMBEDDED, EmbeddedModel, ensure_embedded, list_models
from .encoder import Encoder, input_embeddings, load_encoder
from .formats import ReasoningFormat, detect_format
from .hosted import load_hosted
from .load import LoadedModel, ModelInfo, load_model, weights_of
from .prompt import render_messages, render_prompt
from .source import ModelSource, resolve

__all__ = [
    "EMBEDDED",
    "EmbeddedModel",
    "Encoder",
    "LoadedModel",
    "ModelInfo",
    "ModelSource",
    "ReasoningFormat",
    "adapter_base",
    "detect_format",
    "ensure_embedded",
    "input_embeddings",
    "list_models",
    "load_encoder",
    "load_hosted",
    "load_model",
    "render_messages",
    "render_prompt",
    "resolve",
    "weights_of",
]
