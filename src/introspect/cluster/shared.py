"""Whether all see the same place: this process writes a nonce there, each worker reads it and writes it back."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import IntrospectError, RunError
from .ground import Ground, ground_of

log = logging.getLogger(__name__)

NONCE, TRIAL = "nonce", "trial"


@contextmanager
def nonce_on(ground: Ground) -> Iterator[str]:
    """A nonce, for as long as all meet there; gives its text. What is left of anything is taken away at the end.

    Raises:
        RunError: it cannot be written, or nothing can be taken away there.
    """
    text = secrets.token_hex(16)
    try:
        ground.note(TRIAL, text)
        ground.forget(TRIAL)
        ground.note(NONCE, text)
        yield text
    finally:
        try:
            ground.clear()
        except RunError as error:
            log.warning("what was put into %s is left there: %s", ground.address, error)


def read_back(setting: Mapping[str, Any], text: str, answer: str) -> str | None:
    """In a worker: look for the nonce and answer it. Returns what went wrong, or None.

    Args:
        setting: of the ground; answer: name of the note to write.
    """
    try:
        ground = ground_of(setting)
        found = ground.noted(NONCE)
        if found is None:
            return "it sees nothing of what this machine writes there"
        if found != text:
            return "it sees something else there"
        ground.note(answer, text)
    except IntrospectError as error:
        return str(error.__cause__ or error)
    return None


def check_answer(ground: Ground, text: str, answer: str, where: str, wrong: str | None) -> None:
    """Refuse a place that a worker cannot read and write as this machine does.

    Args:
        wrong: what `read_back` returned there.

    Raises:
        RunError: names the place, the worker's machine and what is wrong.
    """
    if wrong is None and ground.noted(answer) != text:
        wrong = "this machine sees nothing of what it writes there"
    if wrong is not None:
        raise RunError(f"{ground.address} is not shared with the worker on {where}: {wrong}; {ground.remedy}")
