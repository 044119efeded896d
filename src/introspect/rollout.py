"""A rollout: one completion of one item, as a line of `rollouts.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .lines import opened, parse_line, read_lines
from .tasks.item import Scalar

TokenRange = tuple[int, int]


class RolloutSpans(BaseModel):
    """Half-open token ranges in `prompt_ids + completion_ids`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: TokenRange
    think: TokenRange
    answer: TokenRange


class RolloutSummary(BaseModel):
    """What a rollout did and said, without its token ids: what verdicts and behavioural metrics work on."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="rollout")

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
    return [each for _, each in read_lines(path, Rollout)]


def read_summaries(path: Path) -> list[RolloutSummary]:
    """The rollouts of a file without their token ids.

    Raises:
        StoreError: as `read_rollouts`.
    """
    return [each for _, each in read_lines(path, RolloutSummary)]


def read_whole_lines(path: Path) -> list[Rollout]:
    """The rollouts of a file that a kill may have cut short: a last line without its newline is left out."""
    if not path.exists():
        return []
    with opened(path) as file:
        lines = file.read().decode("utf-8", errors="replace")
    return parse_rollouts(lines[: lines.rfind("\n") + 1], str(path))


def parse_rollouts(lines: str, whose: str) -> list[Rollout]:
    """Rollouts of lines that come from elsewhere.

    Args:
        whose: what to call them.

    Raises:
        StoreError: as `read_rollouts`.
    """
    numbered = enumerate(lines.split("\n"), start=1)
    return [parse_line(line, Rollout, f"{whose}:{number}") for number, line in numbered if line]
