"""Libraries that take seconds to load: loaded by the first thread that needs them, in one order.

Two threads that import packages which import each other get halves of them: Python breaks the deadlock that way.
"""

from __future__ import annotations

from importlib import import_module
from threading import Lock

MODULES = ("notebook.tokenizer", "features", "tasks.registry", "probes.by_estimator", "probes.saved", "compare")
_LOADING = Lock()


def load_heavy() -> None:
    """Load what tokenises, fits and compares; at once where it is there."""
    with _LOADING:
        for name in MODULES:
            import_module(f"introspect.{name}")
