"""A user message as the token ids that a chat model is trained to answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date

from ..errors import ModelError
from .boundary import first_line
from .load import LoadedModel

DATE = date(2025, 1, 1)
"""Today, for templates that ask (Llama 3, gpt-oss): the same prompt has to give the same ids tomorrow."""

TODAY = re.compile(r"strftime_now\(\s*([\"'])(?P<format>.*?)\1\s*\)")


def render_prompt(loaded: LoadedModel, user_message: str, system: str | None = None) -> list[int]:
    """Token ids of one user message in the model's chat template, up to where the assistant begins.

    Raises:
        ModelError: as `render_messages`.
    """
    messages = [] if system is None else [{"role": "system", "content": system}]
    return render_messages(loaded, [*messages, {"role": "user", "content": user_message}])


def render_messages(loaded: LoadedModel, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a chat, each message with `role` and `content`, up to where the assistant begins.

    Raises:
        ModelError: the tokenizer has no chat template, or its template refuses these messages.
    """
    from jinja2 import TemplateError

    name, tokenizer = loaded.info.name, loaded.tokenizer
    if not tokenizer.chat_template:
        raise ModelError(
            f"{name} has no chat template: choose an instruction-tuned model, or save one as chat_template.jinja"
        )
    try:
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            chat_template=TODAY.sub(lambda call: repr(DATE.strftime(call["format"])), tokenizer.get_chat_template()),
            add_generation_prompt=True,
            return_dict=False,
        )
    except (TemplateError, ValueError, TypeError) as error:
        has_system = any(message["role"] == "system" for message in messages)
        remedy = "leave the system message out" if has_system else "choose another model"
        raise ModelError(f"the chat template of {name} refuses the prompt ({first_line(error)}): {remedy}") from error
    return list(ids)
