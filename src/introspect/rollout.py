"""A rollout: one completion of one item, as a line of `rollouts.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import StoreError
from .tasks.item import Scalar

TokenRange = tuple[int, int]
R = TypeVar("R", bound="RolloutSummary")


class RolloutSpans(BaseModel):
    """Half-open token ranges in `prompt_ids + completion_ids`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: TokenRange
    think: TokenRange
    answer: TokenRange


class RolloutSummary(BaseModel):
    """What a rollout did and said, without its token ids: what verdicts and behavioural metrics work on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rollout: int
    """Index in the run: items in the order of their file, then conditions, then samples."""
    item_id: str
    group: str
    task: str
    condition: str
    split: Literal["id", "ood"]
    domain: str
    sample: int
    prompt_text: str
    """The user message, before the chat template; of a chat, every message after its role."""
    chain_text: str
    """What is said before the answer is named, in a think span or after it; all of it when none is named."""
    think_text: str
    """The think span's."""
    spans: RolloutSpans
    think_status: Literal["closed", "empty", "truncated", "absent"]
    finish: Literal["stop", "length"]
    answer: str | None
    """The option chosen; None when no single one can be read from the text."""
    answer_position: int | None
    """Index, in prompt and completion, of the token at which the option's name begins."""
    acted: bool | None
    """Whether the answer acts on the policy; None when there is no answer."""
    options: dict[str, str]
    fields: dict[str, Scalar]
    """Of the item."""
    facts: dict[str, Scalar]
    """What the condition varied."""
    outcome: dict[str, Scalar]
    """What reading the answer found out besides."""

    @property
    def chain_tokens(self) -> int:
        """Tokens of the completion before the answer is named; all of them when it is not."""
        end = max(self.spans.think[1], self.spans.answer[1]) if self.answer_position is None else self.answer_position
        return end - self.spans.prompt[1]

    @property
    def about(self) -> dict[str, Scalar]:
        """Item fields and facts together."""
        return {**self.fields, **self.facts}


class Rollout(RolloutSummary):
    """One completion of one item under one condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    prompt_ids: list[int]
    completion_ids: list[int]
    """Includes the stop token, when there is one."""
    completion_text: str
    option_logprobs: list[list[float]]
    """[completion token][option]: log-probability (nats) of the first token of each option's name, options in the
    order of `options`, where that completion token was drawn."""

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
    return list(_parse(Rollout, path, (line for line in _lines(path) if line)))


def parse_rollouts(lines: str, whose: str) -> list[Rollout]:
    """Rollouts of lines that come from elsewhere.

    Args:
        whose: what to call them.

    Raises:
        StoreError: as `read_rollouts`.
    """
    return list(_parse(Rollout, Path(whose), (line for line in lines.split("\n") if line)))


def read_summaries(path: Path) -> list[RolloutSummary]:
    """The rollouts of a file without their token ids, a line at a time.

    Raises:
        StoreError: as `read_rollouts`.
    """
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            return list(_parse(RolloutSummary, path, (line for line in lines if line.strip())))
    except OSError as error:
        raise _unreadable(path, error) from None


def read_whole_lines(path: Path) -> list[Rollout]:
    """The rollouts of a file that a kill may have cut short: a last line without its newline is left out."""
    return list(_parse(Rollout, path, _lines(path)[:-1])) if path.exists() else []


def _lines(path: Path) -> list[str]:
    """What stands between line feeds. Text may hold other characters that `splitlines` would break at."""
    try:
        return path.read_bytes().decode("utf-8", errors="replace").split("\n")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot read {path}: {error.strerror}; record the run again into another --out")


def _parse(kind: type[R], path: Path, lines: Iterable[str]) -> Iterable[R]:
    for number, line in enumerate(lines, start=1):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise StoreError(
                f"{path}:{number}: not a rollout ({where}: {first['msg']}); record the run again into another --out"
            ) from None
