"""The tokenizer of a recorded run, without its model's weights, and the text that single tokens spell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..errors import RunError
from ..models import ensure_embedded, resolve
from ..models.load import load_tokenizer
from ..rollout import Rollout
from ..spans import token_starts


def run_tokenizer(model: Mapping[str, Any]) -> Any:
    """The tokenizer of the model that a manifest names; from this machine, since a run may be a stranger's.

    Raises:
        ModelError: the model is not on this machine.
    """
    source = resolve(model["name"], revision=model["revision"], offline=True)
    return load_tokenizer(source, ensure_embedded(source.name) if source.kind == "embedded" else source.path)


def check_tokenizer(tokenizer: Any, rollout: Rollout, name: str) -> None:
    """Refuse a tokenizer in which a rollout's tokens spell another text than the run has.

    Raises:
        RunError: names the model.
    """
    if tokenizer.decode(rollout.completion_ids) != rollout.completion_text:
        raise RunError(
            f"the tokenizer of {name} on this machine is another than the run's: rollout {rollout.rollout} spells "
            "another text; put the model of the run in its place"
        )


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; nothing where it completes no character."""
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return [text[begin:end] for begin, end in pairwise([*token_starts(tokenizer, ids), len(text)])]
