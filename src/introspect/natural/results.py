"""results.json of a study of natural states."""

from __future__ import annotations

from pathlib import Path

from ..folder_results import FolderResults

NATURAL = FolderResults("natural", "run", Path(__file__).parent / "natural.schema.json")
"""What its folder holds."""
