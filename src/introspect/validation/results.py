"""results.json of a validation."""

from __future__ import annotations

from pathlib import Path

from ..folder_results import FolderResults

VALIDATION = FolderResults("validation", "run", Path(__file__).parent / "validation.schema.json")
"""What its folder holds."""
