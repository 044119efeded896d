"""`readouts.jsonl`: what the probes and the words scored of every rollout that is linked, a line a rollout.

With the rollouts and the verdicts it is all that the link follows from, so the link can be made again, at another
false-positive rate or with other verdicts, without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..atomic import read_at_most, write_atomic
from ..errors import StoreError
from ..readout import Part, Readout

__all__ = ["MAX_READOUTS", "READOUTS", "Part", "Readout", "read_readouts", "write_readouts"]

READOUTS = "readouts.jsonl"
MAX_READOUTS = 1 << 30


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
