"""results.json of a study of injected concepts: its schema, and reading it from anywhere."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from ..results import check_schema, read_json


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an injection study's results.json."""
    path = Path(__file__).parent / "injection.schema.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def validate_injection(results: dict[str, Any], source: str = "results.json") -> None:
    """Refuse what is not the results of a study of injected concepts.

    Raises:
        StoreError: names the source and the path of the first field that does not fit.
    """
    check_schema(results, schema(), source)


def read_injection(path: Path) -> dict[str, Any]:
    """Read and check the results.json of a study of injected concepts that may come from a stranger.

    Raises:
        StoreError: missing, too large, not JSON, holds numbers that are not finite, or does not fit the schema.
    """
    content = read_json(path)
    validate_injection(content, str(path))
    return content
