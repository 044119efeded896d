"""A prompt in another chat template: the same messages, other marks around them.

A file in `data/templates` is a Jinja template over `messages`, up to where the assistant begins. What the model's own
template adds that is no style is kept: the token that begins every sequence, where it is not also a turn's mark, and a
think block that the prompt leaves open or closes. The completion's tokens, its stop token too, stay as they are.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from ..errors import SpecError
from ..models import LoadedModel
from ..sections import Section, Text
from ..spans import TAIL, left_open
from ..tasks.task import Message


class ChatTemplate(Section):
    """A chat template."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
    summary: Text
    template: Text
    """Jinja over `messages`, each with `role` and `content`; ends where the assistant begins. As everywhere in
    transformers, a line that is a Jinja statement leaves nothing."""


def with_template(loaded: LoadedModel, form: ChatTemplate, rendered: Sequence[int]) -> LoadedModel:
    """The model with this chat template for its own.

    Args:
        rendered: a prompt in the model's own template, without what an assistant is made to begin with.
    """
    tokenizer = copy.copy(loaded.tokenizer)
    begin, end = _literal(_beginning(tokenizer, rendered)), _literal(_left(loaded, rendered))
    tokenizer.chat_template = f"{begin}{form.template}{end}"
    return replace(loaded, tokenizer=tokenizer)


def check_holds(loaded: LoadedModel, form: ChatTemplate, messages: Sequence[Message], prompt: Sequence[int]) -> None:
    """Refuse a prompt that lacks one of its messages, with a SpecError."""
    text = loaded.tokenizer.decode(list(prompt))
    for message in messages:
        said = loaded.tokenizer.decode(loaded.tokenizer(message.content.strip(), add_special_tokens=False).input_ids)
        if said.strip() not in text:
            raise SpecError(
                f"the template {form.name} drops or changes words of the {message.role} turn; write its content out, "
                "as {{ message.content }}"
            )


def _literal(text: str) -> str:
    """Jinja that gives the text."""
    return f"{{{{ {json.dumps(text)} }}}}" if text else ""


def _beginning(tokenizer: Any, rendered: Sequence[int]) -> str:
    """The token that begins a sequence, where it begins this one and stands nowhere else in it."""
    first, ids = tokenizer.bos_token_id, list(rendered)
    return str(tokenizer.bos_token) if ids[:1] == [first] and ids.count(first) == 1 else ""


def _left(loaded: LoadedModel, rendered: Sequence[int]) -> str:
    """The think block that the prompt's last tokens leave open, or open and close."""
    if left_open(loaded.tokenizer, rendered, loaded.format) == "no":
        return ""
    text: str = loaded.tokenizer.decode(list(rendered[-TAIL:]))
    return text[max(text.rfind(opening.rstrip()) for opening in loaded.format.opens) :]
