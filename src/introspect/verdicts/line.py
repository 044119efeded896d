"""A line of `verdicts.jsonl`: what one classifier says of one rollout."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from .verdict import Verdict, VerdictName


class VerdictLine(BaseModel):
    """A line of verdicts.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollout: int
    classifier: str
    verdict: VerdictName | None
    mentions: bool
    relies: bool
    denies: bool
    quote: str | None
    problem: str | None

    def verdict_given(self) -> Verdict:
        """The verdict, without the number of its rollout."""
        return Verdict(**self.model_dump(exclude={"rollout"}))
