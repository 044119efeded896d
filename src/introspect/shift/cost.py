"""What a shift would take, from short replays that are timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..progress import Progress, silent
from ..rollout import Rollout
from ..transcripts.replay import TIMED_TOKENS, seconds_a_token
from .drafts import Drafted, Work
from .styles import Style

PIECES = "drafts, and short replays"
"""What progress calls an estimate: three a style."""


@dataclass(frozen=True)
class ShiftCost:
    """What a shift is expected to take."""

    style: str
    n_rollouts: int
    left_out: dict[str, int]
    """Why rollouts cannot be put into the style -> how many."""
    n_tokens: int
    bytes_on_disk: int
    seconds: float
    """Of replays; probes and report take what they took in the source."""


def estimate_shift(
    run: Path,
    styles: Sequence[Style],
    *,
    limit: int | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> list[ShiftCost]:
    """What `shift_run` would take on this machine, from short replays that are timed. Writes nothing.

    Raises:
        RunError, SpecError, ModelError, StoreError: as `shift_run`.
    """
    n_pieces = 3 * len(styles)
    progress(PIECES, 0, n_pieces)
    work, drafts = Work(run, styles, limit, offline=offline), list[Drafted]()
    for style in styles:
        drafts.append(work.draft(style))
        progress(PIECES, len(drafts), n_pieces)
    found = []
    for place, drafted in enumerate(drafts):
        spec, capture = drafted.prepared.spec, drafted.prepared.capture
        replayed = seconds_a_token(drafted.prepared.backend, capture, drafted.shifted)
        progress(PIECES, len(drafts) + 2 * place + 1, n_pieces)
        scored = _seconds_a_scored_token(work, drafted.shifted)
        progress(PIECES, len(drafts) + 2 * place + 2, n_pieces)
        # The source is scored once; the base model reads the same tokens.
        passes = replayed * (2 if spec.organism is not None and spec.base_baseline else 1) + scored
        of_source = 0.0 if place else scored * sum(len(before.token_ids) for before, _ in drafted.pairs)
        found.append(
            ShiftCost(
                style=drafted.style.name,
                n_rollouts=len(drafted.pairs),
                left_out=drafted.left_out,
                n_tokens=drafted.n_tokens,
                bytes_on_disk=drafted.bytes_on_disk(),
                seconds=passes * drafted.n_tokens + of_source,
            )
        )
    return found


def _seconds_a_scored_token(work: Work, rollouts: Sequence[Rollout]) -> float:
    longest = max(rollouts, key=lambda rollout: len(rollout.token_ids))
    few = longest.model_copy(update={"completion_ids": longest.completion_ids[:TIMED_TOKENS]})
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        work.score([few], "score", silent)
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / len(few.token_ids)
