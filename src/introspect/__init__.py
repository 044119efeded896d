"""introspect, from Python: `open_run`, `probe` and `load`. Importing this loads nothing else until one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .notebook import load, open_run, probe

__all__ = ["load", "open_run", "probe"]

if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import notebook

        return getattr(notebook, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
