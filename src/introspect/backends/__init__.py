"""Backends: engines that run a model and record its activations, behind one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SpecError
from .protocol import Backend, Capture, Generation, Sampling

if TYPE_CHECKING:
    from ..models import LoadedModel

BACKENDS = ("native",)
"""Names that `make_backend` takes."""

__all__ = ["BACKENDS", "Backend", "Capture", "Generation", "Sampling", "make_backend"]


def make_backend(name: str, loaded: LoadedModel) -> Backend:
    """The engine of that name around a loaded model.

    Raises:
        SpecError: no such backend.
    """
    if name == "native":
        from .native import NativeBackend

        return NativeBackend(loaded.model)
    raise SpecError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
