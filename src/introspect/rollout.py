"""A rollout: one completion of one item, as a line of `rollouts.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import StoreError
from .tasks.item import Scalar

TokenRange = tuple[int, int]


class RolloutSpans(BaseModel):
    """Half-open token ranges in `prompt_ids + completion_ids`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: TokenRange
    think: TokenRange
    answer: TokenRange


class Rollout(BaseModel):
    """One completion of one item under one condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollout: int
    """Index in the run: items in the order of their file, then samples."""
    item_id: str
    group: str
    task: str
    condition: str
    split: Literal["id", "ood"]
    domain: str
    sample: int
    seed: int
    prompt_ids: list[int]
    completion_ids: list[int]
    """Includes the stop token, when there is one."""
    prompt_text: str
    """The user message, before the chat template."""
    completion_text: str
    spans: RolloutSpans
    think_status: Literal["closed", "empty", "truncated", "absent"]
    finish: Literal["stop", "length"]
    answer: str | None
    """The option chosen; None when no single one can be read from the text."""
    answer_position: int | None
    """Index, in prompt and completion, of the token at which the option's name begins."""
    acted: bool | None
    """Whether the answer acts on the policy; None when there is no answer."""
    option_logprobs: list[list[float]]
    """[completion token][option]: log-probability (nats) of the first token of each option's name, options in the
    order of `options`, where that completion token was drawn."""
    options: dict[str, str]
    fields: dict[str, Scalar]

    @property
    def token_ids(self) -> list[int]:
        """Prompt and completion."""
        return self.prompt_ids + self.completion_ids

    def line(self) -> str:
        """The rollout as one line of JSON, keys in a fixed order."""
        return json.dumps(self.model_dump(), ensure_ascii=False) + "\n"


def read_rollouts(path: Path) -> list[Rollout]:
    """Every rollout of a file.

    Raises:
        StoreError: the file cannot be read, or a line is not a rollout. Names the file and the line.
    """
    return list(_parse(path, [line for line in _lines(path) if line]))


def read_whole_lines(path: Path) -> list[Rollout]:
    """The rollouts of a file that a kill may have cut short: a last line without its newline is left out."""
    return list(_parse(path, _lines(path)[:-1])) if path.exists() else []


def _lines(path: Path) -> list[str]:
    """What stands between line feeds. Text may hold other characters that `splitlines` would break at."""
    try:
        return path.read_bytes().decode("utf-8", errors="replace").split("\n")
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; record the run again into another --out") from None


def _parse(path: Path, lines: list[str]) -> Iterable[Rollout]:
    for number, line in enumerate(lines, start=1):
        try:
            yield Rollout.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise StoreError(
                f"{path}:{number}: not a rollout ({where}: {first['msg']}); record the run again into another --out"
            ) from None
