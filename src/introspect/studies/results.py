"""results.json of a study of several runs."""

from __future__ import annotations

from pathlib import Path

from ..folder_results import FolderResults

STUDY = FolderResults("study", "run", Path(__file__).parent / "study.schema.json")
"""What its folder holds."""
