"""Probes that travel with the package, by name; cards are read by `probes.saved`, which needs torch, and this does not.

Known trade-off: a list says what cards say in their `summary`, without checking the rest of them.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path

from .assets import assets_root, user_path
from .errors import SpecError

CARD = "probe.json"


def list_probes() -> dict[str, str]:
    """Name -> what it predicts and where it reads, in one line."""
    cards = sorted((assets_root() / "probes").glob(f"*/{CARD}"))
    return {path.parent.name: str(json.loads(path.read_text(encoding="utf-8"))["summary"]) for path in cards}


def probe_folder(name_or_folder: str | Path) -> Path:
    """The folder that is meant: that of a probe that ships with introspect, by name, or a path.

    Raises:
        SpecError: it is neither. Names the nearest probe.
    """
    text = str(name_or_folder)
    known = list_probes()
    if text in known:
        return assets_root() / "probes" / text
    folder = user_path(text)
    if folder.is_dir():
        return folder
    near = get_close_matches(text, known, n=1)
    hint = f"did you mean {near[0]!r}" if near else f"choose one of {', '.join(known) or '(none are installed)'}"
    raise SpecError(f"no probe called {text!r}: {hint}, or give the folder of one")
