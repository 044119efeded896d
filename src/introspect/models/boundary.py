"""Where libraries' errors become one line, and their chatter stays unheard."""

from __future__ import annotations

import contextlib
import io
import logging as standard_logging
import sys
import warnings
from collections.abc import Iterator

from ..errors import ModelError

BAD_INPUT = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError)
"""What Python libraries raise when a file is not what they expect. Those written in Rust raise `Exception` itself."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, at most 300 characters of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".:")


@contextlib.contextmanager
def one_line(what: str, remedy: str) -> Iterator[None]:
    """Turn what a library raises about bad input into one `ModelError` line: what, why, and the remedy."""
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(f"{what} does not fit in memory: choose a smaller model, or quantization 4bit") from error
    except Exception as error:
        if not isinstance(error, BAD_INPUT) and type(error) not in {Exception, SafetensorError}:
            raise
        raise ModelError(f"{what} cannot be loaded ({first_line(error)}); {remedy}") from error


@contextlib.contextmanager
def quiet(*, mute_stderr: bool = False) -> Iterator[None]:
    """Keep log lines and warnings of transformers and accelerate to themselves, and progress bars to terminals.

    Args:
        mute_stderr: also swallow what is written to stderr, for bars that have no switch.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    spreading = standard_logging.getLogger("accelerate.big_modeling")
    spoken = spreading.level
    logging.set_verbosity_error()
    spreading.setLevel(standard_logging.ERROR)
    if mute_stderr or not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.simplefilter("ignore")
            if mute_stderr:
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield
    finally:
        logging.set_verbosity(verbosity)
        spreading.setLevel(spoken)
        if bars:
            logging.enable_progress_bar()
