"""A stage's rows in one file, whose first line says of which plan they are.

The file is written whole or not at all. A stage that finds its own plan's file, complete, has nothing to do; anything
else there (another plan, a damaged file) is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .atomic import read_at_most, write_atomic
from .errors import StoreError

MAX_BYTES = 256 << 20


class Row(BaseModel):
    """A line of a stage's file: frozen, strict about its fields, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Head(Row):
    digest: str
    rows: int


R = TypeVar("R", bound=Row)


def plan_digest(parts: Iterable[Any]) -> str:
    """SHA-256 (64 hex digits) of anything that JSON can say, part by part."""
    found = hashlib.sha256()
    for part in parts:
        found.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return found.hexdigest()


def write_rows(path: Path, digest: str, rows: Sequence[Row]) -> None:
    """Write the rows of the plan with that digest, in one step.

    Raises:
        RunError: the file cannot be written.
    """
    lines = [{"digest": digest, "rows": len(rows)}, *(row.model_dump() for row in rows)]
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines))


def read_rows(path: Path, kind: type[R]) -> tuple[str, list[R]]:
    """The digest of the plan, and its rows.

    Raises:
        StoreError: missing, cut short, or a line is not what it should be. Names the file and the line.
    """
    remedy = "run the stage again with --resume"
    try:
        lines = read_at_most(path, MAX_BYTES).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path} ({error}); {remedy}") from None
    number = 1
    try:
        head = _Head.model_validate_json(lines[0])
        rows = []
        for line in lines[1:-1]:
            number += 1
            rows.append(kind.model_validate_json(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise StoreError(f"{path}:{number}: not a row ({where}: {first['msg']}); {remedy}") from None
    if len(rows) != head.rows or lines[-1]:
        raise StoreError(f"{path} holds {len(rows)} of {head.rows} rows; {remedy}")
    return head.digest, rows


def rows_of_plan(path: Path, digest: str, kind: type[R]) -> list[R] | None:
    """The rows of the plan with that digest; None when the file is missing, damaged or of another plan."""
    try:
        found, rows = read_rows(path, kind)
    except StoreError:
        return None
    return rows if found == digest else None
