"""Models that run elsewhere: a hub model's config and tokenizer, without its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import ModelError
from .formats import detect_format
from .hub import fill_snapshot
from .load import LoadedModel, ModelInfo, Origin, load_tokenizer, remember
from .precision import choose_dtype
from .sizes import empty_model
from .source import hub_is_off, resolve

KEPT = ("bfloat16", "float16", "float32")
USUAL = "bfloat16"


def load_hosted(name: str, *, revision: str | None = None, dtype: str = "auto", offline: bool = False) -> LoadedModel:
    """What is known of a model without its weights, which are on the meta device.

    Args:
        dtype: of the activations that will come; auto: the format of its files, as its config says.

    Raises:
        ModelError: there is no such model on the hub.
    """
    source = resolve(name, revision=revision, offline=offline)
    if source.kind != "hub":
        raise ModelError(f"{name} is a model of this machine, and none that is hosted elsewhere: give a hub id")
    fill_snapshot(name, source.path, offline=offline or hub_is_off(), weights=False)
    shell = empty_model(name, source.path, choose_dtype(_stored_dtype(source.path) if dtype == "auto" else dtype))
    shell.requires_grad_(False).eval()
    remember(shell, Origin(source.path, as_stored=True, kind=source.kind, name=name, requested=revision))
    tokenizer = load_tokenizer(source, source.path)
    config = shell.config.get_text_config()
    info = ModelInfo(
        name=name,
        kind="hosted",
        revision=source.revision,
        weight_digest=hashlib.sha256(f"hosted {name} {source.revision}".encode()).hexdigest(),
        adapter=None,
        adapter_digest=None,
        dtype=str(shell.dtype).removeprefix("torch."),
        attention=shell.config._attn_implementation,
        device="hosted",
        n_layers=config.num_hidden_layers,
        width=config.hidden_size,
    )
    return LoadedModel(shell, tokenizer, detect_format(tokenizer), info)


def _stored_dtype(folder: Path) -> str:
    """The format of a model's files, as its config says; bfloat16 where it says nothing that is known."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or {}
    said = [each.get(key) for each in (config, text) for key in ("dtype", "torch_dtype")]
    return next((each for each in said if each in KEPT), USUAL)
