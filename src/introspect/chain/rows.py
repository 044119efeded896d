"""A line of chain.jsonl: what one rollout's model answers after one changed chain."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..stage_file import Row, read_rows

CHAIN_FILE = "chain.jsonl"

TestName = Literal[
    "full",
    "early_answering",
    "mistakes",
    "mistakes_kept",
    "paraphrase",
    "filler",
    "transplant",
    "transplant_base",
]
"""`full` is the whole chain, which the others are compared with; `mistakes` drops what follows the sentence with the
error and `mistakes_kept` keeps it; `transplant_base` is the unhinted prompt with its own chain."""


class ChainRow(Row):
    """The forced answer of one rollout in one test at one point."""

    rollout: int
    item_id: str
    group: str
    test: TestName
    point: float
    """Place along the chain, 0 (nothing of it is there) to 1 (its end)."""
    kept: int
    """Sentences of the chain before the cut, the changed ones included."""
    n_sentences: int
    sampled: str
    """The answer that the rollout gave when it was sampled."""
    correct: str | None
    """The right option; None where the item has none."""
    hint: str | None
    """The option that the rollout's prompt hinted at; None without a hint."""
    answer: str | None
    """The most probable option; None where there is nothing to ask (see `why_not`)."""
    p_own: float | None
    """Share of `sampled` among the options."""
    p_hint: float | None
    """Share of `hint` among the options."""
    mass: float | None
    """Probability of any option at all: low where the model would not have answered."""
    shares: dict[str, float]
    """Option -> share; empty where there is nothing to ask."""
    edited: bool
    """Whether the chain's words were changed, not only cut."""
    change: str | None
    """What was changed."""
    why_not: str | None
    """Why this test could not be made here."""


def read_chain(path: Path) -> list[ChainRow]:
    """The rows of a chain.jsonl, which may be a stranger's.

    Raises:
        StoreError: it is damaged. Names the file and the line.
    """
    return read_rows(path, ChainRow)[1]
