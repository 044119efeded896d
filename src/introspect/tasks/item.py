"""Items: the questions of a task, and reading and writing them as JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import SpecError

Scalar = str | int | float | bool


class Item(BaseModel):
    """One question of a task, with everything about it that a split, a baseline or a table may need.

    Example (`risk`): see `introspect.tasks.risk`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: Annotated[str, Field(min_length=1)]
    """Unique in its file."""
    group: Annotated[str, Field(min_length=1)]
    """The unit of every split and bootstrap. Items that share a group never fall on both sides of a split."""
    split: Literal["id", "ood"]
    """In distribution, or a domain that no organism of the task was trained on."""
    domain: str
    """What the question is about (`money`, `health`, ...)."""
    prompt: Annotated[str, Field(min_length=1)]
    """The user message, without any chat template."""
    options: Annotated[dict[Annotated[str, Field(min_length=1)], str], Field(min_length=2)]
    """Answer -> what choosing it means for the policy (`risky` / `safe`)."""
    fields: dict[str, Scalar]
    """Everything else that was varied or drawn when the item was made."""


def items_text(items: Iterable[Item]) -> str:
    """One item a line, keys in a fixed order, so that equal items give equal bytes."""
    return "".join(json.dumps(item.model_dump(), ensure_ascii=False) + "\n" for item in items)


def read_items(path: Path) -> list[Item]:
    """Read a JSONL file of items.

    Raises:
        SpecError: the file is missing or empty, a line is not an item, or two items share an id. Names the line.
    """
    if not path.is_file():
        raise SpecError(f"no items at {path}: give a JSONL file of items, or a task name from `introspect list`")
    items: list[Item] = []
    seen: set[str] = set()
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = Item.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise SpecError(f"{path}:{number}: {where}: {first['msg']}; fix or remove the line") from None
        if item.item_id in seen:
            raise SpecError(f"{path}:{number}: item_id {item.item_id!r} is used twice; give every item its own id")
        seen.add(item.item_id)
        items.append(item)
    if not items:
        raise SpecError(f"{path} holds no items: an experiment needs at least one")
    return items


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read items at {path} ({error}); give a JSONL file in UTF-8") from None
