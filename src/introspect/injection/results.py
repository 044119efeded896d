"""results.json of a study of injected concepts."""

from __future__ import annotations

from pathlib import Path

from ..folder_results import FolderResults

INJECTION = FolderResults("injection", "inject", Path(__file__).parent / "injection.schema.json")
"""What its folder holds."""
