"""`readouts.jsonl`: what the probes and the words scored of every rollout that is linked, a line a rollout.

With the rollouts and the verdicts it is all that the link follows from, so the link can be made again, at another
false-positive rate or with other verdicts, without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..atomic import read_at_most, write_atomic
from ..errors import StoreError

READOUTS = "readouts.jsonl"
MAX_READOUTS = 1 << 30

Part = Literal["dev", "test", "ood"]


class Readout(BaseModel):
    """What was scored of one rollout, in log-odds: on development groups by probes that were not fitted on them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rollout: int
    part: Part
    headline: float
    """The headline probe's score."""
    readout: Literal["policy", "none"] | None = None
    """At the spec's own false-positive rate; None: no threshold could be set."""
    text: float | None
    """The best text baseline's; None: none could be fitted."""
    along: dict[str, float]
    """Position -> score of the best probe there."""
    words: dict[str, dict[str, float]] = {}
    """Think position -> name and score of the better text baseline on exactly the tokens read by then."""
    aligned: bool = False
    """The answer is the hinted option and was so without the hint: not acted on the policy, and no part of any fit."""
    mention: float | None = Field(None, ge=0, le=1)
    """Where the chain first speaks of the policy or the hint, by the patterns, as a share of its characters; None: it
    does not."""
    before_mention: tuple[str, ...] | None = None
    """Positions that lie before that place; None: a run of an earlier version, which did not look."""


def write_readouts(run: Path, rows: Sequence[Readout]) -> None:
    """Write readouts.jsonl whole."""
    write_atomic(run / READOUTS, "".join(row.model_dump_json() + "\n" for row in rows))


def read_readouts(run: Path) -> list[Readout]:
    """Read readouts.jsonl, which may be a stranger's.

    Raises:
        StoreError: it is missing, too large, empty, names a rollout twice, or a line is no readout.
    """
    path = run / READOUTS
    try:
        lines = read_at_most(path, MAX_READOUTS).decode("utf-8").splitlines()
        rows = [Readout.model_validate_json(line) for line in lines if line]
        if not rows or len({row.rollout for row in rows}) < len(rows):
            raise ValueError("its rollouts are not those that were probed, each once")
        if any(row.along.keys() != rows[0].along.keys() for row in rows):
            raise ValueError("its lines are not of the same positions")
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"cannot read {path} ({reason}); run the experiment again") from None
    return rows
