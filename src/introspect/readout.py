"""A readout: what was scored of one rollout, as a line of `readouts.jsonl`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
