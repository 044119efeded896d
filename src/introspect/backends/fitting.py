"""Work that is made smaller as long as memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
log = logging.getLogger(__name__)


def while_it_fits(work: Callable[[int], T], many: int, unit: str, least: int = 1) -> T:
    """Do the work with `many` at once; with half as many, and a warning, as long as memory runs out.

    Nothing is remembered for the next call: what a call gives must not depend on those before it.

    Raises:
        MemoryError, RuntimeError: as the work does, when `least` is too much.
    """
    while True:
        try:
            return work(many)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or many <= least:
                raise
        many = fewer(many, unit)


def fewer(many: int, unit: str) -> int:
    """Half as many, with a warning, once what memory holds for nobody is given back."""
    log.warning("out of memory with %d %s; going on with %d", many, unit, many // 2)
    if torch.accelerator.is_available():
        torch.accelerator.memory.empty_cache()
    return many // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of whichever kind."""
    said = str(error)
    known = "can't allocate memory" in said or "CUBLAS_STATUS_ALLOC_FAILED" in said
    return known or isinstance(error, (MemoryError, torch.OutOfMemoryError))
